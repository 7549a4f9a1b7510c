"""Section 3.2 for a whole data set: a synthetic one, or other streets, written out in the format of Cityscapes.

The tree is ``leftImg8bit/SPLIT/DATASET/DATASET_ID_000000_leftImg8bit.png`` (a link or a copy; of a JPEG its pixels; in
ID, numbers have six digits, and ~ stands for _), and under ``gtFine`` ``*_instanceIds.png``, ``*_labelIds.png`` and
``*_polygons.json``. Detectron2 takes the image size from that last file. It has **no polygons** (no key ``objects``, so
that a tool that wants them fails instead of finding none) but the counts of the image, and what the metadata say of its
instances. Where it stands, the image is done. The manifest ``harmonized.json`` comes after the last image.
"""

import contextlib
import functools
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

import synlib
from scapes import cityscapes, png
from scapes.files import FULL, check_request, fill, read_json, replacing, write_json
from scapes.instances import combine, fingerprint, image_digest
from scapes.labels import INSTANCE_BASE, NAMES
from scapes.parallel import map_items
from scapes.streets import STREETS
from scapes.synthetic import DETAILS, SYNTHETIC
from synlib.curation.rider_rule import DECIDED, DEFAULT_POLICY, Policy, harmonize_maps
from synlib.section import check

DATASETS = SYNTHETIC | STREETS


def harmonize_dataset(
    source: str | Path, target: str | Path, *, dataset: str = "synscapes", policy: Policy = DEFAULT_POLICY,
    variant: str = "rgb", splits: Mapping[str, Iterable[int | str]] | None = None, images: str = "link",
    cache_dir: str | Path | None = None, workers: int | None = None,
) -> dict:  # fmt: skip
    """Write ``source``, a raw data set of :data:`DATASETS`, to ``target`` in Cityscapes format; returns the manifest.

    variant: which of its images; the labels are enlarged to the size of larger ones. splits: what
    :func:`scapes.synthetic.split_ids` gives; default: its rule. images: ``link`` (relative symbolic links; copies where
    there are none) or ``copy``. cache_dir: as of :func:`scapes.instances.fingerprint`. workers: default one per core.

    The manifest records options, numbers of images, counts of :func:`~synlib.curation.rider_rule.harmonize_maps` and of
    the instances ``with_occlusion``, ``with_distance``, version, and fingerprint of the input. Run again, it continues;
    a finished tree is checked without opening its images. While another process harmonises to it, this one waits.

    Raises ``FileExistsError`` if ``target`` holds something else or was made from other input or with other options,
    ``FileNotFoundError`` if an image of the finished tree is gone or a link to nothing (the source was moved) or the
    source is in another format, and ``ValueError``, after all have been tried, naming the images that failed.
    """
    source, target = Path(source), Path(target)
    check(images in ("link", "copy"), images, "link or copy", "images")
    check(dataset in DATASETS, dataset, f"one of {', '.join(DATASETS)}", "dataset")
    table = DATASETS[dataset].read_images(source, variant, splits)
    names = [image_id.zfill(6) if image_id.isdigit() else image_id.replace("_", "~") for image_id in table["image_id"]]
    keys = [f"{dataset}/{dataset}_{name}_000000" for name in names]
    placed = [cityscapes.LAYOUT.paths(target, split, key) for split, key in zip(table["split"], keys, strict=True)]
    request = {"dataset": dataset, "variant": variant, "images": images, "policy": policy.to_dict() | DECIDED}
    request["number_of_images"] = table["split"].value_counts().sort_index().to_dict()
    request["image_list"] = combine(table["split"] + "/" + table["image_id"])
    one = functools.partial(_try_one, policy=policy, mode=images, variant=variant)
    work = functools.partial(_harmonize_all, table.assign(placed=placed), target, one, workers)
    manifest = fill(target, request, work, manifest=cityscapes.MANIFEST, partial=cityscapes.PARTIAL_MANIFEST)
    found = _fingerprint(table, [paths["image_path"] for paths in placed], target, cache_dir)
    check_request(target, manifest, {"source_fingerprint": found})
    return manifest


def count_table(manifest: dict) -> pd.DataFrame:
    """The manifest's counts: one row per event (``before``, ``after``, ...), one column per class."""
    return pd.DataFrame(manifest["counts"]).T.fillna(0).astype(int)


def _harmonize_all(table: pd.DataFrame, target: Path, one: Callable, workers: int | None) -> dict:
    """Call ``one`` for each image; returns what the manifest says of the result."""
    counts, digests, failures = Counter(), [], []
    for found, digest, failure in map_items(one, table.to_dict("records"), workers=workers, description="harmonising"):
        counts.update({(event, name): number for event in found for name, number in found[event].items()})
        digests.append(digest)
        failures += [failure] if failure else []
    if failures:
        shown = "\n  ".join(failures[:10])
        raise ValueError(f"{len(failures)} of {len(table)} images could not be harmonised:\n  {shown}")
    first = table.iloc[0]
    linked = one.keywords["mode"] == "link" and first["image_path"].endswith(".png")
    if linked and not os.path.islink(first["placed"]["image_path"]):
        tqdm.write(f"{target}: images are copied: this file system has no symbolic links", file=sys.stderr)
    os.sync()  # the images are on disk before the manifest says so
    return {"synlib_version": synlib.__version__, "source_fingerprint": combine(digests), "counts": _nested(counts)}


def _nested(counts: Counter) -> dict[str, dict[str, int]]:
    events = sorted({event for event, _ in counts})
    return {event: {name: counts[key, name] for key, name in sorted(counts) if key == event} for event in events}


def _fingerprint(table: pd.DataFrame, placed: list[str], target: Path, cache_dir: str | Path | None) -> str:
    """Of the source, with the images where they were ``placed``: so it is seen that none is gone or a dead link."""
    try:
        if converted := not table["image_path"].iloc[0].endswith(".png"):
            for path in placed:
                os.stat(path)
        return fingerprint(table if converted else table.assign(image_path=placed), cache_dir, progress=True)
    except FileNotFoundError as error:
        path = error.filename
        what = f"links to {os.readlink(path)}, which does not exist" if os.path.islink(path) else "missing"
        raise FileNotFoundError(f"{path}: {what}. Put it back, or remove {target} and harmonise again") from error


def _try_one(image: dict, **options) -> tuple[dict, str, str]:
    """Counts, digest of the input and, where it failed, the reason."""
    try:
        digest = image_digest(image)
        return harmonize_one(image, digest, **options), digest, ""
    except (ValueError, OSError) as error:
        if getattr(error, "errno", None) in FULL:
            raise  # and so would all other images
        return {}, "", str(error)


def harmonize_one(image: dict, digest: str, *, policy: Policy, mode: str, variant: str) -> dict:
    """Write one row of the raw image table to its paths ``placed``, unless it is there; returns its counts.

    ``digest``: of the input, kept. Raises ``BadFile``, ``ValueError`` or ``OSError`` naming the file that is at fault.
    """
    dataset, paths = DATASETS[image["dataset"]], image["placed"]
    if (done := _counts_if_complete(paths, digest)) is not None:
        return done
    class_map, instance_map, classes = dataset.read_labels(image)
    photo = None if image["image_path"].endswith(".png") else dataset.read_photo(image["image_path"])
    height, width = png.read_header(image["image_path"])[:2] if photo is None else photo.shape[:2]
    dataset.check_image_size(image["image_path"], (height, width), class_map.shape, variant)
    try:
        instance_ids, label_ids, counts = harmonize_maps(class_map, instance_map, classes, policy)
    except ValueError as error:
        raise ValueError(f"{image['instance_path']}: {error}") from error
    known = _details(image, instance_ids, instance_map)
    for criterion, values in known.items():
        counts.update((f"with_{criterion}", NAMES[int(i) // INSTANCE_BASE]) for i in values)
    for name, label_map in {"instance_path": instance_ids, "label_path": label_ids}.items():
        label_map = cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)  # often a copy
        png.write(paths[name], label_map, sync=False)
    if photo is None:
        _place_image(Path(image["image_path"]), Path(paths["image_path"]), mode)
    else:
        png.write(paths["image_path"], photo, sync=False)
    content = {"imgHeight": height, "imgWidth": width, "source_digest": digest, "counts": _nested(counts)}
    write_json(paths["polygon_path"], content | {"details": known}, sync=False)
    return content["counts"]


def _details(image: dict, instance_ids: np.ndarray, instance_map: np.ndarray) -> dict[str, dict[str, float]]:
    """Criterion -> harmonised instance id -> what the metadata say of the instance that it is, or is a part of."""
    if image["dataset"] not in DETAILS:
        return {}
    source = np.zeros(1 << 16, instance_map.dtype)  # all pixels of a harmonised instance are of one in the source
    source[instance_ids] = instance_map
    ids = {str(i): str(source[i]) for i in np.flatnonzero(source).tolist() if i >= INSTANCE_BASE}

    def parse(meta: dict | list) -> dict[str, dict[str, float]]:
        known = DETAILS[image["dataset"]](meta).items()
        return {name: {i: float(own[j]) for i, j in ids.items() if j in own} for name, own in known}

    return read_json(image["meta_path"], "metadata", "numbers as occlusion and distance, or none", parse)


def check_details(root: str | Path, criterion: str) -> None:
    """Raise ValueError unless the harmonised tree ``root`` has what a ``criterion`` of removal needs of each."""
    counts = (cityscapes.read_manifest(root) or {}).get("counts", {})
    have, all_ = (sum(counts.get(event, {}).values()) for event in (f"with_{criterion}", "after"))
    remedy = "if it was made by an earlier version, delete it and it is made again; else the metadata have none"
    check(0 < have == all_, f"{criterion} of {have} of {all_} instances", f"of all; {remedy}", str(root))


def with_details(instances: pd.DataFrame, root: str | Path, criterion: str) -> pd.DataFrame:
    """``instances`` of the harmonised tree ``root`` with a column ``criterion``, NaN for groups. Raises BadFile."""
    found = pd.Series(index=instances.index, dtype=float)
    for (split, *key), ids in instances[~instances["crowd"]].groupby(["split", "dataset", "image_id"])["instance_id"]:
        path = cityscapes.LAYOUT.path(root, split, "/".join(key), "polygon_path")
        own = read_json(path, criterion, "one number per instance", lambda content: {**content["details"][criterion]})
        found[ids.index] = [own.get(str(i), np.nan) for i in ids]
    return instances.assign(**{criterion: found})


def _counts_if_complete(paths: dict[str, str], digest: str) -> dict | None:
    """The counts of an image that is done; None if a file is missing, not whole (loss of power), or of other input."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        for name in ("instance_path", "label_path", "image_path"):
            png.read_ends(paths[name])
        content = json.loads(Path(paths["polygon_path"]).read_bytes())
        return content["counts"] if content["source_digest"] == digest else None
    return None


def _place_image(source: Path, path: Path, mode: str) -> None:
    with replacing(path, sync=False) as temporary:
        if mode == "link":
            with contextlib.suppress(OSError):  # a file system without links
                os.symlink(os.path.relpath(source.resolve(), path.parent.resolve()), temporary)
        if not temporary.is_symlink():
            shutil.copyfile(source, temporary)
