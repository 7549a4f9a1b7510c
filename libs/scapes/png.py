"""PNG files as arrays: complete, of the expected kind, or an error that names the file.

All label maps are read here: image libraries silently return half of a file, expand palettes and drop to eight bits.
"""

import os
import struct
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from scapes.files import BadFile, replacing

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_COMPACT = (cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)
"""For label maps as fast as OpenCV's default, and a third smaller."""
PHOTO = ("RGB 8", "RGBA 8", "gray 8", "palette 8")
"""Kinds that are read as photos; of 16 bits, image libraries make white or black."""
COLOR_TYPES = {0: "gray", 2: "RGB", 3: "palette", 4: "gray+alpha", 6: "RGBA"}


class Header(NamedTuple):
    height: int  # pixels
    width: int
    bit_depth: int
    color: str

    kind = property(lambda self: f"{self.color} {self.bit_depth}")  # ``gray 16``, ``RGB 8``, ...


def read_header(path: str | Path, *kinds: str) -> Header:
    """What the first 33 bytes say; raises ``OSError``, or ``BadFile``, also for another kind of PNG than ``kinds``."""
    with open(path, "rb", buffering=0) as file:
        return _check(path, kinds, file.read(33))


def read_ends(path: str | Path, *kinds: str) -> tuple[Header, int, bytes]:
    """Header, size in bytes, and the last 20 bytes: a checksum of the content for two small reads.

    They hold the Adler-32 checksum of all (filtered) pixels, the CRC of the last data chunk and the end mark (where
    text follows the pixels: only of that). Raises as :func:`read_header`, and ``BadFile`` without end mark.
    """
    with open(path, "rb", buffering=0) as file:
        head, size = file.read(33), os.fstat(file.fileno()).st_size
        file.seek(max(0, size - 20))
        tail = file.read(20)
    return _check(path, kinds, head, tail, size), size, tail


def read(path: str | Path, *kinds: str) -> np.ndarray:
    """Pixels of a PNG of one of these kinds, or of any; raises ``BadFile`` or ``OSError``.

    ``gray 8``: uint8 (H, W); ``gray 16``: uint16 (H, W); ``RGB 8``: uint8 (H, W, 3), **BGR**; ``RGBA 8``: BGRA.
    """
    data = Path(path).read_bytes()
    _check(path, kinds, data[:33], data[-20:], len(data))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BadFile("damaged PNG", path, f"{len(data)} bytes whose pixels cannot be decoded", "a complete PNG")
    return image


def write(path: str | Path, image: np.ndarray, *, sync: bool = True) -> None:
    """Write uint8 (H, W), uint16 (H, W) or uint8 (H, W, 3) BGR; ``sync``: see :func:`scapes.files.replacing`."""
    data = cv2.imencode(".png", image, _COMPACT if image.ndim == 2 else ())[1]
    with replacing(path, sync=sync) as temporary:
        temporary.write_bytes(data)


def _check(path: str | Path, kinds: Collection[str], head: bytes, tail: bytes = END, size: int = 0) -> Header:
    """The header, from the first 33 bytes; ``BadFile`` if it is wrong, or ``tail`` of the ``size`` bytes no end."""
    if not head:
        raise BadFile("empty file", path, "0 bytes", "a PNG")
    if len(head) < 33 or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        raise BadFile("not a PNG", path, f"{head[:8]!r} at its start", f"{SIGNATURE!r}")
    width, height, bit_depth, color = struct.unpack(">IIBB", head[16:26])
    header = Header(height, width, bit_depth, COLOR_TYPES.get(color, f"color type {color}"))
    if kinds and header.kind not in kinds:
        expected = f"{' or '.join(kinds)}-bit (was it converted by another tool?)"
        raise BadFile("PNG kind", path, f"{header.kind}-bit", expected)
    if not tail.endswith(END):
        raise BadFile("truncated PNG", path, f"{size} bytes without end mark", "a PNG that ends with IEND")
    return header
