"""Figure 1: the steps of the method at the left, what each training approach reaches at the right."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from synlib import paper
from synlib.report.curves import band_label
from synlib.report.frames import across_seeds
from synlib.report.style import DOMAIN_COLORS, style

APPROACHES = {
    "real-world training": ("steps", {"step": "basic"}),
    "mixed training": ("removal", {"approach": "mixing", "removal": "on"}),
    "fine-tuning": ("removal", {"approach": "fine-tuning", "removal": "on"}),
    "synthetic training": ("removal", {"approach": "pre-training", "removal": "on"}),
}
"""Training approach of Figure 1 -> the experiment and factors of its run."""


def approaches(results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What Figure 1 shows, from the experiments ``steps`` and ``removal``: a row an approach and evaluation set.

    Columns: ``approach``, ``evaluated on``, ``ap``, ``low``, ``high`` (percent; with several seeds, from the smallest
    to the largest), ``seeds``, ``run``, ``paper``.
    """
    frames = []
    for name, (experiment, where) in APPROACHES.items():
        rows = results[experiment]
        for factor, value in where.items():
            rows = rows[rows[factor] == value]
        frames.append(rows.assign(approach=name))
    table = across_seeds(pd.concat(frames, ignore_index=True), ["approach"])
    published = [_published(row["approach"], row["evaluated on"]) for _, row in table.iterrows()]
    return table.assign(paper=published)[
        ["approach", "evaluated on", "ap", "low", "high", "seeds", "run", "paper"]
    ]  # fmt: skip


def figure1(bars: pd.DataFrame) -> Figure:
    """Figure 1: processing steps, and AP of each approach on Cityscapes (blue) and Synscapes (orange).

    ``bars``: :func:`approaches`; its error bars are drawn, and the paper's numbers as black marks.
    """
    names = [name for name in APPROACHES if (bars["approach"] == name).any()]
    places = {name: len(names) - 1 - k for k, name in enumerate(names)}
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.5, 3.6), width_ratios=[1.35, 1], sharey=True, layout="constrained"
        )
        _bars(right, bars, places)
        _pipeline(left, places)
        right.set_ylim(-0.6, len(names) - 0.4)
        right.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), fontsize=7.5, ncols=3, frameon=False)
        right.set_xlabel(f"AP (%), {band_label(bars)}")
    return figure


def _bars(axis: Axes, bars: pd.DataFrame, places: Mapping[str, int]) -> None:
    for shift, (on, color) in enumerate(DOMAIN_COLORS.items()):
        rows = bars[bars["evaluated on"] == on].set_index("approach").reindex(list(places))
        y = np.array(list(places.values())) + (0.19, -0.19)[shift]
        error = [(rows["ap"] - rows["low"]).clip(lower=0), (rows["high"] - rows["ap"]).clip(lower=0)]
        axis.barh(
            y, rows["ap"], 0.36, xerr=error, color=color, hatch=("", "//")[shift], edgecolor="white", capsize=2,
            error_kw={"linewidth": 1}, label=f"on {on}",
        )  # fmt: skip
        axis.plot(
            rows["paper"], y, linestyle="", marker="|", markersize=13, markeredgewidth=1.6, color="black",
            label=None if shift else "paper",
        )  # fmt: skip
    axis.set_xlim(left=0)
    axis.grid(axis="y", visible=False)
    axis.tick_params(left=False, labelleft=False)


def _pipeline(axis: Axes, places: Mapping[str, int]) -> None:
    """Boxes and arrows from both data sets through the pre-processing to the approaches, at the bars' heights."""
    axis.set_axis_off()
    axis.set_xlim(0, 10)
    top, bottom = max(places.values()), min(places.values())
    real, synthetic = DOMAIN_COLORS["Cityscapes"], DOMAIN_COLORS["Synscapes"]
    _box(axis, 0.9, top, 1.7, "Cityscapes", real)
    _box(axis, 0.9, bottom, 1.7, "Synscapes", synthetic)
    _box(axis, 3.15, bottom, 1.6, "harmonise\nlabels", synthetic)
    _box(axis, 5.3, bottom, 1.6, "remove small\ninstances", synthetic)
    _arrow(axis, (1.75, bottom), (2.35, bottom))
    _arrow(axis, (3.95, bottom), (4.5, bottom))
    for name, y in places.items():
        _box(axis, 8.6, y, 2.5, name, "0.25")
        if name != "synthetic training":
            _arrow(axis, (1.75, top), (7.35, y + 0.1 * (y < top)), real)
        if name != "real-world training":
            _arrow(axis, (6.1, bottom), (7.35, y - 0.1 * (y > bottom)), synthetic)


def _box(axis: Axes, x: float, y: float, width: float, text: str, color: str) -> None:
    shape = FancyBboxPatch(
        (x - width / 2, y - 0.24), width, 0.48, boxstyle="round,pad=0.03", facecolor="white", edgecolor=color,
        linewidth=1.5, mutation_aspect=0.4,
    )  # fmt: skip
    axis.add_patch(shape)
    axis.text(x, y, text, ha="center", va="center", fontsize=7.5)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], color: str = "0.3") -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=color, linewidth=1))


def _published(approach: str, on: str) -> float:
    experiment, where = APPROACHES[approach]
    if experiment == "steps":
        return paper.TABLE5[where["step"]][on]
    return paper.TABLE2[where["approach"], on][where["removal"]]
