"""Atomic file writes, a lock per folder, and folders that are either complete or visibly unfinished."""

import contextlib
import errno
import json
import os
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a disk without room says


@contextlib.contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path with the same suffix; on success it replaces ``path``, on any error it is removed.

    ``sync=False`` does not wait for the disk: enough if the program is interrupted, not if power is lost; for many
    files that can be checked and made again. An ``OSError`` that names no file, as of a full disk, names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        yield temporary
        if sync:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def write_json(path: str | Path, content: dict | list, *, sync: bool = True) -> None:
    """Write ``content`` as JSON; ``sync``: see :func:`replacing`."""
    with replacing(path, sync=sync) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def only_one(folder: str | Path, *, say_after_s: float = 2.0, check: Callable[[], Any] | None = None) -> Iterator[None]:
    """Be the only process that fills ``folder``; while another one does, wait, and say so after ``say_after_s``.

    Once inside, look again what is there. ``check``, which may raise, is called while it waits. The lock file
    ``.NAME.lock`` stands beside the folder and stays; the kernel releases it when its holder ends. Where the parent
    folder may not be written to, or its file system has no locks, there is no lock and no waiting.
    """
    folder = Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock", fallback_to_soft=False)
    try:
        lock.acquire(timeout=say_after_s)
    except Timeout:
        tqdm.write(f"{folder}: another process is writing there; waiting for it", file=sys.stderr)
        lock.acquire(cancel_check=check)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # some network file systems
            tqdm.write(f"{folder}: no locks here ({error.strerror}); let one process at a time write", file=sys.stderr)
        elif error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    try:
        yield
    finally:
        lock.release()


def fill(folder: str | Path, request: dict, work: Callable[[], dict], *, manifest: str, partial: str) -> dict:
    """Let ``work()`` fill ``folder``, unless that has been done; returns what its manifest says.

    The file ``manifest`` is written last: ``request`` (JSON values) and what ``work`` returned. Until then, ``partial``
    holds the request: the same one goes on where it stopped. A second process waits for the first.

    Raises ``FileExistsError`` for a folder of something else or another request, ``BadFile`` for a damaged manifest.
    """
    finished, begun = Path(folder) / manifest, Path(folder) / partial
    if not finished.is_file():
        with only_one(folder):
            if begun.is_file():
                check_request(folder, read_manifest(begun), request)
            elif not finished.is_file():  # another process may have finished it while this one waited
                if os.path.isdir(folder) and os.listdir(folder):
                    raise FileExistsError(f"{folder}: holds something else, expected an empty or new folder")
                write_json(begun, request)
            if not finished.is_file():
                for cut_off in Path(folder).rglob(".*.tmp*"):  # of a process that was killed; other tools list all
                    cut_off.unlink()
                write_json(finished, request | work())
                begun.unlink(missing_ok=True)  # without a lock, another process may have removed it
    found = read_manifest(finished)
    check_request(folder, found, request)
    return found


def check_request(folder: str | Path, found: dict, request: dict) -> None:
    """Raise ``FileExistsError`` unless ``found``, a manifest, answers ``request``."""
    for name, value in request.items():
        if found.get(name) != value:
            what = f"{name} is {found.get(name)}, asked for {value}; delete that folder or choose another one"
            raise FileExistsError(f"{folder}: was made from other input or with other options: {what}")


def read_manifest(path: Path) -> dict:
    """What :func:`fill` wrote; raises ``BadFile``."""
    expected = f"the JSON that was written there; delete {path.parent} to have it made again"
    return read_json(path, "manifest", expected, lambda content: {**content})


def read_json(path: str | Path, kind: str, expected: str, parse: Callable[[Any], Any]) -> Any:
    """``parse(content)`` of a JSON file; raises ``OSError``, or ``BadFile`` of this ``kind``, also where it fails."""
    try:
        return parse(json.loads(Path(path).read_bytes(), object_pairs_hook=unique))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(kind, path, f"{type(error).__name__}: {error}", expected) from error


def unique(pairs: list[tuple[Any, Any]]) -> dict:
    """The pairs as a dictionary; raises ``ValueError`` for a key that stands twice."""
    if len(unique := dict(pairs)) < len(pairs):
        raise ValueError(f"key {Counter(key for key, _ in pairs).most_common(1)[0][0]!r} stands twice")
    return unique


@dataclass(eq=False)
class BadFile(ValueError):
    """A data file that is not what it should be: ``kind`` of fault, ``path``, what was ``found``, what ``expected``."""

    kind: str
    path: str | Path
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: found {self.found}, expected {self.expected}"


def size_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total
