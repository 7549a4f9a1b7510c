"""Synscapes as it is distributed: image table, label maps and metadata.

Layout (https://synscapes.on.liu.se/features.html), N = 1..25000 without leading zeros::

    ROOT/img/rgb/N.png          RGB, 1440x720
    ROOT/img/rgb-2k/N.png       the same scenes, upscaled to 2048x1024 before the sensor was simulated
    ROOT/img/class/N.png        gray, 8 bits: Cityscapes label ids, 1440x720
    ROOT/img/instance/N.png     RGB, 8 bits a channel: id = R + 256 G + 65536 B, 0 where there is no instance, 1440x720
    ROOT/meta/N.json            {"instance": {"class": {"ID": label id, ...}, "bbox2d": ..., ...}, "camera": ..., "scene": ...}

The data set has no official split. Ours: with M the largest id in the folder, ids up to ``ceil(0.8 M)`` are ``train``, the rest
``val``. That gives the 20,000 + 5,000 images of section 3.1 of the paper for the full set, does not depend on a missing file, and
works for a data set of any size. Scenes are generated independently of each other, so consecutive ids are not related.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from synlib.datasets import png

NAME = "synscapes"
SPLITS = ("train", "val")
VARIANTS = ("rgb", "rgb-2k")
UPSCALED_VARIANTS = ("rgb-2k",)
"""Variants whose images are larger than the label maps."""
OFFICIAL_COUNT = 25_000


def read_images(
    root: str | Path, split: str | None = None, variant: str = "rgb", ids: Iterable[int | str] | None = None
) -> pd.DataFrame:
    """Image table of the raw data set, sorted by number: one row an image.

    ``split``: ``train``, ``val``, or None for both, by the rule above. ``ids``: these images only; with a ``split`` they
    *are* that split, whatever the rule says. ``variant``: which folder of images, ``rgb`` or ``rgb-2k``.

    Columns: ``dataset``, ``split``, ``image_id`` (the number), ``image_path``, ``instance_path``, ``label_path``,
    ``meta_path``, and ``height``, ``width`` of the label maps in pixels (with ``rgb-2k`` the images are larger).

    Raises ``FileNotFoundError`` for a missing folder, file or id, ``ValueError`` for an unknown split or variant,
    repeated ids, or file names that are not numbers.
    """
    root = Path(root)
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(VARIANTS)}")
    if split is not None and split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)} or None")
    numbers = list_numbers(root, variant)
    last_train = last_train_id(numbers[-1])
    wanted = numbers if ids is None else _check_ids(ids, numbers, root)
    rows = []
    for number in wanted:
        own = "train" if number <= last_train else "val"
        if split is None or ids is not None or own == split:
            rows.append(_row(root, variant, number, split if ids is not None and split else own))
    if not rows:
        raise FileNotFoundError(f"{root}: no images of split {split!r} among its {len(numbers)} images")
    return pd.DataFrame(rows)


def last_train_id(largest_id: int) -> int:
    """The split rule: ids up to this one are ``train``. 25,000 -> 20,000."""
    return (4 * largest_id + 4) // 5


def list_numbers(root: str | Path, variant: str = "rgb") -> list[int]:
    """The numbers N of ``img/VARIANT/N.png``, ascending; raises ``FileNotFoundError`` when there is none."""
    folder = Path(root) / "img" / variant
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected the Synscapes layout ROOT/img/{variant}/N.png")
    names = [name for name in os.listdir(folder) if name.endswith(".png") and not name.startswith(".")]
    odd = sorted(name for name in names if not name[:-4].isdecimal() or str(int(name[:-4])) != name[:-4])
    if odd:
        raise ValueError(f"{folder}: found {odd[0]!r} ({len(odd)} such), expected names N.png with N = 1, 2, ...")
    if not names:
        raise FileNotFoundError(f"{folder}: no images; expected 1.png, 2.png, ...")
    return sorted(int(name[:-4]) for name in names)


def image_paths(root: str | Path, variant: str, number: int) -> dict[str, Path]:
    """Where the files of image ``number`` belong: ``image_path``, ``instance_path``, ``label_path``, ``meta_path``."""
    root = Path(root)
    return {
        "image_path": root / "img" / variant / f"{number}.png",
        "instance_path": root / "img" / "instance" / f"{number}.png",
        "label_path": root / "img" / "class" / f"{number}.png",
        "meta_path": root / "meta" / f"{number}.json",
    }


def read_labels(image: dict) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
    """Labels of one row of the image table: class map uint8 (H, W), instance map int32 (H, W), {id: label id}.

    This is the interface that harmonisation needs of a synthetic data set, together with :func:`read_images`.
    Raises ``ValueError`` naming the file if the maps are damaged, of the wrong kind, or differ in size.
    """
    class_map = png.read(image["label_path"], "gray 8")
    instance_map = read_instance_map(image["instance_path"])
    if class_map.shape != instance_map.shape:
        raise ValueError(
            f"{image['instance_path']}: size {instance_map.shape} (height, width) differs from {class_map.shape} of "
            f"{image['label_path']}, expected the same"
        )
    return class_map, instance_map, read_meta(image["meta_path"])


def read_instance_map(path: str | Path) -> np.ndarray:
    """``img/instance/N.png`` as instance ids, int32 (H, W): R + 256 G + 65536 B; 0 where there is no instance."""
    bgr = png.read(path, "RGB 8")
    # One pass: the four bytes R, G, B, 255 of a pixel, seen as one little-endian integer.
    return (cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA).view("<i4")[..., 0]) & 0xFFFFFF


def read_meta(path: str | Path) -> dict[int, int]:
    """``{instance id: label id}`` of ``meta/N.json``; raises ``ValueError`` naming the file and what is wrong in it."""
    try:
        classes = json.loads(Path(path).read_bytes())["instance"]["class"]
        return {int(key): int(value) for key, value in classes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a Synscapes meta file ({type(error).__name__}: {error}); "
            'expected JSON with {"instance": {"class": {"ID": label id, ...}}}'
        ) from error


def _check_ids(ids: Iterable[int | str], numbers: list[int], root: Path) -> list[int]:
    wanted = [int(number) for number in ids]
    repeated = len(wanted) - len(set(wanted))
    if repeated:
        raise ValueError(f"{repeated} ids are listed more than once; expected each image once")
    missing = sorted(set(wanted) - set(numbers))
    if missing:
        raise FileNotFoundError(f"{root}: {len(missing)} of the listed images do not exist, the first is {missing[0]}")
    return sorted(wanted)


def _row(root: Path, variant: str, number: int, split: str) -> dict:
    paths = image_paths(root, variant, number)
    try:
        header = png.read_header(paths["label_path"])
        for column in ("instance_path", "meta_path"):
            os.stat(paths[column])
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error.filename}: missing, though {paths['image_path']} exists") from error
    row = {"dataset": NAME, "split": split, "image_id": str(number)} | {name: str(path) for name, path in paths.items()}
    return row | {"height": header.height, "width": header.width}
