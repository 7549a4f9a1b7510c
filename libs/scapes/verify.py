"""Check a data set on disk, file by file, and report everything that is wrong with it in one table.

Cityscapes-format trees (harmonised ones too), raw Synscapes and raw UrbanSyn are recognised by their folders. What the
readers of these formats refuse is what is reported here. A finding is an ``error`` when training, evaluation or
harmonisation would stop or go wrong on it, and a ``note`` otherwise.
"""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

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
COLUMNS = ("severity", "kind", "path", "found", "expected")
NOTES = ("hidden instance",)
"""Kinds of findings that are no errors."""


def verify_dataset(
    root: str | Path, *, full: bool | None = None, workers: int | None = None, progress: bool = True
) -> pd.DataFrame:
    """Check every file under ``root``; one row per finding, with the :data:`COLUMNS` (text), none if all is well.

    Checked: every image has its labels and every label its image; PNGs are complete and of the right kind (bit depth,
    channels); sizes agree; values are label ids, or instance ids of classes that have instances; in Cityscapes trees
    label and instance maps agree and the polygon files state their size; in Synscapes and UrbanSyn the ids in the map
    are those in the metadata and their classes are known; harmonised trees are finished. ``full``: the number of images
    is that of the full data set (default: checked where more than half of them are there).

    Never stops at a bad file. ``workers``: processes, default one per core.
    """
    root = Path(root)
    findings, items, check = _list_items(root, full)
    for found in map_items(check, items, workers=workers, description="verifying" if progress else ""):
        findings += found
    rows = [("note" if f.kind in NOTES else "error", f.kind, f.path, str(f.found), str(f.expected)) for f in findings]
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=str)


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


def _list_items(root: Path, full: bool | None) -> tuple[list[BadFile], list, Callable]:
    """Findings about the tree as a whole, the images, and a function that checks one of them."""
    if (root / "leftImg8bit").is_dir():
        return *_list_cityscapes(root, full), functools.partial(_check_cityscapes, root)
    for dataset in SYNTHETIC.values():
        top = dataset.layout["image_path"].format(variant=dataset.variants[0], number=1).split("/")[0]
        if (root / top).is_dir():
            return _list_numbered(root, dataset, full)
    layouts = "leftImg8bit/ (Cityscapes), img/ (Synscapes) or rgb/ (UrbanSyn)"
    return [BadFile("layout" if root.is_dir() else "missing", root, "none of the folders", layouts)], [], list


def _attempt(findings: list[BadFile], read: Callable[..., Result], path: str, *args) -> Result | None:
    """``read(path, *args)``; None where it refuses, and then its reason is a finding."""
    try:
        return read(path, *args)
    except BadFile as error:
        findings.append(error)
    except FileNotFoundError:
        findings.append(BadFile("missing", path, "no such file", "a file"))
    except OSError as error:
        findings.append(BadFile("unreadable", path, error.strerror, "a readable file"))
    return None


def _check_count(path: Path, found: int, official: int | None, full: bool | None) -> list[BadFile]:
    complete = official is None or found == official or not (found > official / 2 if full is None else full)
    return [] if complete else [BadFile("count", path, f"{found} images", f"{official}, the full data set")]


def _list_cityscapes(root: Path, full: bool | None) -> tuple[list[BadFile], list[tuple[str, str, str]]]:
    """Findings, and (split, city, image id) of each image."""
    findings, items, manifest = [], [], None
    try:
        cityscapes.dataset_name(root)
        manifest = cityscapes.read_manifest(root)
    except ValueError as error:
        findings.append(BadFile("unfinished", root, str(error), f"a finished tree with {cityscapes.MANIFEST}"))
    for split in cityscapes.SPLITS:
        folder, images = root / "leftImg8bit" / split, cityscapes.list_images(root, split)
        items += [(split, *image) for image in images]
        if manifest is None:
            findings += _check_count(folder, len(images), cityscapes.OFFICIAL_COUNTS[split], full)
        elif len(images) != (expected := manifest["number_of_images"].get(split, 0)):
            expected = f"{expected}, as {cityscapes.MANIFEST} says"
            findings.append(BadFile("count", folder, f"{len(images)} images", expected))
        findings += _unexpected_files(root, split, set(images))
    if not items:
        findings.append(BadFile("missing", root / "leftImg8bit", "no images", f"*{cityscapes.IMAGE_SUFFIX}"))
    return findings, items


def _unexpected_files(root: Path, split: str, images: set[tuple[str, str]]) -> list[BadFile]:
    """Images with other names, and labels without an image."""
    paths = sorted((root / "leftImg8bit" / split).glob("*/*"))
    odd = [p for p in paths if not p.name.endswith(cityscapes.IMAGE_SUFFIX) or len(p.name.split("_")) != 4]
    findings = [BadFile("name", path, path.name, f"CITY_SEQ_FRAME{cityscapes.IMAGE_SUFFIX}") for path in odd]
    for suffix in (cityscapes.INSTANCE_SUFFIX, cityscapes.LABEL_SUFFIX):
        for path in sorted((root / "gtFine" / split).glob(f"*/*{suffix}")):
            if (path.parent.name, path.name.removesuffix(suffix)) not in images:
                findings.append(BadFile("label without image", path, "no image", f"one in leftImg8bit/{split}"))
    return findings


def _check_cityscapes(root: Path, item: tuple[str, str, str]) -> list[BadFile]:
    findings, paths = [], cityscapes.image_paths(root, *item)
    photo = _attempt(findings, png.read, paths["image_path"], "RGB 8")
    if item[0] == "test":
        return findings
    instance_ids = _attempt(findings, cityscapes.read_instance_ids, paths["instance_path"])
    label_ids = _attempt(findings, cityscapes.read_label_ids, paths["label_path"])
    stated = _attempt(findings, cityscapes.read_polygon_size, paths["polygon_path"])
    if label_ids is None:
        return findings
    read = {"image_path": np.shape(photo)[:2], "instance_path": np.shape(instance_ids), "polygon_path": stated}
    for name, size in read.items():
        if size:
            _attempt(findings, png.check_size, paths[name], size, paths["label_path"], label_ids.shape)
    if np.shape(instance_ids) == label_ids.shape:
        differ = int((label_of_instance(instance_ids) != label_ids).sum())
        if differ:
            expected = f"the classes of {paths['label_path']}"
            findings.append(BadFile("maps disagree", paths["instance_path"], f"{differ} pixels of others", expected))
    return findings


def _list_numbered(root: Path, dataset: NumberedDataset, full: bool | None) -> tuple[list[BadFile], list, Callable]:
    findings: list[BadFile] = []
    images: set[int] = set()
    examples = {name: Path(dataset.image_paths(root, 1, name)["image_path"]) for name in dataset.variants}
    variants = [variant for variant, example in examples.items() if example.parent.is_dir()]
    for variant in variants:
        numbers, odd = dataset.scan(root, "image_path", variant)
        expected = f"names like {examples[variant].name}"
        findings += [BadFile("name", path, os.path.basename(path), expected) for path in odd]
        findings += _check_count(examples[variant].parent, len(numbers), dataset.official_count, full)
        images |= set(numbers)
    if not images:
        findings.append(BadFile("missing", root, "no images", " or ".join(map(str, examples.values()))))
    for column in sorted(set(dataset.layout) - {"image_path"}):
        for number in sorted(set(dataset.scan(root, column)[0]) - images):
            path = dataset.image_paths(root, number)[column]
            findings.append(BadFile("label without image", path, "no image", "an image with this number"))
    return findings, sorted(images), functools.partial(_check_numbered, root, dataset, variants)


def _check_numbered(root: Path, dataset: NumberedDataset, variants: list[str], number: int) -> list[BadFile]:
    findings, paths = [], dataset.image_paths(root, number)
    class_map = _attempt(findings, dataset.read_class_map, paths["label_path"])
    instance_map = _attempt(findings, dataset.read_instance_map, paths["instance_path"])
    classes = _attempt(findings, dataset.read_meta, paths["meta_path"])
    for variant in variants:
        path = dataset.image_paths(root, number, variant)["image_path"]
        photo = _attempt(findings, png.read, path, *dataset.color_kinds)
        if photo is not None and class_map is not None:
            _attempt(findings, dataset.check_image_size, path, photo.shape[:2], class_map.shape, variant)
    if class_map is not None and instance_map is not None:
        size = instance_map.shape
        _attempt(findings, png.check_size, paths["instance_path"], size, paths["label_path"], class_map.shape)
        if classes is not None and size == class_map.shape:
            findings += _compare_ids(dataset, paths, set(np.unique(instance_map).tolist()) - {0}, set(classes))
    return findings


def _compare_ids(dataset: NumberedDataset, paths: dict[str, str], in_map: set[int], listed: set[int]) -> list[BadFile]:
    findings = []
    if (unknown := in_map - listed) and dataset.complete_classes is None:
        found = f"{len(unknown)} ids, the first is {min(unknown)}"
        findings.append(BadFile("unknown instance", paths["instance_path"], found, f"ids of {paths['meta_path']}"))
    if hidden := listed - in_map:
        found = f"{len(hidden)} ids, the first is {min(hidden)}"
        findings.append(BadFile("hidden instance", paths["meta_path"], found, "pixels in the map"))
    return findings
