"""Harmonise a synthetic data set: written out as a Cityscapes-format data set that every Cityscapes tool reads.

The tree is ``leftImg8bit/SPLIT/DATASET/DATASET_NNNNNN_000000_leftImg8bit.png`` (a link or a copy), beside it under
``gtFine`` ``*_instanceIds.png`` and ``*_labelIds.png``, and ``*_polygons.json``. Readers such as Detectron2's
``load_cityscapes_instances`` want that last file to exist, and take the image size from it. It has **no polygons** (no
key ``objects``, so that a tool that wants them fails instead of finding no object), but the counts of the image, and is
written last: where it stands, the image is done. The manifest ``harmonized.json`` comes after the last image.
"""

import dataclasses
import functools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

import synlib
from scapes import cityscapes, png, synscapes
from scapes.files import BadFile, check_request, fill, replacing, write_json
from scapes.instances import combine, fingerprint, image_digest
from scapes.labels import INSTANCE_BASE
from scapes.numbered import NumberedDataset
from scapes.parallel import map_items
from scapes.verify import SYNTHETIC
from synlib.curation.rider_rule import DEFAULT_POLICY, Policy, harmonize_maps

IMAGE_MODES = ("link", "copy")


def harmonize_dataset(
    source: str | Path,
    target: str | Path,
    *,
    dataset: str = "synscapes",
    policy: Policy = DEFAULT_POLICY,
    variant: str = "rgb",
    splits: dict[str, Iterable[int | str]] | None = None,
    images: str = "link",
    cache_dir: str | Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict:
    """Write ``source``, a raw synthetic data set, to ``target`` in Cityscapes format; returns the manifest.

    dataset: ``synscapes``, or another name in :data:`scapes.verify.SYNTHETIC`. variant: which of its
    images, e.g. ``rgb-2k``: the labels are then enlarged to the size of the images (nearest neighbour). splits:
    ``{"train": ids, "val": ids}``; default: the rule of :mod:`scapes.numbered`. images: ``link`` (relative
    symbolic links) or ``copy``. cache_dir: as of :func:`scapes.instances.fingerprint`. workers: processes, default one
    per core.

    The manifest records options, image numbers, counts before and after by class (see
    :func:`~synlib.curation.rider_rule.harmonize_maps`), version, and the fingerprint of the input files. Run again
    after an interruption, it continues; run again on a finished tree, it returns the manifest at once. While another
    process harmonises to ``target``, this one waits.

    Raises ``FileExistsError`` if ``target`` holds something else or was made with other options, ``FileNotFoundError``
    if it is finished but an image in it is gone or a link to nothing (the source was moved), and ``ValueError`` for a
    source that is harmonised already or, after all images have been tried, naming those that failed (no manifest is
    written then).
    """
    source, target = Path(source), Path(target)
    if images not in IMAGE_MODES:
        raise ValueError(f"images={images!r}: expected one of {', '.join(IMAGE_MODES)}")
    if dataset not in SYNTHETIC:
        raise ValueError(f"unknown data set {dataset!r}, expected one of {', '.join(SYNTHETIC)}")
    if cityscapes.read_manifest(source) is not None:
        raise ValueError(f"{source}: harmonised already ({cityscapes.MANIFEST} stands there); use it as it is")
    table = _image_table(source, SYNTHETIC[dataset], variant, splits)
    request = {
        "dataset": dataset,
        "variant": variant,
        "images": images,
        "policy": dataclasses.asdict(policy),
        "number_of_images": {split: int(n) for split, n in table["split"].value_counts().sort_index().items()},
        "image_list": combine(table["split"] + "/" + table["image_id"]),
    }
    finished = cityscapes.read_manifest(target) is not None
    one = functools.partial(_try_one, target=target, policy=policy, mode=images, variant=variant)
    work = functools.partial(_harmonize_all, table, target, one, workers, "harmonising" if progress else "")
    manifest = fill(target, request, work, manifest=cityscapes.MANIFEST, partial=cityscapes.PARTIAL_MANIFEST)
    if finished:
        check_request(target, manifest, {"source_fingerprint": fingerprint(table, cache_dir, progress=progress)})
        _check_images(target, table)
    return manifest


def _harmonize_all(table: pd.DataFrame, target: Path, one: Callable, workers: int | None, description: str) -> dict:
    """Call ``one`` for each image; returns what the manifest says of the result."""
    counts, digests, failures = Counter(), [], []
    for found, digest, failure in map_items(one, table.to_dict("records"), workers=workers, description=description):
        counts.update(found)
        digests.append(digest)
        failures += [failure] if failure else []
    if failures:
        shown = "\n  ".join(failures[:10])
        raise ValueError(f"{len(failures)} of {len(table)} images could not be harmonised:\n  {shown}")
    for leftover in target.rglob(".*.tmp*"):  # of a run that was killed; some readers list every file of a folder
        leftover.unlink()
    os.sync()  # the images are on disk before the manifest says so
    return {"synlib_version": synlib.__version__, "source_fingerprint": combine(digests), "counts": _nested(counts)}


def count_table(manifest: dict) -> pd.DataFrame:
    """The manifest's counts: one row per event (``before``, ``after``, ...), one column per class."""
    return pd.DataFrame(manifest["counts"]).T.fillna(0).astype(int)


def _image_table(source: Path, dataset: NumberedDataset, variant: str, splits: dict | None) -> pd.DataFrame:
    if splits is None:
        return dataset.read_images(source, variant=variant)
    parts = [dataset.read_images(source, split, variant=variant, ids=ids) for split, ids in splits.items()]
    table = pd.concat(parts, ignore_index=True)
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise ValueError(f"{len(twice)} images are in two splits, the first is {twice.iloc[0]}; expected each in one")
    return table


def _check_images(target: Path, table: pd.DataFrame) -> None:
    """``FileNotFoundError`` for an image of a finished tree that is gone, as linked ones are when the source moves."""
    for image in table.to_dict("records"):
        path = _target_paths(target, image)["image_path"]
        if not os.path.exists(path):
            what = f"links to {os.readlink(path)}, which does not exist" if os.path.islink(path) else "missing"
            raise FileNotFoundError(
                f"{path}: {what}. Put the file back where it was, or remove {target} and harmonise again."
            )


def _target_paths(target: Path, image: dict) -> dict[str, str]:
    """Where one row of the raw image table goes."""
    image_id = f"{image['dataset']}_{int(image['image_id']):06d}_000000"
    return cityscapes.image_paths(target, image["split"], image["dataset"], image_id)


def _try_one(image: dict, *, target: Path, policy: Policy, mode: str, variant: str) -> tuple[Counter, str, str]:
    """Counts, digest of the input and, where it failed, the reason."""
    try:
        digest = image_digest(image)
        return harmonize_one(image, digest, target=target, policy=policy, mode=mode, variant=variant), digest, ""
    except (ValueError, OSError) as error:
        return Counter(), "", str(error)


def harmonize_one(image: dict, digest: str, *, target: Path, policy: Policy, mode: str, variant: str) -> Counter:
    """Write one image of the raw image table to ``target``, unless it is there; returns its counts.

    ``digest``: of the input files (:func:`scapes.instances.image_digest`); kept, so that a changed input is
    noticed when the work continues.

    Raises ``BadFile``, ``ValueError`` or ``OSError`` naming the file that is at fault.
    """
    dataset = SYNTHETIC[image["dataset"]]
    paths = _target_paths(target, image)
    counts = _counts_if_complete(paths, digest)
    if counts is not None:
        return counts

    class_map, instance_map, classes = dataset.read_labels(image)
    height, width = png.read_header(image["image_path"])[:2]
    dataset.check_image_size(image["image_path"], (height, width), class_map.shape, variant)
    try:
        instance_ids, label_ids, counts = harmonize_maps(class_map, instance_map, classes, policy)
    except ValueError as error:
        raise ValueError(f"{image['instance_path']}: {error}") from error
    png.write(paths["instance_path"], _enlarge(instance_ids, height, width), sync=False)
    png.write(paths["label_path"], _enlarge(label_ids, height, width), sync=False)
    _place_image(Path(image["image_path"]), Path(paths["image_path"]), mode)
    content = {"imgHeight": height, "imgWidth": width, "source_digest": digest, "counts": _nested(counts)}
    write_json(paths["polygon_path"], content, sync=False)
    return counts


def _counts_if_complete(paths: dict[str, str], digest: str) -> Counter | None:
    """The counts of an image that is done; None if a file is missing, not whole (loss of power), or of other input."""
    try:
        for name in ("instance_path", "label_path"):
            png.read_ends(paths[name])
        os.stat(paths["image_path"])
        content = json.loads(Path(paths["polygon_path"]).read_bytes())
        return _flat(content["counts"]) if content["source_digest"] == digest else None
    except (OSError, ValueError, LookupError):
        return None


def _enlarge(label_map: np.ndarray, height: int, width: int) -> np.ndarray:
    if label_map.shape == (height, width):
        return label_map
    return cv2.resize(label_map, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _place_image(source: Path, path: Path, mode: str) -> None:
    with replacing(path, sync=False) as temporary:
        if mode == "copy":
            shutil.copyfile(source, temporary)
        else:
            os.symlink(os.path.relpath(source.resolve(), path.parent.resolve()), temporary)


def _nested(counts: Counter) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (event, name), number in sorted(counts.items()):
        nested.setdefault(event, {})[name] = number
    return nested


def _flat(nested: dict[str, dict[str, int]]) -> Counter:
    return Counter({(event, name): number for event, by_class in nested.items() for name, number in by_class.items()})


def visibility_table(
    images: pd.DataFrame, raw_root: str | Path, *, workers: int | None = None, progress: bool = True
) -> pd.DataFrame:
    """How much of each instance is hidden: one row per instance of the harmonised ``images``, groups left out.

    images: table of a harmonised Synscapes (:func:`scapes.cityscapes.read_images`). raw_root: the Synscapes it was made
    from, whose metadata know the occlusion exactly. workers: processes, default one per core.

    Columns: ``image_id``, ``instance_id`` (harmonised), ``source_id`` (raw), ``occluded``, ``truncated`` (fractions of
    the raw instance, in [0, 1]). A rider and the vehicle it was split from share a source and hence the values. NaN
    where the metadata do not know the instance (with the policies ``orphans: components``, ``unknown_ids: map``).

    Raises ValueError for images that are not of a harmonised Synscapes, BadFile or FileNotFoundError naming a raw file
    that is missing or not what it should be.
    """
    others = set(images["dataset"]) - {synscapes.DATASET.name}
    if others:
        raise ValueError(f"found images of {', '.join(sorted(others))}, expected a harmonised {synscapes.DATASET.name}")
    rows, read = images.to_dict("records"), functools.partial(_visibility, raw_root=raw_root)
    tables = map_items(read, rows, workers=workers, description="reading occlusion" if progress else "")
    return pd.concat(tables, ignore_index=True)


def source_instances(instance_ids: np.ndarray, source_ids: np.ndarray) -> pd.DataFrame:
    """The raw instance that each harmonised one comes from: the commonest raw id of its pixels, 0 where that is none.

    instance_ids: harmonised, uint16 (H, W). source_ids: raw, int32 (H, W), 0 = no instance. Returns ``instance_id``,
    ``source_id``, sorted by the former; groups are left out.
    """
    # Pixels of each pair of ids, as one number: raw ids fit 24 bits.
    inside = instance_ids >= INSTANCE_BASE
    pairs, px = np.unique(instance_ids[inside].astype(np.int64) << 24 | source_ids[inside], return_counts=True)
    # Of each harmonised id, the pair with most pixels.
    found = pd.DataFrame({"instance_id": pairs >> 24, "source_id": pairs % (1 << 24), "px": px})
    found = found.sort_values(["instance_id", "px"], ascending=[True, False], kind="stable")
    return found.drop_duplicates("instance_id")[["instance_id", "source_id"]].reset_index(drop=True)


def _visibility(image: dict, raw_root: str | Path) -> pd.DataFrame:
    paths = synscapes.DATASET.image_paths(raw_root, int(image["image_id"].split("_")[1]))
    instance_ids = png.read(image["instance_path"], "gray 16")
    raw = synscapes.DATASET.read_instance_map(paths["instance_path"])
    if instance_ids.shape[0] * raw.shape[1] != instance_ids.shape[1] * raw.shape[0]:
        expected = f"the proportions of {image['instance_path']}, {instance_ids.shape}"
        raise BadFile("size", paths["instance_path"], f"(height, width) {raw.shape}", expected)
    table = source_instances(instance_ids, _enlarge(raw, *instance_ids.shape))
    table.insert(0, "image_id", image["image_id"])
    for name, of_instance in synscapes.read_visibility(paths["meta_path"]).items():
        table[name] = table["source_id"].map(of_instance).astype(float)
    return table
