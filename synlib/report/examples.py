"""Choose what figures show: images with many large instances, a rider on a vehicle; the same for the same data."""

import numpy as np
import pandas as pd

from scapes import png
from scapes.labels import CATEGORY_OF_LABEL, RIDER
from scapes.synthetic import SYNTHETIC
from synlib import paper
from synlib.curation.prune import prune
from synlib.study.data import DOMAINS, NAMES, StudyData


def glance_samples(data: StudyData) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Data set -> :func:`read` of the three training images whose large instances show most classes, then most area."""
    samples = {}
    for domain in DOMAINS:
        instances = data.instances(domain, "train")
        large = instances[(instances["area_px"] > instances["area_px"].median()) & ~instances["crowd"]]
        ranked = large.groupby("image_id").agg({"category": "nunique", "area_px": "sum"})
        ranked = ranked.sort_values(["category", "area_px"], ascending=False, kind="stable")
        samples[NAMES[domain]] = [_training_image(data, domain, image_id) for image_id in ranked.index[:3]]
    return samples


def rider_example(data: StudyData) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, class map, raw and harmonised instance ids of the Synscapes image with the largest rider, for Figure 2.

    A rider above 45 % of the height is not seen whole. Raises ValueError if no training image has a rider.
    """
    table = data.instances("synthetic", "train")
    riders = table[(table["category"] == CATEGORY_OF_LABEL[RIDER]) & ~table["crowd"]]
    if riders.empty:
        raise ValueError(f"{data.roots['synthetic']}: no rider in the training split; Figure 2 needs one")
    height = data.images("synthetic", "train")["height"].iloc[0]
    whole = riders[riders["y1"] - riders["y0"] <= 0.45 * height]
    image_id = (riders if whole.empty else whole).sort_values(["area_px", "image_id"])["image_id"].iloc[-1]
    image, after = _training_image(data, "synthetic", image_id)
    made_from, number = data.manifest(), int(image_id.split("_")[1])
    dataset = SYNTHETIC[made_from["dataset"]]
    raw = dataset.read_images(data.raw["synthetic"], made_from["variant"], {"train": [number]}).iloc[0]
    class_map, before, _ = dataset.read_labels(raw.to_dict())
    return image, class_map, before, after


def removal_sample(data: StudyData) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """Image and instance ids for Figure 3, and the ids that are left at each of the paper's thresholds.

    Labels of this image vanish at most of the thresholds. Raises ValueError if the training split has no instances.
    """
    table = data.instances("synthetic", "train")
    table = table[~table["crowd"]]
    if table.empty:
        raise ValueError(f"{data.roots['synthetic']}: no instances in the training split; Figure 3 needs some")
    kept = pd.DataFrame({threshold: prune(table, threshold / 100) for threshold in paper.FIGURE3_THRESHOLDS})
    outlived = kept.sum(axis=1).groupby(table["image_id"]).agg(["nunique", "size"])  # thresholds; steps, labels
    image_id = outlived.sort_values(["nunique", "size"], kind="stable").index[-1]
    own = table[table["image_id"] == image_id]
    left = {threshold: own.loc[kept.loc[own.index, threshold], "instance_id"].to_numpy() for threshold in kept}
    return (*_training_image(data, "synthetic", image_id), left)


def _training_image(data: StudyData, domain: str, image_id: str) -> tuple[np.ndarray, np.ndarray]:
    return read(data.images(domain, "train").set_index("image_id").loc[image_id])


def read(row: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 (H, W, 3) RGB and instance ids uint16 (H, W, Cityscapes encoding) of a row of an image table."""
    return png.read(row["image_path"], "RGB 8")[..., ::-1], png.read(row["instance_path"], "gray 16")
