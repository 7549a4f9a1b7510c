"""The paper's figures of methods and data: 1 to 3, and instance sizes."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scapes import cityscapes, png
from scapes.labels import CATEGORY_OF_LABEL, INSTANCE_BASE, RIDER
from scapes.synthetic import SYNTHETIC
from synlib import paper
from synlib.curation.prune import prune, size_distribution
from synlib.report.frames import across_seeds, band, published
from synlib.report.pictures import color_classes, color_instances, crop_around, paint
from synlib.report.style import DOMAIN_COLORS, named, style
from synlib.study.data import DOMAINS, NAMES, StudyData

BARE = {"xticks": [], "yticks": []}  # axes of a picture
NEW = 1 << 24  # added to the id of a merged instance for the rider that is split from it; raw ids are below


@style()
def figure1(results: Mapping[str, pd.DataFrame]) -> Figure:
    """Figure 1: steps, and for :func:`approaches` AP, its interval and the paper's AP (black), Cityscapes in blue."""
    bars, look = approaches(results), {"width_ratios": [1.35, 1], "sharey": True, "layout": "constrained"}
    figure, (steps, axis) = plt.subplots(1, 2, figsize=(9.5, 3.6), **look)
    _pipeline(steps)
    y = np.arange(len(paper.FIGURE1))[::-1]  # the first at the top
    for on, shift, hatch, label in (("Cityscapes", 0.19, "", "paper"), ("Synscapes", -0.19, "//", None)):
        rows = bars[bars["evaluated on"] == on].set_index("approach").reindex(list(paper.FIGURE1))
        error = [(rows["ap"] - rows["low"]).clip(lower=0), (rows["high"] - rows["ap"]).clip(lower=0)]
        look = {"color": DOMAIN_COLORS[on], "hatch": hatch, "edgecolor": "white", "label": f"on {on}"}
        axis.barh(y + shift, rows["ap"], 0.36, xerr=error, capsize=2, error_kw={"linewidth": 1}, **look)
        axis.plot(rows["paper"], y + shift, "k|", markersize=13, markeredgewidth=1.6, label=label)
    axis.set(xlim=(0, None), ylim=(-0.6, len(paper.FIGURE1) - 0.4), yticks=[], xlabel=f"AP (%); line: {band(bars)}")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), fontsize=7.5, ncols=3, frameon=False)
    return named(figure, "figure1", figure1=bars)


def approaches(results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Figure 1's rows, of ``steps`` and ``removal``: AP and the paper's (percent) by approach and evaluation set."""

    def chosen(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        rows = {name: tables[of].merge(pd.DataFrame([factors])) for name, (of, factors) in paper.FIGURE1.items()}
        return pd.concat([table.assign(approach=name) for name, table in rows.items()], ignore_index=True)

    theirs = chosen(published()).rename(columns={"ap": "paper"})[["approach", "evaluated on", "paper"]]
    table = across_seeds(chosen(results), ["approach"]).merge(theirs)
    return table[["approach", "evaluated on", "ap", "low", "high", "seeds", "run", "paper"]]


def _pipeline(axis: Axes) -> None:
    """Boxes and arrows from the data sets to the approaches, which are at the heights of their bars."""
    axis.set(xlim=(0, 10))
    axis.set_axis_off()
    names, (real, synthetic) = list(paper.FIGURE1), DOMAIN_COLORS.values()
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
    """Of both data sets, the three training images whose large instances show most classes, above their instances."""
    rows = []
    for domain in DOMAINS:
        instances = data.instances(domain, "train")
        large = instances[(instances["area_px"] > instances["area_px"].median()) & ~instances["crowd"]]
        shown = large.groupby("image_id").agg({"category": "nunique", "area_px": "sum"})
        pairs = [training_image(data, domain, name) for name in shown.nlargest(3, ["category", "area_px"]).index]
        painted = [paint(image, color_instances(ids), ids) for image, ids in pairs]
        rows += [(NAMES[domain], [image for image, _ in pairs]), ("instances", painted)]
    figure, axes = _grid([pictures for _, pictures in rows])
    for axis, (label, _) in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(label)
    return named(figure, "glance")


@style()
def figure2(data: StudyData) -> Figure:
    """Figure 2 (section 3.2) of :func:`rider_example`."""
    image, class_map, before, after = rider_example(data)
    split = (after // INSTANCE_BASE == RIDER) & (before > 0)
    named_ids = np.where(after > 0, before, 0) + NEW * split  # what was not changed keeps its colour
    colors_before, colors_after = color_instances(np.stack([before, named_ids]))
    panels = {
        "Synscapes: rider and vehicle are one instance": (colors_before, before),
        "semantic labels": (color_classes(class_map), class_map.astype(int) + 1),
        f"harmonised: {'two instances' if split.any() else 'as before'}, as in Cityscapes": (colors_after, named_ids),
    }
    riding = split if split.any() else after // INSTANCE_BASE == RIDER
    window = crop_around(before == pd.Series(before[riding]).mode()[0])  # the largest instance that was split
    figure, axes = plt.subplots(3, 2, figsize=(7.5, 7.6), width_ratios=[2, 1], subplot_kw=BARE, layout="constrained")
    for (left, right), (title, (colors, regions)) in zip(axes, panels.items(), strict=True):
        shown = paint(image, colors, regions, alpha=0.7)
        left.imshow(shown, interpolation="nearest")
        right.imshow(shown[window], interpolation="nearest")
        left.set_title(title, loc="left")
    return named(figure, "figure2")


def riders(data: StudyData) -> pd.DataFrame:
    """Rows of the synthetic instance table that Figure 2 can show; none of a tree that is taken as it is."""
    table = data.instances("synthetic", "train")
    return table[(table["category"] == CATEGORY_OF_LABEL[RIDER]) & ~table["crowd"] & data.harmonizes]


def rider_example(data: StudyData) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, class map, raw and harmonised ids of the Synscapes image with the largest of the :func:`riders`."""
    found, height = riders(data), data.images("synthetic", "train")["height"].iloc[0]
    found = found.assign(whole=found["y1"] - found["y0"] <= 0.45 * height)  # higher ones are seen in part
    image_id = found.sort_values(["whole", "area_px", "image_id"])["image_id"].iloc[-1]
    image, after = training_image(data, "synthetic", image_id)
    made_from, number = cityscapes.read_manifest(data.roots["synthetic"]), int(image_id.split("_")[1])
    dataset = SYNTHETIC[made_from["dataset"]]
    raw = dataset.read_images(data.raw["synthetic"], made_from["variant"], {"train": [number]}).iloc[0]
    class_map, before, _ = dataset.read_labels(raw.to_dict())
    return image, class_map, before, after


@style()
def figure3(data: StudyData) -> Figure:
    """Figure 3 (section 4.1): :func:`removal_sample` with the labels left at each threshold."""
    image, shown, kept = removal_sample(data)
    colors, all_ = color_instances(shown), len(np.unique(shown[shown > 0]))
    panels = [paint(image, colors, np.where(np.isin(shown, chosen), shown, 0), alpha=0.65) for chosen in kept.values()]
    figure, axes = _grid([panels[:3], panels[3:]], titles=0.09)
    for axis, (threshold, chosen) in zip(axes.flat, kept.items(), strict=True):
        axis.set_title(f"{threshold} %: {len(chosen)} of {all_} labels left", loc="left", fontsize=9)
    return named(figure, "figure3")


def removal_sample(data: StudyData) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """Image and instance ids for Figure 3, and those left at each threshold: its labels vanish at most of them."""
    table = data.instances("synthetic", "train")
    table = table[~table["crowd"]]
    kept = pd.DataFrame({threshold: prune(table, threshold / 100) for threshold in paper.FIGURE3_THRESHOLDS})
    outlived = kept.sum(axis=1).groupby(table["image_id"]).agg(["nunique", "size"])  # thresholds; steps, labels
    image_id = outlived.sort_values(["nunique", "size"], kind="stable").index[-1]
    own = table[table["image_id"] == image_id]
    left = {threshold: own.loc[kept.loc[own.index, threshold], "instance_id"].to_numpy() for threshold in kept}
    return (*training_image(data, "synthetic", image_id), left)


@style()
def sizes(data: StudyData, removal: Mapping[str, float] | None = None) -> Figure:
    """Instances per image by size and class; dashed: what ``removal`` (class -> fraction) leaves (section 4.1)."""
    tables = {}
    for domain in data.roots:
        instances = data.instances(domain, "train")
        keep = prune(instances, removal) if removal and domain == "synthetic" else None
        tables[NAMES[domain]] = size_distribution(instances, data.images(domain, "train"), keep)
    distribution = pd.concat(tables, names=["domain"]).reset_index("domain")
    figure, axes = plt.subplots(2, 4, figsize=(9.5, 4.2), sharex=True, layout="constrained")
    for (name, table), axis in zip(distribution.groupby("class", sort=False), axes.flat, strict=True):
        for (domain, stage), bins in table.groupby(["domain", "stage"], sort=False):
            line, more = {"before": ("-", ""), "after": ("--", ", after removal")}[stage]
            axis.step(100 * bins["area_to"], bins["per_image"], line, color=DOMAIN_COLORS[domain], label=domain + more)
        axis.set(xscale="log", ylim=(0, None), title=name)
    figure.supxlabel("area (% of the image)", fontsize=9)
    figure.supylabel("instances per image", fontsize=9)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    name = "sizes_after_removal" if removal else "sizes"
    return named(figure, name, **{name: distribution})


def _grid(rows: Sequence[Sequence[np.ndarray]], titles: float = 0) -> tuple[Figure, np.ndarray]:
    """Pictures of one size close together; ``titles``: room above each, as a fraction of its width."""
    (height, width), columns = rows[0][0].shape[:2], len(rows[0])
    size = (9.5, 9.5 / columns * len(rows) * (height / width * 1.03 + titles))
    figure, axes = plt.subplots(len(rows), columns, figsize=size, subplot_kw=BARE, layout="constrained")
    for axis, picture in zip(axes.flat, itertools.chain(*rows), strict=True):
        axis.imshow(picture, interpolation="nearest")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    return figure, axes


def training_image(data: StudyData, domain: str, image_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Image and instance ids, 0 for groups and for what has no instance."""
    image, ids = read(data.images(domain, "train").set_index("image_id").loc[image_id])
    return image, np.where(ids >= INSTANCE_BASE, ids, 0)


def read(row: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (H, W, 3) RGB and instance ids uint16 (H, W, Cityscapes encoding) of a row of an image table."""
    photo = png.read(row["image_path"], *png.PHOTO)
    photo = np.dstack([photo] * 3) if photo.ndim == 2 else photo  # gray as B, G, R, with which RGBA begins, too
    return photo[..., 2::-1], png.read(row["instance_path"], "gray 16")
