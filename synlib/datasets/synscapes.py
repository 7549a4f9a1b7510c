"""Synscapes as it is distributed: image table, label maps and metadata.

Layout (https://synscapes.on.liu.se/features.html), N = 1..25000 without leading zeros::

    ROOT/img/rgb/N.png          RGB, 1440x720
    ROOT/img/rgb-2k/N.png       the same scenes, upscaled to 2048x1024 before the sensor was simulated
    ROOT/img/class/N.png        gray, 8 bits: Cityscapes label ids, 1440x720
    ROOT/img/instance/N.png     RGB, 8 bits a channel: id = R + 256 G + 65536 B, 0 where there is no instance, 1440x720
    ROOT/meta/N.json            {"instance": {"class": {"ID": label id, ...}, "bbox2d": ..., ...}, "camera": ..., "scene": ...}

The data set has no official split; ours is that of :mod:`synlib.datasets.numbered`. The scenes were generated independently of
each other, so images with consecutive numbers are not related.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from synlib.datasets import numbered, png

NAME = "synscapes"
VARIANTS = ("rgb", "rgb-2k")
UPSCALED_VARIANTS = ("rgb-2k",)
"""Variants whose images are larger than the label maps."""
OFFICIAL_COUNT = 25_000


def read_images(
    root: str | Path, split: str | None = None, variant: str = "rgb", ids: Iterable[int | str] | None = None
) -> pd.DataFrame:
    """Image table of the raw data set, sorted by number: one row an image.

    ``split``: ``train``, ``val``, or None for both. ``ids``: these images only; together with a ``split`` they *are* that split,
    whatever the rule says. ``variant``: which folder of images, ``rgb`` or ``rgb-2k``.

    Columns: ``dataset``, ``split``, ``image_id`` (the number), ``image_path``, ``instance_path``, ``label_path``,
    ``meta_path``, and ``height``, ``width`` of the label maps in pixels (with ``rgb-2k`` the images are larger).

    Raises ``FileNotFoundError`` for a missing folder, file or id, ``ValueError`` for an unknown split or variant,
    repeated ids, or file names that are not numbers.
    """
    root = Path(root)
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(VARIANTS)}")
    chosen = numbered.assign_splits(list_numbers(root, variant), split, ids, root)
    return pd.DataFrame([numbered.image_row(NAME, own, n, image_paths(root, n, variant)) for n, own in chosen])


def list_numbers(root: str | Path, variant: str = "rgb") -> list[int]:
    """The numbers N of ``img/VARIANT/N.png``, ascending; see :func:`synlib.datasets.numbered.list_numbers`."""
    return numbered.list_numbers(Path(root) / "img" / variant, "{}.png")


def image_paths(root: str | Path, number: int, variant: str = "rgb") -> dict[str, Path]:
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

    Raises ``ValueError`` naming the file if the maps are damaged, of the wrong kind, or differ in size.
    """
    class_map = png.read(image["label_path"], "gray 8")
    instance_map = read_instance_map(image["instance_path"])
    check_same_size(class_map, instance_map, image)
    return class_map, instance_map, read_meta(image["meta_path"])


def read_instance_map(path: str | Path) -> np.ndarray:
    """``img/instance/N.png`` as instance ids, int32 (H, W): R + 256 G + 65536 B; 0 where there is no instance."""
    return color_ids(png.read(path, "RGB 8"))


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


def color_ids(image: np.ndarray) -> np.ndarray:
    """R + 256 G + 65536 B of an 8-bit BGR or BGRA image, int32 (H, W)."""
    # One pass: the four bytes R, G, B, A of a pixel, seen as one little-endian integer.
    order = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(image, order).view("<i4")[..., 0] & 0xFFFFFF


def check_same_size(class_map: np.ndarray, instance_map: np.ndarray, image: dict) -> None:
    """Raise ``ValueError`` naming both files if the label maps of an image differ in size."""
    if class_map.shape != instance_map.shape:
        raise ValueError(
            f"{image['instance_path']}: size {instance_map.shape} (height, width), expected {class_map.shape} as "
            f"{image['label_path']}"
        )
