"""Records: what the average precision needs to know of each image, from detections compared with ground truth.

Shapes: an image of H x W pixels, its K ground truths and N detections.

The rules are those of ``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``:

- a detection matches a ground truth of its class if their IoU is *greater* than the overlap; of several that match one
  ground truth, the one with the highest score is a true positive and the others are false positives;
- a detection that matches a group or a ground truth under ``min_area_px`` is ignored, and so is one that matches
  nothing if a fraction of its pixels *greater* than the overlap lies on void, or on groups and tiny ground truth of its
  class;
- void is what the pixel values say: 29 (caravan not told apart) is void, 29001 (a caravan) is not;
- detections without a pixel do not exist.

Boundary AP (Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021), as its
authors define it for Cityscapes: the IoU is the smaller of that of the masks and that of their bands. A band is the
mask less the mask eroded by some pixels; what lies beyond the frame erodes it too. All else is as above.
"""

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.lib.recfunctions import require_fields

from scapes import png
from scapes.files import replacing
from scapes.instances import image_instances
from scapes.labels import INSTANCE_BASE, VOID_IDS
from scapes.parallel import map_items
from scapes.predictions import IMAGES_PER_ROW_GROUP, Detections, check_images, images_in, read_predictions

OVERLAPS = np.arange(0.5, 1.0, 0.05)  # the official evaluator's own expression, hence the same bits
BAND = 0.02
"""Width of bands, a fraction of the image's diagonal, at least 1 px; the authors' program has 0.005 for Cityscapes."""
MIN_AREA_PX = 100
"""Ground truth under this area absorbs detections instead of being evaluated; for images of 2048x1024 pixels."""

TRUTH = np.dtype([("instance_id", np.int32), ("category", np.int8), ("area_px", np.int32), ("evaluated", bool)])
"""One ground truth; ``evaluated`` is false for groups and for ground truth under the minimum area."""

PREDICTION = np.dtype(
    [("category", "i1"), ("score", "f4"), ("area_px", "i4"), ("iou", "f8"), ("truth", "i2"), ("ignored", "f8")]
)
"""One detection with at least a pixel. ``iou``: with the ground truth of its class that it overlaps best, 0 if none;
over 0.5 with one only: the best suffices. ``truth``: that ground truth's row in the image's truths, -1 if none.
``ignored``: void + group + tiny pixels over area."""

DAMAGE = (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error)  # what np.load raises


@dataclass(frozen=True, eq=False)
class Records:
    """The records of M images, with T ground truths and P detections in all."""

    image_id: np.ndarray  # str (M,)
    min_area_px: np.ndarray  # int64 (M,)
    truths: np.ndarray  # TRUTH (T,), image by image
    predictions: np.ndarray  # PREDICTION (P,), image by image, without the detections that have no pixel
    counts: np.ndarray  # int64 (M, 2), ground truths and detections of each image

    @property
    def images(self) -> tuple[np.ndarray, ...]:
        """The image of each ground truth, int64 ``(T,)``, and of each detection, ``(P,)``."""
        return tuple(np.repeat(np.arange(len(self.counts)), of_image) for of_image in self.counts.T)


def pool(records: Iterable[Records]) -> Records:
    """Records of one image each as those of all, ordered by id.

    Raises ValueError if there are none, an image comes twice, or they were made with different minimum areas.
    """
    records = sorted(records, key=lambda record: record.image_id[0])
    if not records:
        raise ValueError("found no images, expected at least one")
    columns = zip(*(vars(record).values() for record in records), strict=True)
    known = (None, None, TRUTH, PREDICTION, None)  # types that NumPy would else work out anew for each image
    pooled = Records(*(np.concatenate(column, dtype=dtype) for column, dtype in zip(columns, known, strict=True)))
    check_images(pooled.image_id, pooled.image_id)
    if len(areas := np.unique(pooled.min_area_px)) > 1:
        raise ValueError(f"found records made with min_area_px = {areas.tolist()}, expected one value")
    return pooled


def match_image(
    instance_map: np.ndarray, detections: Detections, *, min_area_px: int = MIN_AREA_PX, band: float = 0
) -> Records:
    """Compare the detections of one image with its ground truth.

    ``instance_map``: uint16 ``(H, W)`` as in ``*_gtFine_instanceIds.png``. ``min_area_px``: see :data:`MIN_AREA_PX`.
    ``band``: for boundary AP, see above; a fraction of the image's diagonal.

    Raises ValueError if the map is not uint16, of another size than the detections, or holds what is no instance id.
    """
    where = f"image {detections.image_id}"
    if instance_map.dtype != np.uint16 or instance_map.shape != detections.size:
        found = f"{instance_map.dtype} {instance_map.shape}"
        raise ValueError(f"{where}: found ground truth {found}, expected uint16 {detections.size} as the detections")
    instances = image_instances(instance_map, where)
    truths = require_fields(instances, TRUTH)
    truths["evaluated"] = ~instances["crowd"] & (instances["area_px"] >= min_area_px)
    pixels = shared_pixels(instance_map, detections, truths)
    predictions = _compare(pixels, detections, truths, min_area_px)
    if band > 0:
        width = max(1, round(band * np.hypot(*detections.size)))
        for row, index in zip(predictions, np.flatnonzero(pixels.sum(1)), strict=True):
            if row["iou"] > OVERLAPS[0]:  # else it matches nothing anyhow
                of_bands = _band_iou(instance_map, instances[row["truth"]], detections, index, width)
                row["iou"] = min(row["iou"], of_bands)
    counts = np.array([[len(truths), len(predictions)]])
    return Records(np.array([detections.image_id]), np.array([int(min_area_px)]), truths, predictions, counts)


def _band_iou(instance_map: np.ndarray, instance: np.void, detections: Detections, index: int, width: int) -> float:
    """Boundary IoU of an instance, a row of the instance table, and a detection, with bands ``width`` pixels wide."""
    # Both in the box around both, uint8 (2, h, w)
    x0, y0, x1, y1 = detections.boxes[index]
    left, top = min(x0, instance["x0"]), min(y0, instance["y0"])
    right, bottom = max(x1, instance["x1"]), max(y1, instance["y1"])
    both = np.zeros((2, bottom - top, right - left), np.uint8)
    both[0] = instance_map[top:bottom, left:right] == instance["instance_id"]
    both[1, y0 - top : y1 - top, x0 - left : x1 - left] = detections.masks[index]
    # Eroded by ``width``: the pixels whose square is full; beyond the box, and so beyond the frame, all is empty
    side, edge = 2 * width + 1, cv2.BORDER_CONSTANT
    counts = [cv2.boxFilter(one, cv2.CV_32F, (side, side), normalize=False, borderType=edge) for one in both]
    bands = (both > 0) & (np.stack(counts) < side**2)
    return np.count_nonzero(bands[0] & bands[1]) / np.count_nonzero(bands[0] | bands[1])


def shared_pixels(instance_map: np.ndarray, detections: Detections, truths: np.ndarray) -> np.ndarray:
    """Pixels that each detection shares with each ground truth, with void and with all else, int64 ``(N, K + 2)``."""
    # Look-up table from pixel values to these, (65536,), in the type that bincount works in
    bins = np.full(2**16, len(truths) + 1, np.intp)
    bins[VOID_IDS] = len(truths)
    bins[truths["instance_id"]] = np.arange(len(truths))
    pixels = np.zeros((len(detections), len(truths) + 2), np.int64)
    for row, mask, (x0, y0, x1, y1) in zip(pixels, detections.masks, detections.boxes.tolist(), strict=True):
        row += np.bincount(bins.take(instance_map[y0:y1, x0:x1][mask]), minlength=len(row))
    return pixels


def _compare(pixels: np.ndarray, detections: Detections, truths: np.ndarray, min_area_px: int) -> np.ndarray:
    """Reduce the counts of shared pixels to :data:`PREDICTION` ``(N,)``, without detections that have no pixel."""
    areas = pixels.sum(1)
    some = areas > 0
    pixels, areas = pixels[some], areas[some]
    predictions = np.empty(len(areas), PREDICTION)
    predictions["category"], predictions["score"] = detections.category[some], detections.score[some]
    predictions["area_px"] = areas
    # IoU with each ground truth of the same class, (N, K), and the best of them; column 0 stands for none
    shared, void = pixels[:, :-2], pixels[:, -2]
    same = predictions["category"][:, None] == truths["category"]
    iou = shared / (truths["area_px"] + areas[:, None] - shared)
    iou = np.concatenate([np.zeros((len(iou), 1)), np.where(same, iou, 0.0)], axis=1)
    predictions["truth"] = iou.argmax(1) - 1
    predictions["iou"] = iou.max(1)
    # Pixels to ignore. As in the official evaluator, a group that is also tiny counts twice
    absorbs = (truths["instance_id"] < INSTANCE_BASE).astype(int) + (truths["area_px"] < min_area_px)
    predictions["ignored"] = (void + (shared * same) @ absorbs) / areas
    return predictions


def match_data_set(
    images: pd.DataFrame, path: str | Path, *, workers: int | None = None, progress: bool = True, **how: float
) -> Records:
    """The records of a data set, ordered by image id: the same from any number of ``workers`` (default one per core).

    ``images``: image table with ``image_id`` and ``instance_path``. ``path``: file of predictions. ``how``: options of
    :func:`match_image`. Raises as that, and ValueError at once if the predictions are not of exactly these images.
    """
    there = images_in(path)
    check_images(there, images["image_id"])
    paths = images.set_index("image_id")["instance_path"][there]
    groups = [paths[start : start + IMAGES_PER_ROW_GROUP] for start in range(0, len(there), IMAGES_PER_ROW_GROUP)]

    def match(group: pd.Series) -> list[Records]:
        items = read_predictions(path, image_ids=group.index)
        return [match_image(png.read(group[item.image_id], "gray 16"), item, **how) for item in items]

    matched = map_items(match, groups, workers=workers, description="matching" * progress, unit="groups")
    return pool(record for group in matched for record in group)


def write_records(path: str | Path, records: Records) -> None:
    """Keep records in one ``.npz``: some kilobytes per image, enough for AP and intervals without masks."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **vars(records))


def read_records(path: str | Path) -> Records:
    """What :func:`write_records` wrote, bit for bit. Raises ``ValueError`` naming a missing, damaged or other file."""
    try:
        with np.load(path) as file:
            found = {field.name: file[field.name] for field in fields(Records)}
        # Files of earlier versions have more fields
        found["predictions"] = found["predictions"][[*PREDICTION.names]].astype(PREDICTION)
        return Records(**found)
    except DAMAGE as error:
        advice = "delete its folder and run again, it is made anew" if Path(path).exists() else "evaluate on it first"
        raise ValueError(f"{path}: unreadable ({error}), expected records; {advice}") from error
