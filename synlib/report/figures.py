"""The paper's figures of methods and data: 1 to 3, and instance sizes."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scapes.labels import INSTANCE_BASE, RIDER
from synlib.report import examples
from synlib.report.frames import across_seeds, band, published
from synlib.report.pictures import color_classes, color_instances, crop_around, instances_only, paint
from synlib.report.style import DOMAIN_COLORS, named, style
from synlib.study.data import StudyData

NEW = 1 << 24  # added to the id of a merged instance for the rider that is split from it; raw ids are below
APPROACHES = {
    "real-world training": ("steps", {"step": "basic"}),
    "mixed training": ("removal", {"approach": "mixing", "removal": "on"}),
    "fine-tuning": ("steps", {"step": "optimized"}),
    "synthetic training": ("steps", {"step": "pruned"}),
}
"""Training approach of Figure 1 -> the experiment and factors of its run."""


@style()
def figure1(results: Mapping[str, pd.DataFrame]) -> Figure:
    """Figure 1: processing steps, and AP of each of :func:`approaches` on Cityscapes (blue) and Synscapes (orange)."""
    bars = approaches(results)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), width_ratios=[1.35, 1], sharey=True, layout="constrained")
    _pipeline(axes[0])
    _bars(axes[1], bars)
    axes[1].legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), fontsize=7.5, ncols=3, frameon=False)
    return named(figure, "figure1", figure1=bars)


def approaches(results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What Figure 1 shows, of the experiments ``steps`` and ``removal``: one row per approach and evaluation set.

    Columns: those of :func:`~synlib.report.frames.across_seeds` and ``paper``, the paper's AP (percent).
    """

    def chosen(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        rows = {name: tables[of].merge(pd.DataFrame([factors])) for name, (of, factors) in APPROACHES.items()}
        return pd.concat([table.assign(approach=name) for name, table in rows.items()], ignore_index=True)

    theirs = chosen(published()).rename(columns={"ap": "paper"})[["approach", "evaluated on", "paper"]]
    table = across_seeds(chosen(results), ["approach"]).merge(theirs)
    return table[["approach", "evaluated on", "ap", "low", "high", "seeds", "run", "paper"]]


def _bars(axis: Axes, bars: pd.DataFrame) -> None:
    """AP and its interval for each approach, the first at the top, and the paper's AP as a black mark."""
    y = np.arange(len(APPROACHES))[::-1]
    for on, shift, hatch, label in (("Cityscapes", 0.19, "", "paper"), ("Synscapes", -0.19, "//", None)):
        rows = bars[bars["evaluated on"] == on].set_index("approach").loc[list(APPROACHES)]
        error = [(rows["ap"] - rows["low"]).clip(lower=0), (rows["high"] - rows["ap"]).clip(lower=0)]
        look = {"color": DOMAIN_COLORS[on], "hatch": hatch, "edgecolor": "white", "label": f"on {on}"}
        axis.barh(y + shift, rows["ap"], 0.36, xerr=error, capsize=2, error_kw={"linewidth": 1}, **look)
        axis.plot(rows["paper"], y + shift, "k|", markersize=13, markeredgewidth=1.6, label=label)
    axis.set(xlim=(0, None), ylim=(-0.6, len(APPROACHES) - 0.4), xlabel=f"AP (%), {band(bars)}")
    axis.grid(axis="y", visible=False)
    axis.tick_params(left=False, labelleft=False)


def _pipeline(axis: Axes) -> None:
    """Boxes and arrows from the data sets to the approaches, which are at the heights of their bars."""
    axis.set(xlim=(0, 10))
    axis.set_axis_off()
    names, (real, synthetic) = list(APPROACHES), DOMAIN_COLORS.values()
    steps = ["Synscapes", "harmonise\nlabels", "remove small\ninstances"]
    places = {"Cityscapes": (0.2, len(names) - 1, real)}
    places |= {text: (x, 0, synthetic) for text, x in zip(steps, (0.2, 2.5, 4.6), strict=True)}
    places |= {name: (7.6, y, "0.25") for y, name in enumerate(reversed(names))}
    boxes = {}
    for text, (x, y, color) in places.items():
        look = {"boxstyle": "round,pad=0.6", "facecolor": "white", "edgecolor": color, "linewidth": 1.5}
        boxes[text] = axis.text(x, y, text, va="center", fontsize=7.5, bbox=look)
    to_approaches = [*itertools.product(["Cityscapes"], names[:-1]), *itertools.product(steps[-1:], names[1:])]
    for start, end in [*itertools.pairwise(steps), *to_approaches]:
        look = {"arrowstyle": "-|>", "color": places[start][2], "shrinkA": 5, "shrinkB": 5}
        axis.annotate("", (0, 0.5), (1, 0.5), xycoords=boxes[end], textcoords=boxes[start], arrowprops=look)


@style()
def glance(data: StudyData) -> Figure:
    """Training images of both data sets (:func:`synlib.report.examples.glance_samples`) above their instances."""
    rows = []
    for name, pairs in examples.glance_samples(data).items():
        pairs = [(image, instances_only(ids)) for image, ids in pairs]
        painted = [paint(image, color_instances(ids), ids) for image, ids in pairs]
        rows += [(name, [image for image, _ in pairs]), ("instances", painted)]
    figure, axes = _grid([pictures for _, pictures in rows])
    for axis, (label, _) in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(label)
    return named(figure, "glance")


@style()
def figure2(data: StudyData) -> Figure:
    """Figure 2 (section 3.2) of :func:`synlib.report.examples.rider_example`; ValueError if no instance was split."""
    image, class_map, before, after = examples.rider_example(data)
    split = (after // INSTANCE_BASE == RIDER) & (before > 0)
    if not split.any():
        raise ValueError("no rider was split from a vehicle in this image; choose one that has a rider")
    values, counts = np.unique(before[split], return_counts=True)
    named_ids = np.where(after >= INSTANCE_BASE, before, 0) + NEW * split  # what was not changed keeps its colour
    colors_before, colors_after = color_instances(np.stack([before, named_ids]))
    panels = {
        "Synscapes: rider and vehicle are one instance": (colors_before, before),
        "semantic labels": (color_classes(class_map), class_map.astype(int) + 1),
        "harmonised: two instances, as in Cityscapes": (colors_after, named_ids),
    }
    window = crop_around(before == values[counts.argmax()])  # the largest instance that was split
    figure, axes = plt.subplots(3, 2, figsize=(7.5, 7.6), width_ratios=[2, 1], layout="constrained")
    for (left, right), (title, (colors, regions)) in zip(axes, panels.items(), strict=True):
        shown = paint(image, colors, regions, alpha=0.7)
        _show(left, shown)
        _show(right, shown[window])
        left.set_title(title, loc="left")
    return named(figure, "figure2")


@style()
def figure3(data: StudyData) -> Figure:
    """Figure 3 (section 4.1): :func:`synlib.report.examples.removal_sample` with the labels left at each threshold."""
    image, instance_ids, kept = examples.removal_sample(data)
    shown = instances_only(instance_ids)
    colors, all_ = color_instances(shown), len(np.unique(shown[shown > 0]))
    left = [np.where(np.isin(shown, chosen), shown, 0) for chosen in kept.values()]
    panels = [paint(image, colors, ids, alpha=0.65) for ids in left]
    figure, axes = _grid([panels[:3], panels[3:]], titles=0.09)
    for axis, (threshold, chosen) in zip(axes.flat, kept.items(), strict=True):
        axis.set_title(f"{threshold} %: {len(chosen)} of {all_} labels left", loc="left", fontsize=9)
    return named(figure, "figure3")


@style()
def sizes(data: StudyData, removal: Mapping[str, float] | None = None) -> Figure:
    """Instances per image by size and class; dashed: what ``removal`` (class -> fraction) leaves (section 4.1)."""
    distribution = data.size_distribution(removal or 0.0)
    figure, axes = plt.subplots(2, 4, figsize=(9, 4.2), sharex=True, layout="constrained")
    for (name, of_class), axis in zip(distribution.groupby("class", sort=False), axes.flat, strict=True):
        for (dataset, stage), rows in of_class.groupby(["dataset", "stage"], sort=False):
            domain = dataset.capitalize()
            lowest = rows["area_to"].min() / 2  # the first bin begins at 0, which a log axis cannot show
            edges = np.append(rows["area_from"].clip(lower=lowest), rows["area_to"].iloc[-1])
            label, line = (domain, "-") if stage == "before" else (f"{domain} after removal", "--")
            axis.stairs(rows["per_image"], 100 * edges, color=DOMAIN_COLORS[domain], label=label, linestyle=line)
        axis.set(title=name, xscale="log", ylim=(0, None))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8)
    figure.supxlabel("area (% of the image)", fontsize=9)
    figure.supylabel("instances per image", fontsize=9)
    name = "sizes_after_removal" if removal else "sizes"
    return named(figure, name, **{name: distribution})


def _grid(rows: Sequence[Sequence[np.ndarray]], titles: float = 0) -> tuple[Figure, np.ndarray]:
    """Pictures of one size close together; ``titles``: room above each, as a fraction of its width."""
    (height, width), columns = rows[0][0].shape[:2], len(rows[0])
    size = (9.5, 9.5 / columns * len(rows) * (height / width * 1.03 + titles))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
    for axis, picture in zip(axes.flat, itertools.chain(*rows), strict=True):
        _show(axis, picture)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    return figure, axes


def _show(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
