"""Synthetic data sets whose images are numbered and come without an official split: all that they share.

A data set of this kind is a :class:`NumberedDataset`: where its files are, of what kind they are, and how its labels
are read. See :mod:`scapes.synscapes` and :mod:`scapes.urbansyn`; a third one is one more file like
these.

The split, fixed and documented: with M the largest number in the folder, images up to ``ceil(0.8 M)`` are ``train``,
the rest ``val``. For the 25,000 images of Synscapes that gives the 20,000 + 5,000 of section 3.1 of the paper; it does
not depend on a missing file, and works for a data set of any size. Lists of numbers override it.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scapes import png
from scapes.files import BadFile
from scapes.labels import INSTANCE_LABEL_IDS, MAX_LABEL_ID

SPLITS = ("train", "val")


@dataclass(frozen=True)
class NumberedDataset:
    """Where the files of a data set are and what is in them.

    layout: path below the root, with ``{variant}`` and ``{number}``, of ``image_path``, ``label_path`` (class map),
        ``instance_path`` (instance map) and ``meta_path`` (JSON).
    png_kinds: for the first three, the kinds of PNG they may be, see :func:`scapes.png.read`.
    decode: from the pixels of the two label files to the class map, uint8 (H, W) of label ids, and the instance map,
        int32 (H, W), 0 where there is no instance.
    read_meta: path -> {instance id: label id}; raises ``BadFile``.
    complete_classes: from the two maps and the metadata to {instance id: label id}, for data sets whose metadata leave
        out instances; None where they list all.
    upscaled_variants: variants whose images are larger than the label maps.
    official_count: images in the full data set, None if not known.
    """

    name: str
    layout: dict[str, str]
    png_kinds: dict[str, tuple[str, ...]]
    decode: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    read_meta: Callable[[str | Path], dict[int, int]]
    complete_classes: Callable[[np.ndarray, np.ndarray, dict[int, int]], dict[int, int]] | None = None
    variants: tuple[str, ...] = ("rgb",)
    upscaled_variants: tuple[str, ...] = ()
    official_count: int | None = None

    def read_images(
        self,
        root: str | Path,
        split: str | None = None,
        variant: str = "rgb",
        ids: Iterable[int | str] | None = None,
    ) -> pd.DataFrame:
        """Image table of the raw data set, sorted by number: one row an image.

        ``split``: ``train``, ``val``, or None for both. ``ids``: these images only; together with a ``split`` they
        *are* that split, whatever the rule says. ``variant``: which images, e.g. ``rgb-2k``.

        Columns: ``dataset``, ``split``, ``image_id`` (the number), ``image_path``, ``instance_path``, ``label_path``,
        ``meta_path``, and ``height``, ``width`` of the label maps in pixels.

        Raises ``FileNotFoundError`` for a missing folder, file or id, ``ValueError`` for an unknown split or variant,
        repeated ids, or file names of another form.
        """
        root = Path(root)
        if split is not None and split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}, or None for both")
        numbers = self.list_numbers(root, variant)
        last_train = last_train_number(numbers[-1])
        by_rule = [(number, "train" if number <= last_train else "val") for number in numbers]
        if ids is None:
            chosen = [(number, own) for number, own in by_rule if split in (None, own)]
        else:
            wanted = _check_ids(ids, numbers, root)
            chosen = [(number, split or own) for number, own in by_rule if number in wanted]
        if not chosen:
            raise FileNotFoundError(f"{root}: none of its {len(numbers)} images is in split {split!r}")
        return pd.DataFrame([self._row(root, number, own, variant) for number, own in chosen])

    def list_numbers(self, root: str | Path, variant: str = "rgb") -> list[int]:
        """Numbers of the images, ascending; raises ``FileNotFoundError`` if there are none, ``ValueError`` for odd
        names."""
        if variant not in self.variants:
            raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(self.variants)}")
        example = self.image_paths(root, 1, variant)["image_path"]
        if not example.parent.is_dir():
            raise FileNotFoundError(f"{example.parent}: no such folder; expected images like {example.name} in it")
        numbers, odd = self.scan(root, "image_path", variant)
        if odd:
            raise ValueError(
                f"{odd[0]}: found a file of this name ({len(odd)} such), expected names like {example.name}"
            )
        if not numbers:
            raise FileNotFoundError(f"{example.parent}: no images; expected names like {example.name}")
        return numbers

    def scan(self, root: str | Path, column: str, variant: str = "rgb") -> tuple[list[int], list[Path]]:
        """Numbers of the files of one kind (a key of ``layout``), ascending, and files of the same type with other
        names."""
        example = self.image_paths(root, 1, variant)[column]
        pattern = self.layout[column].rsplit("/", 1)[1]
        names = os.listdir(example.parent) if example.parent.is_dir() else []
        names = {name for name in names if name.endswith(example.suffix) and not name.startswith(".")}
        digits = (re.search(r"[0-9]+$", name.removesuffix(example.suffix)) for name in names)
        numbers = {int(match.group()) for match in digits if match}
        numbers = sorted(number for number in numbers if pattern.format(number=number) in names)
        odd = names - {pattern.format(number=number) for number in numbers}
        return numbers, [example.parent / name for name in sorted(odd)]

    def image_paths(self, root: str | Path, number: int, variant: str = "rgb") -> dict[str, Path]:
        """Where the files of image ``number`` belong."""
        return {name: Path(root) / path.format(variant=variant, number=number) for name, path in self.layout.items()}

    def read_labels(self, image: dict) -> tuple[np.ndarray, np.ndarray, dict[int, int]]:
        """Labels of one row of the image table: class map uint8 (H, W), instance map int32 (H, W), {id: label id}.

        Raises ``BadFile`` if a file is damaged or of the wrong kind, or the maps differ in size.
        """
        pixels = [png.read(image[name], *self.png_kinds[name]) for name in ("label_path", "instance_path")]
        if pixels[0].shape != pixels[1].shape[:2]:
            expected = f"{pixels[0].shape} as {image['label_path']}"
            raise BadFile("size", image["instance_path"], f"(height, width) {pixels[1].shape[:2]}", expected)
        class_map, instance_map = self.decode(*pixels)
        if class_map.max() > MAX_LABEL_ID:
            raise BadFile("value", image["label_path"], f"label id {class_map.max()}", f"label ids 0..{MAX_LABEL_ID}")
        classes = self.read_meta(image["meta_path"])
        if self.complete_classes is not None:
            classes = self.complete_classes(class_map, instance_map, classes)
        return class_map, instance_map, classes

    def check_image_size(self, variant: str, path: str | Path, image: tuple[int, int], labels: tuple[int, int]) -> None:
        """Raise ``BadFile`` unless an image, (height, width), fits its label maps: in size, or in shape if upscaled."""
        if image == labels:
            return
        same_shape = image[0] > labels[0] and abs(image[0] - image[1] * labels[0] / labels[1]) <= 1
        if not (variant in self.upscaled_variants and same_shape):
            expected = f"{labels} as its labels" + (" or larger in proportion" if self.upscaled_variants else "")
            raise BadFile("size", path, f"(height, width) {image}", expected)

    def _row(self, root: Path, number: int, split: str, variant: str) -> dict:
        paths = self.image_paths(root, number, variant)
        try:
            header = png.read_header(paths["label_path"])
            for path in paths.values():
                os.stat(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error.filename}: missing, though {paths['image_path']} exists") from error
        row = {"dataset": self.name, "split": split, "image_id": str(number)}
        return (
            row | {name: str(path) for name, path in paths.items()} | {"height": header.height, "width": header.width}
        )


def last_train_number(largest: int) -> int:
    """The split rule: numbers up to this one are ``train``. 25,000 -> 20,000."""
    return (4 * largest + 4) // 5


def checked_classes(pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """(instance id, label id) pairs as a dictionary.

    Raises ``ValueError`` for an id that three bytes cannot hold or that stands twice, and a class without instances.
    """
    classes: dict[int, int] = {}
    for i, label in pairs:
        if not 0 < i < 1 << 24:
            raise ValueError(f"instance id {i} is not in 1..16777215")
        if i in classes:
            raise ValueError(f"instance id {i} stands twice")
        if label not in INSTANCE_LABEL_IDS:
            raise ValueError(f"instance {i} has class {label}, which is not one of {INSTANCE_LABEL_IDS}")
        classes[i] = label
    return classes


def _check_ids(ids: Iterable[int | str], numbers: list[int], root: Path) -> set[int]:
    wanted = [int(number) for number in ids]
    if len(wanted) > len(set(wanted)):
        raise ValueError(f"{len(wanted) - len(set(wanted))} ids are listed more than once, expected each image once")
    missing = sorted(set(wanted) - set(numbers))
    if missing:
        raise FileNotFoundError(f"{root}: {len(missing)} of the listed images do not exist, the first is {missing[0]}")
    return set(wanted)
