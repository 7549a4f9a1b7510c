"""What stands behind an AP: by size of the ground truth, by occlusion or any other property of it, and kinds of errors.

All of it from the pooled records of a data set (:func:`scapes.ap.outcomes`), as tidy DataFrames.

Sources: bands by size as in COCO's evaluation (``pycocotools/cocoeval.py``, ``evaluateImg``); kinds of errors after
Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", 2020, section 2.2, for masks.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd

from scapes.ap import (
    DUPLICATE,
    FALSE_POSITIVE,
    IGNORED,
    OVERLAPS,
    TRUE_POSITIVE,
    Outcomes,
    average_precision,
)
from scapes.labels import CLASSES

Bands = Mapping[str, tuple[float, float]]
"""Name -> half-open range ``[low, high)`` of a property."""

SIZE_BANDS_PX: Bands = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}
"""COCO's, in pixels of area; scale them for images that are not 2048x1024."""

OCCLUSION_BANDS: Bands = {"visible": (0, 0.1), "partly": (0.1, 0.5), "mostly hidden": (0.5, np.inf)}
"""Fraction of an instance that others hide, as in the metadata of Synscapes."""

FOREGROUND_IOU = 0.1
"""Below this IoU a false positive has nothing to do with a ground truth (TIDE's lower threshold)."""


def ap_by_size(pooled: Outcomes, bands_px: Bands = SIZE_BANDS_PX) -> pd.DataFrame:
    """AP of the ground truth of each band of area: columns as :func:`ap_by`.

    As in COCO, ground truth outside the band absorbs detections, and a detection that matches nothing counts as a false
    positive only if its own area is inside the band.
    """
    return ap_by(pooled, pooled.truths["area_px"], bands_px, pooled.predictions["area_px"])


def ap_by(
    pooled: Outcomes, of_truth: np.ndarray, bands: Bands, of_prediction: np.ndarray | None = None
) -> pd.DataFrame:
    """AP and recall of the ground truth of each band of any property: one row a band, class and overlap.

    Ground truth outside the band absorbs detections. A detection that matches nothing counts in every band, unless
    ``of_prediction`` says which it belongs to: without, compare bands between runs rather than with the overall AP.

    Args:
        of_truth: the property of each row of ``pooled.truths``; see :func:`property_of_truths`.
        of_prediction: of each row of ``pooled.predictions``, if detections have the property.

    Returns:
        band, then the columns of :meth:`scapes.ap.AveragePrecision.frame`, and recall.

    Raises:
        ValueError: if there is not one value a row.
    """
    _check_length(of_truth, pooled.truths, "ground truths")
    if of_prediction is not None:
        _check_length(of_prediction, pooled.predictions, "detections")
    frames = []
    for name, (low, high) in bands.items():
        inside = (of_truth >= low) & (of_truth < high)
        counted = True if of_prediction is None else (of_prediction >= low) & (of_prediction < high)
        frame = average_precision(_restrict(pooled, inside, counted)).frame()
        frame.insert(0, "band", name)
        frames.append(frame.assign(recall=frame["true_positives"] / frame["truths"].where(frame["truths"] > 0)))
    return pd.concat(frames, ignore_index=True)


def property_of_truths(pooled: Outcomes, table: pd.DataFrame, column: str) -> np.ndarray:
    """A column of a table with ``image_id`` and ``instance_id``, for each row of ``pooled.truths``; NaN for groups.

    For Synscapes, :func:`synlib.curation.occlusion.visibility_table` has ``occluded``, the fraction of the instance
    that others hide.

    Raises:
        ValueError: naming an evaluated ground truth that the table does not have, or has twice.
    """
    truths = pd.DataFrame({"image_id": pooled.image_ids}).iloc[pooled.truth_image]
    truths = truths.assign(instance_id=pooled.truths["instance_id"]).reset_index(drop=True)
    known = table[["image_id", "instance_id", column]]
    twice = known.duplicated(["image_id", "instance_id"])
    if twice.any():
        row = known[twice].iloc[0]
        raise ValueError(
            f"image {row['image_id']}, instance {row['instance_id']}: found twice in the table, expected once"
        )
    merged = truths.merge(known, how="left", on=["image_id", "instance_id"], indicator=True)
    missing = (merged["_merge"] == "left_only").to_numpy() & pooled.truths["evaluated"]
    if missing.any():
        row = merged[missing].iloc[0]
        raise ValueError(
            f"image {row['image_id']}, instance {row['instance_id']}: found no {column} in the table, expected one"
        )
    return merged[column].to_numpy(float)


def errors(pooled: Outcomes, *, overlap: float = 0.5, min_score: float = 0.0) -> pd.DataFrame:
    """Number of errors of each kind: columns class, error, count; the class of a miss is the ground truth's.

    Each false positive is of one kind, the first that holds:

    - ``duplicate``: matches a ground truth that a detection with a higher score has found;
    - ``classification``: matches a ground truth of another class;
    - ``localization``: overlaps a ground truth of its class by IoU > 0.1, but not enough;
    - ``both``: overlaps one of another class by IoU > 0.1, but not enough;
    - ``background``: overlaps nothing evaluated.

    Each ground truth not found is ``missed, misclassified``, ``missed, mislocalized`` (a false positive of that kind
    concerns it) or ``missed``.

    Args:
        overlap: one of the ten overlaps.
        min_score: detections below are left out.

    Raises:
        ValueError: if ``overlap`` is none of the ten.
    """
    columns = np.flatnonzero(np.isclose(OVERLAPS, overlap))
    if not len(columns):
        raise ValueError(f"found overlap {overlap}, expected one of {OVERLAPS.round(2).tolist()}")
    outcome = np.where(pooled.predictions["score"] < min_score, IGNORED, pooled.outcome[:, columns[0]])
    kind, concerned = _kinds(pooled, outcome, OVERLAPS[columns[0]])
    missed = _misses(pooled, outcome, kind, concerned)
    counts = [
        *_counts(pooled.predictions["category"], kind, _KINDS),
        *_counts(pooled.truths["category"], missed, _MISSES),
    ]
    return pd.DataFrame(counts, columns=["class", "error", "count"])


_KINDS = ("duplicate", "classification", "localization", "both", "background")
_MISSES = ("missed, misclassified", "missed, mislocalized", "missed")


def _kinds(pooled: Outcomes, outcome: np.ndarray, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """For each prediction the index in ``_KINDS``, -1 if it is no error, and the ground truth concerned, -1 if none."""
    predictions, own, other = pooled.predictions, pooled.prediction_truth, pooled.prediction_other
    near = (predictions["iou"] > FOREGROUND_IOU) & np.append(pooled.truths["evaluated"], False)[own]
    other_iou = predictions["other_iou"]
    rules = [outcome == DUPLICATE, other_iou > overlap, near, other_iou > FOREGROUND_IOU]
    wrong = (outcome == FALSE_POSITIVE) | (outcome == DUPLICATE)
    kind = np.where(wrong, np.select(rules, range(4), 4), -1)
    return kind, np.select([kind == 1, kind == 2], [other, own], -1)


def _misses(pooled: Outcomes, outcome: np.ndarray, kind: np.ndarray, concerned: np.ndarray) -> np.ndarray:
    """For each ground truth the index in ``_MISSES``, -1 if it was found or is not evaluated."""
    found, misclassified, mislocalized = (np.zeros(len(pooled.truths) + 1, bool) for _ in range(3))  # -1 marks the last
    found[pooled.prediction_truth[outcome == TRUE_POSITIVE]] = True
    misclassified[concerned[kind == 1]] = True
    mislocalized[concerned[kind == 2]] = True
    missed = pooled.truths["evaluated"] & ~found[:-1]
    return np.where(missed, np.select([misclassified[:-1], mislocalized[:-1]], [0, 1], 2), -1)


def _counts(category: np.ndarray, kind: np.ndarray, names: tuple[str, ...]) -> list[tuple[str, str, int]]:
    return [
        (class_name, name, int(((category == c) & (kind == k)).sum()))
        for c, class_name in enumerate(CLASSES)
        for k, name in enumerate(names)
    ]


def _restrict(pooled: Outcomes, inside: np.ndarray, counted: np.ndarray | bool) -> Outcomes:
    """With only the ground truth ``inside`` evaluated, and only the unmatched detections that are ``counted``."""
    truths = pooled.truths.copy()
    truths["evaluated"] &= inside
    matched = pooled.outcome > FALSE_POSITIVE
    of_inside = np.append(inside, False)[pooled.prediction_truth][:, None]
    keep = np.where(matched, of_inside, np.broadcast_to(counted, len(pooled.predictions))[:, None])
    return dataclasses.replace(pooled, truths=truths, outcome=np.where(keep, pooled.outcome, IGNORED))


def _check_length(values: np.ndarray, rows: np.ndarray, what: str) -> None:
    if len(values) != len(rows):
        raise ValueError(f"found {len(values)} values, expected one for each of {len(rows)} {what}")
