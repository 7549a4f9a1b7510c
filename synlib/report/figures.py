"""The paper's figures of methods and data: 1 to 3, instance sizes, AP by class, each a :func:`~style.named` figure."""

import itertools
from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scapes.labels import CLASSES, INSTANCE_BASE, RIDER
from synlib import paper
from synlib.report import examples
from synlib.report.curves import band_label
from synlib.report.frames import across_seeds
from synlib.report.pictures import color_classes, color_instances, crop_around, instances_only, paint
from synlib.report.style import DOMAIN_COLORS, named, style
from synlib.study.data import StudyData

NEW = 1 << 24
"""Added to the id of a merged instance to name the rider that is split from it; raw ids are below."""
WITH_REMOVAL = {
    approach: {on: paper.TABLE2[approach, on]["on"] for on in DOMAIN_COLORS} for approach in paper.APPROACHES
}
APPROACHES = {
    "real-world training": ("steps", {"step": "basic"}, paper.TABLE5["basic"]),
    "mixed training": ("removal", {"approach": "mixing", "removal": "on"}, WITH_REMOVAL["mixing"]),
    "fine-tuning": ("removal", {"approach": "fine-tuning", "removal": "on"}, WITH_REMOVAL["fine-tuning"]),
    "synthetic training": ("removal", {"approach": "pre-training", "removal": "on"}, WITH_REMOVAL["pre-training"]),
}
"""Training approach of Figure 1 -> the experiment and factors of its run, and the paper's AP by evaluation set."""


def figure1(results: Mapping[str, pd.DataFrame]) -> Figure:
    """Figure 1: processing steps, and AP of each approach on Cityscapes (blue) and Synscapes (orange).

    ``results``: experiment -> results, of ``steps`` and ``removal``; see :func:`approaches`.
    """
    bars = approaches(results)
    return named(draw_figure1(bars), "figure1", figure1=bars)


def approaches(results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What Figure 1 shows, from the experiments ``steps`` and ``removal``: one row per approach and evaluation set.

    Columns: ``approach``, ``evaluated on``, ``ap``, ``low``, ``high`` (percent; with several seeds, from the smallest
    to the largest), ``seeds``, ``run``, ``paper``.
    """
    frames = []
    for name, (experiment, where, _) in APPROACHES.items():
        rows = results[experiment]
        chosen = (rows[list(where)] == pd.Series(where)).all(axis=1)
        frames.append(rows[chosen].assign(approach=name))
    table = across_seeds(pd.concat(frames, ignore_index=True), ["approach"])
    table["paper"] = [APPROACHES[row["approach"]][2][row["evaluated on"]] for _, row in table.iterrows()]
    return table[["approach", "evaluated on", "ap", "low", "high", "seeds", "run", "paper"]]


def draw_figure1(bars: pd.DataFrame) -> Figure:
    """Figure 1 from its table: the intervals of ``bars`` are drawn, and the paper's numbers as black marks."""
    names = [name for name in APPROACHES if (bars["approach"] == name).any()]
    places = dict(zip(names, range(len(names) - 1, -1, -1), strict=True))
    with style():
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.5, 3.6), width_ratios=[1.35, 1], sharey=True, layout="constrained"
        )
        _bars(right, bars, places)
        _pipeline(left, places)
        right.set(ylim=(-0.6, len(names) - 0.4), xlabel=f"AP (%), {band_label(bars)}")
        right.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), fontsize=7.5, ncols=3, frameon=False)
    return figure


def glance(data: StudyData) -> Figure:
    """Training images of both data sets, chosen by :func:`synlib.report.examples.glance_samples`, and their labels."""
    return named(draw_glance(examples.glance_samples(data)), "glance")


def draw_glance(samples: Mapping[str, Sequence[examples.Sample]]) -> Figure:
    """Images above their instances. ``samples``: data set -> pairs of :func:`synlib.report.examples.read`."""
    rows, labels = [], []
    for name, pairs in samples.items():
        shown = [instances_only(instance_ids) for _, instance_ids in pairs]
        rows += [[image for image, _ in pairs]]
        rows += [[paint(pair[0], color_instances(ids), ids) for pair, ids in zip(pairs, shown, strict=True)]]
        labels += [name, "instances"]
    figure, axes = _grid(rows, titles=0)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        axis.set_ylabel(label)
    return figure


def figure2(data: StudyData) -> Figure:
    """Figure 2 (section 3.2) of the image that :func:`synlib.report.examples.rider_example` chooses."""
    return named(draw_figure2(*examples.rider_example(data)), "figure2")


def draw_figure2(image: np.ndarray, class_map: np.ndarray, before: np.ndarray, after: np.ndarray) -> Figure:
    """Figure 2: Synscapes' instances, the semantic labels, and the harmonised instances.

    ``image`` uint8 (H, W, 3); ``class_map`` label ids (H, W); ``before``: raw instance ids (H, W), 0 = none; ``after``:
    instance ids in the Cityscapes encoding (H, W). All at one size; the left column shows the whole image, the right
    one a window around the largest instance that was split. Raises ValueError if none was.
    """
    split = (after // INSTANCE_BASE == RIDER) & (before > 0)
    values, counts = np.unique(before[split], return_counts=True)
    if not len(values):
        raise ValueError("no rider was split from a vehicle in this image; choose one that has a rider")
    named_ids = np.where(after >= INSTANCE_BASE, before, 0) + NEW * split  # what was not changed keeps its colour
    ids = np.unique(np.concatenate([before.ravel(), named_ids.ravel()]))
    panels = (
        ("Synscapes: rider and vehicle are one instance", color_instances(before, ids), before),
        ("semantic labels", color_classes(class_map), class_map.astype(int) + 1),
        ("harmonised: two instances, as in Cityscapes", color_instances(named_ids, ids), named_ids),
    )
    window = crop_around(before == values[counts.argmax()])
    with style():
        figure, axes = plt.subplots(3, 2, figsize=(7.5, 7.6), width_ratios=[2, 1], layout="constrained")
        for (left, right), (title, colors, regions) in zip(axes, panels, strict=True):
            shown = paint(image, colors, regions, alpha=0.7)
            _show(left, shown)
            _show(right, shown[window])
            left.set_title(title, loc="left")
    return figure


def figure3(data: StudyData, thresholds: Sequence[float] = paper.FIGURE3_THRESHOLDS) -> Figure:
    """Figure 3 (section 4.1) of the image that :func:`synlib.report.examples.removal_sample` chooses."""
    return named(draw_figure3(*examples.removal_sample(data, thresholds)), "figure3")


def draw_figure3(image: np.ndarray, instance_ids: np.ndarray, kept: Mapping[float, Collection[int]]) -> Figure:
    """Figure 3: one synthetic image with the labels left at each removal threshold, one panel per threshold.

    ``image`` uint8 (H, W, 3) RGB; ``instance_ids`` (H, W) in the Cityscapes encoding; ``kept``: percent removed -> ids
    of the instances left. An instance keeps its colour.
    """
    shown = instances_only(instance_ids)
    ids = np.unique(np.append(shown, 0))
    panels, titles = [], []
    for threshold, chosen in sorted(kept.items()):
        left = np.where(np.isin(shown, list(chosen)), shown, 0)
        panels.append(paint(image, color_instances(left, ids), left, alpha=0.65))
        titles.append(f"{threshold:g} %: {len(chosen)} of {len(ids) - 1} labels left")
    figure, axes = _grid([panels[k : k + 3] for k in range(0, len(panels), 3)], titles=0.09)
    for axis, title in zip(axes.flat, titles, strict=False):
        axis.set_title(title, loc="left", fontsize=9)
    return figure


def sizes(data: StudyData, removal: Mapping[str, float] | None = None) -> Figure:
    """Instances per image by size and class, one line per data set; dashed: what ``removal`` leaves (section 4.1).

    ``removal``: class -> fraction of its instances in the synthetic training split to remove, the smallest first.
    """
    distribution = data.size_distribution(removal or 0.0)
    name = "sizes_after_removal" if removal else "sizes"
    return named(draw_sizes(distribution), name, **{name: distribution})


def draw_sizes(distribution: pd.DataFrame) -> Figure:
    """``distribution``: :func:`synlib.curation.sizes.size_distribution` of one or more data sets."""
    with style():
        figure, axes = plt.subplots(2, 4, figsize=(9, 4.2), sharex=True, layout="constrained")
        for name, axis in zip(CLASSES, axes.flat, strict=True):
            of_class = distribution[distribution["class"] == name]
            for (dataset, stage), rows in of_class.groupby(["dataset", "stage"], sort=False):
                domain = dataset.capitalize()
                lowest = rows["area_to"].min() / 2  # the first bin begins at 0, which a log axis cannot show
                edges = np.append(rows["area_from"].clip(lower=lowest), rows["area_to"].iloc[-1])
                look = {"label": domain, "linestyle": "-"}
                if stage == "after":
                    look = {"label": f"{domain} after removal", "linestyle": "--"}
                axis.stairs(rows["per_image"], 100 * edges, color=DOMAIN_COLORS[domain], **look)
            axis.set(title=name, xscale="log", ylim=(0, None))
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8)
        figure.supxlabel("area (% of the image)", fontsize=9)
        figure.supylabel("instances per image", fontsize=9)
    return figure


def per_class_bars(results: pd.DataFrame) -> Figure:
    """AP by class for each training set (panel) and evaluation set (colour); several seeds give an error bar."""
    with style():
        figure, axes = plt.subplots(1, results["trained on"].nunique(), figsize=(9, 2.6), sharey=True, squeeze=False)
        for axis, (trained, rows) in zip(axes.flat, results.groupby("trained on", sort=False), strict=True):
            sns.barplot(
                rows, x="class", order=[*CLASSES, "mean"], y="ap", hue="evaluated on", hue_order=list(DOMAIN_COLORS),
                palette=DOMAIN_COLORS, saturation=1, errorbar="sd", capsize=0.3, err_kws={"linewidth": 1}, ax=axis,
            )  # fmt: skip
            for bar in axis.containers[1]:
                bar.set_hatch("//")
            axis.tick_params(axis="x", rotation=40)
            axis.set(title=f"trained on {trained}", xlabel="", ylabel="AP (%)")
            axis.legend(title="evaluated on", fontsize=7, title_fontsize=7)
        figure.tight_layout(pad=0.4)
    return named(figure, "table1_classes", table1_classes=results)


def _bars(axis: Axes, bars: pd.DataFrame, places: Mapping[str, int]) -> None:
    for shift, (on, color) in enumerate(DOMAIN_COLORS.items()):
        rows = bars[bars["evaluated on"] == on].set_index("approach").reindex(list(places))
        y = np.array(list(places.values())) + (0.19, -0.19)[shift]
        error = [(rows["ap"] - rows["low"]).clip(lower=0), (rows["high"] - rows["ap"]).clip(lower=0)]
        look = {"color": color, "hatch": ("", "//")[shift], "edgecolor": "white", "label": f"on {on}"}
        axis.barh(y, rows["ap"], 0.36, xerr=error, capsize=2, error_kw={"linewidth": 1}, **look)
        look = {"linestyle": "", "marker": "|", "markersize": 13, "markeredgewidth": 1.6, "color": "black"}
        axis.plot(rows["paper"], y, label=None if shift else "paper", **look)
    axis.set_xlim(left=0)
    axis.grid(axis="y", visible=False)
    axis.tick_params(left=False, labelleft=False)


def _pipeline(axis: Axes, places: Mapping[str, int]) -> None:
    """Boxes and arrows from both data sets through the pre-processing to the approaches, at the bars' heights."""
    axis.set_axis_off()
    axis.set_xlim(0, 10)
    top, bottom = max(places.values()), min(places.values())
    real, synthetic = DOMAIN_COLORS["Cityscapes"], DOMAIN_COLORS["Synscapes"]
    _box(axis, 0.2, top, "Cityscapes", real)
    steps = {0.2: "Synscapes", 2.5: "harmonise\nlabels", 4.6: "remove small\ninstances"}
    for x, text in steps.items():
        _box(axis, x, bottom, text, synthetic)
    for start, end in itertools.pairwise(steps):
        _arrow(axis, (start + 0.5, bottom), (end - 0.2, bottom), "0.3")
    for name, y in places.items():
        _box(axis, 7.6, y, name, "0.25")
        if name != "synthetic training":
            _arrow(axis, (0.7, top), (7.4, y + 0.1 * (y < top)), real)
        if name != "real-world training":
            _arrow(axis, (5.1, bottom), (7.4, y - 0.1 * (y > bottom)), synthetic)


def _box(axis: Axes, x: float, y: float, text: str, color: str) -> None:
    """A white box around ``text`` that begins at ``x``; it covers where arrows start."""
    look = {"boxstyle": "round,pad=0.6", "facecolor": "white", "edgecolor": color, "linewidth": 1.5}
    axis.text(x, y, text, va="center", fontsize=7.5, bbox=look)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color}, zorder=1)


def _grid(rows: Sequence[Sequence[np.ndarray]], titles: float) -> tuple[Figure, np.ndarray]:
    """Pictures of one size close together, with room above each for ``titles``, a fraction of a picture's width."""
    height, width = rows[0][0].shape[:2]
    columns = max(map(len, rows))
    with style():
        size = (9.5, 9.5 / columns * len(rows) * (height / width * 1.03 + titles))
        figure, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False, layout="constrained")
        for axis in axes.flat[sum(map(len, rows)) :]:
            axis.set_axis_off()
        for axis, picture in zip(axes.flat, itertools.chain(*rows), strict=False):
            _show(axis, picture)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    return figure, axes


def _show(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
