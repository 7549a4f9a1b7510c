"""A copy of a data set on the disk of the node that reads it: made once per node, for all trainings there."""

import os
import shutil
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd

from scapes.files import only_one, replacing
from scapes.instances import fingerprint

PATHS = ("image_path", "instance_path", "label_path")
COPIES = 8
"""Files copied at a time: a network file system answers many requests faster than one after the other."""


def staged(images: pd.DataFrame, root: str | Path, folder: str | Path, data: str) -> pd.DataFrame:
    """``images``, an image table of the tree ``root``, with the paths of their copies below ``folder/DATA``.

    ``data``: fingerprint of ``images``. The first process on a node makes the copy, each file compared with its source;
    the others wait for it. A copy that is there is used if it has the same fingerprint; what is missing is added.

    Variables in ``folder`` (``/scratch/$USER``) are this node's. Raises OSError when there is no room, ValueError when
    what is in ``folder`` is something else, or ``folder`` is no absolute path here.
    """
    on_node = Path(os.path.expandvars(folder))
    if not on_node.is_absolute():
        raise ValueError(f"stage_dir: found {folder}, which is {on_node} on this node, expected an absolute path")
    target = on_node / data
    sources = pd.unique(images[[*PATHS]].to_numpy().ravel())
    moved = {path: str(target / Path(path).relative_to(root)) for path in sources if path}
    with only_one(target):
        # Copies appear complete or not at all, so that their size tells them from other files.
        missing = [path for path in moved if _size(moved[path]) != _size(path)]
        needed, free = sum(map(_size, missing)), shutil.disk_usage(target.parent).free
        if needed > free:
            raise OSError(
                f"{target}: found {free / 1e9:.1f} GB of room, expected {needed / 1e9:.1f} GB for a copy of the data; "
                "choose another execution.stage_dir, or none"
            )
        with ThreadPool(COPIES) as pool:
            pool.starmap(_copy, [(path, moved[path]) for path in missing])
        copies = images.assign(**{name: images[name].map(lambda path: moved.get(path, "")) for name in PATHS})
        if (found := fingerprint(copies)) != data:
            raise ValueError(f"{target}: found data {found}, expected {data}; delete the folder, it is made again")
    return copies


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else -1


def _copy(source: str, copy: str) -> None:
    content = Path(source).read_bytes()
    with replacing(copy, sync=False) as temporary:
        temporary.write_bytes(content)
        if temporary.read_bytes() != content:
            raise OSError(f"{copy}: the copy differs from {source}; this disk cannot be relied on")
