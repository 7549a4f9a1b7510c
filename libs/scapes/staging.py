"""A copy of a data set on the disk of the node that reads it: made once per node, for all trainings there."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from scapes.files import only_one, replacing
from scapes.instances import fingerprint

PATHS = ("image_path", "instance_path", "label_path")
COPIES = 8
"""Files copied at a time: a network file system answers many requests faster than one after the other."""


def staged(images: pd.DataFrame, root: str | Path, folder: str | Path, data: str) -> pd.DataFrame:
    """``images``, an image table of the tree ``root``, with the paths of their copies below ``folder/DATA``.

    ``data``: fingerprint of ``images``. The first process on a node makes the copy, file by file, each compared with
    its source; the others wait for it. A copy that is there is used if it has the same fingerprint; what is missing of
    it, as after an interruption, is added.

    Variables in ``folder`` (``/scratch/$USER``) are this node's. Raises OSError when there is no room, ValueError when
    what is in ``folder`` is something else, or ``folder`` is no absolute path here.
    """
    on_node = Path(os.path.expandvars(folder))
    if not on_node.is_absolute():
        raise ValueError(f"stage_dir: found {folder}, which is {on_node} on this node, expected an absolute path")
    target = on_node / data
    moved = {
        path: str(target / Path(path).relative_to(root)) if path else "" for name in PATHS for path in images[name]
    }
    copies = images.assign(**{name: images[name].map(moved) for name in PATHS})
    with only_one(target):
        pairs = [(Path(source), Path(copy)) for source, copy in sorted(moved.items()) if source]
        missing = [(source, copy) for source, copy in pairs if not _is_copied(source, copy)]
        _check_room(missing, target)
        with ThreadPoolExecutor(COPIES) as pool:
            for _ in pool.map(_copy, missing):
                pass
        if (found := fingerprint(copies)) != data:
            raise ValueError(f"{target}: found data {found}, expected {data}; delete the folder, it is made again")
    return copies


def _is_copied(source: Path, copy: Path) -> bool:
    """Copies appear complete or not at all, so that size tells them apart from other files."""
    try:
        return copy.stat().st_size == source.stat().st_size
    except FileNotFoundError:
        return False


def _check_room(missing: list[tuple[Path, Path]], target: Path) -> None:
    needed = sum(source.stat().st_size for source, _ in missing)
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise OSError(
            f"{target}: found {free / 1e9:.1f} GB of room, expected {needed / 1e9:.1f} GB for a copy of the data; "
            "choose another execution.stage_dir, or none"
        )


def _copy(pair: tuple[Path, Path]) -> None:
    source, copy = pair
    content = source.read_bytes()
    with replacing(copy, sync=False) as temporary:
        temporary.write_bytes(content)
        if temporary.read_bytes() != content:
            raise OSError(f"{copy}: the copy differs from {source}; this disk cannot be relied on")
