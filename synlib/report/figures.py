"""The paper's figures: pure functions of arrays and DataFrames that return Matplotlib figures."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scapes.labels import CLASSES, INSTANCE_BASE, RIDER
from synlib.report.pictures import color_classes, color_instances, crop_around, instances_only, overlay
from synlib.report.style import DOMAIN_COLORS, style

NEW = 1 << 24
"""Added to the id of a merged instance to name the rider that is split from it; raw ids are below."""


def glance(samples: dict[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Images above their instances, a row of pairs for each data set.

    ``samples``: data set -> (image uint8 (H, W, 3), instance map in the Cityscapes encoding (H, W)) pairs.
    """
    columns = max(len(pairs) for pairs in samples.values())
    height, width = next(iter(samples.values()))[0][1].shape
    size = (9, 9 / columns * height / width * 2 * len(samples) * 1.03)
    with style():
        figure, axes = plt.subplots(2 * len(samples), columns, figsize=size, squeeze=False, layout="constrained")
        for row, (name, pairs) in enumerate(samples.items()):
            for column, (image, instance_ids) in enumerate(pairs):
                shown = instances_only(instance_ids)
                _show(axes[2 * row, column], image)
                _show(axes[2 * row + 1, column], overlay(image, color_instances(shown), shown > 0))
            axes[2 * row, 0].set_ylabel(name)
            axes[2 * row + 1, 0].set_ylabel("instances")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    return figure


def figure2(image: np.ndarray, class_map: np.ndarray, before: np.ndarray, after: np.ndarray) -> Figure:
    """Figure 2 (section 3.2): Synscapes' instances, the semantic labels, and the harmonised instances.

    ``image`` uint8 (H, W, 3); ``class_map`` label ids (H, W); ``before``: raw instance ids (H, W), 0 = none; ``after``:
    instance ids in the Cityscapes encoding (H, W). All at one size; the left column shows the whole image, the right
    one a window around the pixels that changed.
    """
    split = (after // INSTANCE_BASE == RIDER) & (before > 0)
    named = np.where(after >= INSTANCE_BASE, before, 0) + NEW * split  # what was not changed keeps its colour
    ids = np.unique(np.concatenate([before.ravel(), named.ravel()]))
    panels = (
        ("Synscapes: rider and vehicle are one instance", color_instances(before, ids), before > 0),
        ("semantic labels", color_classes(class_map), np.ones(class_map.shape, bool)),
        ("harmonised: two instances, as in Cityscapes", color_instances(named, ids), named > 0),
    )
    window = crop_around(_largest(split, before), aspect=1.0)
    with style():
        figure, axes = plt.subplots(3, 2, figsize=(7.5, 7.6), width_ratios=[2, 1], layout="constrained")
        for (left, right), (title, colors, mask) in zip(axes, panels, strict=True):
            shown = overlay(image, colors, mask, alpha=0.7)
            _show(left, shown)
            _show(right, shown[window])
            left.set_title(title, loc="left")
    return figure


def figure3(image: np.ndarray, instance_ids: np.ndarray, kept: Mapping[float, Collection[int]]) -> Figure:
    """Figure 3 (section 4.1): one synthetic image with the labels left at each removal threshold, a panel a threshold.

    ``image`` uint8 (H, W, 3) RGB; ``instance_ids`` (H, W) in the Cityscapes encoding; ``kept``: percent removed -> ids
    of the instances left, such as :func:`synlib.report.examples.removal_sample` chooses. An instance keeps its colour.
    """
    shown = instances_only(instance_ids)
    ids = np.unique(np.append(shown, 0))
    rows = -(-len(kept) // 3)
    height, width = instance_ids.shape
    with style():
        figure, axes = plt.subplots(
            rows, 3, figsize=(9.5, 9.5 / 3 * rows * (height / width + 0.09)), squeeze=False, layout="constrained"
        )
        for axis in axes.flat[len(kept) :]:
            axis.set_axis_off()
        for axis, (threshold, chosen) in zip(axes.flat, sorted(kept.items()), strict=False):
            left = np.where(np.isin(shown, list(chosen)), shown, 0)
            _show(axis, overlay(image, color_instances(left, ids), left > 0, alpha=0.65, ids=left))
            axis.set_title(f"{threshold:g} %: {len(chosen)} of {len(ids) - 1} labels left", loc="left", fontsize=9)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    return figure


def size_distributions(distribution: pd.DataFrame) -> Figure:
    """Instances per image by size and class, a line a data set; dashed: what is left after removal (section 4.1).

    ``distribution``: :func:`synlib.curation.sizes.size_distribution` of one or more data sets.
    """
    with style():
        figure, axes = plt.subplots(2, 4, figsize=(9, 4.2), sharex=True, layout="constrained")
        for name, axis in zip(CLASSES, axes.flat, strict=True):
            of_class = distribution[distribution["class"] == name]
            for (dataset, stage), rows in of_class.groupby(["dataset", "stage"], sort=False):
                label = dataset.capitalize() + (" after removal" if stage == "after" else "")
                axis.stairs(
                    rows["per_image"],
                    np.append(rows["area_from"].clip(lower=rows["area_to"].min() / 2), rows["area_to"].iloc[-1]) * 100,
                    color=DOMAIN_COLORS[dataset.capitalize()],
                    linestyle="--" if stage == "after" else "-",
                    label=label,
                )
            axis.set_title(name)
            axis.set_xscale("log")
            axis.set_ylim(bottom=0)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=8)
        figure.supxlabel("area (% of the image)", fontsize=9)
        figure.supylabel("instances per image", fontsize=9)
    return figure


def per_class_bars(results: pd.DataFrame) -> Figure:
    """AP by class for each training set (panel) and evaluation set (colour); several seeds give an error bar."""
    classes = [*CLASSES, "mean"]
    with style():
        figure, axes = plt.subplots(1, results["trained on"].nunique(), figsize=(9, 2.6), sharey=True, squeeze=False)
        for axis, (trained, rows) in zip(axes.flat, results.groupby("trained on", sort=False), strict=True):
            for shift, evaluated in enumerate(DOMAIN_COLORS):
                ap = rows[rows["evaluated on"] == evaluated].groupby("class")["ap"]
                places = np.arange(len(classes)) + 0.4 * shift - 0.2
                error = ap.std().reindex(classes) if rows["seed"].nunique() > 1 else None
                axis.bar(
                    places, ap.mean().reindex(classes), 0.4, yerr=error, capsize=2,
                    color=DOMAIN_COLORS[evaluated], hatch="" if shift else "//", edgecolor="white",
                    label=f"evaluated on {evaluated}",
                )  # fmt: skip
            axis.set_xticks(range(len(classes)), classes, rotation=40, ha="right")
            axis.set_title(f"trained on {trained}")
            axis.grid(axis="x", visible=False)
        axes[0, 0].set_ylabel("AP (%)")
        axes[0, -1].legend(fontsize=7)
        figure.tight_layout(pad=0.4)
    return figure


def _show(axis: plt.Axes, image: np.ndarray) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)


def _largest(mask: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The whole instance in ``ids`` that shares most pixels with ``mask``; raises ValueError if none does."""
    values, counts = np.unique(ids[mask], return_counts=True)
    if not len(values):
        raise ValueError("no rider was split from a vehicle in this image; choose one that has a rider")
    return ids == values[counts.argmax()]
