"""Where the files of a data set are. To add one whose images are numbered and have no official split, write a file like
:mod:`scapes.urbansyn` and name it in :data:`scapes.verify.SYNTHETIC`.

Split of numbered images: with M the largest number in the folder, images up to ``ceil(0.8 M)`` are ``train``, the rest
``val``: 20,000 + 5,000 of Synscapes. It does not depend on a missing file. Lists of numbers override it.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
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
    readers: dict[str, Callable[[str], Any]]  # label_path, instance_path, more -> reader; raises BadFile
    large: tuple[str, ...] = ()  # groups whose images may be larger than their labels, in proportion

    def paths(self, root: str | Path, group: str, key: str) -> dict[str, str]:
        """Where the files of an image belong, by column."""
        return {column: f"{root}/{path.format(group=group, key=key)}" for column, path in self.files.items()}

    def folder(self, root: str | Path, group: str) -> str:
        return os.path.dirname(self._around(root, group, "image_path")[0])

    def _around(self, root: str | Path, group: str, column: str) -> list[str]:
        """What the paths of a column have before and after the key."""
        return self.paths(root, group, "\n")[column].split("\n")

    def scan(self, root: str | Path, group: str, column: str = "image_path") -> tuple[dict[str, str], list[str]]:
        """{key: path} of the files of a column, sorted, and paths of files that end alike but have no key.

        Hidden files and those whose names end otherwise are ignored.
        """
        before, after = self._around(root, group, column)
        listed = [os.path.dirname(before)]
        for _ in range(1 + self.example.count("/")):  # as deep as the keys go
            folders = [path for path in listed if os.path.isdir(path)]
            listed = [f"{path}/{name}" for path in folders for name in os.listdir(path) if not name.startswith(".")]
        pattern = re.compile(f"{re.escape(before)}({self.key}){re.escape(after)}")
        found = {path: pattern.fullmatch(path) for path in sorted(listed) if path.endswith(after)}
        keys = {match[1]: path for path, match in found.items() if match and match[1].isprintable()}  # not in Latin-1
        return keys, sorted(found.keys() - keys.values())

    def keys(self, root: str | Path, group: str) -> list[str]:
        """Keys of all images, sorted.

        Raises ``FileNotFoundError`` without any image, ``BadFile`` for a name that ends alike but has another form.
        """
        folder, (before, after) = self.folder(root, group), self._around(root, group, "image_path")
        expected = f"names like {os.path.basename(before)}{self.example}{after}"
        keys, odd = self.scan(root, group)
        if odd:
            raise BadFile("name", odd[0], f"{len(odd)} such names", expected)
        if not keys:
            what = "no images" if os.path.isdir(folder) else "no such folder"
            others = [other for other in self.groups if self.scan(root, other)[0]]
            hint = f"; only {', '.join(others)} is there" if others else nearby(root, folder[len(f"{root}/") :])
            raise FileNotFoundError(f"{folder}: {what}; expected {expected}{hint}")
        return list(keys)

    def table(self, root: str | Path, group: str, keys: list[str], columns: Iterable[str]) -> pd.DataFrame:
        """Paths of the files of images: one row per key. Opens no file; ``FileNotFoundError`` if one is missing."""
        found = {column: self.scan(root, group, column)[0] for column in columns}
        for column, there in found.items():
            for key in keys:
                if key not in there:
                    paths = self.paths(root, group, key)
                    raise FileNotFoundError(f"{paths[column]}: missing, though {paths['image_path']} exists")
        return pd.DataFrame({column: [there[key] for key in keys] for column, there in found.items()})

    def read_labels(self, image: dict) -> tuple:
        """Class map uint8 (H, W) and instance map of a row of the image table.

        Raises ``BadFile`` if a file is damaged or of the wrong kind, or the maps differ in size.
        """
        class_map, instance_map, *more = (read(image[column]) for column, read in self.readers.items())
        self.check_image_size(image["instance_path"], instance_map.shape, class_map.shape)
        return class_map, instance_map, *more

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
        self, root: str | Path, variant: str = "rgb", splits: Mapping[str, Iterable[int | str]] | None = None
    ) -> pd.DataFrame:
        """Image table of the raw data set: one row per image, sorted by split and number. No file is opened.

        ``splits``: numbers of the images of ``train`` and ``val``, of which a range need not all be there; default: the
        rule above. Columns: ``dataset``, ``split``, ``image_id`` (text), and the paths of ``files``.

        Raises ``FileNotFoundError`` for a missing folder, file or number and a split without images; ``ValueError`` for
        an unknown split or variant, a number that stands twice, or as :meth:`keys`.
        """
        if variant not in self.groups:
            raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(self.groups)}")
        keys = {int(key): key for key in self.keys(root, variant)}
        table = pd.DataFrame(split_images(root, keys, splits), columns=["split", "image_id"])
        paths = self.table(root, variant, table["image_id"].map(keys).tolist(), self.files)
        return table.astype({"image_id": str}).assign(dataset=self.name)[["dataset", "split", "image_id"]].join(paths)

    def read_labels(self, image: dict) -> tuple:
        """As :meth:`Layout.read_labels`, and {instance id: label id}."""
        class_map, instance_map, classes = super().read_labels(image)
        if self.complete_classes is not None:
            classes = self.complete_classes(class_map, instance_map, classes)
        return class_map, instance_map, classes


def split_images(
    root: str | Path, there: Collection[int], splits: Mapping[str, Iterable[int | str]] | None = None
) -> list[tuple[str, int]]:
    """(Split, number) of the images in ``there``, as :meth:`NumberedDataset.read_images` says."""
    last_train = (4 * max(there) + 4) // 5
    default = {"train": range(last_train + 1), "val": range(last_train + 1, max(there) + 1)}
    images = []
    for split, wanted in (splits or default).items():
        if split not in default:
            raise ValueError(f"unknown split {split!r}, expected train or val")
        numbers = sorted(n for n in there if n in wanted) if isinstance(wanted, range) else sorted(map(int, wanted))
        if not numbers:
            first, cut, last = (sorted(there)[i] for i in (0, 4 * len(there) // 5 - 1, -1))
            some = f"some of {wanted.start}..{wanted.stop - 1}" if isinstance(wanted, range) and wanted else "some"
            found = f"split {split} is empty: found images {first}..{last}, expected {some}"
            other = f"split: {{train: [{first}, {cut}], val: [{cut + 1}, {last}]}}"
            raise FileNotFoundError(f"{root}: {found}; choose others, for example {other}")
        images += [(split, number) for number in numbers]
    counts = Counter(number for _, number in images)
    if twice := [number for number, count in counts.items() if count > 1]:
        raise ValueError(f"{len(twice)} images are listed more than once, the first is {twice[0]}; expected each once")
    if missing := sorted(counts.keys() - set(there)):
        raise FileNotFoundError(f"{root}: {len(missing)} of the listed images do not exist, the first is {missing[0]}")
    return images


def nearby(root: str | Path, *folders: str) -> str:
    """``; did you mean FOLDER?`` where a folder above or in ``root`` has one of ``folders``, else an empty text."""
    near = [Path(root).parent, *sorted(Path(root).glob("*"))]
    found = [path for path in near if any((path / folder).is_dir() for folder in folders)]
    return f"; did you mean {found[0]}?" if found else ""


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
