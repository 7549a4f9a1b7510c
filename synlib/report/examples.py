"""Choose what figures show: images with many large instances, a rider on a vehicle; the same for the same data."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scapes import png, synscapes
from scapes.labels import CLASSES
from synlib import paper
from synlib.curation.prune import prune
from synlib.study.data import DOMAINS, NAMES, StudyData

Sample = tuple[np.ndarray, np.ndarray]


def glance_samples(data: StudyData, count: int = 3) -> dict[str, list[Sample]]:
    """Data set -> ``count`` pairs (image uint8 (H, W, 3) RGB, instance ids uint16 (H, W)) of the training split.

    The images whose instances show most classes, large instances first.
    """
    samples = {}
    for domain in DOMAINS:
        images = data.images(domain, "train").set_index("image_id")
        shown = _showy(data.instances(domain, "train"))[:count]
        samples[NAMES[domain]] = [_read(images.loc[image_id]) for image_id in shown]
    return samples


def rider_example(data: StudyData) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, class map, raw instance map and harmonised instance ids of a Synscapes image for Figure 2.

    The largest rider among those up to 45 % of the image height, so that rider and vehicle are seen whole.
    """
    table = data.instances("synthetic", "train")
    riders = table[(table["category"] == CLASSES.index("rider")) & ~table["crowd"]]
    if riders.empty:
        raise ValueError(f"{data.roots['synthetic']}: no rider in the training split; Figure 2 needs one")
    height = data.images("synthetic", "train")["height"].iloc[0]
    whole = riders[(riders["y1"] - riders["y0"] <= 0.45 * height)]
    image_id = (riders if whole.empty else whole).sort_values(["area_px", "image_id"]).iloc[-1]["image_id"]
    image, after = _read(data.images("synthetic", "train").set_index("image_id").loc[image_id])
    raw = synscapes.read_images(data.raw_synthetic, ids=[int(image_id.split("_")[1])]).iloc[0]
    class_map, before, _ = synscapes.DATASET.read_labels(raw.to_dict())
    return image, class_map, before, after


def removal_sample(
    data: StudyData, thresholds: Sequence[float] = paper.FIGURE3_THRESHOLDS, image_id: str = ""
) -> tuple[np.ndarray, np.ndarray, dict[float, np.ndarray]]:
    """What :func:`synlib.report.figures.figure3` shows: image, instance ids, and the ids left at each threshold.

    ``thresholds``: percent of each class's instances in the training split to remove, the smallest first. ``image_id``:
    of that split; default: the image whose labels vanish at most of the thresholds, and of those one with many labels.

    Raises ValueError for an image that is not in the split, or if the split has no instances.
    """
    table = data.instances("synthetic", "train")
    table = table[~table["crowd"]]
    if table.empty:
        raise ValueError(f"{data.roots['synthetic']}: no instances in the training split; Figure 3 needs some")
    kept = {threshold: prune(table, threshold / 100) for threshold in sorted(thresholds)}
    image_id = image_id or _vanishing(table, pd.DataFrame(kept))
    images = data.images("synthetic", "train").set_index("image_id")
    if image_id not in images.index:
        raise ValueError(f"image {image_id!r}: not in the training split of {data.roots['synthetic']}")
    own = table[table["image_id"] == image_id]
    left = {threshold: own.loc[keep[own.index], "instance_id"].to_numpy() for threshold, keep in kept.items()}
    return (*_read(images.loc[image_id]), left)


def _vanishing(instances: pd.DataFrame, kept: pd.DataFrame) -> str:
    """The image whose instances have most different numbers of thresholds (columns of ``kept``) that they outlive."""
    outlived = kept.sum(axis=1).rename("outlived")
    images = outlived.groupby(instances["image_id"]).agg(steps="nunique", labels="size")
    return images.sort_values(["steps", "labels"], kind="stable").index[-1]


def _showy(instances: pd.DataFrame) -> list[str]:
    """Image ids by how much there is to see: classes among the larger instances, then their area."""
    large = instances[(instances["area_px"] > instances["area_px"].median()) & ~instances["crowd"]]
    ranked = large.groupby("image_id").agg(classes=("category", "nunique"), area=("area_px", "sum"))
    return ranked.sort_values(["classes", "area"], ascending=False, kind="stable").index.tolist()


def _read(row: pd.Series) -> Sample:
    image = png.read(row["image_path"], "RGB 8")[..., ::-1]
    return image, png.read(row["instance_path"], "gray 16")
