"""Execute notebooks with papermill; parameters are checked before anything runs."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import IPython

from synlib.profile import ROOT
from synlib.study.plan import NOTEBOOKS

SOURCES = ROOT / "notebooks"
# An interrupted kernel would report its closed sockets and its callbacks that were cut off
QUIET = ["--log-level=CRITICAL", "--IPKernelApp.logging_config={'loggers': {'tornado.general': {'level': 'CRITICAL'}}}"]


def select(prefixes: Sequence[str]) -> list[str]:
    """The notebooks whose names start with one of ``prefixes``, by default all. Raises ValueError if one fits none."""
    if unknown := [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in NOTEBOOKS)]:
        raise ValueError(f"notebook {unknown[0]!r}: expected the beginning of one of {', '.join(NOTEBOOKS)}")
    return [name for name in NOTEBOOKS if not prefixes or name.startswith(tuple(prefixes))]


def refuse_unknown_parameters() -> None:
    """Raise ValueError if papermill, which only warns, gave the running notebook a parameter that it does not have."""
    shell = IPython.get_ipython()
    for own, given in itertools.pairwise(shell.user_ns.get("In", []) if shell else []):
        if given.startswith("# Parameters\n"):  # papermill's cell, behind the notebook's own; not what a reader wrote
            known, named = (re.findall(r"(?m)^(\w+) =", cell) for cell in (own, given))  # an assignment on each line
            if unknown := [name for name in named if name not in known]:
                raise ValueError(f"parameter {unknown[0]!r}: expected one of {', '.join(known)}")


def show_sharply() -> None:
    """In a notebook, figures have twice the pixels of the place that they take."""
    if IPython.get_ipython():
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina", bbox_inches=None)  # figures are laid out; else each is drawn once more


def execute(name: str, parameters: Mapping[str, Any], folder: Path) -> Path:
    """Run notebook ``name`` in the current folder; returns the executed copy ``folder/NAME.ipynb``.

    Raises RuntimeError when a cell fails: the copy up to there is ``NAME.failed.ipynb``, an older executed copy stays.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError

    source, target, failed = SOURCES / f"{name}.ipynb", folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        bar, kernel = {"desc": name, "unit": "cell"}, {"kernel_name": "python3", "extra_arguments": QUIET}
        papermill.execute_notebook(source, failed, dict(parameters), progress_bar=bar, **kernel)
        failed.replace(target)
        return target
    except papermill.PapermillExecutionError as error:
        problem = f"cell {error.exec_count}: {error.ename}: {error.evalue}"
        raise RuntimeError(f"notebook {name}, {problem} (see {failed})") from error
    except DeadKernelError as error:
        raise RuntimeError(f"notebook {name}: its kernel was killed (out of memory?) (see {failed})") from error
    except (NoSuchKernel, OSError, RuntimeError, ValueError) as error:
        remedy = "if its kernel does not start: python -m ipykernel install --sys-prefix"
        raise RuntimeError(f"notebook {name}: {type(error).__name__}: {error}; {remedy}") from error


def execute_all(study, names: Sequence[str], lacking: set[str], *, keep_going: bool) -> tuple[list[str], list[str]]:
    """Execute notebooks of a ``Study``, but none that needs a run of ``lacking`` (ids without a result).

    They open the resolved profile, ``profile.yaml`` beside the executed copies. Returns the names of those executed,
    and what went wrong; without ``keep_going`` the first problem ends it.
    """
    resolved = study.profile.reports_dir / "profile.yaml"
    study.profile.save(resolved)
    executed, problems = [], []
    for name in names:
        missing = lacking & {item.spec.run_id for item in study.planned(*NOTEBOOKS[name])}
        try:
            if missing:
                raise RuntimeError(f"notebook {name} not executed: it needs run {min(missing)}, which has no result")
            execute(name, {"profile": str(resolved)}, study.profile.reports_dir)
            executed.append(name)
        except RuntimeError as error:
            problems.append(str(error))
            if not keep_going:
                break
    return executed, problems
