"""What the average precision needs to know of one image: detections compared with ground truth, in memory.

Shapes: an image of H x W pixels, its K ground truths and N detections.

The rules are those of ``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``:

- a detection matches a ground truth of its class if their IoU is *greater* than the overlap; of several that match one
  ground truth, the one with the highest score is a true positive and the others are false positives;
- a detection that matches a group or a ground truth under ``min_area_px`` is ignored, and so is one that matches
  nothing if a fraction of its pixels *greater* than the overlap lies on void, or on groups and tiny ground truth of its
  class;
- void is what the pixel values say: 29 (caravan not told apart) is void, 29001 (a caravan) is not;
- detections without a pixel do not exist.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from cityscapesscripts.helpers.labels import labels as _OFFICIAL_LABELS

from scapes.instances import image_instances
from scapes.labels import INSTANCE_BASE
from scapes.predictions import Detections

MIN_AREA_PX = 100
"""Ground truth under this area absorbs detections instead of being evaluated; for images of 2048x1024 pixels."""

TRUTH = np.dtype([("instance_id", np.int32), ("category", np.int8), ("area_px", np.int32), ("evaluated", bool)])
"""One ground truth; ``evaluated`` is false for groups and for ground truth under the minimum area."""

PREDICTION = np.dtype(
    [
        ("category", np.int8),
        ("score", np.float32),
        ("area_px", np.int32),
        ("iou", np.float64),  # with the ground truth of its class that it overlaps best; 0 if none
        ("truth", np.int16),  # that ground truth's row in the image's truths; -1 if none
        ("ignored", np.float64),  # void + group + tiny pixels over area
    ]
)
"""One detection with at least a pixel. IoU over 0.5 is possible with one ground truth only: the best suffices."""

# Bins that pixel values fall into: first the two below, then one for each ground truth of the image
_VOID, _OTHER, _FIRST_TRUTH = 0, 1, 2
_VOID_IDS = [label.id for label in _OFFICIAL_LABELS if label.ignoreInEval and label.id >= 0]


@dataclass(frozen=True, eq=False)
class ImageMatch:
    """The record of one image."""

    image_id: str
    min_area_px: int
    truths: np.ndarray  # TRUTH (K,)
    predictions: np.ndarray  # PREDICTION (N,), without the detections that have no pixel


def match_image(
    instance_map: np.ndarray,
    detections: Detections,
    *,
    instances: pd.DataFrame | None = None,
    min_area_px: int = MIN_AREA_PX,
) -> ImageMatch:
    """Compare the detections of one image with its ground truth.

    ``instance_map``: uint16 ``(H, W)`` as in ``*_gtFine_instanceIds.png``. ``instances``: the image's rows of the
    instance table, which save counting areas. ``min_area_px``: see :data:`MIN_AREA_PX`.

    Raises ValueError if the map is not uint16 or of another size than the detections or, without ``instances``, holds
    what is no Cityscapes instance id.
    """
    where = f"image {detections.image_id}"
    if instance_map.dtype != np.uint16 or instance_map.shape != detections.size:
        found = f"{instance_map.dtype} {instance_map.shape}"
        raise ValueError(f"{where}: found ground truth {found}, expected uint16 {detections.size} as the detections")
    truths = _truths(image_instances(instance_map, where) if instances is None else instances, min_area_px)
    pixels = _shared_pixels(instance_map, detections, truths)
    return ImageMatch(detections.image_id, int(min_area_px), truths, _compare(pixels, detections, truths, min_area_px))


def _truths(instances: pd.DataFrame, min_area_px: int) -> np.ndarray:
    """Rows of the instance table as :data:`TRUTH`, ordered by instance id."""
    rows = instances.sort_values("instance_id")
    truths = np.empty(len(rows), TRUTH)
    for name in ("instance_id", "category", "area_px"):
        truths[name] = rows[name]
    truths["evaluated"] = (truths["instance_id"] >= INSTANCE_BASE) & (truths["area_px"] >= min_area_px)
    return truths


def _shared_pixels(instance_map: np.ndarray, detections: Detections, truths: np.ndarray) -> np.ndarray:
    """Pixels that each detection shares with each bin, int64 ``(N, 2 + K)``."""
    # Look-up table from pixel values to bins, (65536,), in the type that bincount works in
    bins = np.full(2**16, _OTHER, np.intp)
    bins[_VOID_IDS] = _VOID
    bins[truths["instance_id"]] = np.arange(_FIRST_TRUTH, _FIRST_TRUTH + len(truths))
    pixels = np.zeros((len(detections), _FIRST_TRUTH + len(truths)), np.int64)
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
    shared = pixels[:, _FIRST_TRUTH:]
    same = predictions["category"][:, None] == truths["category"]
    iou = shared / (truths["area_px"] + areas[:, None] - shared)
    iou = np.concatenate([np.zeros((len(iou), 1)), np.where(same, iou, 0.0)], axis=1)
    predictions["truth"] = iou.argmax(1) - 1
    predictions["iou"] = iou.max(1)
    # Pixels to ignore. As in the official evaluator, a group that is also tiny counts twice
    absorbs = (truths["instance_id"] < INSTANCE_BASE).astype(int) + (truths["area_px"] < min_area_px)
    predictions["ignored"] = (pixels[:, _VOID] + (shared * same) @ absorbs) / areas
    return predictions
