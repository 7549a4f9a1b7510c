"""Where the files of a data set are: which files an image has, which images there are, what else lies there.

:class:`Layout` describes a data set; :class:`NumberedDataset` one whose images are numbered and come without an
official split. To add one, write a file like :mod:`scapes.urbansyn` and name it in :data:`scapes.verify.SYNTHETIC`.

The split of numbered images is fixed: with M the largest number in the folder, images up to ``ceil(0.8 M)`` are
``train``, the rest ``val``. For the 25,000 images of Synscapes these are 20,000 + 5,000; it does not depend on a
missing file, and works for a data set of any size. Lists of numbers override it.
"""

import glob
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

    files: column of the image table -> path below the root, with ``{group}`` and ``{key}``. All data sets have
        ``image_path``, ``label_path`` (class map) and ``instance_path`` (instance map).
    groups: folders of images -> number of images in the full data set, None if not known. They are splits where
        ``label_path`` has a ``{group}``, else variants of the same images.
    key: regular expression that every key matches; example: such a key.
    readers: column -> function from a path to the content, for all columns but ``image_path``; raises ``BadFile``.
    large: groups whose images may be larger than their labels, in proportion.
    color_kinds: the kinds of PNG that images may be, see :func:`scapes.png.read`.
    """

    name: str
    files: dict[str, str]
    groups: dict[str, int | None]
    key: str
    example: str
    readers: dict[str, Callable[[str], Any]]
    large: tuple[str, ...] = ()
    color_kinds: tuple[str, ...] = ("RGB 8",)

    def sets(self) -> list[list[str]]:
        """Groups that share their labels: each split for itself, all variants together."""
        return [[group] for group in self.groups] if "{group}" in self.files["label_path"] else [list(self.groups)]

    def paths(self, root: str | Path, group: str, key: str) -> dict[str, str]:
        """Where the files of an image belong, by column."""
        return {column: f"{root}/{path.format(group=group, key=key)}" for column, path in self.files.items()}

    def folder(self, root: str | Path, group: str, column: str = "image_path") -> str:
        """The folder below which the files of a column are."""
        return os.path.dirname(self.paths(root, group, "\n")[column].split("\n")[0])

    def scan(self, root: str | Path, group: str, column: str = "image_path") -> tuple[list[str], list[str]]:
        """Keys of the files of a column, sorted; and paths of the files beside them that are named otherwise."""
        before, after = self.paths(root, group, "\n")[column].split("\n")
        pattern = re.compile(f"{re.escape(before)}({self.key}){re.escape(after)}")
        found = sorted(path for path in self._listed(root, group, column) if path.endswith(after[after.rindex(".") :]))
        matches = [pattern.fullmatch(path) for path in found]
        odd = [path for path, match in zip(found, matches, strict=True) if not match]
        return [match[1] for match in matches if match], odd

    def _listed(self, root: str | Path, group: str, column: str) -> list[str]:
        return glob.glob(glob.escape(self.folder(root, group, column)) + "/*" * (1 + self.example.count("/")))

    def keys(self, root: str | Path, group: str) -> list[str]:
        """Keys of all images, sorted.

        Ignores hidden files and those whose names end otherwise. Raises ``FileNotFoundError`` without any image,
        ``BadFile`` for names that end like an image's and are of another form.
        """
        folder = self.folder(root, group)
        example = self.paths(root, group, self.example)["image_path"].removeprefix(folder)[1:]
        keys, odd = self.scan(root, group)
        if odd := [path for path in odd if path.endswith(example.split(self.example)[-1])]:
            raise BadFile("name", odd[0], f"{len(odd)} such names", f"names like {example}")
        if not keys:
            what = "no images" if os.path.isdir(folder) else "no such folder"
            raise FileNotFoundError(f"{folder}: {what}; expected names like {example}")
        return keys

    def table(self, root: str | Path, group: str, keys: list[str], columns: Iterable[str]) -> pd.DataFrame:
        """Paths of the files of images: a row per key. Opens none; raises ``FileNotFoundError`` if one is missing."""
        table = {}
        for column in columns:
            before, after = self.paths(root, group, "\n")[column].split("\n")
            table[column] = [f"{before}{key}{after}" for key in keys]
            there = set(self._listed(root, group, column))  # faster than asking for each file
            for key, path in zip(keys, table[column], strict=True):
                if path not in there:
                    image = self.paths(root, group, key)["image_path"]
                    raise FileNotFoundError(f"{path}: missing, though {image} exists")
        return pd.DataFrame(table)

    def check_image_size(self, path: str, size: tuple[int, int], labels: tuple[int, int], group: str = "") -> None:
        """Raise ``BadFile`` unless the (height, width) of a file is as of the class map, ``labels``."""
        if size == labels:
            return
        larger = group in self.large
        if not (larger and size[0] > labels[0] and abs(size[0] - size[1] * labels[0] / labels[1]) <= 1):
            expected = f"{labels} as the class map" + (" or larger in proportion" if larger else "")
            raise BadFile("size", path, f"(height, width) {size}", expected)


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
        table = self.table(root, variant, [keys[number] for number in splits], self.files)
        identity = {"dataset": self.name, "split": list(splits.values()), "image_id": list(map(str, splits))}
        return pd.DataFrame(identity).join(table)

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


def checked_classes(pairs: Collection[tuple[int, int]]) -> dict[int, int]:
    """{instance id: label id} of such pairs.

    Raises ``ValueError`` for an id that is 0, does not fit three bytes or stands twice, or a class without instances.
    """
    for i, label in pairs:
        if not 0 < i < 1 << 24:
            raise ValueError(f"instance id {i} is not in 1..16777215")
        if label not in INSTANCE_LABEL_IDS:
            raise ValueError(f"instance {i} has class {label}, which is not one of {INSTANCE_LABEL_IDS}")
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
