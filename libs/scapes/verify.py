"""Check a data set on disk, file by file, and report everything that is wrong with it in one table.

Cityscapes-format trees (harmonised ones too), raw Synscapes and raw UrbanSyn are recognised by their folders. A finding
is an ``error`` when training, evaluation or harmonisation would stop or go wrong on it, and a ``note`` otherwise.
"""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scapes import cityscapes, png
from scapes.files import BadFile
from scapes.labels import INSTANCE_BASE, INSTANCE_LABEL_IDS, MAX_LABEL_ID, label_of_instance
from scapes.numbered import NumberedDataset
from scapes.parallel import map_items
from scapes.synthetic import SYNTHETIC

PNG_KINDS = {"image_path": ("RGB 8",), "label_path": ("gray 8",), "instance_path": ("gray 16",)}
"""Kinds of PNG in a Cityscapes tree."""


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
    """Check every file under ``root``; one row a finding, with the columns of :class:`Finding`, none if all is well.

    Checked: every image has its labels and every label its image; PNGs are complete and of the right kind (bit depth,
    channels); sizes agree; values are label ids, or instance ids of classes that have instances; in Cityscapes trees
    label and instance maps agree and the polygon files state their size; in Synscapes and UrbanSyn the ids in the map
    are those in the metadata and their classes are known; harmonised trees are finished. ``full``: the number of images
    is that of the full data set (default: checked where more than half of them are there).

    Never stops at a bad file. ``workers``: processes, default one a core.
    """
    root = Path(root)
    if not root.is_dir():
        return _table([_error("missing", root, "no such folder", "the root folder of a data set")])
    plan = _find_plan(root, full)
    if plan is None:
        layouts = "leftImg8bit/ (Cityscapes), img/ (Synscapes) or rgb/ (UrbanSyn)"
        return _table([_error("layout", root, "none of the folders", layouts)])
    findings, items, check = plan
    for found in map_items(check, items, workers=workers, description="verifying" if progress else ""):
        findings += found
    return _table(findings)


def summarize(findings: pd.DataFrame, paths: int = 3) -> pd.DataFrame:
    """Findings by kind, errors first.

    Columns: ``severity``, ``kind``, ``number``, ``first`` (the first ``paths`` paths, one a line), and ``found`` and
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


def _table(findings: list[Finding]) -> pd.DataFrame:
    return pd.DataFrame(findings, columns=list(Finding._fields), dtype=str)


def _error(kind: str, path: str | Path, found: object, expected: object) -> Finding:
    return Finding("error", kind, str(path), str(found), str(expected))


def _attempt(findings: list[Finding], path: str | Path, function: Callable, *args):
    """``function(path, *args)``, or None and a finding if the file is bad."""
    try:
        return function(path, *args)
    except BadFile as error:
        findings.append(_error(error.kind, error.path, error.found, error.expected))
    except FileNotFoundError:
        findings.append(_error("missing", path, "no such file", "a file"))
    except OSError as error:
        findings.append(_error("unreadable", path, error.strerror, "a readable file"))
    return None


def _read_pngs(findings: list[Finding], paths: dict[str, Path], kinds: dict[str, tuple[str, ...]]) -> dict:
    """Column -> pixels of those PNGs that are good; adds findings for the others."""
    images = {column: _attempt(findings, paths[column], png.read, *kinds[column]) for column in kinds}
    return {column: image for column, image in images.items() if image is not None}


def _check_sizes(findings: list[Finding], paths: dict[str, Path], images: dict, columns: list[str]) -> bool:
    """Whether all ``columns`` were read and have the size of the label map."""
    wrong = False
    for column in columns:
        if column in images and "label_path" in images and images[column].shape[:2] != images["label_path"].shape:
            size = images["label_path"].shape
            findings.append(_error("size", paths[column], images[column].shape[:2], f"{size} as {paths['label_path']}"))
            wrong = True
    return not wrong and all(column in images for column in [*columns, "label_path"])


def _check_count(findings: list[Finding], path: Path, found: int, official: int | None, full: bool | None) -> None:
    taken_for_full = full if full is not None else official is not None and found > official / 2
    if taken_for_full and official is not None and found != official:
        findings.append(_error("count", path, f"{found} images", f"{official}, the full data set"))


def _find_plan(root: Path, full: bool | None) -> tuple[list[Finding], list, Callable] | None:
    """What to check: findings about the tree as a whole, and a function to call on each item."""
    if (root / "leftImg8bit").is_dir():
        return _plan_cityscapes(root, full)
    for dataset in SYNTHETIC.values():
        if any((root / example.split("/")[0]).is_dir() for example in _image_folders(dataset).values()):
            return _plan_numbered(root, dataset, full)
    return None


def _image_folders(dataset: NumberedDataset) -> dict[str, str]:
    """Variant -> path of its image 1, below the root."""
    return {variant: dataset.layout["image_path"].format(variant=variant, number=1) for variant in dataset.variants}


def _plan_cityscapes(root: Path, full: bool | None) -> tuple[list[Finding], list, Callable]:
    findings: list[Finding] = []
    harmonized = None
    try:
        cityscapes.dataset_name(root)
        harmonized = cityscapes.read_manifest(root)
    except ValueError as error:
        findings.append(_error("unfinished", root, error, f"a finished tree with {cityscapes.MANIFEST}"))
    items = []
    for split in cityscapes.SPLITS:
        folder = root / "leftImg8bit" / split
        found = cityscapes.list_images(root, split) if folder.is_dir() and any(folder.glob("*/*.png")) else []
        items += [(split, city, image_id) for city, image_id in found]
        if harmonized is None:
            _check_count(findings, folder, len(found), cityscapes.OFFICIAL_COUNTS[split], full)
        elif len(found) != harmonized["number_of_images"].get(split, 0):
            expected = f"{harmonized['number_of_images'].get(split, 0)}, as {cityscapes.MANIFEST} says"
            findings.append(_error("count", folder, f"{len(found)} images", expected))
        findings += _unexpected_cityscapes_files(root, split, set(found))
    if not items:
        findings.append(_error("missing", root / "leftImg8bit", "no images", f"*{cityscapes.IMAGE_SUFFIX}"))
    return findings, items, functools.partial(_check_cityscapes_image, root)


def _unexpected_cityscapes_files(root: Path, split: str, images: set[tuple[str, str]]) -> list[Finding]:
    findings = []
    for path in sorted((root / "leftImg8bit" / split).glob("*/*")):
        if not path.name.endswith(cityscapes.IMAGE_SUFFIX) or len(path.name.split("_")) != 4:
            findings.append(_error("name", path, path.name, f"CITY_SEQ_FRAME{cityscapes.IMAGE_SUFFIX}"))
    for suffix in (cityscapes.INSTANCE_SUFFIX, cityscapes.LABEL_SUFFIX):
        for path in sorted((root / "gtFine" / split).glob(f"*/*{suffix}")):
            if (path.parent.name, path.name.removesuffix(suffix)) not in images:
                findings.append(_error("label without image", path, "no image", f"its image in leftImg8bit/{split}"))
    return findings


def _check_cityscapes_image(root: Path, item: tuple[str, str, str]) -> list[Finding]:
    split, _, _ = item
    paths = cityscapes.image_paths(root, *item)
    findings: list[Finding] = []
    if split == "test":
        _read_pngs(findings, paths, {"image_path": PNG_KINDS["image_path"]})
        return findings
    images = _read_pngs(findings, paths, PNG_KINDS)
    polygon_size = _attempt(findings, paths["polygon_path"], _read_polygon_size)
    if polygon_size is not None and "label_path" in images and polygon_size != images["label_path"].shape:
        expected = f"{images['label_path'].shape} as {paths['label_path']}"
        findings.append(_error("size", paths["polygon_path"], polygon_size, expected))
    _check_label_values(findings, paths, images)
    if "instance_path" in images:
        values = np.unique(images["instance_path"])
        labels = label_of_instance(values)
        bad = (labels > MAX_LABEL_ID) | ((values >= INSTANCE_BASE) & ~np.isin(labels, INSTANCE_LABEL_IDS))
        if bad.any():
            expected = f"label ids 0..{MAX_LABEL_ID} or label id * {INSTANCE_BASE} + n of a class with instances"
            findings.append(_error("value", paths["instance_path"], _first(values[bad]), expected))
    if _check_sizes(findings, paths, images, ["image_path", "instance_path"]):
        differ = int((label_of_instance(images["instance_path"]) != images["label_path"]).sum())
        if differ:
            expected = f"the classes of {paths['label_path']}"
            findings.append(
                _error("maps disagree", paths["instance_path"], f"{differ} pixels of another class", expected)
            )
    return findings


def _read_polygon_size(path: Path) -> tuple[int, int]:
    """Height and width that a ``*_polygons.json`` states; Detectron2 takes the size of the image from there."""
    expected = "JSON with imgHeight and imgWidth"
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadFile("polygons", path, f"no JSON ({error})", expected) from error
    if not isinstance(content, dict) or not {"imgHeight", "imgWidth"} <= content.keys():
        raise BadFile("polygons", path, repr(content)[:80], expected)
    return content["imgHeight"], content["imgWidth"]


def _plan_numbered(root: Path, dataset: NumberedDataset, full: bool | None) -> tuple[list[Finding], list, Callable]:
    findings: list[Finding] = []
    variants = [name for name, example in _image_folders(dataset).items() if (root / example).parent.is_dir()]
    images: set[int] = set()
    for variant in variants:
        example = root / _image_folders(dataset)[variant]
        numbers, odd = dataset.scan(root, "image_path", variant)
        findings += [_error("name", path, path.name, f"names like {example.name}") for path in odd]
        _check_count(findings, example.parent, len(numbers), dataset.official_count, full)
        images |= set(numbers)
    if not images:
        findings.append(_error("missing", root, "no images", " or ".join(_image_folders(dataset).values())))
    for column in sorted(set(dataset.layout) - {"image_path"}):
        for number in sorted(set(dataset.scan(root, column)[0]) - images):
            path = dataset.image_paths(root, number)[column]
            findings.append(_error("label without image", path, "no image", "an image with this number"))
    return findings, sorted(images), functools.partial(_check_numbered_image, root, dataset.name, variants)


def _check_numbered_image(root: Path, name: str, variants: list[str], number: int) -> list[Finding]:
    dataset = SYNTHETIC[name]
    findings: list[Finding] = []
    paths = dataset.image_paths(root, number)
    labels = _read_pngs(findings, paths, {c: dataset.png_kinds[c] for c in ("label_path", "instance_path")})
    for variant in variants:
        path = dataset.image_paths(root, number, variant)["image_path"]
        image = _attempt(findings, path, png.read, *dataset.png_kinds["image_path"])
        if image is not None and "label_path" in labels:
            check = functools.partial(dataset.check_image_size, variant)
            _attempt(findings, path, check, image.shape[:2], labels["label_path"].shape)
    classes = _attempt(findings, paths["meta_path"], dataset.read_meta)
    if _check_sizes(findings, paths, labels, ["instance_path"]):
        _check_numbered_labels(findings, dataset, paths, labels, classes)
    return findings


def _check_numbered_labels(
    findings: list[Finding], dataset: NumberedDataset, paths: dict[str, Path], labels: dict, classes: dict | None
) -> None:
    class_map, instance_map = dataset.decode(labels["label_path"], labels["instance_path"])
    _check_label_values(findings, paths, {"label_path": class_map})
    if classes is None:
        return
    in_map = set(np.unique(instance_map).tolist()) - {0}
    unknown, hidden = sorted(in_map - classes.keys()), sorted(classes.keys() - in_map)
    if unknown and dataset.complete_classes is None:
        expected = f"the ids of {paths['meta_path']}"
        findings.append(_error("unknown instance", paths["instance_path"], f"ids {_first(unknown)}", expected))
    if hidden:
        found = f"ids {_first(hidden)} without pixels"
        findings.append(Finding("note", "hidden instance", str(paths["meta_path"]), found, "pixels in the map"))


def _check_label_values(findings: list[Finding], paths: dict[str, Path], images: dict) -> None:
    if "label_path" in images and images["label_path"].max() > MAX_LABEL_ID:
        values = np.unique(images["label_path"])
        found = _first(values[values > MAX_LABEL_ID])
        findings.append(_error("value", paths["label_path"], found, f"label ids 0..{MAX_LABEL_ID}"))


def _first(values: Sequence) -> str:
    """The first of some values and how many there are."""
    return f"{values[0]}" + (f" and {len(values) - 1} others" if len(values) > 1 else "")
