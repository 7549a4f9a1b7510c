"""Average precision of instance segmentation over a data set, equal to the official Cityscapes evaluator.

:func:`scapes.match.match_image` reduces an image to a small record. Records of any images, processes and machines are
pooled by :func:`average_precision`, which gives the same bits whatever their order.

Shapes: M images, T ground truths and P detections of a data set, 8 classes, 10 overlaps.

Source: ``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``. One thing is not defined there: where
every detection of a class is ignored, AP is 0 here (the official evaluator fails).
"""

import collections
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scapes.labels import CLASSES
from scapes.match import PREDICTION, TRUTH, ImageMatch

OVERLAPS = np.arange(0.5, 1.0, 0.05)  # the official evaluator's own expression, hence the same bits
IGNORED, FALSE_POSITIVE, DUPLICATE, TRUE_POSITIVE = 0, 1, 2, 3
"""What becomes of a detection at an overlap; a duplicate is a false positive too."""


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


def check_images(found: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ValueError if an image's id is found twice, is missing or not expected."""
    found, expected = collections.Counter(found), set(expected)
    if twice := sorted(image_id for image_id, count in found.items() if count > 1):
        raise ValueError(f"image {twice[0]}: found {found[twice[0]]} records, expected one ({len(twice)} such images)")
    if unknown := sorted(set(found) - expected):
        raise ValueError(f"image {unknown[0]}: found a record, expected none ({len(unknown)} unknown images)")
    if missing := sorted(expected - set(found)):
        count = f"{len(missing)} of {len(expected)} images"
        raise ValueError(f"image {missing[0]}: found no record, expected one ({count})")


def _decide(predictions: np.ndarray, truths: np.ndarray, prediction_truth: np.ndarray) -> np.ndarray:
    """The rule of the metric, from three fields of :class:`Outcomes` to its ``outcome``."""
    iou, ignored = predictions["iou"][:, None], predictions["ignored"][:, None]
    # Without a match: a false positive, unless too much of it lies on what is ignored
    matched = iou > OVERLAPS
    outcome = np.where(~matched & (ignored <= OVERLAPS), FALSE_POSITIVE, IGNORED).astype(np.int8)
    # With a match of evaluated ground truth (-1 finds the appended False): by ground truth, the highest score first
    evaluated = np.append(truths["evaluated"], False)[prediction_truth]
    order = np.lexsort((-predictions["score"], prediction_truth))
    order = order[evaluated[order]]
    for column, hit in zip(outcome.T, matched.T, strict=True):
        hits = order[hit[order]]
        truth = prediction_truth[hits]
        first = np.ones(len(hits), bool)
        first[1:] = truth[1:] != truth[:-1]
        column[hits] = np.where(first, TRUE_POSITIVE, DUPLICATE)
    return outcome


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """AP of a data set, as fractions 0..1, and the numbers of images, ground truths and detections behind it."""

    ap: np.ndarray  # float64 (8, 10), class by overlap; NaN for a class without ground truth
    images: int
    truths: np.ndarray  # int64 (8,), evaluated ground truths
    predictions: np.ndarray  # int64 (8,), detections with at least a pixel

    @property
    def mean(self) -> float:
        """AP averaged over all overlaps and the classes with ground truth; NaN if there is none."""
        return _nanmean(self.ap)

    @property
    def ap50(self) -> float:
        """As :attr:`mean`, at overlap 0.5 only."""
        return _nanmean(self.ap[:, 0])


def average_precision(records: Iterable[ImageMatch] | Outcomes) -> AveragePrecision:
    """AP from the records of a data set, or from their :func:`outcomes`; raises as that does."""
    pooled = records if isinstance(records, Outcomes) else outcomes(records)
    truths = np.bincount(pooled.truths["category"][pooled.truths["evaluated"]], minlength=len(CLASSES))
    predictions = np.bincount(pooled.predictions["category"], minlength=len(CLASSES))
    ap = np.empty((len(CLASSES), len(OVERLAPS)))
    for c in range(len(CLASSES)):
        of_class = pooled.predictions["category"] == c
        scores, outcome = pooled.predictions["score"][of_class], pooled.outcome[of_class]
        for o in range(len(OVERLAPS)):
            counted = outcome[:, o] != IGNORED
            ap[c, o] = _curve_area(scores[counted], outcome[counted, o] == TRUE_POSITIVE, truths[c])
    return AveragePrecision(ap, len(pooled.image_ids), truths, predictions)


def _curve_area(scores: np.ndarray, is_true: np.ndarray, truths: int) -> float:
    """Area under the precision-recall curve; both arrays ``(P,)``; NaN without ground truth."""
    if truths == 0:
        return float("nan")
    order = np.argsort(-scores)
    scores = scores[order]
    # Points of the curve: the last detection of each score
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    positives = np.cumsum(is_true[order])[last]
    # The curve starts at precision 1 and recall 0; each precision counts for half the way to both its neighbours
    precision = np.append(1.0, positives / (np.flatnonzero(last) + 1))
    recall = np.concatenate([[0.0, 0.0], positives / truths, [positives[-1] / truths if len(positives) else 0.0]])
    return float((precision * (0.5 * recall[2:] - 0.5 * recall[:-2])).sum())


def _nanmean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
