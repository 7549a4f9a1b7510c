"""UrbanSyn as it is distributed: a second synthetic data set for the same study, as an example of an adapter.

Layout (https://huggingface.co/datasets/UrbanSyn/UrbanSyn: its file list and dataset card; about 7,500 images of 2048x1024),
NNNN = 0001, 0002, ... with four digits::

    ROOT/rgb/rgb_NNNN.png             RGB, 8 bits a channel
    ROOT/ss/ss_NNNN.png               gray, 8 bits: Cityscapes *train* ids 0..18 (road ... bicycle); 19 and above: unlabelled
    ROOT/panoptic/panoptic_NNNN.png   RGB or RGBA: a colour of its own for each instance of the eight classes; black elsewhere
    ROOT/bbox2d/bbox2d_NNNN.json      a list, one element an instance:
                                      {"bbox": {"xMin", "yMin", "xMax", "yMax"}, "color": [R, G, B, A], "label": "car",
                                       "occlusion_percentage": 0..100}
    ROOT/depth, ROOT/ss_colour        not used here

What is taken from where: the class map from ``ss``, translated to label ids; the instance map from ``panoptic``, with
id = R + 256 G + 65536 B; the class of an instance from ``label`` of the element with its ``color``. The boxes leave out instances that
are far away (over 110 m) or small (under 150 pixels): an instance without a box has the commonest class of its pixels in ``ss``. Boxes and
occlusion are not used: boxes are computed from the masks, as for every data set here.

The data set has no official split; ours is that of :mod:`synlib.datasets.numbered`.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from cityscapesscripts.helpers.labels import trainId2label

from synlib.datasets import numbered, png
from synlib.datasets.synscapes import check_same_size, color_ids
from synlib.labels import INSTANCE_LABEL_IDS, NAMES

NAME = "urbansyn"
VARIANTS = ("rgb",)
UPSCALED_VARIANTS = ()


def read_images(
    root: str | Path, split: str | None = None, variant: str = "rgb", ids: Iterable[int | str] | None = None
) -> pd.DataFrame:
    """Image table: columns, arguments and errors as of :func:`synlib.datasets.synscapes.read_images`."""
    root = Path(root)
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(VARIANTS)}")
    chosen = numbered.assign_splits(list_numbers(root), split, ids, root)
    return pd.DataFrame([numbered.image_row(NAME, own, n, image_paths(root, n)) for n, own in chosen])


def list_numbers(root: str | Path, variant: str = "rgb") -> list[int]:
    """The numbers of ``rgb/rgb_NNNN.png``, ascending; see :func:`synlib.datasets.numbered.list_numbers`."""
    return numbered.list_numbers(Path(root) / variant, "rgb_{:04d}.png")


def image_paths(root: str | Path, number: int, variant: str = "rgb") -> dict[str, Path]:
    """Where the files of image ``number`` belong: ``image_path``, ``instance_path``, ``label_path``, ``meta_path``."""
    root = Path(root)
    return {
        "image_path": root / variant / f"rgb_{number:04d}.png",
        "instance_path": root / "panoptic" / f"panoptic_{number:04d}.png",
        "label_path": root / "ss" / f"ss_{number:04d}.png",
        "meta_path": root / "bbox2d" / f"bbox2d_{number:04d}.json",
    }


def read_labels(image: dict) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Labels of one row of the image table: class map uint8 (H, W), instance map int32 (H, W), {id: label id}.

    Raises ``ValueError`` naming the file if the maps are damaged, of the wrong kind, or differ in size.
    """
    class_map = _label_of_train_id()[png.read(image["label_path"], "gray 8")]
    instance_map = color_ids(png.read(image["instance_path"], "RGB 8", "RGBA 8"))
    check_same_size(class_map, instance_map, image)
    return class_map, instance_map, _classes_from_map(class_map, instance_map) | read_meta(image["meta_path"])


def read_meta(path: str | Path) -> dict[int, int]:
    """``{instance id: label id}`` of ``bbox2d_NNNN.json``; raises ``ValueError`` naming the file and what is wrong in it."""
    try:
        boxes = json.loads(Path(path).read_bytes())
        return {_color_id(box["color"]): NAMES.index(box["label"].lower()) for box in boxes}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not an UrbanSyn box file ({type(error).__name__}: {error}); "
            'expected JSON: a list of {"color": [R, G, B, A], "label": class name, ...}'
        ) from error


def _classes_from_map(class_map: np.ndarray, instance_map: np.ndarray) -> dict[int, int]:
    """Commonest class of the pixels of each instance; instances whose commonest class has no instances are left out."""
    keys, px = np.unique(instance_map.astype(np.int64) * 256 + class_map, return_counts=True)
    order = np.argsort(px, kind="stable")  # ascending, so that the commonest class is the one that stays in the dict
    commonest = dict(zip((keys // 256)[order].tolist(), (keys % 256)[order].tolist(), strict=True))
    return {i: label for i, label in commonest.items() if i and label in INSTANCE_LABEL_IDS}


def _color_id(color: list[int]) -> int:
    red, green, blue = (int(channel) for channel in color[:3])
    return red + 256 * green + 65536 * blue


def _label_of_train_id() -> np.ndarray:
    """Look-up table, uint8 (256,): train id -> label id; all above 18 are unlabelled (0)."""
    table = np.zeros(256, np.uint8)
    for train_id in range(19):
        table[train_id] = trainId2label[train_id].id
    return table
