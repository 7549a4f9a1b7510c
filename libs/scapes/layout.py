"""Where the files of a data set are. To add one whose images are numbered and have no official split, write a file like
:mod:`scapes.urbansyn` and name it in :data:`scapes.verify.SYNTHETIC`.

Split of numbered images: with M the largest number in the folder, images up to ``ceil(0.8 M)`` are ``train``, the rest
``val``: 20,000 + 5,000 of Synscapes. It does not depend on a missing file. Lists of numbers override it.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from scapes import png
from scapes.files import BadFile
from scapes.labels import INSTANCE_LABEL_IDS


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Folders, names and readers of one data set.

    Each has the columns ``image_path``, ``label_path`` (class map) and ``instance_path`` (instance map). Its groups are
    splits where ``label_path`` has a ``{group}``, else variants of the same images.
    """

    name: str
    files: dict[str, str]  # column of the image table -> path below the root, with {group} and {key}
    groups: dict[str, int | None]  # folder of images -> number of images in the full data set, None if not known
    key: str  # regular expression that every key matches
    example: str  # a key
    readers: dict[str, Callable[[str], Any]]  # column -> reader of a path, for all but image_path; raises BadFile
    large: tuple[str, ...] = ()  # groups whose images may be larger than their labels, in proportion
    color_kinds: tuple[str, ...] = ("RGB 8",)  # kinds of PNG that images may be, see scapes.png.read

    def paths(self, root: str | Path, group: str, key: str) -> dict[str, str]:
        """Where the files of an image belong, by column."""
        return {column: f"{root}/{path.format(group=group, key=key)}" for column, path in self.files.items()}

    def folder(self, root: str | Path, group: str) -> str:
        return os.path.dirname(self._around(root, group, "image_path")[0])

    def _around(self, root: str | Path, group: str, column: str) -> list[str]:
        """What the paths of a column have before and after the key."""
        return self.paths(root, group, "\n")[column].split("\n")

    def scan(self, root: str | Path, group: str, column: str = "image_path") -> tuple[list[str], list[str]]:
        """Sorted keys of the files of a column, and paths of files with the same extension and another form of name."""
        before, after = self._around(root, group, column)
        pattern = re.compile(f"{re.escape(before)}({self.key}){re.escape(after)}")
        found = sorted(path for path in self._listed(before) if path.endswith(after[after.rindex(".") :]))
        matches = {path: pattern.fullmatch(path) for path in found}
        return [match[1] for match in matches.values() if match], [path for path in found if not matches[path]]

    def _listed(self, before: str) -> list[str]:
        """All files, except hidden ones, as deep as the keys go."""
        listed = [os.path.dirname(before)]
        for _ in range(1 + self.example.count("/")):
            folders = [path for path in listed if os.path.isdir(path)]
            listed = [f"{path}/{name}" for path in folders for name in os.listdir(path) if not name.startswith(".")]
        return listed

    def keys(self, root: str | Path, group: str) -> list[str]:
        """Keys of all images, sorted; ignores hidden files and those whose names end otherwise.

        Raises ``FileNotFoundError`` without any image, ``BadFile`` for a name that ends alike but has another form.
        """
        before, after = self._around(root, group, "image_path")
        expected = f"names like {os.path.basename(before)}{self.example}{after}"
        keys, odd = self.scan(root, group)
        if odd := [path for path in odd if path.endswith(after)]:
            raise BadFile("name", odd[0], f"{len(odd)} such names", expected)
        if not keys:
            folder = self.folder(root, group)
            what = "no images" if os.path.isdir(folder) else "no such folder"
            raise FileNotFoundError(f"{folder}: {what}; expected {expected}")
        return keys

    def table(self, root: str | Path, group: str, keys: list[str], columns: Iterable[str]) -> pd.DataFrame:
        """Paths of the files of images: one row per key. ``columns`` begins with ``image_path``.

        Opens no file; raises ``FileNotFoundError`` if one is missing.
        """
        table = {}
        for column in columns:
            before, after = self._around(root, group, column)
            table[column] = [f"{before}{key}{after}" for key in keys]
            there = set(self._listed(before))  # faster than asking for each file
            for path, image in zip(table[column], table["image_path"], strict=True):
                if path not in there:
                    raise FileNotFoundError(f"{path}: missing, though {image} exists")
        return pd.DataFrame(table)

    def check_image_size(self, path: str, size: tuple[int, int], labels: tuple[int, int], group: str = "") -> None:
        """Raise ``BadFile`` unless the (height, width) of a file is as of the class map, ``labels``."""
        larger = group in self.large
        if larger and size[0] > labels[0] and abs(size[0] - size[1] * labels[0] / labels[1]) <= 1:
            return
        if size != labels:
            expected = f"{labels} as the class map" + (" or larger in proportion" if larger else "")
            raise BadFile("size", path, f"(height, width) {size}", expected)


@dataclass(frozen=True, kw_only=True)
class NumberedDataset(Layout):
    """A layout whose keys are numbers; the column ``meta_path`` is read as {instance id: label id}."""

    # (Class map, instance map, metadata) -> {instance id: label id} of all instances; None where the metadata list all.
    complete_classes: Callable[[np.ndarray, np.ndarray, dict[int, int]], dict[int, int]] | None = None

    def read_images(
        self, root: str | Path, split: str | None = None, variant: str = "rgb", ids: Iterable[int | str] | None = None
    ) -> pd.DataFrame:
        """Image table of the raw data set, sorted by number: one row per image. No file is opened.

        ``split``: ``train``, ``val``, or None for both. ``ids``: these images only; together with a ``split`` they
        *are* that split. Columns: ``dataset``, ``split``, ``image_id`` (text), and the paths of ``files``.

        Raises ``FileNotFoundError`` for a missing folder, file or id; ``ValueError`` for an unknown split or variant,
        ids that repeat, or as :meth:`keys`.
        """
        if split not in (None, "train", "val"):
            raise ValueError(f"unknown split {split!r}, expected one of train, val, or None for both")
        if variant not in self.groups:
            raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(self.groups)}")
        keys = {int(key): key for key in self.keys(root, variant)}
        last_train = last_train_number(max(keys))
        splits = {number: "train" if number <= last_train else "val" for number in sorted(keys)}
        if ids is not None:
            splits = {number: split or splits[number] for number in _check_ids(ids, keys, root)}
        splits = {number: own for number, own in splits.items() if split in (None, own)}
        if not splits:
            raise FileNotFoundError(f"{root}: none of its {len(keys)} images is in split {split!r}")
        identity = {"dataset": self.name, "split": list(splits.values()), "image_id": list(map(str, splits))}
        return pd.DataFrame(identity).join(self.table(root, variant, [keys[number] for number in splits], self.files))

    def read_labels(self, image: dict) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Class map uint8 (H, W), instance map int32 (H, W), {instance id: label id} of a row of the image table.

        Raises ``BadFile`` if a file is damaged or of the wrong kind, or the maps differ in size.
        """
        columns = ("label_path", "instance_path", "meta_path")
        class_map, instance_map, classes = (self.readers[column](image[column]) for column in columns)
        self.check_image_size(image["instance_path"], instance_map.shape, class_map.shape)
        if self.complete_classes is not None:
            classes = self.complete_classes(class_map, instance_map, classes)
        return class_map, instance_map, classes


def last_train_number(largest: int) -> int:
    """The split rule: numbers up to this one are ``train``."""
    return (4 * largest + 4) // 5


def read_instance_map(path: str, kinds: tuple[str, ...] = ("RGB 8",)) -> np.ndarray:
    """Instance ids R + 256 G + 65536 B, int32 (H, W), 0 where there is no instance; raises ``BadFile``."""
    image = png.read(path, *kinds)
    # In one pass: the four bytes R, G, B, A of a pixel, seen as one little-endian integer.
    order = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(image, order).view("<i4")[..., 0] & 0xFFFFFF


def checked_classes(pairs: Collection[tuple[int, int]]) -> dict[int, int]:
    """{instance id: label id}; ``ValueError`` for an id not in 1..2^24-1 or twice, or a class without instances."""
    for i, label in pairs:
        if not 0 < i < 1 << 24:
            raise ValueError(f"instance id {i} is not in 1..16777215")
        if label not in INSTANCE_LABEL_IDS:
            raise ValueError(f"instance {i} has class {label}, which is not one of {INSTANCE_LABEL_IDS}")
    if len(classes := dict(pairs)) < len(pairs):
        raise ValueError(f"{len(pairs) - len(classes)} instance ids stand twice")
    return classes


def _check_ids(ids: Iterable[int | str], known: Iterable[int], root: str | Path) -> list[int]:
    wanted = sorted(int(number) for number in ids)
    if len(wanted) > len(set(wanted)):
        raise ValueError(f"{len(wanted) - len(set(wanted))} ids are listed more than once, expected each image once")
    if missing := sorted(set(wanted) - set(known)):
        raise FileNotFoundError(f"{root}: {len(missing)} of the listed images do not exist, the first is {missing[0]}")
    return wanted
