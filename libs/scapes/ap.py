"""Average precision of instance segmentation over a data set, equal to the official Cityscapes evaluator.

:func:`scapes.match.match_image` reduces an image to a small record; records of any images, processes and
machines, in any order, are pooled by :func:`average_precision`, which gives the same bits whatever the order.

Shapes used in this module: M images, P detections of a data set, 8 classes, 10 overlaps.

Source of the metric: ``cityscapesscripts/evaluation/evalInstanceLevelSemanticLabeling.py``. One thing is defined here
that is not there: where every detection of a class is ignored, AP is 0 (the official one fails).
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scapes.labels import CLASSES
from scapes.match import MIN_AREA_PX, PREDICTION, TRUTH, ImageMatch, match_image

__all__ = [
    "MIN_AREA_PX",
    "OVERLAPS",
    "AveragePrecision",
    "ImageMatch",
    "Outcomes",
    "average_precision",
    "match_image",
    "outcomes",
]

OVERLAPS = np.arange(0.5, 1.0, 0.05)
"""The ten overlaps, float64; the same expression as the official one's, hence the same bits."""

IGNORED, FALSE_POSITIVE, DUPLICATE, TRUE_POSITIVE = 0, 1, 2, 3
"""What becomes of a prediction at an overlap; a duplicate is a false positive too."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The records of a data set, pooled: what became of each prediction at each overlap. Images are ordered by id.

    Attributes:
        image_ids: the ids of the M images.
        truths: :data:`TRUTH` of all images; ``truth_image`` says whose, int64.
        predictions: :data:`PREDICTION` ``(P,)``; ``prediction_image`` says whose, int64.
        prediction_truth, prediction_other: int64 ``(P,)``, rows in ``truths`` that the fields ``truth`` and
            ``other_truth`` point to, -1 if none.
        outcome: int8 ``(P, 10)``: :data:`TRUE_POSITIVE`, :data:`FALSE_POSITIVE`, :data:`DUPLICATE` or :data:`IGNORED`.
    """

    image_ids: tuple[str, ...]
    truths: np.ndarray
    truth_image: np.ndarray
    predictions: np.ndarray
    prediction_image: np.ndarray
    prediction_truth: np.ndarray
    prediction_other: np.ndarray
    outcome: np.ndarray


def outcomes(
    records: Iterable[ImageMatch], *, expected_images: Iterable[str] | None = None, subset: bool = False
) -> Outcomes:
    """Pool the records of a data set and decide each prediction at each overlap.

    Args:
        records: of :func:`match_image`, in any order, from any number of processes.
        expected_images: the ids of the images that belong to the data set; None to take the records as they come.
        subset: allow images to be missing from the records.

    Raises:
        ValueError: if an image comes twice, is missing (without ``subset``), or is not expected; if the records were
            made with different minimum areas.
    """
    records = sorted(records, key=lambda record: record.image_id)
    check_images([record.image_id for record in records], expected_images, subset)
    areas = {record.min_area_px for record in records}
    if len(areas) > 1:
        raise ValueError(f"found records made with min_area_px = {sorted(areas)}, expected one value")
    truths = np.concatenate([np.empty(0, TRUTH), *(record.truths for record in records)])
    predictions = np.concatenate([np.empty(0, PREDICTION), *(record.predictions for record in records)])
    per_image = np.array([[len(record.truths), len(record.predictions)] for record in records], int).reshape(-1, 2)
    truth_image, prediction_image = (np.repeat(np.arange(len(records)), counts) for counts in per_image.T)
    first_truth = np.concatenate([[0], np.cumsum(per_image[:, 0])]).astype(int)[prediction_image]
    own, other = (
        np.where(predictions[name] < 0, -1, first_truth + predictions[name]) for name in ("truth", "other_truth")
    )
    outcome = _decide(predictions, truths, own)
    image_ids = tuple(record.image_id for record in records)
    return Outcomes(image_ids, truths, truth_image, predictions, prediction_image, own, other, outcome)


def check_images(found: list[str], expected_images: Iterable[str] | None, subset: bool) -> None:
    """Compare the ids of images found, sorted, with those expected; arguments and errors as of :func:`outcomes`."""
    twice = sorted({a for a, b in itertools.pairwise(found) if a == b})
    if twice:
        raise ValueError(
            f"image {twice[0]}: found {found.count(twice[0])} records, expected one ({len(twice)} such images)"
        )
    if expected_images is None:
        return
    expected = set(expected_images)
    missing, unknown = sorted(expected - set(found)), sorted(set(found) - expected)
    if unknown:
        raise ValueError(
            f"image {unknown[0]}: found a record, expected none ({len(unknown)} images outside the data set)"
        )
    if missing and not subset:
        raise ValueError(
            f"image {missing[0]}: found no record, expected one ({len(missing)} of {len(expected)} images are "
            "missing); say subset=True to evaluate a part of the data set"
        )


def _decide(predictions: np.ndarray, truths: np.ndarray, prediction_truth: np.ndarray) -> np.ndarray:
    """int8 ``(P, 10)``: the outcome of each prediction at each overlap."""
    iou, ignored = predictions["iou"][:, None], predictions["ignored"][:, None]
    evaluated = np.append(truths["evaluated"], False)[prediction_truth]  # -1 finds the appended one
    matched = iou > OVERLAPS
    outcome = np.where(~matched & (ignored <= OVERLAPS), FALSE_POSITIVE, IGNORED).astype(np.int8)
    order = np.lexsort((-predictions["score"], prediction_truth))  # by ground truth, the highest score first
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
    """AP of a data set, as fractions 0..1.

    Attributes:
        ap: float64 ``(8, 10)``, class by overlap; NaN for a class without ground truth.
        images: number of images.
        truths, predictions: int64 ``(8,)``, evaluated ground truths, and detections with at least a pixel.
        true_positives, false_positives: int64 ``(8, 10)``; what is in neither was ignored.
    """

    ap: np.ndarray
    images: int
    truths: np.ndarray
    predictions: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray

    @property
    def per_class(self) -> dict[str, float]:
        """Class name -> AP averaged over the overlaps."""
        return dict(zip(CLASSES, np.average(self.ap, axis=1).tolist(), strict=True))

    @property
    def mean(self) -> float:
        """AP averaged over overlaps and classes with ground truth; NaN if there is no ground truth."""
        return _nanmean(self.ap)

    @property
    def ap50(self) -> float:
        """AP at overlap 0.5, averaged over classes with ground truth."""
        return _nanmean(self.ap[:, 0])

    def frame(self) -> pd.DataFrame:
        """One row a class and overlap: class, overlap, ap, and counts, of which misses are truths not found."""
        shape = self.ap.shape
        columns = {
            "class": np.repeat(CLASSES, shape[1]),
            "overlap": np.tile(OVERLAPS.round(2), shape[0]),
            "ap": self.ap.ravel(),
            "truths": np.repeat(self.truths, shape[1]),
            "predictions": np.repeat(self.predictions, shape[1]),
            "true_positives": self.true_positives.ravel(),
            "false_positives": self.false_positives.ravel(),
        }
        frame = pd.DataFrame(columns)
        return frame.assign(misses=frame["truths"] - frame["true_positives"])


def average_precision(
    records: Iterable[ImageMatch] | Outcomes, *, expected_images: Iterable[str] | None = None, subset: bool = False
) -> AveragePrecision:
    """AP from the records of a data set, or from their :func:`outcomes`; arguments and errors as there."""
    if not isinstance(records, Outcomes):
        records = outcomes(records, expected_images=expected_images, subset=subset)
    pooled, classes = records, range(len(CLASSES))
    truths = np.bincount(pooled.truths["category"][pooled.truths["evaluated"]], minlength=len(CLASSES))
    predictions = np.bincount(pooled.predictions["category"], minlength=len(CLASSES))
    ap = np.empty((len(CLASSES), len(OVERLAPS)))
    true_positives, false_positives = np.zeros((2, *ap.shape), int)
    for c in classes:
        of_class = pooled.predictions["category"] == c
        scores, outcome = pooled.predictions["score"][of_class], pooled.outcome[of_class]
        true_positives[c] = (outcome == TRUE_POSITIVE).sum(0)
        false_positives[c] = (outcome > IGNORED).sum(0) - true_positives[c]
        for o in range(len(OVERLAPS)):
            counted = outcome[:, o] != IGNORED
            ap[c, o] = curve_area(scores[counted], outcome[counted, o] == TRUE_POSITIVE, truths[c])
    return AveragePrecision(ap, len(pooled.image_ids), truths, predictions, true_positives, false_positives)


def curve_area(scores: np.ndarray, is_true: np.ndarray, truths: int) -> float:
    """Area under the precision-recall curve of scored detections, both arrays ``(P,)``; NaN without ground truth."""
    if truths == 0:
        return float("nan")
    order = np.argsort(-scores)
    scores = scores[order]
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # equal scores are one point
    positives = np.cumsum(is_true[order])[last]
    precision = np.append(1.0, positives / (np.flatnonzero(last) + 1))
    recall = np.concatenate([[0.0, 0.0], positives / truths, [positives[-1] / truths if len(positives) else 0.0]])
    return float((precision * (0.5 * recall[2:] - 0.5 * recall[:-2])).sum())


def _nanmean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
