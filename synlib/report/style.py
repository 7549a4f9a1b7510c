"""One look for every figure: sizes, fonts, and colours that survive colour blindness and grey printing."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from scapes.files import replacing
from synlib.profile import ROOT

DOMAIN_COLORS = {"Cityscapes": "#0072b2", "Synscapes": "#e69f00"}
"""Blue and orange as in the paper's figures, from the Okabe-Ito palette."""
PAPER = {"color": "0.45", "linewidth": 0.9, "linestyle": "-."}
"""How the paper's own numbers are drawn beside ours."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw with the compendium's settings, and leave Matplotlib's as they were."""
    with sns.axes_style("whitegrid"), plt.rc_context({"font.size": 9, "axes.titlesize": 10, "figure.dpi": 110}):
        yield


def named(figure: Figure, name: str, **tables: pd.DataFrame) -> Figure:
    """The figure with what :meth:`synlib.study.study.Study.save` needs to write it.

    ``name``: its file name without suffix. ``tables``: file name without suffix -> table that the figure was drawn
    from; the first has the figure's name. Tidy results keep their column ``run``, so the file says which runs a figure
    shows.
    """
    figure.name, figure.tables = name, tables
    return figure


def figure_folder(chosen: str | Path, profile: str) -> Path:
    """Where a notebook saves its figures: the folder chosen, or ``figures/PROFILE``.

    Raises ValueError where the folder chosen is no text.
    """
    if not isinstance(chosen, str | Path):
        raise ValueError(f"figure_dir: found {chosen!r}, expected the path of a folder as text, such as my_figures")
    return Path(chosen) if chosen else ROOT / "figures" / profile


def save(figure: Figure, folder: str | Path) -> Figure:
    """Write a :func:`named` figure as ``NAME.png`` and ``NAME.pdf``, and its tables as CSV; close and return it."""
    for suffix, options in ((".png", {"dpi": 150}), (".pdf", {})):
        with replacing(Path(folder) / (figure.name + suffix)) as temporary:
            figure.savefig(temporary, bbox_inches="tight", **options)
    for name, table in figure.tables.items():
        save_table(table, name, folder)
    plt.close(figure)  # the notebook shows what the cell returns, and nothing twice
    return figure


def save_table(table: pd.DataFrame, name: str, folder: str | Path) -> Path:
    """Write ``table`` as ``NAME.csv``, without its index; returns the path."""
    path = Path(folder) / f"{name}.csv"
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
    return path
