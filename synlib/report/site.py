"""The study as a folder to share: executed notebooks as HTML pages, an index, figures; nothing is asked of a server."""

import base64
import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import jinja2
import nbconvert
import nbformat
import numpy as np
import pandas as pd
from markupsafe import Markup
from traitlets.config import Config

from synlib.files import replacing
from synlib.study.notebooks import path_of
from synlib.study.profile import ROOT

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL_PX = 480
FIGURE_KINDS = (".png", ".pdf", ".csv")
TITLE = "Boosting instance segmentation with synthetic data"
DESCRIPTION = (
    "An executable compendium of the study by Poucin, Kraus and Simon (2021): how synthetic street images help a"
    " network on real ones. Each number of the paper stands beside ours, with its uncertainty."
)
PREFERRED = ["text/html", "text/markdown", "image/svg+xml", "image/png", "text/plain"]
"""Of an output in several forms, the one that is shown; never a widget, which would need a server's JavaScript."""


@dataclass(frozen=True)
class Page:
    """A notebook in the index. ``executed``: when and how long, empty if never; ``thumbnail``: a data URI or empty."""

    name: str
    title: str
    question: Markup
    executed: str
    thumbnail: str


def build(
    folder: str | Path,
    names: Sequence[str],
    *,
    profile: str,
    command: str,
    summary: pd.DataFrame | None = None,
    figures: str | Path | None = None,
) -> Path:
    """Render the executed notebooks ``folder/NAME.ipynb`` and write ``folder/index.html``, which is returned.

    ``names``: all notebooks of the study, in order; those not executed are listed as such. ``command``: what makes the
    study again. ``summary``: shown as it is, numbers to one digit. ``figures``: a folder whose PNG, PDF and CSV files
    are copied to ``folder/figures``, so that ``folder`` can be moved and sent as a whole.
    """
    folder = Path(folder)
    pages = [describe(folder, name) for name in names]
    executed = [page for page in pages if page.executed]
    for before, page, after in zip([None, *executed], executed, [*executed[1:], None], strict=False):
        render(folder / f"{page.name}.ipynb", before=before, after=after)
    html = _pages().get_template("index.html.j2").render(
        title=TITLE,
        profile=profile,
        description=DESCRIPTION,
        pages=pages,
        summary=Markup(table_html(summary)) if summary is not None else "",
        figures=copy_figures(Path(figures), folder) if figures else {},
        command=command,
        environment=environment(),
    )  # fmt: skip
    return _write(folder / "index.html", html)


def render(executed: Path, *, before: Page | None = None, after: Page | None = None) -> Path:
    """The executed notebook as one self-contained HTML page beside it, code folded, with links to its neighbours."""
    notebook = nbformat.read(executed, as_version=4)
    _name_figures(notebook)
    exporter = nbconvert.HTMLExporter(
        template_name="classic",
        template_file="cells.html.j2",
        extra_loaders=[jinja2.FileSystemLoader(TEMPLATES)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        embed_images=True,
        config=Config(
            {
                "NbConvertBase": {"display_data_priority": PREFERRED},
                "CSSHTMLHeaderPreprocessor": {"style": "default", "enabled": True},
            }
        ),
    )
    cells, resources = exporter.from_notebook_node(notebook, {"metadata": {"path": str(executed.parent)}})
    html = _pages().get_template("notebook.html.j2").render(
        title=title_of(notebook, executed.stem),
        style=Markup("\n".join(resources["inlining"]["css"])),
        cells=Markup(cells),
        before=before,
        after=after,
    )  # fmt: skip
    return _write(executed.with_suffix(".html"), html)


def describe(folder: Path, name: str) -> Page:
    """What the index says of notebook ``name``: of its executed copy in ``folder``, otherwise of its source."""
    executed = folder / f"{name}.ipynb"
    source = executed if executed.exists() else path_of(name)
    notebook = nbformat.read(source, as_version=4)
    return Page(
        name=name,
        title=title_of(notebook, name),
        question=question_of(notebook),
        executed=when_executed(notebook, executed) if executed.exists() else "",
        thumbnail=thumbnail(notebook) if executed.exists() else "",
    )


def title_of(notebook: nbformat.NotebookNode, default: str) -> str:
    """The first heading."""
    found = re.search(r"^# +(.+)$", _prose(notebook), re.MULTILINE)
    return found[1].strip() if found else default


def question_of(notebook: nbformat.NotebookNode) -> Markup:
    """The paragraph that starts with ``**Question.**``, without these words, as HTML."""
    found = re.search(r"^\*\*Question\.\*\*(.+?)(?:\n\s*\n|\Z)", _prose(notebook), re.MULTILINE | re.DOTALL)
    html = nbconvert.filters.markdown2html(found[1].strip()) if found else ""
    return Markup(html.strip().removeprefix("<p>").removesuffix("</p>"))


def when_executed(notebook: nbformat.NotebookNode, path: Path) -> str:
    """End and duration from papermill's notes; without them, the time of the file."""
    notes = notebook.metadata.get("papermill", {})
    if notes.get("end_time") and notes.get("duration") is not None:
        ended = datetime.datetime.fromisoformat(notes["end_time"])
        return f"{ended:%Y-%m-%d %H:%M} UTC, in {notes['duration']:.0f} s"
    return f"{datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC):%Y-%m-%d %H:%M} UTC"


def thumbnail(notebook: nbformat.NotebookNode) -> str:
    """The first figure as a small PNG in a data URI; empty if there is none."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    if not pictures:
        return ""
    image = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), cv2.IMREAD_COLOR)
    height, width = image.shape[:2]
    scale = min(1, THUMBNAIL_PX / width)
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", small)[1].tobytes()).decode()


def table_html(table: pd.DataFrame) -> str:
    """A DataFrame as an HTML table: whole numbers as such, others to one digit, missing values as a dash."""

    def shown(value: float) -> str:
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"

    return table.to_html(border=0, float_format=shown, na_rep="–", index=not isinstance(table.index, pd.RangeIndex))


def copy_figures(source: Path, folder: Path) -> dict[str, list[str]]:
    """Copy the figures of ``source`` to ``folder/figures``: name -> link to its PNG, PDF and CSV, empty if missing."""
    target = folder / "figures"
    links: dict[str, list[str]] = {}
    for name in sorted({path.stem for path in source.glob("*") if path.suffix in FIGURE_KINDS}):
        links[name] = [f"figures/{name}{kind}" if (source / f"{name}{kind}").exists() else "" for kind in FIGURE_KINDS]
        for link in filter(None, links[name]):
            with replacing(folder / link) as temporary:
                shutil.copyfile(source / Path(link).name, temporary)
    for old in target.glob("*"):
        if old.stem not in links:
            old.unlink()
    return links


def environment() -> dict[str, str]:
    """Commit, Python, platform, and the versions of the packages that this project asks for."""
    requirements = [item for item in importlib.metadata.requires("synlib") or [] if "extra ==" not in item]
    names = [re.match(r"[\w.-]+", requirement)[0] for requirement in requirements]
    return {
        "commit": commit() or "unknown: not a git checkout",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.platform()}, {os.cpu_count()} cores",
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(names)),
    }


def commit(root: Path = ROOT) -> str:
    """The git commit of the compendium, ``+ changes`` if files differ from it; empty where there is none."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    if not (root / ".git").exists():
        return ""
    try:
        return git("rev-parse", "HEAD") + (" + changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _name_figures(notebook: nbformat.NotebookNode) -> None:
    """Give each code cell the heading above it as the alternative text of its figures."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)):
            heading = found[-1]
        elif cell.cell_type == "code":
            cell.metadata.setdefault("alt", heading)


def _prose(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _pages() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


def _write(path: Path, html: str) -> Path:
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path
