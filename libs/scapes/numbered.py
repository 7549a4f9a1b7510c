"""Synthetic data sets whose images are numbered and come without an official split: all that they share.

To add one, write a file like :mod:`scapes.urbansyn` and name it in :data:`scapes.verify.SYNTHETIC`.

The split is fixed: with M the largest number in the folder, images up to ``ceil(0.8 M)`` are ``train``, the rest
``val``. For the 25,000 images of Synscapes these are 20,000 + 5,000; it does not depend on a missing file, and works
for a data set of any size. Lists of numbers override it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from scapes import png
from scapes.labels import INSTANCE_LABEL_IDS
from scapes.layout import Layout

SPLITS = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class NumberedDataset(Layout):
    """A layout whose keys are numbers; the column ``meta_path`` is read as {instance id: label id}.

    complete_classes: from the two maps and the metadata to {instance id: label id}, for data sets whose metadata leave
        out instances; None where they list all.
    """

    complete_classes: Callable[[np.ndarray, np.ndarray, dict[int, int]], dict[int, int]] | None = None

    def read_images(
        self,
        root: str | Path,
        split: str | None = None,
        variant: str = "rgb",
        ids: Iterable[int | str] | None = None,
    ) -> pd.DataFrame:
        """Image table of the raw data set, sorted by number: one row per image. No file is opened.

        ``split``: ``train``, ``val``, or None for both. ``ids``: these images only; together with a ``split`` they
        *are* that split, whatever the rule says. ``variant``: which images, e.g. ``rgb-2k``.

        Columns: ``dataset``, ``split``, ``image_id`` (the number), ``image_path``, ``instance_path``, ``label_path``,
        ``meta_path``.

        Raises ``FileNotFoundError`` for a missing folder, file or id, ``ValueError`` for an unknown split or variant,
        repeated ids, or file names of another form.
        """
        if split not in (None, *SPLITS):
            raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}, or None for both")
        if variant not in self.groups:
            raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(self.groups)}")
        keys = {int(key): key for key in self.keys(root, variant)}
        last_train = last_train_number(max(keys))
        numbers = sorted(keys) if ids is None else _check_ids(ids, keys, root)
        own = {number: "train" if number <= last_train else "val" for number in numbers}
        if split is not None:
            own = {number: split for number in numbers if ids is not None or own[number] == split}
        if not own:
            raise FileNotFoundError(f"{root}: none of its {len(keys)} images is in split {split!r}")
        table = self.table(root, variant, [keys[number] for number in own], list(self.files))
        table.insert(0, "dataset", self.name)
        table.insert(1, "split", list(own.values()))
        table.insert(2, "image_id", [str(number) for number in own])
        return table

    def read_labels(self, image: dict) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Labels of one row of the image table: class map uint8 (H, W), instance map int32 (H, W), {id: label id}.

        Raises ``BadFile`` if a file is damaged or of the wrong kind, or the maps differ in size.
        """
        columns = ("label_path", "instance_path", "meta_path")
        class_map, instance_map, classes = (self.readers[column](image[column]) for column in columns)
        self.check_image_size(image["instance_path"], instance_map.shape, class_map.shape)
        if self.complete_classes is not None:
            classes = self.complete_classes(class_map, instance_map, classes)
        return class_map, instance_map, classes


def last_train_number(largest: int) -> int:
    """The split rule: numbers up to this one are ``train``. 25,000 -> 20,000."""
    return (4 * largest + 4) // 5


def read_instance_map(path: str, kinds: tuple[str, ...] = ("RGB 8",)) -> np.ndarray:
    """Instance ids R + 256 G + 65536 B, int32 (H, W), 0 where there is no instance; raises ``BadFile``."""
    image = png.read(path, *kinds)
    # In one pass: the four bytes R, G, B, A of a pixel, seen as one little-endian integer.
    order = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(image, order).view("<i4")[..., 0] & 0xFFFFFF


def check_classes(classes: Iterable[tuple[int, int]]) -> None:
    """Raise ``ValueError`` unless all (instance id, label id) pairs have an id that fits three bytes, not 0, and a
    class with instances."""
    for i, label in classes:
        if not 0 < i < 1 << 24:
            raise ValueError(f"instance id {i} is not in 1..16777215")
        if label not in INSTANCE_LABEL_IDS:
            raise ValueError(f"instance {i} has class {label}, which is not one of {INSTANCE_LABEL_IDS}")


def unique_classes(pairs: list[tuple[int, int]]) -> dict[int, int]:
    """{instance id: label id}; raises ``ValueError`` for an id that stands twice, and as :func:`check_classes`."""
    check_classes(pairs)
    classes = dict(pairs)
    if len(classes) < len(pairs):
        raise ValueError(f"{len(pairs) - len(classes)} instance ids stand twice")
    return classes


def _check_ids(ids: Iterable[int | str], known: Iterable[int], root: str | Path) -> list[int]:
    wanted = sorted(int(number) for number in ids)
    if len(wanted) > len(set(wanted)):
        raise ValueError(f"{len(wanted) - len(set(wanted))} ids are listed more than once, expected each image once")
    if missing := sorted(set(wanted) - set(known)):
        raise FileNotFoundError(f"{root}: {len(missing)} of the listed images do not exist, the first is {missing[0]}")
    return wanted
