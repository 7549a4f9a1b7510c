"""What ends well: an error of one sentence that names what it is about, and files that are as they were before."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

NOBODY = 65534
REFUSED = (OSError, ValueError, RuntimeError, MemoryError)


def sentence(error: BaseException | str, *names: object) -> str:
    """The text of an error that a user can act on: of an expected kind, of at most two lines, with one of ``names``."""
    assert isinstance(error, (str, *REFUSED)), f"an error of the program: {error!r}"
    text = str(error).strip()
    assert 1 <= len(text.splitlines()) <= 2 and "Traceback" not in text, text
    assert any(str(name) in text for name in names), f"{text!r} names none of {names}"
    return text


def refusal(act: Callable[[], object], *names: object) -> str:
    """The sentence that ``act()`` ends in, which it must."""
    try:
        found = act()
    except Exception as error:
        return sentence(error, *names)
    pytest.fail(f"nobody was told; it gave {found!r}")


def listing(*folders: Path) -> dict[str, str]:
    """Path -> what is there: the hash of a file, the target of a link, or ``folder``. Locks do not count."""
    found = {}
    for path in (path for folder in folders for path in sorted(folder.rglob("*")) if not path.name.endswith("lock")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        else:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def written(folder: Path, names: str = "*") -> dict[Path, int]:
    """Path -> when it was written, of all files below ``folder`` that have such names."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob(names) if path.is_file()}


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of root, which may read and write everything."""
    if os.geteuid():
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError as error:
        pytest.skip(f"root may do everything here, and become nobody else: {error}")
    try:
        yield
    finally:
        os.seteuid(0)


def pixels(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """A damage to a PNG by a function of its pixels."""

    def damage(path: Path) -> None:
        assert cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))

    return damage


def gray(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W)."""
    return (image if image.ndim == 2 else image[..., 0]).astype(np.uint8)


def one_pixel(*value: int) -> Callable[[Path], None]:
    """Pixel (0, 0) becomes ``value``."""

    def change(image: np.ndarray) -> np.ndarray:
        image[0, 0] = value if image.ndim == 3 else value[0]
        return image

    return pixels(change)


def numbered(base: int, train_ids: bool = False) -> Callable[[Path], None]:
    """Instances as ``label * base + n``, by label or train id, instead of ``label id * 1000 + n``."""
    train_id = np.arange(66)  # of the labels with instances: person 24 -> 11 ... car 26 -> 13
    train_id[24:34] = (11, 12, 13, 14, 15, 15, 15, 16, 17, 18)

    def change(image: np.ndarray) -> np.ndarray:
        label, n = image // 1000, image % 1000
        return np.where(label, (train_id[label] if train_ids else label) * base + n, image).astype(np.uint16)

    return pixels(change)


def content(data: bytes | str) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data if isinstance(data, bytes) else data.encode())


def converted(mode: str) -> Callable[[Path], None]:
    """To a mode of Pillow."""
    return lambda path: Image.fromarray(gray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))).convert(mode).save(path)


def replaced_by(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def renamed(name: str) -> Callable[[Path], object]:
    return lambda path: path.rename(path.with_name(name))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


ANY = {
    "missing": {"missing": Path.unlink, "link to nothing": replaced_by(lambda path: path.symlink_to("nowhere"))},
    "unreadable": {
        "folder": replaced_by(Path.mkdir),
        "no permission": lambda path: path.chmod(0),
        "link to itself": replaced_by(lambda path: path.symlink_to(path.name)),
    },
}
EMPTY, HALF = content(b""), lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
OTHER = content(b"\x7fELF\x02\x01" + bytes(60))
MODES = {"palette": "P", "RGBA": "RGBA", "gray+alpha": "LA", "1 bit": "1"}
PNG = ANY | {
    "empty file": {"empty": EMPTY},
    "truncated PNG": {"truncated": HALF, "without its end": lambda path: path.write_bytes(path.read_bytes()[:-30])},
    "damaged PNG": {"another byte": flipped},
    "not a PNG": {"other format": OTHER, "web page": content("<html>" * 20), "JPEG": content(b"\xff\xd8\xff" * 20)},
    "size": {"another size": pixels(lambda image: image[:-3])},
    "PNG kind": {
        "another depth": pixels(lambda image: image.astype(np.uint16 if image.dtype == np.uint8 else np.uint8)),
        "gray 16": pixels(lambda image: gray(image).astype(np.uint16) * 257),
        **{name: converted(mode) for name, mode in MODES.items()},
    },
}
BINARY = ANY | {"damage": {"empty": EMPTY, "truncated": HALF, "other format": OTHER}}
WRONG_TEXT = {
    "not UTF-8": content(b'{"name": "\xff\xfe"}'),
    "words": content("plain words"),
    "open": content("a: [1"),
    "a list": content("[1, 2]"),
    "nothing": content("null"),
    "empty object": content("{}"),
    "deep": content("[" * 100_000),
}
TEXT = ANY | {"damage": BINARY["damage"] | WRONG_TEXT}
"""Kind of a damage, in the words of ``verify`` for a data set -> its name -> what it does to a file."""
