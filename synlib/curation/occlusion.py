"""How much of each instance of a harmonised Synscapes is hidden: from the raw metadata, which know it exactly.

Harmonisation renumbers instances, so each is traced back to the instance of the raw data set that its pixels come from.
"""

import functools
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from scapes import png, synscapes
from scapes.files import BadFile
from scapes.labels import INSTANCE_BASE
from scapes.parallel import map_items

_ID_BITS = 24  # raw ids fit three bytes


def visibility_table(
    images: pd.DataFrame, raw_root: str | Path, *, workers: int | None = None, progress: bool = True
) -> pd.DataFrame:
    """One row per instance of the harmonised ``images``, groups left out.

    images: table of a harmonised tree (:func:`scapes.cityscapes.read_images`). raw_root: the Synscapes it was
    made from. workers: processes, default one a core.

    Columns: ``image_id``, ``instance_id`` (harmonised), ``source_id`` (raw), ``occluded``, ``truncated`` (fractions of
    the raw instance, in [0, 1]). A rider and the vehicle it was split from share a source and hence the values. NaN
    where the metadata do not know the instance (possible only with the policies ``orphans: components`` and
    ``unknown_ids: map``).

    Raises ValueError for images that are not of a harmonised Synscapes, BadFile or FileNotFoundError naming a raw file
    that is missing or not what it should be.
    """
    others = set(images["dataset"]) - {synscapes.DATASET.name}
    if others:
        raise ValueError(f"found images of {', '.join(sorted(others))}, expected a harmonised {synscapes.DATASET.name}")
    read = functools.partial(_read_one, raw_root=Path(raw_root))
    rows = images[["image_id", "instance_path"]].to_dict("records")
    description = "reading occlusion" if progress else ""
    return pd.concat(map_items(read, rows, workers=workers, description=description), ignore_index=True)


def source_instances(instance_ids: np.ndarray, source_ids: np.ndarray) -> pd.DataFrame:
    """The raw instance that each harmonised one comes from: the commonest raw id of its pixels, 0 where that is none.

    instance_ids: harmonised, uint16 (H, W). source_ids: raw, int32 (H, W), 0 = no instance. Returns ``instance_id``,
    ``source_id``, sorted by the former; groups are left out.
    """
    inside = instance_ids >= INSTANCE_BASE
    pairs = instance_ids[inside].astype(np.int64) << _ID_BITS | source_ids[inside]
    pairs, px = np.unique(pairs, return_counts=True)
    found = pd.DataFrame({"instance_id": pairs >> _ID_BITS, "source_id": pairs % (1 << _ID_BITS), "px": px})
    found = found.sort_values(["instance_id", "px"], ascending=[True, False], kind="stable")
    return found.drop_duplicates("instance_id")[["instance_id", "source_id"]].reset_index(drop=True)


def _read_one(image: dict, raw_root: Path) -> pd.DataFrame:
    number = int(image["image_id"].split("_")[1])
    paths = synscapes.DATASET.image_paths(raw_root, number)
    instance_ids = png.read(image["instance_path"], "gray 16")
    raw = synscapes.DATASET.read_instance_map(paths["instance_path"])
    if instance_ids.shape[0] * raw.shape[1] != instance_ids.shape[1] * raw.shape[0]:
        expected = f"the proportions of {image['instance_path']}, {instance_ids.shape}"
        raise BadFile("size", paths["instance_path"], f"(height, width) {raw.shape}", expected)
    raw = cv2.resize(raw, instance_ids.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    table = source_instances(instance_ids, raw)
    table.insert(0, "image_id", image["image_id"])
    for name, of_instance in synscapes.read_visibility(paths["meta_path"]).items():
        table[name] = table["source_id"].map(of_instance).astype(float)
    return table
