"""Cityscapes (fine annotations) and every data set written in its format, such as a harmonised Synscapes.

Layout, from the official ``README`` of ``cityscapesScripts``::

    ROOT/leftImg8bit/SPLIT/CITY/CITY_SEQ_FRAME_leftImg8bit.png          RGB, 8 bits a channel
    ROOT/gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_instanceIds.png        gray, 16 bits: label id * 1000 + n, or label id
    ROOT/gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_labelIds.png           gray, 8 bits
    ROOT/harmonized.json                                                in harmonised trees only: where they come from

A harmonised tree is complete when its manifest ``harmonized.json`` stands: it is written last.
"""

import glob
from pathlib import Path

import numpy as np
import pandas as pd

from scapes import files, png
from scapes.files import BadFile
from scapes.labels import INSTANCE_BASE, INSTANCE_LABEL_IDS, MAX_LABEL_ID, check_label_ids, label_of_instance

NAME = "cityscapes"
SPLITS = ("train", "val", "test")
OFFICIAL_COUNTS = {"train": 2975, "val": 500, "test": 1525}
"""Images in each split of the full data set."""

IMAGE_SUFFIX = "_leftImg8bit.png"
INSTANCE_SUFFIX = "_gtFine_instanceIds.png"
LABEL_SUFFIX = "_gtFine_labelIds.png"
POLYGON_SUFFIX = "_gtFine_polygons.json"
MANIFEST = "harmonized.json"
PARTIAL_MANIFEST = "harmonizing.json"
"""Stands in a harmonised tree from its first to its last image, in place of the manifest."""


def read_images(root: str | Path, split: str) -> pd.DataFrame:
    """Image table of one split: one row per image, sorted by ``image_id``.

    Columns: ``dataset`` ("cityscapes", or the name in the manifest of a harmonised tree), ``split``, ``image_id``
    (``CITY_SEQ_FRAME``), ``image_path``, ``instance_path``, ``label_path``, and ``height``, ``width`` of the label maps
    in pixels. In the test split, whose labels are not public, the label paths are empty strings and the size is the
    image's.

    Raises ``FileNotFoundError`` if the split has no images or an image has no labels, ``ValueError`` for a harmonised
    tree that was not finished or an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    dataset = dataset_name(root)
    folder = Path(root) / "leftImg8bit" / split
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected the Cityscapes layout ROOT/leftImg8bit/SPLIT/CITY")
    found = list_images(root, split)
    if not found:
        raise FileNotFoundError(f"{folder}: no images; expected CITY/CITY_SEQ_FRAME{IMAGE_SUFFIX}")
    rows = [_row(root, split, city, image_id, dataset) for city, image_id in found]
    return pd.DataFrame(sorted(rows, key=lambda row: row["image_id"]))


def list_images(root: str | Path, split: str) -> list[tuple[str, str]]:
    """(city, image id) of each ``*_leftImg8bit.png`` of the split."""
    found = (
        path.rsplit("/", 1) for path in glob.glob(f"*/*{IMAGE_SUFFIX}", root_dir=Path(root) / "leftImg8bit" / split)
    )
    return [(city, name.removesuffix(IMAGE_SUFFIX)) for city, name in sorted(found)]


def image_paths(root: str | Path, split: str, city: str, image_id: str) -> dict[str, str]:
    """Where an image and its labels belong: ``image_path``, ``instance_path``, ``label_path``, ``polygon_path``."""
    labels = f"{root}/gtFine/{split}/{city}/{image_id}"
    return {
        "image_path": f"{root}/leftImg8bit/{split}/{city}/{image_id}{IMAGE_SUFFIX}",
        "instance_path": labels + INSTANCE_SUFFIX,
        "label_path": labels + LABEL_SUFFIX,
        "polygon_path": labels + POLYGON_SUFFIX,
    }


def read_label_ids(path: str) -> np.ndarray:
    """A ``*_labelIds.png``: uint8 (H, W); raises ``BadFile`` if it is damaged or holds other values."""
    label_ids = png.read(path, "gray 8")
    check_label_ids(path, label_ids)
    return label_ids


def read_instance_ids(path: str) -> np.ndarray:
    """A ``*_instanceIds.png``: uint16 (H, W); raises ``BadFile`` if it is damaged or holds other values."""
    instance_ids = png.read(path, "gray 16")
    values = np.flatnonzero(np.bincount(instance_ids.ravel()))
    labels = label_of_instance(values)
    bad = (labels > MAX_LABEL_ID) | ((values >= INSTANCE_BASE) & ~np.isin(labels, INSTANCE_LABEL_IDS))
    if bad.any():
        expected = f"label ids 0..{MAX_LABEL_ID} or label id * {INSTANCE_BASE} + n of a class with instances"
        raise BadFile("value", path, f"{bad.sum()} such ids, the first is {values[bad][0]}", expected)
    return instance_ids


def read_polygon_size(path: str) -> tuple[int, int]:
    """Height and width that a ``*_polygons.json`` states; Detectron2 takes the size of the image from there."""
    expected = "JSON with imgHeight and imgWidth"
    return files.read_json(path, "polygons", expected, lambda content: (content["imgHeight"], content["imgWidth"]))


def read_manifest(root: str | Path) -> dict | None:
    """The manifest of a harmonised tree, or None if ``root`` is not one; raises ``BadFile`` if it is damaged."""
    path = Path(root) / MANIFEST
    if not path.is_file():
        return None
    manifest = files.read_manifest(path)
    if not {"dataset", "number_of_images"} <= manifest.keys():
        raise BadFile("manifest", path, repr(manifest)[:80], "what harmonisation writes; harmonise the data set again")
    return manifest


def dataset_name(root: str | Path) -> str:
    """The data set that a harmonised tree was made from, else "cityscapes"; ``ValueError`` if it is unfinished."""
    manifest = read_manifest(root)
    if manifest is not None:
        return manifest["dataset"]
    if (Path(root) / PARTIAL_MANIFEST).exists():
        raise ValueError(f"{root}: harmonisation was not finished here; run it again, it continues where it stopped")
    return NAME


def _row(root: str | Path, split: str, city: str, image_id: str, dataset: str) -> dict:
    paths = image_paths(root, split, city, image_id)
    del paths["polygon_path"]
    if split == "test":
        paths |= {"instance_path": "", "label_path": ""}
    others = [paths["label_path"]] if paths["label_path"] else []
    height, width = png.read_label_size(paths["instance_path"] or paths["image_path"], others, paths["image_path"])
    row = {"dataset": dataset, "split": split, "image_id": image_id}
    return row | paths | {"height": height, "width": width}
