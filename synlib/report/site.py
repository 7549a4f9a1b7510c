"""The study as a folder to share: executed notebooks as HTML pages, an index, figures; nothing is asked of a server."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import jinja2
import nbconvert
import nbformat
import pandas as pd
from traitlets.config import Config

from scapes.files import replacing
from synlib.profile import ROOT
from synlib.report import verdicts
from synlib.study.notebooks import SOURCES

KINDS = (".png", ".pdf", ".csv", ".tex")
SUMMARY = "05_summary"  # the notebook that judges all claims, and lists their runs
PACKAGES = ("detectron2", "matplotlib", "numpy", "opencv-python-headless", "pandas", "scipy", "torch", "torchvision")
PREFERRED = ["text/html", "text/markdown", "image/svg+xml", "image/png", "text/plain"]
"""Of an output in several forms, the one that is shown; never a widget, which would need JavaScript from a server."""


def build(folder: Path, names: Sequence[str], *, profile: str, command: str, figures: Path, now: Sequence[str]) -> Path:
    """Render the executed notebooks ``folder/NAME.ipynb`` and write ``folder/index.html``, which is returned.

    ``names``: all notebooks of the study, in order. ``command``: what makes the study again. ``figures``: the folder
    whose :data:`KINDS` of files are copied to ``folder/figures``; its ``claims.csv`` is shown as a table. ``now``: the
    notebooks that ``command`` executed; pages and figures of others stay as they are.
    """
    config = {"NbConvertBase": {"display_data_priority": PREFERRED}, "CSSHTMLHeaderPreprocessor": {"style": "default"}}
    look = {"template_name": "classic", "template_file": "notebook.html.j2", "anchor_link_text": "#"}
    own = [jinja2.PackageLoader("synlib.report")]  # of pages, and of what the index needs
    exporter = nbconvert.HTMLExporter(**look, extra_loaders=own, config=Config(config))
    pages = [describe(folder, name, earlier=name not in now) for name in names]
    executed, html = [page for page in pages if page.executed], {}
    for before, page, after in zip([None, *executed], executed, [*executed[1:], None], strict=False):
        links = {"title": page.title, "before": before, "after": after}
        html[folder / f"{page.name}.html"], _ = exporter.from_notebook_node(page.notebook, links)
    files = copy_figures(figures, folder, keep=any(page.earlier for page in executed))
    judged = folder / "figures/claims.csv"
    # Of an earlier version, the file may lack columns
    read = pd.read_csv(judged, dtype={"section": str}).reindex(columns=verdicts.COLUMNS) if judged.exists() else None
    claims = None if read is None else verdicts.table(read)
    known = {"profile": profile, "pages": pages, "claims": claims, "figures": files, "command": command}
    index = exporter.environment.get_template("index.html.j2")
    html[folder / "index.html"] = index.render(known, environment=environment(), summary=SUMMARY)
    for path, content in html.items():
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return folder / "index.html"


def describe(folder: Path, name: str, *, earlier: bool) -> SimpleNamespace:
    """What pages and index say of notebook ``name``: of its executed copy in ``folder``, otherwise of its source.

    ``name``, ``title``, ``notebook`` (without the state of its widgets, of which programs may save a part),
    ``executed`` (whether it ever was), ``earlier``. Raises ValueError for a file that is no notebook.
    """
    copy = folder / f"{name}.ipynb"
    path = copy if copy.exists() else SOURCES / copy.name
    try:
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.pop("widgets", None)
        title = notebook.cells[0].source.partition("\n")[0].removeprefix("# ")
    except (ValueError, LookupError, AttributeError, nbformat.ValidationError) as error:  # also of other JSON
        raise ValueError(f"{path}: found no notebook ({error}), expected one; execute it again") from error
    return SimpleNamespace(name=name, title=title, notebook=notebook, executed=path == copy, earlier=earlier)


def copy_figures(source: Path, folder: Path, *, keep: bool) -> list[Path]:
    """Copy :data:`KINDS` to ``folder/figures``, remove others unless ``keep``; returns what is there, figures first."""
    given = {path.name: path for path in source.glob("*") if path.suffix in KINDS}
    for name, path in given.items():
        with replacing(folder / "figures" / name) as temporary:
            shutil.copyfile(path, temporary)
    for path in folder.glob("figures/*"):
        if path.suffix in KINDS and path.name not in given and not keep:
            path.unlink()
    return [path for suffix in KINDS for path in sorted(folder.glob(f"figures/*{suffix}"))]


def environment() -> dict[str, str]:
    """Commit, Python, platform, processor, and the versions of the packages that numbers depend on."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""  # Linux
    models = dict.fromkeys(line.partition(": ")[2] for line in told.splitlines() if line.startswith("model name"))
    return {
        "commit": commit() or "unknown",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.platform()}, {os.cpu_count()} cores",
        "processor": ", ".join(models) or platform.processor() or "unknown",
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
    }


def commit(root: Path = ROOT) -> str:
    """The git commit of the compendium, ``-dirty`` if files differ from it; empty where there is none, or no git."""
    place = [f"--git-dir={root}/.git", f"--work-tree={root}"]  # of no folder above
    command = ["git", *place, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() if shutil.which("git") else ""
