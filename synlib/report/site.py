"""The study as a folder to share: executed notebooks as HTML pages, an index, figures; nothing is asked of a server."""

import base64
import datetime
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
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

from scapes.files import replacing
from synlib.profile import ROOT
from synlib.study.notebooks import path_of

TEMPLATES = Path(__file__).parent / "templates"
THUMBNAIL_PX = 480
KINDS = (".png", ".pdf", ".csv")
CLAIMS = "claims.csv"
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


@dataclass(frozen=True)
class SavedFigure:
    """A figure or table: ``heading`` and ``page`` say where it is shown; ``links``: "PNG", "PDF", "CSV" -> file."""

    name: str
    heading: str
    page: Page | None
    links: dict[str, str]


def build(
    folder: str | Path,
    names: Sequence[str],
    *,
    profile: str,
    command: str,
    figures: str | Path | None = None,
    now: Sequence[str] | None = None,
) -> Path:
    """Render the executed notebooks ``folder/NAME.ipynb`` and write ``folder/index.html``, which is returned.

    ``names``: all notebooks of the study, in order; those not executed are listed as such. ``command``: what makes the
    study again. ``figures``: a folder whose PNG, PDF and CSV files are copied to ``folder/figures``, so that ``folder``
    can be moved and sent as a whole; its ``claims.csv`` (:func:`synlib.report.verdicts.verdicts`) is shown as a table.
    ``now``: the notebooks that ``command`` executed, by default all; pages and figures of others stay as they are.
    """
    folder = Path(folder)
    pages = [describe(folder, name) for name in names]
    executed = [page for page in pages if page.executed]
    for before, page, after in zip([None, *executed], executed, [*executed[1:], None], strict=False):
        render(folder / f"{page.name}.ipynb", before=before, after=after)
    earlier = [page for page in executed if now is not None and page.name not in now]
    saved = copy_figures(Path(figures), folder, executed, earlier) if figures else []
    html = _pages().get_template("index.html.j2").render(
        title=TITLE,
        profile=profile,
        description=DESCRIPTION,
        pages=pages,
        claims=read_claims(folder / "figures" / CLAIMS),
        figures=[figure for figure in saved if "PNG" in figure.links],
        tables=[figure for figure in saved if "PNG" not in figure.links],
        command=command,
        earlier=earlier,
        environment=environment(),
    )  # fmt: skip
    return _write(folder / "index.html", html)


def render(executed: Path, *, before: Page | None = None, after: Page | None = None) -> Path:
    """The executed notebook as one self-contained HTML page beside it, code folded, with links to its neighbours."""
    notebook = nbformat.read(executed, as_version=4)
    for heading, cell in _code_below_headings(notebook):
        cell.metadata.setdefault("alt", heading)  # the alternative text of its figures
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


def read_claims(path: Path) -> list[dict[str, str]]:
    """The claims of a CSV file of :func:`synlib.report.verdicts.verdicts`, as text to show; none without the file."""
    if not path.exists():
        return []
    table = pd.read_csv(path, dtype={"section": str})

    def number(value: float) -> str:
        return "–" if pd.isna(value) else f"{value:+.1f}" if round(value, 1) else "0.0"

    return [
        {name: str(row[name]) for name in ("section", "claim", "unit", "verdict", "because")}
        | {name: number(row[name]) for name in ("paper", "ours")}
        | {"interval": "–" if pd.isna(row["low"]) else f"{number(row['low'])} … {number(row['high'])}"}
        for row in table.to_dict("records")
    ]


def copy_figures(source: Path, folder: Path, pages: Sequence[Page], earlier: Sequence[Page] = ()) -> list[SavedFigure]:
    """Copy the figures and tables of ``source`` to ``folder/figures``, where else only those of ``earlier`` remain.

    ``earlier``: of the ``pages``, those of other calls, which may have saved their figures elsewhere. Returns all.
    """
    target = folder / "figures"
    headings = {page: saving_cells(nbformat.read(folder / f"{page.name}.ipynb", as_version=4)) for page in pages}
    given = [path for path in source.glob("*") if path.suffix in KINDS]
    for path in given:
        with replacing(target / path.name) as temporary:
            shutil.copyfile(path, temporary)
    new, stems = {path.name for path in given}, {path.stem for path in given}
    figures: dict[str, SavedFigure] = {}
    for path in sorted(target.glob("*"), key=lambda path: path.stem):
        page, heading = _saved_by(path.stem, headings)
        if path.name in new or (path.stem not in stems and page in earlier):
            figure = figures.setdefault(path.stem, SavedFigure(path.stem, heading, page, {}))
            figure.links[path.suffix[1:].upper()] = f"figures/{path.name}"
        else:
            path.unlink()
    return list(figures.values())


def _saved_by(name: str, headings: Mapping[Page, Mapping[str, str]]) -> tuple[Page | None, str]:
    """The page whose code names a figure, or the figure that it was drawn for (``figure4_limits``), and the heading."""
    words = name.split("_")
    for count in range(len(words), 0, -1):
        named = "_".join(words[:count])
        for page, of_page in headings.items():
            if named in of_page:
                return page, of_page[named]
    return None, ""


def saving_cells(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Every short text in quotes in a code cell, a figure's name perhaps, with the heading above the cell."""
    cells = [(heading, cell.source) for heading, cell in _code_below_headings(notebook)]
    return {name: heading for heading, source in reversed(cells) for name in re.findall(r'"(\w+)"', source)}


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


def _code_below_headings(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """Each code cell with the last heading before it."""
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)):
            heading = found[-1]
        elif cell.cell_type == "code":
            yield heading, cell


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
