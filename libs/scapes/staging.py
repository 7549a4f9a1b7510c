"""One copy of a data set on the disk of a node, for all trainings there: of its files, or of the arrays in them."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from scapes import png
from scapes.files import only_one, replacing
from scapes.instances import FILES, fingerprint

PATHS = FILES[:3]
BYTES = {"RGB 8": 3, "gray 16": 2}  # a pixel, of the kinds of PNG that are kept as arrays
_HEADER_BYTES = 128  # of a .npy file


def staged(
    images: pd.DataFrame, root: str | Path, folder: str | Path, data: str, check: Callable | None = None,
    *, arrays: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """``images``, an image table of the tree ``root``, with the paths of copies in ``folder/DATA``; no folder: as is.

    ``data``: fingerprint of ``images``. Missing files are copied and compared with their source; other processes on the
    node wait, and call ``check``, which may raise. Variables in ``folder`` (``/scratch/$USER``) are this node's.
    ``arrays``: photos and instance maps as ``.npy`` files: larger, and loaded much faster. Raises ``OSError`` without
    room, ``ValueError`` when the copy is another one or ``folder`` no absolute path here.
    """
    if not folder:
        return images
    on_node = Path(os.path.expandvars(folder)).expanduser()
    if not on_node.is_absolute():
        raise ValueError(f"stage_dir: found {folder}, which is {on_node} on this node, expected an absolute path")
    target = on_node / data
    sources = pd.unique(images[[*PATHS]].to_numpy().ravel())
    copy_of = {path: str(target / Path(path).relative_to(root)) for path in sources if path}
    bytes_of = {path: os.path.getsize(path) for path in copy_of}
    for path in copy_of if arrays else ():
        header = png.read_header(path)
        if header.kind in BYTES:
            copy_of[path] += ".npy"
            bytes_of[path] = header.height * header.width * BYTES[header.kind] + _HEADER_BYTES
    with only_one(target, check=check):
        # Copies appear complete or not at all, so that their size tells them from other files.
        missing = [path for path, copy in copy_of.items() if _size(copy) != bytes_of[path]]
        needed, free = sum(bytes_of[path] for path in missing), shutil.disk_usage(target.parent).free
        if needed > free:
            raise OSError(
                f"{target}: found {free / 1e9:.1f} GB of room, expected {needed / 1e9:.1f} GB for a copy of the data; "
                "choose another execution.stage_dir, or none"
            )
        for leftover in target.rglob(".*.tmp*") if missing else ():  # of a process that was stopped
            leftover.unlink()
        said = {"desc": f"{needed / 1e9:.1f} GB", "unit": "file", "total": len(missing), "delay": 2}
        with ThreadPoolExecutor(8) as pool:  # a network file system answers several requests at a time faster
            [*tqdm(pool.map(lambda path: _copy(path, copy_of[path]), missing), **said)]
        moved = images.assign(**{name: images[name].map(lambda path: copy_of.get(path, "")) for name in PATHS})
        if not arrays and (found := fingerprint(moved)) != data:
            raise ValueError(f"{target}: found data {found}, expected {data}; delete the folder, it is made again")
    return moved


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else -1


def _copy(source: str, copy: str) -> None:
    with replacing(copy, sync=copy.endswith(".npy")) as temporary:  # only files are compared again at each use
        if copy.endswith(".npy"):
            with open(temporary, "wb") as file:
                np.save(file, pixels := png.read(source))
            same = np.array_equal(np.load(temporary), pixels)
        else:
            temporary.write_bytes(content := Path(source).read_bytes())
            same = temporary.read_bytes() == content
        if not same:
            raise OSError(f"{copy}: the copy differs from {source}; this disk cannot be relied on")
