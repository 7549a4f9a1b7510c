"""Where the files of a data set are, and what reads its labels; and the format of Cityscapes (fine annotations).

A tree that is harmonised to this format has ``harmonizing.json`` at first, then its manifest ``harmonized.json``.
"""

import functools
import glob
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from scapes import files, png
from scapes.files import BadFile
from scapes.labels import check_instance_ids, read_label_ids

MANIFEST, PARTIAL_MANIFEST = "harmonized.json", "harmonizing.json"
_COLUMNS = ["image_path", "instance_path", "label_path"]


@functools.cache
def layouts() -> dict[str, dict[str, Any]]:
    """What ``layouts.yaml`` says of each data set, by name."""
    return yaml.safe_load(Path(__file__).with_name("layouts.yaml").read_text(encoding="utf-8"))


class Layout:
    """Folders, names and readers of one data set. Its other attributes are what :func:`layouts` says of it."""

    files, groups, key, example, large, lists_all, classes = (
        property(lambda self, field=field: layouts()[self.name][field])
        for field in ("files", "groups", "key", "example", "large", "lists_all", "classes")
    )

    def __init__(self, name: str, **readers: Callable[[str], Any]):
        """``readers``: of ``label_path``, ``instance_path`` and more files, in this order; they raise ``BadFile``."""
        self.name, self.readers = name, readers

    def read_photo(self, path: str) -> np.ndarray:
        """uint8 (H, W, ...), BGR where it has colours; raises ``BadFile`` or ``OSError``."""
        return png.read(path, *png.PHOTO)

    def paths(self, root: str | Path, group: str, key: str) -> dict[str, str]:
        """Where the files of an image belong, by column."""
        return {column: self.path(root, group, key, column) for column in self.files}

    def path(self, root: str | Path, group: str, key: str, column: str) -> str:
        return f"{root}/{self.files[column].format(group=group, key=key)}"

    def folder(self, root: str | Path, group: str, column: str = "image_path") -> str:
        return os.path.dirname(self.path(root, group, "", column))

    def scan(self, root: str | Path, group: str, column: str = "image_path") -> tuple[dict[str, str], list[str]]:
        """{key: path} of a column's files, sorted, and paths, not of hidden files, that end alike but have no key."""
        before, after = self.path(root, group, "\n", column).split("\n")  # of the key
        folders = re.sub("[^/]+", "*", self.example)  # as deep as keys go
        listed = sorted(glob.glob(f"{glob.escape(self.folder(root, group, column))}/{folders}{after}"))
        matches = map(re.compile(f"{re.escape(before)}({self.key}){re.escape(after)}").fullmatch, listed)
        keys = {match[1]: match[0] for match in matches if match and match[1].isprintable()}  # not in Latin-1
        return keys, sorted({*listed}.difference(keys.values()))

    def keys(self, root: str | Path, group: str, column: str = "image_path") -> list[str]:
        """Sorted keys of a column's files; ``FileNotFoundError`` without any, ``BadFile`` for names of another form."""
        keys, odd = self.scan(root, group, column)
        folder, example = self.folder(root, group, column), self.path(root, group, self.example, column)
        expected = f"names like {example.removeprefix(f'{folder}/')}"
        if odd:
            raise BadFile("name", odd[0], f"{len(odd)} such names", expected)
        if not keys:
            what = "no images" if os.path.isdir(folder) else "no such folder"
            others = [other for other in self.groups if self.scan(root, other, column)[0]]
            hint = f"; only {', '.join(others)} is there" if others else nearby(root)
            formats = formats_in(root)
            hint += f"; there is a data set in {formats[0]} format" if formats and self.name not in formats else ""
            raise FileNotFoundError(f"{folder}: {what}; expected {expected}{hint}")
        return list(keys)

    def table(self, root: str | Path, group: str, keys: list[str], columns: Iterable[str]) -> pd.DataFrame:
        """Paths of the files of images: one row per key. Opens no file; ``FileNotFoundError`` if one is missing."""
        found = {column: self.scan(root, group, column)[0] for column in columns}
        for column, paths in found.items():
            if missing := sorted({*keys}.difference(paths)):
                path, image = (self.path(root, group, missing[0], name) for name in (column, "image_path"))
                raise FileNotFoundError(f"{path}: missing, though {image} exists")
        return pd.DataFrame({column: [paths[key] for key in keys] for column, paths in found.items()})

    def read_labels(self, image: dict) -> tuple:
        """Class map uint8 (H, W) and instance map of an image. Raises ``BadFile``, also if they differ in size."""
        class_map, instance_map, *more = (read(image[column]) for column, read in self.readers.items())
        self.check_image_size(image["instance_path"], instance_map.shape, class_map.shape)
        return class_map, instance_map, *more

    def check_image_size(self, path: str, size: tuple[int, int], labels: tuple[int, int], group: str = "") -> None:
        """Raise ``BadFile`` unless the (height, width) of a file is as of the class map, ``labels``."""
        in_proportion = size[0] > labels[0] and abs(size[0] - size[1] * labels[0] / labels[1]) <= 1
        if size != labels and not (group in self.large and in_proportion):
            expected = f"{labels} as the class map" + " or larger in proportion" * (group in self.large)
            raise BadFile("size", path, f"(height, width) {size}", expected)


def formats_in(root: str | Path) -> list[str]:
    """Names of the layouts whose own folder is in ``root``."""
    return [name for name, layout in layouts().items() if os.path.isdir(f"{root}/{layout['own_folder']}")]


def nearby(root: str | Path) -> str:
    """``; did you mean FOLDER or ...?`` where folders above or in ``root`` are data sets, else an empty text."""
    near = [Path(root).parent, *sorted(Path(root).glob("*"))]
    found = [str(path) for path in near if formats_in(path)]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def read_images(root: str | Path, split: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Image table of one split: one row per image, sorted by ``image_id``.

    Columns: ``dataset`` (see :func:`dataset_name`), ``split``, ``image_id`` (``CITY_SEQ_FRAME``), ``image_path``,
    ``instance_path``, ``label_path``, and ``height``, ``width`` of the instance map in pixels. Paths that are not among
    ``columns`` (default: all, of the test split ``image_path``, which gives the size) are empty strings.

    Raises ``FileNotFoundError`` if there are no images or an image has no labels; ``ValueError`` for an unfinished
    tree, an unknown split, a ``*_leftImg8bit.png`` of another form, or an instance map of another kind of PNG.
    """
    if split not in LAYOUT.groups:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(LAYOUT.groups)}")
    columns = columns or (_COLUMNS[:1] if split == "test" else _COLUMNS)
    dataset, keys = dataset_name(root), LAYOUT.keys(root, split, columns[0])
    table = pd.DataFrame({"dataset": dataset, "split": split, "image_id": [key.split("/")[1] for key in keys]})
    table = table.join(LAYOUT.table(root, split, keys, columns).reindex(columns=_COLUMNS, fill_value=""))
    column, kinds = ("instance_path", ["gray 16"]) if "instance_path" in columns else ("image_path", png.PHOTO)
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


LAYOUT = Layout("cityscapes", label_path=read_label_ids, instance_path=read_instance_ids)
