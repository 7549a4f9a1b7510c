"""Check a data set on disk, file by file, and report everything that is wrong with it in one table.

Cityscapes-format trees (harmonised ones too), raw Synscapes and raw UrbanSyn are recognised by their folders. What the
readers of these formats refuse is what is reported here. A finding is an ``error`` when training, evaluation or
harmonisation would stop or go wrong on it, and a ``note`` otherwise.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from scapes import cityscapes, png, synscapes, urbansyn
from scapes.files import BadFile
from scapes.labels import label_of_instance
from scapes.numbered import NumberedDataset
from scapes.parallel import map_items

Result = TypeVar("Result")

SYNTHETIC = {dataset.name: dataset for dataset in (synscapes.DATASET, urbansyn.DATASET)}
"""The synthetic data sets that can be harmonised and verified, by name."""


class Finding(NamedTuple):
    """One thing that is wrong. ``kind`` is what :func:`summarize` groups by."""

    severity: str
    kind: str
    path: str
    found: str
    expected: str


def verify_dataset(
    root: str | Path, *, full: bool | None = None, workers: int | None = None, progress: bool = True
) -> pd.DataFrame:
    """Check every file under ``root``; one row per finding, with the columns of :class:`Finding`, none if all is well.

    Checked: every image has its labels and every label its image; PNGs are complete and of the right kind (bit depth,
    channels); sizes agree; values are label ids, or instance ids of classes that have instances; in Cityscapes trees
    label and instance maps agree and the polygon files state their size; in Synscapes and UrbanSyn the ids in the map
    are those in the metadata and their classes are known; harmonised trees are finished. ``full``: the number of images
    is that of the full data set (default: checked where more than half of them are there).

    Never stops at a bad file. ``workers``: processes, default one per core.
    """
    root = Path(root)
    findings, items, check = _Findings(), [], None
    dataset = next((dataset for dataset in SYNTHETIC.values() if _is_here(root, dataset)), None)
    if not root.is_dir():
        findings.error("missing", root, "no such folder", "the root folder of a data set")
    elif (root / "leftImg8bit").is_dir():
        items = _list_cityscapes(findings, root, full)
        check = functools.partial(_check_cityscapes_image, root)
    elif dataset is not None:
        items, variants = _list_numbered(findings, root, dataset, full)
        check = functools.partial(_check_numbered_image, root, dataset, variants)
    else:
        layouts = "leftImg8bit/ (Cityscapes), img/ (Synscapes) or rgb/ (UrbanSyn)"
        findings.error("layout", root, "none of the folders", layouts)
    for found in map_items(check, items, workers=workers, description="verifying" if progress else ""):
        findings += found
    return pd.DataFrame(findings, columns=list(Finding._fields), dtype=str)


def summarize(findings: pd.DataFrame, paths: int = 3) -> pd.DataFrame:
    """Findings by kind, errors first.

    Columns: ``severity``, ``kind``, ``number``, ``first`` (the first ``paths`` paths, one per line), and ``found`` and
    ``expected`` of the first of them.
    """
    summary = findings.groupby(["severity", "kind"], sort=True).agg(
        number=("path", "size"),
        first=("path", lambda path: "\n".join(path.iloc[:paths])),
        found=("found", "first"),
        expected=("expected", "first"),
    )
    return summary.reset_index()


def has_errors(findings: pd.DataFrame) -> bool:
    return bool((findings["severity"] == "error").any())


class _Findings(list):
    def error(self, kind: str, path: str | Path, found: object, expected: object) -> None:
        self.append(Finding("error", kind, str(path), str(found), str(expected)))

    def attempt(self, read: Callable[..., Result], path: str, *args) -> Result | None:
        """``read(path, *args)``; None where it refuses, and then its reason is a finding."""
        try:
            return read(path, *args)
        except BadFile as error:
            self.error(error.kind, error.path, error.found, error.expected)
        except FileNotFoundError:
            self.error("missing", path, "no such file", "a file")
        except OSError as error:
            self.error("unreadable", path, error.strerror, "a readable file")
        return None

    def check_count(self, folder: str | Path, found: int, official: int | None, full: bool | None) -> None:
        if official is not None and found != official and (full or (full is None and found > official / 2)):
            self.error("count", folder, f"{found} images", f"{official}, the full data set")


def _list_cityscapes(findings: _Findings, root: Path, full: bool | None) -> list[tuple[str, str, str]]:
    """(split, city, image id) of each image; adds what is wrong with the tree as a whole."""
    harmonized = None
    try:
        cityscapes.dataset_name(root)
        harmonized = cityscapes.read_manifest(root)
    except ValueError as error:
        findings.error("unfinished", root, error, f"a finished tree with {cityscapes.MANIFEST}")
    items = []
    for split in cityscapes.SPLITS:
        folder = root / "leftImg8bit" / split
        images = cityscapes.list_images(root, split)
        items += [(split, *image) for image in images]
        expected = harmonized and harmonized["number_of_images"].get(split, 0)
        if harmonized is None:
            findings.check_count(folder, len(images), cityscapes.OFFICIAL_COUNTS[split], full)
        elif len(images) != expected:
            findings.error("count", folder, f"{len(images)} images", f"{expected}, as {cityscapes.MANIFEST} says")
        _find_unexpected(findings, root, split, set(images))
    if not items:
        findings.error("missing", root / "leftImg8bit", "no images", f"*{cityscapes.IMAGE_SUFFIX}")
    return items


def _find_unexpected(findings: _Findings, root: Path, split: str, images: set[tuple[str, str]]) -> None:
    """Images with odd names, and labels without an image."""
    for path in sorted((root / "leftImg8bit" / split).glob("*/*")):
        if not path.name.endswith(cityscapes.IMAGE_SUFFIX) or len(path.name.split("_")) != 4:
            findings.error("name", path, path.name, f"CITY_SEQ_FRAME{cityscapes.IMAGE_SUFFIX}")
    for suffix in (cityscapes.INSTANCE_SUFFIX, cityscapes.LABEL_SUFFIX):
        for path in sorted((root / "gtFine" / split).glob(f"*/*{suffix}")):
            if (path.parent.name, path.name.removesuffix(suffix)) not in images:
                findings.error("label without image", path, "no image", f"its image in leftImg8bit/{split}")


def _check_cityscapes_image(root: Path, item: tuple[str, str, str]) -> _Findings:
    findings, paths = _Findings(), cityscapes.image_paths(root, *item)
    photo = findings.attempt(png.read, paths["image_path"], "RGB 8")
    if item[0] == "test":
        return findings
    instance_ids = findings.attempt(cityscapes.read_instance_ids, paths["instance_path"])
    label_ids = findings.attempt(cityscapes.read_label_ids, paths["label_path"])
    stated = findings.attempt(cityscapes.read_polygon_size, paths["polygon_path"])
    if label_ids is None:
        return findings
    sizes = {
        "image_path": None if photo is None else photo.shape[:2],
        "instance_path": None if instance_ids is None else instance_ids.shape,
        "polygon_path": stated,
    }
    for name, size in sizes.items():
        if size is not None:
            findings.attempt(png.check_size, paths[name], size, paths["label_path"], label_ids.shape)
    if sizes["instance_path"] == label_ids.shape:
        differ = int((label_of_instance(instance_ids) != label_ids).sum())
        if differ:
            expected = f"the classes of {paths['label_path']}"
            findings.error("maps disagree", paths["instance_path"], f"{differ} pixels of another class", expected)
    return findings


def _is_here(root: Path, dataset: NumberedDataset) -> bool:
    top = dataset.layout["image_path"].split("/")[0]
    return (root / top.format(variant=dataset.variants[0])).is_dir()


def _list_numbered(
    findings: _Findings, root: Path, dataset: NumberedDataset, full: bool | None
) -> tuple[list[int], list[str]]:
    """Numbers of all images, and the variants that are there; adds what is wrong with the tree as a whole."""
    examples = {name: Path(dataset.image_paths(root, 1, name)["image_path"]) for name in dataset.variants}
    variants = [variant for variant, example in examples.items() if example.parent.is_dir()]
    images: set[int] = set()
    for variant in variants:
        numbers, odd = dataset.scan(root, "image_path", variant)
        for path in odd:
            findings.error("name", path, os.path.basename(path), f"names like {examples[variant].name}")
        findings.check_count(examples[variant].parent, len(numbers), dataset.official_count, full)
        images |= set(numbers)
    if not images:
        findings.error("missing", root, "no images", " or ".join(map(str, examples.values())))
    for column in sorted(set(dataset.layout) - {"image_path"}):
        for number in sorted(set(dataset.scan(root, column)[0]) - images):
            path = dataset.image_paths(root, number)[column]
            findings.error("label without image", path, "no image", "an image with this number")
    return sorted(images), variants


def _check_numbered_image(root: Path, dataset: NumberedDataset, variants: list[str], number: int) -> _Findings:
    findings, paths = _Findings(), dataset.image_paths(root, number)
    class_map = findings.attempt(dataset.read_class_map, paths["label_path"])
    instance_map = findings.attempt(dataset.read_instance_map, paths["instance_path"])
    classes = findings.attempt(dataset.read_meta, paths["meta_path"])
    for variant in variants:
        path = dataset.image_paths(root, number, variant)["image_path"]
        photo = findings.attempt(png.read, path, *dataset.color_kinds)
        if photo is not None and class_map is not None:
            check = functools.partial(dataset.check_image_size, variant)
            findings.attempt(check, path, photo.shape[:2], class_map.shape)
    if class_map is not None and instance_map is not None:
        size = instance_map.shape
        findings.attempt(png.check_size, paths["instance_path"], size, paths["label_path"], class_map.shape)
        if classes is not None and size == class_map.shape:
            _compare_ids(findings, dataset, paths, set(np.unique(instance_map).tolist()) - {0}, set(classes))
    return findings


def _compare_ids(findings: _Findings, dataset: NumberedDataset, paths: dict, in_map: set, listed: set) -> None:
    if in_map - listed and dataset.complete_classes is None:
        found = f"{len(in_map - listed)} ids, the first is {min(in_map - listed)}"
        findings.error("unknown instance", paths["instance_path"], found, f"the ids of {paths['meta_path']}")
    if listed - in_map:
        found = f"{len(listed - in_map)} ids without pixels, the first is {min(listed - in_map)}"
        findings.append(Finding("note", "hidden instance", paths["meta_path"], found, "pixels in the map"))
