"""Cityscapes (fine annotations) and every data set in its format: ``layouts.yaml`` says where its files are.

A harmonised tree has ``harmonizing.json`` while it is made, then its manifest ``harmonized.json``.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from scapes import files, png
from scapes.files import BadFile
from scapes.labels import check_instance_ids, read_label_ids
from scapes.layout import Layout

MANIFEST, PARTIAL_MANIFEST = "harmonized.json", "harmonizing.json"
_COLUMNS = ["image_path", "instance_path", "label_path"]


def read_images(root: str | Path, split: str) -> pd.DataFrame:
    """Image table of one split: one row per image, sorted by ``image_id``.

    Columns: ``dataset`` (see :func:`dataset_name`), ``split``, ``image_id`` (``CITY_SEQ_FRAME``), ``image_path``,
    ``instance_path``, ``label_path``, and ``height``, ``width`` of the instance map in pixels. The test split has no
    public labels: their paths are empty strings and the size is the image's.

    Raises ``FileNotFoundError`` if there are no images or an image has no labels; ``ValueError`` for an unfinished
    tree, an unknown split, a ``*_leftImg8bit.png`` of another form, or an instance map of another kind of PNG.
    """
    if split not in LAYOUT.groups:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(LAYOUT.groups)}")
    dataset, keys = dataset_name(root), LAYOUT.keys(root, split)
    columns = _COLUMNS[:1] if split == "test" else _COLUMNS
    table = pd.DataFrame({"dataset": dataset, "split": split, "image_id": [key.split("/")[1] for key in keys]})
    table = table.join(LAYOUT.table(root, split, keys, columns).reindex(columns=_COLUMNS, fill_value=""))
    column, kinds = ("image_path", png.PHOTO) if split == "test" else ("instance_path", ["gray 16"])
    sizes = [png.read_header(path, *kinds)[:2] for path in table[column]]
    table["height"], table["width"] = zip(*sizes, strict=True)
    return table.sort_values("image_id", ignore_index=True)


def image_id_of(name: str) -> str:
    """``CITY_SEQ_FRAME`` of a file: what its name has before the third underscore or the dot."""
    return "_".join(os.path.basename(name).split(".")[0].split("_")[:3])


def read_instance_ids(path: str) -> np.ndarray:
    """Instance ids, uint16 (H, W); raises ``BadFile`` if the file is damaged or holds other values."""
    instance_ids = png.read(path, "gray 16")
    check_instance_ids(path, np.flatnonzero(np.bincount(instance_ids.ravel())))
    return instance_ids


def read_manifest(root: str | Path) -> dict | None:
    """The manifest, or None if ``root`` is not a harmonised tree; raises ``BadFile`` if it is damaged."""
    path = Path(root) / MANIFEST
    if not os.path.lexists(path):
        return None
    manifest = files.read_manifest(path)
    if not {"dataset", "number_of_images"} <= manifest.keys():
        raise BadFile("manifest", path, repr(manifest)[:80], "what harmonisation writes; harmonise the data set again")
    return manifest


def dataset_name(root: str | Path) -> str:
    """The data set that a harmonised tree was made from, else "cityscapes"; ``ValueError`` if it is unfinished."""
    if manifest := read_manifest(root):
        return manifest["dataset"]
    if (Path(root) / PARTIAL_MANIFEST).exists():
        raise ValueError(f"{root}: harmonisation was not finished here; run it again, it continues where it stopped")
    return "cityscapes"


LAYOUT = Layout("cityscapes", {"label_path": read_label_ids, "instance_path": read_instance_ids})
