"""One look for every figure: sizes, fonts, and colours that survive colour blindness and grey printing."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

DOMAIN_COLORS = {"Cityscapes": "#0072b2", "Synscapes": "#e69f00"}  # as in the paper, from the Okabe-Ito palette
CLASS_COLORS = {
    "person": (220, 20, 60), "rider": (255, 140, 0), "car": (30, 100, 255), "truck": (0, 200, 200),
    "bus": (150, 60, 220), "train": (160, 100, 50), "motorcycle": (255, 90, 200), "bicycle": (60, 180, 60),
}  # RGB; of Cityscapes' own, four are dark blues  # fmt: skip
PAPER = {"color": "0.45", "linewidth": 0.9, "linestyle": "-."}  # the look of the paper's own numbers beside ours


def style():
    """Draw with the compendium's settings, and leave Matplotlib's as they were; also a decorator."""
    look = {"font.size": 9, "axes.titlesize": 10, "figure.dpi": 110, "axes.linewidth": 0.8, "legend.frameon": True}
    look |= {"xtick.bottom": False, "ytick.left": False}  # drawing ticks of no length takes as long
    return plt.style.context(["seaborn-v0_8-whitegrid", look])


def named(figure: Figure, name: str, **tables: pd.DataFrame) -> Figure:
    """The figure, for :meth:`synlib.study.study.Study.save`, with ``tables`` behind it; the first has its ``name``."""
    figure.name, figure.tables = name, tables  # file names without suffix
    if isinstance(figure, Figure):
        plt.close(figure)  # the notebook shows what the cell returns, and nothing twice
    return figure
