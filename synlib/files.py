"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


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


class BadFile(ValueError):
    """A data file that is not what it should be: ``kind`` of fault, ``path``, what was ``found``, what ``expected``."""

    def __init__(self, kind: str, path: str | Path, found: str, expected: str) -> None:
        super().__init__(kind, str(path), found, expected)
        self.kind, self.path, self.found, self.expected = kind, str(path), found, expected

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: found {self.found}, expected {self.expected}"
