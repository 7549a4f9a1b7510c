"""One look for every figure: sizes, fonts, and colours that survive colour blindness and grey printing."""

import contextlib
from collections.abc import Iterator

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

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

    ``name``: its file name without suffix. ``tables``: file name without suffix -> table that it was drawn from; the
    first has the figure's name. Tidy results keep their column ``run``: the file says which runs a figure shows.
    """
    figure.name, figure.tables = name, tables
    return figure
