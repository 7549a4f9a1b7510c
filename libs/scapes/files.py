"""Writing files so that a reader never sees half of one, and folders so that two writers never meet in one."""

import contextlib
import errno
import fcntl
import os
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm


@contextlib.contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path``, on any error it is removed.

    What stood at ``path`` before stays there until the new content is complete and on disk. The temporary name keeps
    the suffix, since image writers choose their format by it. ``sync=False`` does not wait for the disk: enough against
    an interruption of the program, not against a loss of power; for many files that can be checked and made again.
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
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def only_one(folder: str | Path, *, say_after_s: float = 2.0) -> Iterator[None]:
    """Be the only process that fills ``folder``; while another one does, wait, and say so after ``say_after_s``.

    Look again at what is in the folder once inside: the other process may have finished it. The kernel releases the
    lock when its holder ends, however it ends. The lock file ``.NAME.lock`` stands beside the folder, not in it, and
    stays. Where the parent folder may not be written to, nobody is waited for.
    """
    folder = Path(folder).resolve()
    descriptor = _open_lock(folder.parent / f".{folder.name}.lock")
    try:
        if descriptor is not None:
            _wait_for_lock(descriptor, folder, say_after_s)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_lock(path: Path) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return None
        raise


def _wait_for_lock(descriptor: int, folder: Path, say_after_s: float) -> None:
    speak_at, said = time.monotonic() + say_after_s, False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not said and time.monotonic() >= speak_at:
                tqdm.write(f"{folder}: another process is writing there; waiting for it", file=sys.stderr)
                said = True
        time.sleep(0.1)


class BadFile(ValueError):
    """A data file that is not what it should be: ``kind`` of fault, ``path``, what was ``found``, what ``expected``."""

    def __init__(self, kind: str, path: str | Path, found: str, expected: str) -> None:
        super().__init__(kind, str(path), found, expected)
        self.kind, self.path, self.found, self.expected = kind, str(path), found, expected

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: found {self.found}, expected {self.expected}"
