"""Figures 4 to 6, and Table 3 as a figure: AP against what an experiment varies.

Pure functions of tidy results (:mod:`synlib.report.frames`) that return Matplotlib figures. A line is the mean over
seeds; its band is the 95 % bootstrap interval over the evaluation images with one seed, and from the smallest to the
largest AP with several. The paper gives these figures as pictures only: thin and hollow marks show what its text and
tables state.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scapes.labels import CLASSES, COLORS
from synlib import paper
from synlib.report.frames import INTERVAL, MEAN, across_seeds, band
from synlib.report.limits import limit_text
from synlib.report.style import DOMAIN_COLORS, PAPER, style

MARKERS = {"Cityscapes": "o", "Synscapes": "s"}
LINES = {"Cityscapes": "-", "Synscapes": "--"}
MOMENTUM_STYLES = (("#e69f00", "s", "--"), ("#0072b2", "o", "-"), ("#009e73", "^", ":"), ("#cc79a7", "D", "-."))
"""Colour, marker and line for rising momenta: orange for 0 and blue for 0.9, as in the paper."""


def figure4(results: pd.DataFrame, limits: pd.DataFrame | None = None, *, on: str = "Synscapes") -> Figure:
    """Figure 4 (section 4.1): AP on Synscapes against the share of smallest instances removed, a panel a class.

    ``results``: of the experiment ``thresholds``. ``limits``: :func:`synlib.report.limits.limits`; draws the fitted
    second phase, where it begins, and the interval of that.
    """
    table = across_seeds(results[results["evaluated on"] == on], ["threshold"], name=None)
    table = table.sort_values("threshold")
    with style():
        figure, axes = plt.subplots(3, 3, figsize=(9, 6.6), sharex=True, layout="constrained")
        for name, axis in zip([*CLASSES, MEAN], axes.flat, strict=True):
            rows = table[table["class"] == name]
            color = "black" if name == MEAN else tuple(part / 255 for part in COLORS[name])
            _curve(axis, rows, "threshold", color=color, edge="black", marker="o", line="-", label="AP")
            if limits is not None and (limits["class"] == name).any():
                _limit(axis, limits[limits["class"] == name].iloc[0], rows["threshold"].max())
            if name != MEAN:
                axis.axvline(paper.limit(name), **PAPER, zorder=1, label="limit in the paper")
            axis.set_title(_limit_title(name, limits), loc="left", fontsize=9)
            axis.set_ylim(bottom=0)
            axis.set_xlim(-3, max(93, table["threshold"].max() + 3))
        figure.supxlabel("smallest instances removed (% of each class)", fontsize=9)
        figure.supylabel(f"AP on {on} (%)", fontsize=9)
        _legend(figure, axes.flat[0], table)
    return figure


def figure5(results: pd.DataFrame) -> Figure:
    """Figure 5 (section 4.2): mean AP on both data sets against the share of real images in a set of constant size.

    ``results``: of the experiment ``ratios``. The paper's marks: Table 1 at both ends (its synthetic end is without
    removal), and the statement that AP on Cityscapes almost doubles from 0 % to 10 %.
    """
    table = across_seeds(results, ["real_percent"]).sort_values("real_percent")
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
        for on, color in DOMAIN_COLORS.items():
            rows = table[table["evaluated on"] == on]
            _curve(axis, rows, "real_percent", color=color, marker=MARKERS[on], line=LINES[on], label=f"on {on}")
            ends = [paper.TABLE1[trained, on] for trained in ("Synscapes", "Cityscapes")]
            label = f"paper's Table 1, on {on}"
            axis.plot([0, 100], ends, linestyle="", marker=MARKERS[on], **_hollow(color), label=label)
        doubled = paper.FIRST_TENTH_GAIN * paper.TABLE1["Synscapes", "Cityscapes"]
        start = paper.TABLE1["Synscapes", "Cityscapes"]
        axis.annotate(
            "", (10, doubled), (0, start), arrowprops={"arrowstyle": "->", "color": PAPER["color"], "linewidth": 0.8}
        )
        axis.text(11, doubled, "paper: “almost doubles”", color=PAPER["color"], fontsize=7, va="center")
        axis.set_xlabel("real images in the training set (%)")
        axis.set_ylabel("AP (%)")
        axis.set_ylim(bottom=0)
        axis.set_xticks(range(0, 101, 10))
        _legend(figure, axis, table)
    return figure


def figure6(
    results: pd.DataFrame,
    x: str = "learning_rate",
    *,
    baseline: tuple[float, float] = (paper.BASELINE["learning_rate"], paper.BASELINE["momentum"]),
    on: str = "Cityscapes",
) -> Figure:
    """Figure 6 (section 4.3): AP after fine-tuning against the learning rate, a curve a momentum; crosses diverged.

    ``results``: of the experiment ``fine_tuning``. ``x``: ``learning_rate``, or ``effective`` for lr / (1 - m).
    ``baseline``: learning rate and momentum of the baseline. The paper's maxima, and where it
    says that fine-tuning is too slow or diverges, are drawn at their multiples of the baseline's learning rate, which
    makes them comparable where model and batch are others than the paper's.

    Raises ValueError for another ``x``.
    """
    if x not in ("learning_rate", "effective"):
        raise ValueError(f"x: found {x!r}, expected 'learning_rate' or 'effective'")
    table = across_seeds(results[results["evaluated on"] == on], ["momentum", "learning_rate"])
    table["x"] = _rate(table["learning_rate"], table["momentum"], x)
    with style():
        figure, axis = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
        axis.set_xscale("log")
        styles = dict(zip(sorted(table["momentum"].unique()), MOMENTUM_STYLES, strict=False))
        unit = baseline[0] / paper.BASELINE["learning_rate"]
        for k, (momentum, (color, marker, line)) in enumerate(styles.items()):
            rows = table[table["momentum"] == momentum].sort_values("x")
            _curve(axis, rows, "x", color=color, marker=marker, line=line, label=f"momentum {momentum:g}")
            _diverged(axis, rows[rows["diverged"] > 0], color)
            if momentum in paper.BEST_LEARNING_RATE:
                best = unit * paper.BEST_LEARNING_RATE[momentum]
                _top_mark(axis, _rate(best, momentum, x), 0.97 - 0.05 * k, color)
        label = f"baseline (momentum {baseline[1]:g})"
        axis.axvline(_rate(*baseline, x), color="black", linestyle=":", linewidth=1, label=label)
        if x == "learning_rate":  # the text does not say for which momentum
            for end in (paper.TOO_SLOW_BELOW, paper.DIVERGES_ABOVE):
                axis.axvline(unit * end, **PAPER, zorder=1, label="paper: too slow below, diverges above")
        axis.plot([], [], linestyle="", marker="v", **_hollow(PAPER["color"]), label="paper: best learning rate")
        names = {"learning_rate": "learning rate", "effective": "effective learning rate  lr / (1 - momentum)"}
        scaled = "" if unit == 1 else f"\nthe paper's marks: × {unit:g}, as the baseline's learning rate"
        axis.set_xlabel(names[x] + scaled)
        axis.set_ylabel(f"AP on {on} (%)")
        axis.set_ylim(0, 1.12 * axis.get_ylim()[1])  # room for the paper's marks
        _legend(figure, axis, table)
    return figure


def amounts(results: pd.DataFrame, *, on: str = "Cityscapes") -> Figure:
    """Table 3 (section 4.2) as curves: AP against iterations, a line an amount of synthetic images; right: the paper's.

    ``results``: of the experiment ``amounts``.
    """
    ours = across_seeds(results[results["evaluated on"] == on], ["added", "epochs", "iterations"])
    published = pd.DataFrame(paper.table3_rows())
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
        for axis, table, title in ((axes[0], ours, "ours"), (axes[1], published, "paper")):
            values = sorted(table["added"].unique())
            colors = plt.colormaps["viridis"](np.linspace(0, 0.85, len(values)))
            for added, color, marker in zip(values, colors, _cycle("osD^vP*X", len(values)), strict=True):
                rows = table[table["added"] == added].sort_values("iterations")
                _curve(axis, rows, "iterations", color=color, marker=marker, line="-", label=f"{added:,}")
            axis.set_title(title, loc="left")
            epochs = ", ".join(f"{value:g}" for value in sorted(table["epochs"].unique()))
            axis.set_xlabel(f"iterations (points of a line: {epochs} epochs)")
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.legend(fontsize=7, title="synthetic images added", title_fontsize=7)
        axes[0].set_ylabel(f"AP on {on} (%)")
    return figure


def band_label(table: pd.DataFrame) -> str:
    """What the bands of a figure of :func:`synlib.report.frames.across_seeds` rows are."""
    return band(table).replace(INTERVAL, f"{INTERVAL} over images")


def _curve(
    axis: Axes,
    rows: pd.DataFrame,
    x: str,
    *,
    color,
    marker: str,
    line: str,
    label: str,
    edge="white",
) -> None:
    """Mean, band, and a dot a seed at the band's ends; ``rows`` without a band (the paper's) get none."""
    rows = rows[rows["ap"].notna()]
    axis.plot(
        rows[x], rows["ap"], color=color, linestyle=line, marker=marker, markersize=5.5, markeredgecolor=edge,
        markeredgewidth=0.6, label=label, zorder=3,
    )  # fmt: skip
    if "low" in rows:
        axis.fill_between(rows[x], rows["low"], rows["high"], color=color, alpha=0.2, linewidth=0, zorder=2)


def _limit(axis: Axes, row: pd.Series, last: float) -> None:
    """The fitted fall of a class, and where it begins with the interval at the bottom of the panel."""
    if np.isnan(row["limit"]):
        return
    x = np.array([row["limit"], last])
    fall = row["level"] - row["slope"] * (x - row["limit"])
    axis.plot(x, fall, color="black", linewidth=1, linestyle=(0, (4, 2)), zorder=3.5, label="second phase, fitted")
    bar = {"xerr": [[max(0, row["limit"] - row["low"])], [max(0, row["high"] - row["limit"])]]}
    bottom = axis.get_xaxis_transform()
    axis.errorbar(
        row["limit"], 0.06, transform=bottom, color="black", marker="^", markersize=5, capsize=2, linewidth=1,
        linestyle="", label=f"limit, {INTERVAL}", **bar,
    )  # fmt: skip


def _limit_title(name: str, limits: pd.DataFrame | None) -> str:
    if limits is None or not (limits["class"] == name).any():
        return name
    row = limits[limits["class"] == name].iloc[0]
    if np.isnan(row["limit"]):
        return f"{name}: no limit"
    limit, interval = limit_text(row)
    return f"{name}: limit {limit} % ({interval})"


def _rate(learning_rate, momentum, x: str):
    return learning_rate if x == "learning_rate" else learning_rate / (1 - momentum)


def _diverged(axis: Axes, rows: pd.DataFrame, color: str) -> None:
    axis.plot(
        rows["x"], [0.04] * len(rows), transform=axis.get_xaxis_transform(), color=color, linestyle="", marker="X",
        markersize=8, markeredgecolor="black", markeredgewidth=0.6, zorder=4, label="diverged" if len(rows) else None,
    )  # fmt: skip


def _top_mark(axis: Axes, x: float, height: float, color: str) -> None:
    """A hollow triangle at a share of the panel's height."""
    transform = axis.get_xaxis_transform()
    axis.plot([x], [height], transform=transform, linestyle="", marker="v", markersize=7, **_hollow(color))


def _hollow(color) -> dict:
    return {"markerfacecolor": "none", "markeredgecolor": color, "markeredgewidth": 0.9, "color": color}


def _cycle(values: Sequence, count: int) -> list:
    return [values[k % len(values)] for k in range(count)]


def _legend(figure: Figure, axis: Axes, table: pd.DataFrame) -> None:
    """Above the panels, each label once, with what the bands are."""
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    for label in {"AP", "diverged"} & once.keys():  # of all colours
        kept = {name: getattr(once[label], f"get_{name}")() for name in ("linestyle", "marker", "markersize")}
        once[label] = Line2D([], [], color="0.4", markeredgecolor="black", markeredgewidth=0.6, **kept)
    once[f"band: {band_label(table)}"] = Line2D([], [], color="0.6", alpha=0.4, linewidth=6)
    columns = min(3, -(-len(once) // 2))
    figure.legend(once.values(), once.keys(), loc="outside upper center", ncols=columns, fontsize=7.5, frameon=False)
