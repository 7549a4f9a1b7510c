"""Average precision of instance segmentation over a data set, equal to the official Cityscapes evaluator.

:func:`scapes.match.match_image` reduces an image to a small record. Records of any images, processes and machines are
pooled by :func:`scapes.match.pool`; AP has the same bits whatever their order.

Shapes: M images, T ground truths and P detections of a data set, 8 classes, 10 overlaps, B sets of weights.

Source: ``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``. One thing is not defined there: where
every detection of a class is ignored, AP is 0 here (the official evaluator fails). AP by the size of instances follows
``evaluateImg`` in ``pycocotools/cocoeval.py``, with bands that suit images of any size.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scapes.labels import CLASSES
from scapes.match import OVERLAPS, Records

MEAN = "mean"  # the mean over classes, in the column ``class``
NAMES = (*CLASSES, MEAN)
IGNORED, FALSE_POSITIVE, DUPLICATE, TRUE_POSITIVE = range(4)  # of a detection; a duplicate is a false positive too
Bands = Mapping[str, tuple[float, float]]  # name -> half-open range of area [low, high) in pixels


def outcomes(records: Records) -> np.ndarray:
    """What becomes of each detection at each overlap, int8 ``(P, 10)``: one of the four constants above."""
    truths, predictions, (of_truths, of_predictions) = records.truths, records.predictions, records.counts.T
    iou, ignored = predictions["iou"][:, None], predictions["ignored"][:, None]
    # Without a match: a false positive, unless too much of it lies on what is ignored
    matched = iou > OVERLAPS
    outcome = np.where(~matched & (ignored <= OVERLAPS), FALSE_POSITIVE, IGNORED).astype(np.int8)
    # From a row in the image's truths to the row in all truths, -1 if none
    first_truth = np.repeat(np.cumsum(of_truths) - of_truths, of_predictions)
    prediction_truth = np.where(predictions["truth"] < 0, -1, first_truth + predictions["truth"])
    # With a match of evaluated ground truth (-1 finds the appended False): true once, for the highest score
    evaluated = np.append(truths["evaluated"], False)[prediction_truth]
    order = np.argsort(-predictions["score"], kind="stable")
    order = order[evaluated[order]]
    for column, hit in zip(outcome.T, matched.T, strict=True):
        hits = order[hit[order]]
        _, first = np.unique(prediction_truth[hits], return_index=True)
        column[hits] = DUPLICATE
        column[hits[first]] = TRUE_POSITIVE
    return outcome


def average_precision(records: Records) -> np.ndarray:
    """AP of a data set, float64 ``(8, 10)``, class by overlap, fractions 0..1; NaN for a class without ground truth."""
    return weighted_ap(records, outcomes(records), np.ones((len(records.image_id), 1)))[0]


def counts(records: Records) -> dict[str, Any]:
    """What is behind an AP: number of ``images``, and by class of evaluated ``truths`` and of ``predictions``."""
    rows = {"truths": records.truths[records.truths["evaluated"]], "predictions": records.predictions}
    by_class = {name: np.bincount(of["category"], minlength=len(CLASSES)).tolist() for name, of in rows.items()}
    return {"images": len(records.image_id)} | by_class


def weighted_ap(records: Records, outcome: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AP, float64 ``(B, 8, 10)``, if images count ``weights`` times, float64 ``(M, B)``; NaN without ground truth.

    ``outcome``: :func:`outcomes` of the records.
    """
    truths, predictions = records.truths, records.predictions
    truth_image, prediction_image = records.images
    ap = np.empty((weights.shape[1], len(CLASSES), len(OVERLAPS)))
    for category in range(len(CLASSES)):
        # Number of evaluated ground truths of the class for each set of weights, (B,)
        evaluated = truths["evaluated"] & (truths["category"] == category)
        there = np.bincount(truth_image[evaluated], minlength=len(weights)) @ weights
        # Detections of the class by falling score, and how often each counts, (P, B)
        (rows,) = np.nonzero(predictions["category"] == category)
        rows = rows[np.argsort(-predictions["score"][rows], kind="stable")]
        scores, of_class = predictions["score"][rows], outcome[rows]
        of_prediction = weights[prediction_image[rows]]
        for overlap in range(len(OVERLAPS)):
            counted = of_class[:, overlap] != IGNORED
            is_true = of_class[counted, overlap] == TRUE_POSITIVE
            ap[:, category, overlap] = _curve_area(scores[counted], is_true, of_prediction[counted], there)
    return ap


def _curve_area(scores: np.ndarray, is_true: np.ndarray, weights: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve, ``(B,)``, for detections by falling score; NaN without ground truth.

    ``scores`` and ``is_true`` are ``(P,)``, ``weights`` ``(P, B)``, ``truths`` ``(B,)``.
    """
    # Points of the curve: the last detection of each score; detections and true positives so far, (points, B)
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    everything = np.cumsum(weights, axis=0)[last]
    true = np.cumsum(weights * is_true[:, None], axis=0)[last]
    # The curve starts at precision 1 and recall 0; each precision counts for half the way to both its neighbours
    precision = np.ones((len(true) + 1, len(truths)))
    np.divide(true, everything, out=precision[1:], where=everything > 0)
    recall = np.tile(np.where(truths > 0, 0.0, np.nan), (len(true) + 3, 1))
    np.divide(true, truths, out=recall[2:-1], where=truths > 0)
    recall[-1] = recall[-2]
    return (precision * (recall[2:] - recall[:-2])).sum(0) / 2


def precision_recall(records: Records) -> pd.DataFrame:
    """Precision and recall at overlap 0.5 of the detections from a score on: one row per class and score.

    Columns: ``category``, ``score`` (falling), ``precision``, ``recall`` (fractions; recall: NaN without ground truth).
    """
    outcome, truths = outcomes(records)[:, 0], pd.Series(counts(records)["truths"])
    found = pd.DataFrame(records.predictions).assign(true=outcome == TRUE_POSITIVE)[outcome != IGNORED]
    found = found.sort_values(["category", "score"], ascending=[True, False])
    true = found.groupby("category")["true"]
    found["precision"] = true.cumsum() / (true.cumcount() + 1)
    found["recall"] = true.cumsum() / found["category"].map(truths)
    return found.drop_duplicates(["category", "score"], keep="last")[["category", "score", "precision", "recall"]]


def summary(ap: np.ndarray) -> np.ndarray:
    """AP ``(..., 8, 10)`` to ``(..., 9, 2)``: each class and the mean of those that are not NaN; AP and AP50."""
    of_class = np.stack([ap.mean(-1), ap[..., 0]], axis=-1)
    known = ~np.isnan(of_class)
    count, total = known.sum(-2, keepdims=True), np.where(known, of_class, 0).sum(-2, keepdims=True)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return np.concatenate([of_class, mean], axis=-2)


def thirds(records: Records) -> Bands:
    """Small, medium and large: each a third of the evaluated ground truth. Raises ValueError if there is none."""
    areas = records.truths["area_px"][records.truths["evaluated"]]
    if not len(areas):
        raise ValueError("found no evaluated ground truth, expected some to divide into thirds")
    small, medium, large = (1 + np.quantile(areas, [1 / 3, 2 / 3, 1], method="lower")).tolist()
    return {"small": (0, small), "medium": (small, medium), "large": (medium, large)}


def ap_by_size(records: Records, bands_px: Bands) -> pd.DataFrame:
    """AP of the ground truth of each band of area: one row per band and class, and one for the mean over classes.

    As in COCO, ground truth outside the band absorbs detections, and a detection outside it without a match is ignored.

    Columns: ``class``, ``size`` (the band's name), ``ap`` (fraction 0..1, over the ten overlaps; NaN where a class has
    no ground truth in the band), ``count`` (evaluated ground truths in the band).
    """
    tables = []
    for name, (low, high) in bands_px.items():
        truths, predictions = records.truths.copy(), records.predictions.copy()
        truths["evaluated"] &= (truths["area_px"] >= low) & (truths["area_px"] < high)
        # Without a match, a detection counts by its own area
        predictions["ignored"][(predictions["area_px"] < low) | (predictions["area_px"] >= high)] = 1
        of_band = dataclasses.replace(records, truths=truths, predictions=predictions)
        ap, count = summary(average_precision(of_band))[:, 0], counts(of_band)["truths"]
        tables.append(pd.DataFrame({"class": NAMES, "size": name, "ap": ap, "count": [*count, sum(count)]}))
    return pd.concat(tables, ignore_index=True)
