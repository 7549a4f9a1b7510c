"""The instance table: one row per instance of the eight classes, counted in parallel and kept as Parquet.

Columns: ``dataset``, ``split``, ``image_id``; ``instance_id`` int32, the value in ``*_gtFine_instanceIds.png`` (a
group: the plain label id); ``category`` int8, index into ``labels.CLASSES``; ``area_px`` int32 and the half-open box
``x0, y0, x1, y1`` int32 in pixels **of the label map**; ``crowd`` bool, a group of instances not told apart.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scapes import png
from scapes.files import BadFile, replacing
from scapes.labels import CATEGORY_OF_LABEL, INSTANCE_BASE, check_instance_ids, label_of_instance
from scapes.parallel import map_items

_TABLE_VERSION = 1  # in the cache's file name: raise it when the columns or their meaning change
FILES = ("image_path", "instance_path", "label_path", "meta_path")


def fingerprint(images: pd.DataFrame, cache_dir: str | Path | None = None, *, progress: bool = False) -> str:
    """Hash of a data set's content, 16 hexadecimal digits: the same in every place and order of rows.

    It covers data set, split and id of each image, the size of each file and a checksum of its content (PNG: see
    :func:`scapes.png.read_ends`; others: of all bytes). ``cache_dir``: where it is kept; files are opened again only
    when the path, size or time of change of any of them is another one.

    Raises ``OSError`` for a missing file, ``BadFile`` for a truncated PNG, and for a photo of a kind that training
    cannot read or, in an image table with sizes, of another size than its labels.
    """
    columns = images.reindex(columns=["dataset", "split", "image_id", *FILES], fill_value="").to_dict("list")
    files = [os.stat(path) for name in FILES for path in columns[name] if path]
    stamp = repr((columns, [(file.st_size, file.st_mtime_ns) for file in files])).encode()
    kept = Path(cache_dir) / f"fingerprint-{hashlib.sha256(stamp).hexdigest()[:16]}.txt" if cache_dir else None
    if kept and kept.is_file() and re.fullmatch("[0-9a-f]{16}", found := kept.read_text(errors="replace")):
        return found
    rows = images.to_dict("records")
    found = combine(map_items(image_digest, rows, workers=1, description="comparing files" if progress else ""))
    if kept:
        with replacing(kept) as temporary:
            temporary.write_text(found)
    return found


def image_digest(image: dict) -> str:
    """Hash of one row of the image table and of its files; errors as :func:`fingerprint`."""
    found = [image[name] for name in ("dataset", "split", "image_id")], []
    for name in (name for name in FILES if name in image):
        path = image[name]
        if path.endswith(".png"):
            found[1].append(png.read_ends(path, *(png.PHOTO if name == "image_path" else ())))
        else:
            found[1].append((hashlib.sha256(Path(path).read_bytes()).hexdigest(),) if path else ())
    if "height" in image and (size := found[1][0][0][:2]) != (image["height"], image["width"]):
        expected = f"{(image['height'], image['width'])} as its labels"
        raise BadFile("size", image["image_path"], f"(height, width) {size}", expected)
    return hashlib.sha256(repr(found).encode()).hexdigest()


def combine(digests: Iterable[str]) -> str:
    """The :func:`fingerprint` of the images with these digests."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()[:16]


def instance_table(
    images: pd.DataFrame, cache_dir: str | Path | None = None, *, workers: int | None = None, progress: bool = True
) -> pd.DataFrame:
    """Instance table of the images of a Cityscapes-format tree, sorted as ``images`` and by ``instance_id``.

    ``cache_dir``: where the table is kept, by the :func:`fingerprint` of the images; a damaged one is replaced.
    ``workers``: processes, default one per core. Raises ``BadFile``: a map is damaged, not 16-bit, or has a wrong id.
    """
    if cache_dir is not None:
        cached = Path(cache_dir) / f"instances-{_TABLE_VERSION}-{fingerprint(images, cache_dir)}.parquet"
        with contextlib.suppress(OSError, ValueError), open(cached, "rb") as file:  # missing or damaged: counted again
            return pd.read_parquet(file)
    paths, shown = images["instance_path"].tolist(), "counting instances" if progress else ""
    found = map_items(lambda p: image_instances(png.read(p, "gray 16"), p), paths, workers=workers, description=shown)
    tables = list(found)
    rows = np.repeat(np.arange(len(images)), [len(table) for table in tables])
    table = images[["dataset", "split", "image_id"]].iloc[rows].reset_index(drop=True)
    table = table.join(pd.DataFrame(np.concatenate([np.empty(0, _ROW), *tables])))
    if cache_dir is not None:
        with replacing(cached) as temporary:
            table.to_parquet(temporary, index=False)
    return table


_ROW = np.dtype("i4, i1, i4, i4, i4, i4, i4, ?")
_ROW.names = ("instance_id", "category", "area_px", "x0", "y0", "x1", "y1", "crowd")


def image_instances(instance_map: np.ndarray, path: str = "instance map") -> np.ndarray:
    """Instances of one map, uint16 (H, W), sorted by id: a structured array ``(K,)`` of the columns of the table from
    ``instance_id`` on. Raises ``BadFile``, naming ``path``, if the map holds what is no instance id.

    One pass over the pixels finds the runs of equal ids within rows; all else happens on the few thousand runs.
    """
    # Runs: where they start, their ids and lengths in pixels.
    height, width = instance_map.shape
    change = np.ones((height, width), bool)
    np.not_equal(instance_map[:, 1:], instance_map[:, :-1], out=change[:, 1:])
    starts = np.flatnonzero(change)
    ids = instance_map.ravel()[starts].astype(np.int32)
    check_instance_ids(path, ids)
    category = CATEGORY_OF_LABEL[label_of_instance(ids)]
    lengths = np.diff(starts, append=height * width)
    # Only those of the eight classes, sorted by id; first: where each id starts.
    evaluated = np.flatnonzero(category >= 0)
    order = evaluated[np.argsort(ids[evaluated], kind="stable")]
    ids, starts, lengths = ids[order], starts[order], lengths[order]
    first = np.flatnonzero(np.diff(ids, prepend=-1))
    # One row per id: sums and extremes over its runs.
    y, x = np.divmod(starts, width)
    table = np.empty(len(first), _ROW)
    table["instance_id"] = ids[first]
    table["crowd"] = ids[first] < INSTANCE_BASE
    table["category"] = category[order[first]]
    table["area_px"] = np.add.reduceat(lengths, first)
    table["x0"], table["x1"] = np.minimum.reduceat(x, first), np.maximum.reduceat(x + lengths, first)
    table["y0"], table["y1"] = np.minimum.reduceat(y, first), np.maximum.reduceat(y, first) + 1
    return table
