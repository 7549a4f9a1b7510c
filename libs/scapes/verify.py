"""Check a data set on disk, file by file, and report everything that is wrong with it in one table.

Trees as of Cityscapes, raw Synscapes, UrbanSyn, BDD100K and Mapillary Vistas are recognised by their folders. The rules
are the readers': what training, evaluation or harmonisation would stop or go wrong on is an ``error``, else a ``note``.
"""

import functools
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scapes import cityscapes
from scapes.cityscapes import Layout, formats_in, layouts, nearby
from scapes.files import BadFile
from scapes.labels import label_of_instance
from scapes.parallel import map_items
from scapes.streets import STREETS
from scapes.synthetic import SYNTHETIC, split_images

COLUMNS = ["severity", "kind", "path", "found", "expected"]
NOTES = ("label without image", "part")  # kinds that are no errors


def verify_dataset(
    root: str | Path, *, full: bool = False, part: bool = False, workers: int | None = None
) -> pd.DataFrame:
    """Check every file under ``root``; one row per finding, with the :data:`COLUMNS` (text), none if all is well.

    Checked: ``train`` and ``val`` have images, and every image its labels; files are complete and of the right kind;
    sizes and values agree; instance maps agree with label maps (Cityscapes) or metadata (synthetic); harmonised trees
    are finished; no image of the full data set is missing, where more than half of them are there or with ``full``.
    ``part``: neither that nor an empty split is an error. ``workers``: processes, default one per core.
    """
    if formats := formats_in(root):
        layout = (SYNTHETIC | STREETS).get(formats[0], cityscapes.LAYOUT)
        findings, items = _survey(root, layout, full, part)
        check = functools.partial(_check_image, root, layout)
        for found in map_items(check, items, workers=workers, description="verifying"):
            findings += found
    else:
        found = "none of the folders" if os.path.isdir(root) else "no such folder"
        known = ", ".join(layout["own_folder"] for layout in layouts().values())
        findings = [BadFile("missing", root, found, f"one of {known}{nearby(root)}")]
    rows = [("note" if f.kind in NOTES else "error", f.kind, f.path, f.found, f.expected) for f in findings]
    rows = [[str(field).encode(errors="backslashreplace").decode() for field in row] for row in rows]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def summarize(findings: pd.DataFrame) -> str:
    """Findings by kind, errors first, as text: how many there are, what one found and expected, and three paths."""
    lines = []
    for (severity, kind), rows in findings.groupby(["severity", "kind"]):
        first = rows.iloc[0]
        lines.append(f"{severity}: {kind} ({len(rows)}): found {first['found']}, expected {first['expected']}")
        lines += [f"  {path}" for path in rows["path"].iloc[:3]]
    return "\n".join(lines)


def _survey(root: Path, layout: Layout, full: bool, part: bool) -> tuple[list[BadFile], list[tuple[list[str], str]]]:
    """Findings about the tree as a whole, and (groups that have it, key) of each image."""
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
        of_group = {group: layout.scan(root, group)[0].keys() for group in groups}
        images = dict.fromkeys(sorted(set().union(*of_group.values())))
        for group in groups if images or groups != ["test"] else []:
            if of_group[group] or not images:
                _attempt(findings, layout.keys, root, group)
            if (count := len(of_group[group])) < len(images):
                findings.append(BadFile("part", layout.folder(root, group), f"{count} images", f"{len(images)}"))
        if images and not splits:
            _attempt(findings, split_images, root, [int(key) for key in images])
        official = counts[groups[0]]
        if not part and official not in (None, len(images)) and (full or len(images) > official / 2):
            found, expected = f"{len(images)} images", f"{official}, {source}"
            findings.append(BadFile("count", layout.folder(root, groups[0]), found, expected))
        for column in layout.readers:
            labels = layout.scan(root, groups[0], column)[0]
            for key in sorted(labels.keys() - images.keys()):
                image = layout.paths(root, groups[0], key)["image_path"]
                findings.append(BadFile("label without image", labels[key], "no image", image))
        items += [([group for group in groups if key in of_group[group]], key) for key in images]
    for finding in findings if part and items else []:
        finding.kind = finding.kind.replace("missing", "part")
    return findings, items


def _check_image(root: Path, layout: Layout, image: tuple[list[str], str]) -> list[BadFile]:
    """Read all files of an image and compare what they hold."""
    (groups, key), findings = image, []
    paths = layout.paths(root, groups[0], key)
    # The labels of Cityscapes' test split are not public.
    labels = None if groups == ["test"] else _attempt(findings, layout.read_labels, paths)
    for group in groups:
        path = layout.paths(root, group, key)["image_path"]
        photo = _attempt(findings, layout.read_photo, path)
        if labels and photo is not None:
            _attempt(findings, layout.check_image_size, path, photo.shape[:2], labels[0].shape, group)
    if labels:
        _attempt(findings, _compare, layout, paths, *labels)
    return findings


def _attempt(findings: list[BadFile], read: Callable[..., Any], *args) -> Any:
    """``read(*args)``; None where it refuses, and then its reason is a finding."""
    try:
        return read(*args)
    except BadFile as error:
        findings.append(error)
    except OSError as error:
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        expected = "a readable file" if error.strerror else "images of train and of val, or --part"
        findings.append(BadFile(kind, error.filename or args[0], error.strerror or str(error), expected))
    return None


def _compare(layout: Layout, paths: dict[str, str], class_map, instance_map, classes=None) -> None:
    """Raise ``BadFile`` unless an instance map agrees with its class map (Cityscapes) or metadata (synthetic)."""
    path = paths["instance_path"]
    if classes is None:
        if differ := int((label_of_instance(instance_map) != class_map).sum()):
            raise BadFile("maps disagree", path, f"{differ} pixels of others", f"the classes of {paths['label_path']}")
    elif layout.lists_all and (unknown := set(np.unique(instance_map).tolist()) - {0, *classes}):
        found = f"{len(unknown)} ids, the first is {min(unknown)}"
        raise BadFile("unknown instance", path, found, f"ids of {paths['meta_path']}")
