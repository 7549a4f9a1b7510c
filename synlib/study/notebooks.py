"""Execute notebooks with papermill; parameters are checked before anything runs."""

import ast
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from synlib.profile import ROOT
from synlib.study.plan import NOTEBOOKS

QUIET = ["--log-level=CRITICAL", "--IPKernelApp.logging_config={'loggers': {'tornado.general': {'level': 'CRITICAL'}}}"]
"""For a kernel: interrupted, it would report its closed sockets and its callbacks that were cut off."""


def select(prefixes: Sequence[str]) -> list[str]:
    """The names of the notebooks that start with one of ``prefixes`` (``01``, ``02_pruning``); none given means all.

    Raises ValueError for a prefix that fits none.
    """
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in NOTEBOOKS):
            raise ValueError(f"notebook {prefix!r}: expected the beginning of one of {', '.join(NOTEBOOKS)}")
    return [name for name in NOTEBOOKS if not prefixes or name.startswith(tuple(prefixes))]


def path_of(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


def check_parameters(names: Sequence[str], parameters: Mapping[str, Any]) -> None:
    """Raise ValueError if a parameter is known to none of the notebooks ``names``; the message lists the known ones."""
    known = {parameter: None for name in names for parameter in papermill.inspect_notebook(str(path_of(name)))}
    for parameter in parameters:
        if parameter not in known:
            raise ValueError(f"parameter {parameter!r}: expected one of {', '.join(known)}")


def refuse_unknown(namespace: Mapping[str, Any], name: str) -> None:
    """For the first cell after the parameters: raise ValueError if papermill gave one that notebook ``name`` has not.

    papermill only warns of it. ``namespace`` is the notebook's ``globals()``: of the inputs that IPython keeps there,
    those that papermill wrote begin with its comment. A reader's own variables are nobody's business.
    """
    written = [source for source in namespace.get("In", []) if source.startswith("# Parameters\n")]
    given = [target.id for source in written for line in ast.parse(source).body for target in line.targets]
    known = papermill.inspect_notebook(str(path_of(name)))
    for parameter in given:
        if parameter not in known:
            raise ValueError(f"parameter {parameter!r}: expected one of {', '.join(known)}")


def execute(name: str, parameters: Mapping[str, Any], folder: Path) -> Path:
    """Run notebook ``name`` with those of ``parameters`` that it has; returns the executed copy ``folder/NAME.ipynb``.

    Relative paths among the parameters are relative to the current folder, as everywhere.

    Raises RuntimeError with the cell's error when a cell fails; the copy up to there is kept as ``NAME.failed.ipynb``,
    and an older executed copy stays.
    """
    source, target, failed = path_of(name), folder / f"{name}.ipynb", folder / f"{name}.failed.ipynb"
    own = papermill.inspect_notebook(str(source))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(source), str(failed), {key: value for key, value in parameters.items() if key in own},
            cwd=os.getcwd(), kernel_name="python3", progress_bar={"desc": name, "unit": "cell"},
            extra_arguments=QUIET,
        )  # fmt: skip
    except PapermillExecutionError as error:
        raise RuntimeError(
            f"notebook {name}, cell {error.exec_count}: {error.ename}: {error.evalue} (see {failed})"
        ) from error
    except DeadKernelError as error:
        raise RuntimeError(f"notebook {name}: its kernel was killed (out of memory?) (see {failed})") from error
    failed.replace(target)
    return target
