"""Cityscapes (fine annotations) and every data set written in its format, such as a harmonised Synscapes.

Layout, from the official ``README`` of ``cityscapesScripts``::

    ROOT/leftImg8bit/SPLIT/CITY/CITY_SEQ_FRAME_leftImg8bit.png          RGB, 8 bits a channel
    ROOT/gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_instanceIds.png        gray, 16 bits: label id * 1000 + n, or label id
    ROOT/gtFine/SPLIT/CITY/CITY_SEQ_FRAME_gtFine_labelIds.png           gray, 8 bits
    ROOT/harmonized.json                                                in harmonised trees only: where they come from

A harmonised tree is complete when its manifest ``harmonized.json`` stands: it is written last.
"""

import json
import os
from pathlib import Path

import pandas as pd

from scapes.files import BadFile
from scapes.png import read_header

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
    """Image table of one split: one row an image, sorted by ``image_id``.

    Columns: ``dataset`` ("cityscapes", or the name in the manifest of a harmonised tree), ``split``, ``image_id``
    (``CITY_SEQ_FRAME``), ``image_path``, ``instance_path``, ``label_path``, and ``height``, ``width`` of the label maps
    in pixels. In the test split, whose labels are not public, the label paths are empty strings and the size is the
    image's.

    Raises ``FileNotFoundError`` if the split has no images or an image has no labels, ``ValueError`` for a harmonised
    tree that was not finished or an unknown split.
    """
    root = Path(root)
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    dataset = dataset_name(root)
    rows = [_row(root, split, city, name, dataset) for city, name in list_images(root, split)]
    return pd.DataFrame(sorted(rows, key=lambda row: row["image_id"]))


def list_images(root: Path, split: str) -> list[tuple[str, str]]:
    """(city, image id) of each ``*_leftImg8bit.png`` of the split; raises ``FileNotFoundError`` when there is none."""
    folder = Path(root) / "leftImg8bit" / split
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected the Cityscapes layout ROOT/leftImg8bit/SPLIT/CITY")
    cities = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    found = [
        (city, name.removesuffix(IMAGE_SUFFIX))
        for city in cities
        for name in sorted(os.listdir(folder / city))
        if name.endswith(IMAGE_SUFFIX) and not name.startswith(".")
    ]
    if not found:
        raise FileNotFoundError(f"{folder}: no images; expected CITY/CITY_SEQ_FRAME{IMAGE_SUFFIX}")
    return found


def image_paths(root: Path, split: str, city: str, image_id: str) -> dict[str, Path]:
    """Where an image and its labels belong: ``image_path``, ``instance_path``, ``label_path``, ``polygon_path``."""
    labels = Path(root) / "gtFine" / split / city
    return {
        "image_path": Path(root) / "leftImg8bit" / split / city / (image_id + IMAGE_SUFFIX),
        "instance_path": labels / (image_id + INSTANCE_SUFFIX),
        "label_path": labels / (image_id + LABEL_SUFFIX),
        "polygon_path": labels / (image_id + POLYGON_SUFFIX),
    }


def read_manifest(root: str | Path) -> dict | None:
    """The manifest of a harmonised tree, or None if ``root`` is not one; raises ``BadFile`` if it is damaged."""
    path = Path(root) / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        manifest = error
    if not isinstance(manifest, dict) or not {"dataset", "number_of_images"} <= manifest.keys():
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


def _row(root: Path, split: str, city: str, image_id: str, dataset: str) -> dict:
    paths = image_paths(root, split, city, image_id)
    row = {"dataset": dataset, "split": split, "image_id": image_id}
    row |= {column: str(paths[column]) for column in ("image_path", "instance_path", "label_path")}
    if split == "test":
        row |= {"instance_path": "", "label_path": ""}
    try:
        header = read_header(row["instance_path"] or row["image_path"])
        if row["label_path"]:
            os.stat(row["label_path"])
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.filename}: missing, though {row['image_path']} exists") from error
    return row | {"height": header.height, "width": header.width}
