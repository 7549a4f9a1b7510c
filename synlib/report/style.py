"""One look for every figure: sizes, fonts, and colours that survive colour blindness and grey printing."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from synlib.labels import COLORS

CLASS_COLORS = {name: tuple(channel / 255 for channel in color) for name, color in COLORS.items()}
"""The Cityscapes colours, 0..1."""
DOMAIN_COLORS = {"Cityscapes": "#0072b2", "Synscapes": "#e69f00"}
"""Blue and orange as in the paper's figures, from the Okabe-Ito palette."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw with the compendium's settings, and leave Matplotlib's as they were."""
    with sns.axes_style("whitegrid"), plt.rc_context({"font.size": 9, "axes.titlesize": 10, "figure.dpi": 110}):
        yield


def save(figure: Figure, name: str, folder: str | Path, data: pd.DataFrame | None = None) -> Path:
    """Write ``NAME.png``, ``NAME.pdf`` and, if given, the table it was drawn from as ``NAME.csv``; returns the PNG."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, options in ((".png", {"dpi": 150}), (".pdf", {})):
        figure.savefig(folder / (name + suffix), bbox_inches="tight", **options)
    if data is not None:
        data.to_csv(folder / f"{name}.csv", index=False)
    return folder / f"{name}.png"
