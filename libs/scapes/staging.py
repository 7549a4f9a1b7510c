"""One copy of a data set on the disk of a node, for all trainings there."""

import os
import shutil
from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd

from scapes.files import only_one, replacing
from scapes.instances import FILES, fingerprint

PATHS = FILES[:3]


def staged(
    images: pd.DataFrame, root: str | Path, folder: str | Path, data: str, check: Callable | None = None
) -> pd.DataFrame:
    """``images``, an image table of the tree ``root``, with the paths of their copies in ``folder/DATA``.

    ``data``: fingerprint of ``images``. Missing files are copied and compared with their source; other processes on the
    node wait, and call ``check``, which may raise. Variables in ``folder`` (``/scratch/$USER``) are this node's. Raises
    ``OSError`` when there is no room, ``ValueError`` when the copy is another one or ``folder`` no absolute path here.
    """
    on_node = Path(os.path.expandvars(folder)).expanduser()
    if not on_node.is_absolute():
        raise ValueError(f"stage_dir: found {folder}, which is {on_node} on this node, expected an absolute path")
    target = on_node / data
    sources = pd.unique(images[[*PATHS]].to_numpy().ravel())
    moved = {path: str(target / Path(path).relative_to(root)) for path in sources if path}
    with only_one(target, check=check):
        # Copies appear complete or not at all, so that their size tells them from other files.
        missing = [path for path in moved if _size(moved[path]) != _size(path)]
        needed, free = sum(map(_size, missing)), shutil.disk_usage(target.parent).free
        if needed > free:
            raise OSError(
                f"{target}: found {free / 1e9:.1f} GB of room, expected {needed / 1e9:.1f} GB for a copy of the data; "
                "choose another execution.stage_dir, or none"
            )
        for leftover in target.rglob(".*.tmp*") if missing else ():  # of a process that was stopped
            leftover.unlink()
        with ThreadPool(8) as pool:  # a network file system answers several requests at a time faster
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
