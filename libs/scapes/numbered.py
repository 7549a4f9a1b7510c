"""Synthetic data sets whose images are numbered and come without an official split: all that they share.

Each is a :class:`NumberedDataset`: where its files are, of what kind they are, and how its labels are read. See
:mod:`scapes.synscapes` and :mod:`scapes.urbansyn`. To add one, write a file like these and name it in
:data:`scapes.verify.SYNTHETIC`.

The split is fixed: with M the largest number in the folder, images up to ``ceil(0.8 M)`` are ``train``, the rest
``val``. For the 25,000 images of Synscapes these are 20,000 + 5,000; it does not depend on a missing file, and works
for a data set of any size. Lists of numbers override it.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from scapes import png
from scapes.files import BadFile, read_json
from scapes.labels import INSTANCE_LABEL_IDS, check_label_ids

SPLITS = ("train", "val")


@dataclass(frozen=True)
class NumberedDataset:
    """Where the files of a data set are and what is in them.

    layout: path below the root, with ``{variant}`` and ``{number}``, of ``image_path``, ``label_path`` (class map),
        ``instance_path`` (instance map: a colour per instance) and ``meta_path`` (JSON).
    classes: from the content of ``meta_path`` to (instance id, label id) pairs, with any error where it cannot.
    meta_form: what ``meta_path`` should hold, for error messages.
    label_of_value: label id of each value of the class map, uint8 (256,); None where the values are label ids.
    complete_classes: from the two maps and the metadata to {instance id: label id}, for data sets whose metadata leave
        out instances; None where they list all.
    color_kinds: the kinds of PNG that images and instance maps may be, see :func:`scapes.png.read`.
    variants: names of the sets of images; those after the first may be larger than the label maps.
    official_count: images in the full data set, None if not known.
    """

    name: str
    layout: dict[str, str]
    classes: Callable[[Any], list[tuple[int, int]]]
    meta_form: str
    label_of_value: np.ndarray | None = None
    complete_classes: Callable[[np.ndarray, np.ndarray, dict[int, int]], dict[int, int]] | None = None
    color_kinds: tuple[str, ...] = ("RGB 8",)
    variants: tuple[str, ...] = ("rgb",)
    official_count: int | None = None

    def read_images(
        self,
        root: str | Path,
        split: str | None = None,
        variant: str = "rgb",
        ids: Iterable[int | str] | None = None,
    ) -> pd.DataFrame:
        """Image table of the raw data set, sorted by number: one row per image.

        ``split``: ``train``, ``val``, or None for both. ``ids``: these images only; together with a ``split`` they
        *are* that split, whatever the rule says. ``variant``: which images, e.g. ``rgb-2k``.

        Columns: ``dataset``, ``split``, ``image_id`` (the number), ``image_path``, ``instance_path``, ``label_path``,
        ``meta_path``. No file is opened.

        Raises ``FileNotFoundError`` for a missing folder, file or id, ``ValueError`` for an unknown split or variant,
        repeated ids, or file names of another form.
        """
        if split is not None and split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}, or None for both")
        numbers = self._list_numbers(root, variant)
        last_train = last_train_number(numbers[-1])
        wanted = numbers if ids is None else _check_ids(ids, numbers, root)
        splits = {number: "train" if number <= last_train else "val" for number in wanted}
        if ids is not None and split is not None:
            splits = dict.fromkeys(wanted, split)
        chosen = {number: own for number, own in splits.items() if split in (None, own)}
        if not chosen:
            raise FileNotFoundError(f"{root}: none of its {len(numbers)} images is in split {split!r}")
        table = pd.DataFrame({"dataset": self.name, "split": list(chosen.values()), "image_id": map(str, chosen)})
        return table.assign(**{name: self._list_paths(root, name, list(chosen), variant) for name in self.layout})

    def scan(self, root: str | Path, column: str, variant: str = "rgb") -> tuple[list[int], list[str]]:
        """Numbers of the files of one kind (a key of ``layout``), ascending; and paths of files with other names."""
        folder, example = os.path.split(self.image_paths(root, 1, variant)[column])
        pattern, suffix = os.path.basename(self.layout[column]), os.path.splitext(example)[1]
        numbers, odd = [], []
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            if not name.endswith(suffix) or name.startswith("."):
                continue
            digits = re.search(r"[0-9]+$", name.removesuffix(suffix))
            if digits and pattern.format(number=int(digits.group())) == name:
                numbers.append(int(digits.group()))
            else:
                odd.append(os.path.join(folder, name))
        return sorted(numbers), odd

    def image_paths(self, root: str | Path, number: int, variant: str = "rgb") -> dict[str, str]:
        """Where the files of image ``number`` belong: a path for each key of ``layout``."""
        return {name: f"{root}/{path.format(variant=variant, number=number)}" for name, path in self.layout.items()}

    def read_labels(self, image: dict) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Labels of one row of the image table: class map uint8 (H, W), instance map int32 (H, W), {id: label id}.

        Raises ``BadFile`` if a file is damaged or of the wrong kind, or the maps differ in size.
        """
        class_map = self.read_class_map(image["label_path"])
        instance_map = self.read_instance_map(image["instance_path"])
        png.check_size(image["instance_path"], instance_map.shape, image["label_path"], class_map.shape)
        classes = self.read_meta(image["meta_path"])
        if self.complete_classes is not None:
            classes = self.complete_classes(class_map, instance_map, classes)
        return class_map, instance_map, classes

    def read_class_map(self, path: str) -> np.ndarray:
        """Label ids, uint8 (H, W); raises ``BadFile``."""
        class_map = png.read(path, "gray 8")
        if self.label_of_value is not None:
            class_map = self.label_of_value[class_map]
        check_label_ids(path, class_map)
        return class_map

    def read_instance_map(self, path: str) -> np.ndarray:
        """Instance ids R + 256 G + 65536 B, int32 (H, W), 0 where there is no instance; raises ``BadFile``."""
        image = png.read(path, *self.color_kinds)
        # In one pass: the four bytes R, G, B, A of a pixel, seen as one little-endian integer.
        order = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        return cv2.cvtColor(image, order).view("<i4")[..., 0] & 0xFFFFFF

    def read_meta(self, path: str) -> dict[int, int]:
        """{instance id: label id}; raises ``BadFile`` saying what is wrong."""
        return read_json(path, "metadata", self.meta_form, lambda content: _checked(self.classes(content)))

    def check_image_size(self, path: str, image: tuple[int, int], labels: tuple[int, int], variant: str) -> None:
        """Raise ``BadFile`` unless an image, (height, width), has the size of its labels, or their shape if larger."""
        may_be_larger = variant != self.variants[0]
        in_proportion = image[0] > labels[0] and abs(image[0] - image[1] * labels[0] / labels[1]) <= 1
        if image != labels and not (may_be_larger and in_proportion):
            expected = f"{labels} as its labels" + (" or larger in proportion" if may_be_larger else "")
            raise BadFile("size", path, f"(height, width) {image}", expected)

    def _list_paths(self, root: str | Path, column: str, numbers: list[int], variant: str) -> list[str]:
        """Where a file of these images is; found in the list of its folder, which is faster than asking for each."""
        folder, pattern = os.path.split(f"{root}/{self.layout[column].replace('{variant}', variant)}")
        there = set(os.listdir(folder))
        names = [pattern.format(number=number) for number in numbers]
        for number, name in zip(numbers, names, strict=True):
            if name not in there:
                raise FileNotFoundError(f"{folder}/{name}: missing, though there is an image {number}")
        return [f"{folder}/{name}" for name in names]

    def _list_numbers(self, root: str | Path, variant: str) -> list[int]:
        if variant not in self.variants:
            raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(self.variants)}")
        folder, example = os.path.split(self.image_paths(root, 1, variant)["image_path"])
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"{folder}: no such folder; expected images like {example} in it")
        numbers, odd = self.scan(root, "image_path", variant)
        if odd:
            raise BadFile("name", odd[0], f"{len(odd)} such names", f"names like {example}")
        if not numbers:
            raise FileNotFoundError(f"{folder}: no images; expected names like {example}")
        return numbers


def last_train_number(largest: int) -> int:
    """The split rule: numbers up to this one are ``train``. 25,000 -> 20,000."""
    return (4 * largest + 4) // 5


def check_classes(classes: Iterable[tuple[int, int]]) -> None:
    """Raise ``ValueError`` unless all (instance id, label id) pairs have an id that fits three bytes, not 0, and a
    class with instances."""
    for i, label in classes:
        if not 0 < i < 1 << 24:
            raise ValueError(f"instance id {i} is not in 1..16777215")
        if label not in INSTANCE_LABEL_IDS:
            raise ValueError(f"instance {i} has class {label}, which is not one of {INSTANCE_LABEL_IDS}")


def _checked(pairs: list[tuple[int, int]]) -> dict[int, int]:
    check_classes(pairs)
    classes = dict(pairs)
    if len(classes) < len(pairs):
        raise ValueError(f"{len(pairs) - len(classes)} instance ids stand twice")
    return classes


def _check_ids(ids: Iterable[int | str], numbers: list[int], root: str | Path) -> list[int]:
    wanted = sorted(int(number) for number in ids)
    if len(wanted) > len(set(wanted)):
        raise ValueError(f"{len(wanted) - len(set(wanted))} ids are listed more than once, expected each image once")
    missing = sorted(set(wanted) - set(numbers))
    if missing:
        raise FileNotFoundError(f"{root}: {len(missing)} of the listed images do not exist, the first is {missing[0]}")
    return wanted
