"""Where the files of a data set are: which files an image has, which images there are, what else lies there."""

import glob
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scapes.files import BadFile


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

    def top(self) -> str:
        """The first folder on the way to an image, by which the data set is recognised."""
        return self.paths("", next(iter(self.groups)), self.example)["image_path"].split("/")[1]

    def sets(self) -> list[list[str]]:
        """Groups that share their labels: each split for itself, all variants together."""
        return [[group] for group in self.groups] if "{group}" in self.files["label_path"] else [list(self.groups)]

    def paths(self, root: str | Path, group: str, key: str) -> dict[str, str]:
        """Where the files of an image belong, by column."""
        return {column: f"{root}/{path.format(group=group, key=key)}" for column, path in self.files.items()}

    def folder(self, root: str | Path, column: str, group: str) -> str:
        """The folder below which the files of a column are."""
        return os.path.dirname(self.paths(root, group, "{key}")[column].split("{key}")[0])

    def scan(self, root: str | Path, column: str, group: str) -> tuple[list[str], list[str]]:
        """Keys of the files of a column, sorted; and paths of the files beside them that are named otherwise."""
        folder = self.folder(root, column, group)
        name = self.paths(root, group, "{key}")[column].removeprefix(f"{folder}/")
        pattern = re.compile(f"({self.key})".join(map(re.escape, name.split("{key}"))))
        found = sorted(glob.glob(f"**/*{os.path.splitext(name)[1]}", root_dir=folder, recursive=True))
        matches = [pattern.fullmatch(path) for path in found]
        odd = [f"{folder}/{path}" for path, match in zip(found, matches, strict=True) if not match]
        return [match[1] for match in matches if match], odd

    def keys(self, root: str | Path, group: str) -> list[str]:
        """Keys of all images, sorted. Raises ``FileNotFoundError`` without any, ``BadFile`` if others lie there."""
        folder = self.folder(root, "image_path", group)
        example = self.paths(root, group, self.example)["image_path"].removeprefix(f"{folder}/")
        keys, odd = self.scan(root, "image_path", group)
        if odd:
            raise BadFile("name", odd[0], f"{len(odd)} such names", f"names like {example}")
        if not keys:
            what = "no images" if os.path.isdir(folder) else "no such folder"
            raise FileNotFoundError(f"{folder}: {what}; expected names like {example}")
        return keys

    def table(self, root: str | Path, group: str, keys: list[str], columns: Sequence[str]) -> pd.DataFrame:
        """Paths of the files of images: a row per key. Opens none; raises ``FileNotFoundError`` if one is missing."""
        table = pd.DataFrame([self.paths(root, group, key) for key in keys])
        for column in columns:
            there = set(self.scan(root, column, group)[0])  # listing folders is faster than asking for each file
            for key, path, image in zip(keys, table[column], table["image_path"], strict=True):
                if key not in there:
                    raise FileNotFoundError(f"{path}: missing, though {image} exists")
        return table[[*columns]]

    def check_image_size(self, path: str, size: tuple[int, int], labels: tuple[int, int], group: str = "") -> None:
        """Raise ``BadFile`` unless the (height, width) of a file is as of the class map, ``labels``."""
        if size == labels:
            return
        larger = group in self.large
        if not (larger and size[0] > labels[0] and abs(size[0] - size[1] * labels[0] / labels[1]) <= 1):
            expected = f"{labels} as the class map" + (" or larger in proportion" if larger else "")
            raise BadFile("size", path, f"(height, width) {size}", expected)
