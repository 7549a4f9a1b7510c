"""Detected instances of an image as cropped masks, and the Parquet file of a whole data set, one bit per pixel.

Shapes: N detections of one image of H x W pixels.
"""

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scapes.files import BadFile, replacing
from scapes.labels import CLASSES

IMAGES_PER_ROW_GROUP = 16

_SCHEMA = pa.schema({
    "image_id": pa.string(), "height": pa.int32(), "width": pa.int32(),
    "category": pa.list_(pa.int8()), "score": pa.list_(pa.float32()),
    "boxes": pa.list_(pa.list_(pa.int32(), 4)), "masks": pa.list_(pa.binary()),
})  # fmt: skip


@dataclass(eq=False)
class Detections:
    """The detections of one image. Raises ValueError naming image and detection if a field is not as described."""

    image_id: str  # as in the image table
    size: tuple[int, int]  # (H, W) of the image's ground truth
    category: np.ndarray  # int8 (N,), index into labels.CLASSES
    score: np.ndarray  # float32 (N,), finite
    boxes: np.ndarray  # int32 (N, 4), half-open x0, y0, x1, y1 in pixels, inside the image
    masks: Sequence[np.ndarray]  # N times bool (y1 - y0, x1 - x0), inside the box

    def __post_init__(self):
        lengths = {name: len(getattr(self, name)) for name in ("category", "score", "boxes", "masks")}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"image {self.image_id}: found lengths {lengths}, expected the same for all")
        self.size = height, width = (int(self.size[0]), int(self.size[1]))
        category, self.score = np.asarray(self.category), np.asarray(self.score, np.float32)
        self.boxes = np.asarray(self.boxes, np.int32).reshape(len(self), 4)
        x0, y0, x1, y1 = self.boxes.T
        masks = [(mask.dtype.name, mask.shape) for mask in self.masks]
        wanted = [("bool", tuple(shape)) for shape in np.stack([y1 - y0, x1 - x0], axis=1).tolist()]
        outside = (x0 < 0) | (y0 < 0) | (x1 < x0) | (y1 < y0) | (x1 > width) | (y1 > height)
        for wrong, values, what in (
            ((category < 0) | (category >= len(CLASSES)), category, f"class, expected 0..{len(CLASSES) - 1}"),
            (~np.isfinite(self.score), self.score, "score, expected a finite number"),
            (outside, self.boxes, f"box x0, y0, x1, y1, expected inside {width} x {height} pixels"),
            ([mask != box for mask, box in zip(masks, wanted, strict=True)], masks,
             "mask, expected bool, and the height and width of its box"),
        ):  # fmt: skip
            if np.any(wrong):
                index = int(np.argmax(wrong))
                raise ValueError(f"image {self.image_id}, detection {index}: found {values[index]} as {what}")
        self.category = category.astype(np.int8)

    def __len__(self) -> int:
        return len(self.masks)

    def full_mask(self, index: int) -> np.ndarray:
        """Detection ``index`` as a full-frame mask, bool ``(H, W)``, column by column in memory."""
        frame = np.zeros(self.size, bool, order="F")
        x0, y0, x1, y1 = self.boxes[index]
        frame[y0:y1, x0:x1] = self.masks[index]
        return frame


def from_masks(
    image_id: str, size: tuple[int, int], category: Sequence[int], score: Sequence[float], masks: Iterable[np.ndarray]
) -> Detections:
    """Detections from masks over the whole frame, ``(H, W)`` of any type, that are not 0 where the instance is."""
    boxes, crops = [], []
    for mask in masks:
        if mask.shape != tuple(size):
            raise ValueError(f"image {image_id}: found a mask of {mask.shape} pixels, expected {tuple(size)}")
        y, x = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))  # rows and columns with a pixel
        boxes.append((x[0], y[0], x[-1] + 1, y[-1] + 1) if len(x) else (0, 0, 0, 0))
        crops.append(mask[slice(*boxes[-1][1::2]), slice(*boxes[-1][::2])] != 0)
    return Detections(image_id, size, category, score, boxes, crops)


def write_predictions(path: str | Path, detections: Iterable[Detections]) -> None:
    """Write a row per image as they come, also without detections; ValueError, and no file, if an image comes twice."""
    items, written = iter(detections), []
    with replacing(path) as temporary, pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer:
        while group := list(itertools.islice(items, IMAGES_PER_ROW_GROUP)):
            rows = [(item.image_id, *item.size, item.category, item.score, item.boxes.tolist()) for item in group]
            masks = [[np.packbits(mask).tobytes() for mask in item.masks] for item in group]
            columns = (*zip(*rows, strict=True), masks)
            writer.write_table(pa.Table.from_pydict(dict(zip(_SCHEMA.names, columns, strict=True)), _SCHEMA))
            written += [item.image_id for item in group]
        check_images(written, written)


def check_images(found: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ValueError if an image's id is found twice, is missing or not expected."""
    found, expected = pd.Index([*found]), pd.Index([*expected])
    for wrong, what in (
        (found[found.duplicated()], "found several times, expected once"),
        (found.difference(expected), "found a record, expected none"),
        (expected.difference(found), "found no record, expected one"),
    ):
        if len(wrong):
            raise ValueError(f"image {wrong.min()}: {what} ({wrong.nunique()} such images of {len(expected)})")


def read_predictions(path: str | Path, *, image_ids: Collection[str] = ()) -> Iterator[Detections]:
    """Yield the detections of all images, or of ``image_ids``, in the file's order, one row group in memory at a time.

    Raises ``ValueError`` for a file that is damaged or of other columns, ``KeyError`` for an image that is not there.
    """
    there = images_in(path)
    wanted = set(image_ids) or set(there)
    if missing := wanted.difference(there):
        raise KeyError(f"{path}: no image {min(missing)}")
    with _opened(path) as file:
        for number in range(file.num_row_groups):
            ids = file.read_row_group(number, ["image_id"])["image_id"].to_pylist()
            rows = [] if wanted.isdisjoint(ids) else file.read_row_group(number).to_pylist()
            yield from (_detections(row) for row in rows if row["image_id"] in wanted)


def images_in(path: str | Path) -> list[str]:
    """The ids of the images in the file, without reading masks. Raises ``ValueError`` for other columns."""
    with _opened(path) as file:
        if not file.schema_arrow.equals(_SCHEMA):
            raise ValueError(f"{path}: found columns {file.schema_arrow.names}, expected {_SCHEMA.names}")
        return file.read(["image_id"])["image_id"].to_pylist()


def _detections(row: dict) -> Detections:
    masks = []
    for bits, (x0, y0, x1, y1) in zip(row["masks"], row["boxes"], strict=True):
        shape = (y1 - y0, x1 - x0)
        masks.append(np.unpackbits(np.frombuffer(bits, np.uint8), count=shape[0] * shape[1]).view(bool).reshape(shape))
    size = (row["height"], row["width"])
    return Detections(row["image_id"], size, row["category"], row["score"], row["boxes"], masks)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[pq.ParquetFile]:
    """Raises ``BadFile`` for a damaged file: pyarrow does not name it."""
    try:
        with open(path, "rb") as stream, pq.ParquetFile(stream) as file:
            yield file
    except pa.ArrowException as error:
        raise BadFile("predictions", path, str(error), "the Parquet file that was written there") from error
