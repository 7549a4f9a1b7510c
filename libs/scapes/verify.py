"""Check a data set on disk, file by file, and report everything that is wrong with it in one table.

Cityscapes-format trees, raw Synscapes and raw UrbanSyn are recognised by their folders. A finding is an ``error`` when
training, evaluation or harmonisation would stop or go wrong on it, and a ``note`` otherwise.
"""

import functools
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scapes import cityscapes, png, synscapes, urbansyn
from scapes.files import BadFile
from scapes.labels import label_of_instance
from scapes.layout import Layout
from scapes.parallel import map_items

SYNTHETIC = {dataset.name: dataset for dataset in (synscapes.DATASET, urbansyn.DATASET)}
"""The synthetic data sets that can be harmonised and verified, by name."""
FOLDERS = {"leftImg8bit": cityscapes.LAYOUT, "img": synscapes.DATASET, "rgb": urbansyn.DATASET}
COLUMNS = ["severity", "kind", "path", "found", "expected"]
NOTES = ("hidden instance",)  # kinds of findings that are no errors


def verify_dataset(root: str | Path, *, full: bool = False, workers: int | None = None) -> pd.DataFrame:
    """Check every file under ``root``; one row per finding, with the :data:`COLUMNS` (text), none if all is well.

    Checked: every image has its labels and every label its image; files are complete and of the right kind; sizes and
    values agree; instance maps agree with label maps (Cityscapes) or metadata (synthetic); harmonised trees are
    finished. ``full``: the number of images must be that of the full data set; else that is checked where more than
    half of them are there. ``workers``: processes, default one per core.
    """
    root = Path(root)
    layout = next((layout for folder, layout in FOLDERS.items() if (root / folder).is_dir()), None)
    if layout is None:
        kind, expected = "layout" if root.is_dir() else "missing", f"one of {', '.join(FOLDERS)}"
        findings, items = [BadFile(kind, root, "none of the folders", expected)], []
    else:
        findings, items = _survey(root, layout, full)
    check = functools.partial(_check_image, root, layout)
    for found in map_items(check, items, workers=workers, description="verifying"):
        findings += found
    rows = [("note" if f.kind in NOTES else "error", f.kind, f.path, str(f.found), str(f.expected)) for f in findings]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def summarize(findings: pd.DataFrame) -> pd.DataFrame:
    """Findings by kind, errors first: the ``number``, three paths (``first``), ``found`` and ``expected`` of one."""
    columns = {"number": ("path", "size"), "first": ("path", lambda path: "\n".join(path.iloc[:3]))}
    columns |= {name: (name, "first") for name in ("found", "expected")}
    return findings.groupby(["severity", "kind"]).agg(**columns).reset_index()


def has_errors(findings: pd.DataFrame) -> bool:
    return bool((findings["severity"] == "error").any())


def _survey(root: Path, layout: Layout, full: bool) -> tuple[list[BadFile], list[tuple[list[str], str]]]:
    """Findings about the tree as a whole, and (groups, key) of each image."""
    findings, items = [], []
    counts, source = layout.groups, "the full data set"
    try:
        cityscapes.dataset_name(root)
        if manifest := cityscapes.read_manifest(root):
            counts, source, full = Counter(manifest["number_of_images"]), f"as {cityscapes.MANIFEST} says", True
    except ValueError as error:
        findings.append(BadFile("unfinished", root, str(error), f"a finished tree with {cityscapes.MANIFEST}"))
    # Groups that share their labels: each split for itself, all variants together.
    splits = "{group}" in layout.files["label_path"]
    for groups in [[split] for split in layout.groups] if splits else [list(layout.groups)]:
        groups = [group for group in groups if os.path.isdir(layout.folder(root, group))] or groups
        images = set()
        for group in groups:
            keys, odd = layout.scan(root, group)
            images |= set(keys)
            expected = f"names like {layout.paths(root, group, layout.example)['image_path']}"
            findings += [BadFile("name", path, os.path.basename(path), expected) for path in odd]
            official = counts[group]
            if official not in (None, len(keys)) and (full or len(keys) > official / 2):
                found, expected = f"{len(keys)} images", f"{official}, {source}"
                findings.append(BadFile("count", layout.folder(root, group), found, expected))
        for column in layout.readers:
            for key in sorted(set(layout.scan(root, groups[0], column)[0]) - images):
                paths = layout.paths(root, groups[0], key)
                findings.append(BadFile("label without image", paths[column], "no image", paths["image_path"]))
        items += [(groups, key) for key in sorted(images)]
    if not items:
        findings.append(BadFile("missing", root, "no images", layout.files["image_path"]))
    return findings, items


def _check_image(root: Path, layout: Layout, image: tuple[list[str], str]) -> list[BadFile]:
    """Read all files of an image and compare what they hold."""
    (groups, key), findings = image, []
    attempt = functools.partial(_attempt, findings)
    paths = layout.paths(root, groups[0], key)
    # The labels of Cityscapes' test split are not public.
    readers = {} if groups == ["test"] else layout.readers
    labels = {column: attempt(read, paths[column]) for column, read in readers.items()}
    # (Height, width) of all that should agree with the class map, by path and group.
    sizes = {(paths[column], ""): labels[column] for column in labels if column == "polygon_path"}
    sizes[paths["instance_path"], ""] = np.shape(labels.get("instance_path"))
    for group in groups:
        path = layout.paths(root, group, key)["image_path"]
        sizes[path, group] = np.shape(attempt(png.read, path, *layout.color_kinds))[:2]
    if (class_map := labels.get("label_path")) is not None:
        for (path, group), size in sizes.items():
            if size:
                attempt(layout.check_image_size, path, size, class_map.shape, group)
        if np.shape(labels["instance_path"]) == class_map.shape:
            findings += _compare(layout, paths, labels)
    return findings


def _attempt(findings: list[BadFile], read: Callable[..., Any], path: str, *args) -> Any:
    """``read(path, *args)``; None where it refuses, and then its reason is a finding."""
    try:
        return read(path, *args)
    except BadFile as error:
        findings.append(error)
    except OSError as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        findings.append(BadFile(kind, path, error.strerror, "a readable file"))
    return None


def _compare(layout: Layout, paths: dict[str, str], labels: dict[str, Any]) -> list[BadFile]:
    """Instance map against class map (Cityscapes) or metadata (the synthetic data sets)."""
    instance_path, instance_map = paths["instance_path"], labels["instance_path"]
    if "meta_path" not in labels:
        differ = int((label_of_instance(instance_map) != labels["label_path"]).sum())
        expected = f"the classes of {paths['label_path']}"
        return [BadFile("maps disagree", instance_path, f"{differ} pixels of others", expected)] if differ else []
    if labels["meta_path"] is None:
        return []
    in_map, listed = set(np.unique(instance_map).tolist()) - {0}, set(labels["meta_path"])
    faults = [("hidden instance", paths["meta_path"], listed - in_map, "pixels in the map")]
    if layout.complete_classes is None:
        faults.append(("unknown instance", instance_path, in_map - listed, f"ids of {paths['meta_path']}"))
    return [BadFile(kind, path, f"{len(i)} ids, the first is {min(i)}", text) for kind, path, i, text in faults if i]
