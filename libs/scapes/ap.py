"""Average precision of instance segmentation over a data set, equal to the official Cityscapes evaluator.

:func:`scapes.match.match_image` reduces an image to a small record. Records of any images, processes and machines are
pooled by :func:`average_precision`, which gives the same bits whatever their order.

Shapes: M images, T ground truths and P detections of a data set, 8 classes, 10 overlaps, B sets of weights.

Source: ``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``. One thing is not defined there: where
every detection of a class is ignored, AP is 0 here (the official evaluator fails). AP by the size of instances follows
``evaluateImg`` in ``pycocotools/cocoeval.py``, with bands that suit images of any size.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scapes.labels import CLASSES
from scapes.match import OVERLAPS, PREDICTION, TRUTH, ImageMatch
from scapes.predictions import check_images

MEAN = "mean"  # the mean over classes, in the column ``class``
NAMES = (*CLASSES, MEAN)
IGNORED, FALSE_POSITIVE, DUPLICATE, TRUE_POSITIVE = 0, 1, 2, 3
"""What becomes of a detection at an overlap; a duplicate is a false positive too."""
Bands = Mapping[str, tuple[float, float]]  # name -> half-open range of area [low, high) in pixels


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The records of a data set, pooled, with the images ordered by id."""

    image_ids: tuple[str, ...]
    truths: np.ndarray  # TRUTH (T,)
    truth_image: np.ndarray  # int64 (T,), the image of each
    predictions: np.ndarray  # PREDICTION (P,)
    prediction_image: np.ndarray  # int64 (P,), the image of each
    prediction_truth: np.ndarray  # int64 (P,), the row in ``truths`` that the field ``truth`` points to, -1 if none
    outcome: np.ndarray  # int8 (P, 10), one of the four constants above


def outcomes(records: Iterable[ImageMatch]) -> Outcomes:
    """Pool records. Raises ValueError if an image comes twice, or if they were made with different minimum areas."""
    records = sorted(records, key=lambda record: record.image_id)
    image_ids = tuple(record.image_id for record in records)
    check_images(image_ids, image_ids)
    areas = {record.min_area_px for record in records}
    if len(areas) > 1:
        raise ValueError(f"found records made with min_area_px = {sorted(areas)}, expected one value")
    truths = np.concatenate([np.empty(0, TRUTH), *(record.truths for record in records)])
    predictions = np.concatenate([np.empty(0, PREDICTION), *(record.predictions for record in records)])
    # The image of each row
    counts = np.array([(len(record.truths), len(record.predictions)) for record in records], int).reshape(-1, 2)
    truth_image, prediction_image = (np.repeat(np.arange(len(records)), of_image) for of_image in counts.T)
    # From a row in the image's truths to the row in all truths
    first_truth = np.searchsorted(truth_image, prediction_image)
    prediction_truth = np.where(predictions["truth"] < 0, -1, first_truth + predictions["truth"])
    outcome = _decide(predictions, truths, prediction_truth)
    return Outcomes(image_ids, truths, truth_image, predictions, prediction_image, prediction_truth, outcome)


def _decide(predictions: np.ndarray, truths: np.ndarray, prediction_truth: np.ndarray) -> np.ndarray:
    """The rule of the metric, from three fields of :class:`Outcomes` to its ``outcome``."""
    iou, ignored = predictions["iou"][:, None], predictions["ignored"][:, None]
    # Without a match: a false positive, unless too much of it lies on what is ignored
    matched = iou > OVERLAPS
    outcome = np.where(~matched & (ignored <= OVERLAPS), FALSE_POSITIVE, IGNORED).astype(np.int8)
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


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """AP of a data set, as fractions 0..1, and the numbers of images, ground truths and detections behind it."""

    ap: np.ndarray  # float64 (8, 10), class by overlap; NaN for a class without ground truth
    images: int
    truths: np.ndarray  # int64 (8,), evaluated ground truths
    predictions: np.ndarray  # int64 (8,), detections with at least a pixel

    mean = property(lambda self: _nanmean(self.ap))  # over all overlaps and classes with ground truth; NaN if none
    ap50 = property(lambda self: _nanmean(self.ap[:, 0]))  # as ``mean``, at overlap 0.5 only


def average_precision(records: Iterable[ImageMatch] | Outcomes) -> AveragePrecision:
    """AP from the records of a data set, or from their :func:`outcomes`; raises as that does."""
    pooled = records if isinstance(records, Outcomes) else outcomes(records)
    truths = np.bincount(pooled.truths["category"][pooled.truths["evaluated"]], minlength=len(CLASSES))
    predictions = np.bincount(pooled.predictions["category"], minlength=len(CLASSES))
    ap = weighted_ap(pooled, np.ones((len(pooled.image_ids), 1)))[0]
    return AveragePrecision(ap, len(pooled.image_ids), truths, predictions)


def weighted_ap(pooled: Outcomes, weights: np.ndarray) -> np.ndarray:
    """AP, float64 ``(B, 8, 10)``, if images count ``weights`` times, float64 ``(M, B)``; NaN without ground truth."""
    ap = np.empty((weights.shape[1], len(CLASSES), len(OVERLAPS)))
    for category in range(len(CLASSES)):
        # Number of evaluated ground truths of the class for each set of weights, (B,)
        evaluated = pooled.truths["evaluated"] & (pooled.truths["category"] == category)
        truths = np.bincount(pooled.truth_image[evaluated], minlength=len(weights)) @ weights
        # Detections of the class by falling score, and how often each counts, (P, B)
        (rows,) = np.nonzero(pooled.predictions["category"] == category)
        rows = rows[np.argsort(-pooled.predictions["score"][rows], kind="stable")]
        scores, outcome = pooled.predictions["score"][rows], pooled.outcome[rows]
        of_prediction = weights[pooled.prediction_image[rows]]
        for overlap in range(len(OVERLAPS)):
            counted = outcome[:, overlap] != IGNORED
            is_true = outcome[counted, overlap] == TRUE_POSITIVE
            ap[:, category, overlap] = _curve_area(scores[counted], is_true, of_prediction[counted], truths)
    return ap


def _curve_area(scores: np.ndarray, is_true: np.ndarray, weights: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve, ``(B,)``, for detections by falling score; NaN without ground truth.

    ``scores`` and ``is_true`` are ``(P,)``, ``weights`` ``(P, B)``, ``truths`` ``(B,)``.
    """
    # Detections and true positives so far at the points of the curve: at its start and after the last of each score
    so_far = np.zeros((2, len(scores) + 1, len(truths)))
    np.cumsum(weights, axis=0, out=so_far[0, 1:])
    np.cumsum(weights * is_true[:, None], axis=0, out=so_far[1, 1:])
    everything, true = so_far[:, np.diff(scores, prepend=np.inf, append=-np.inf) != 0]
    # Precision is 1 before the first detection; each precision counts for half the way to both its neighbours
    precision = np.divide(true, everything, out=np.ones_like(true), where=everything > 0)
    recall = np.divide(true, truths, out=np.full_like(true, np.nan), where=truths > 0)
    recall = np.pad(recall, ((1, 1), (0, 0)), mode="edge")
    return (precision * (recall[2:] - recall[:-2])).sum(0) / 2


def _nanmean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def summary(ap: np.ndarray) -> np.ndarray:
    """AP ``(..., 8, 10)`` to ``(..., 9, 2)``: each class and the mean of those that are not NaN; AP and AP50."""
    of_class = np.stack([ap.mean(-1), ap[..., 0]], axis=-1)
    known = ~np.isnan(of_class)
    count, total = known.sum(-2, keepdims=True), np.where(known, of_class, 0).sum(-2, keepdims=True)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return np.concatenate([of_class, mean], axis=-2)


def thirds(pooled: Outcomes) -> Bands:
    """Small, medium and large: each a third of the evaluated ground truth. Raises ValueError if there is none."""
    areas = pooled.truths["area_px"][pooled.truths["evaluated"]]
    if not len(areas):
        raise ValueError("found no evaluated ground truth, expected some to divide into thirds")
    ends = [0, *(1 + np.quantile(areas, [1 / 3, 2 / 3, 1], method="lower")).tolist()]
    return dict(zip(("small", "medium", "large"), itertools.pairwise(ends), strict=True))


def ap_by_size(pooled: Outcomes, bands_px: Bands) -> pd.DataFrame:
    """AP of the ground truth of each band of area: one row per band and class, and one for the mean over classes.

    As in COCO, ground truth outside the band absorbs detections, and a detection that matches nothing counts as a false
    positive only if its own area is inside the band.

    Columns: ``class``, ``size`` (the band's name), ``ap`` (fraction 0..1, over the ten overlaps; NaN where a class has
    no ground truth in the band), ``count`` (evaluated ground truths in the band).
    """
    tables = []
    for name, (low, high) in bands_px.items():
        found = average_precision(_restricted(pooled, low, high))
        count = np.append(found.truths, found.truths.sum())
        tables.append(pd.DataFrame({"class": NAMES, "size": name, "ap": summary(found.ap)[:, 0], "count": count}))
    return pd.concat(tables, ignore_index=True)


def _restricted(pooled: Outcomes, low: float, high: float) -> Outcomes:
    """With only the ground truth of areas ``[low, high)`` evaluated."""
    areas = (rows["area_px"] for rows in (pooled.truths, pooled.predictions))
    inside, counted = ((area >= low) & (area < high) for area in areas)
    truths = pooled.truths.copy()
    truths["evaluated"] &= inside
    # A detection counts where its ground truth does (-1 finds the appended False); without one, by its own area
    of_inside = np.append(inside, False)[pooled.prediction_truth]
    keep = np.where(pooled.outcome > FALSE_POSITIVE, of_inside[:, None], counted[:, None])
    return dataclasses.replace(pooled, truths=truths, outcome=np.where(keep, pooled.outcome, IGNORED))
