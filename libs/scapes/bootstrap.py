"""How far AP can be trusted: bootstrap over images, the same ones for all runs on a data set.

A resample draws as many images as there are, with replacement, so an image counts 0, 1, 2, ... times. What became of a
detection does not depend on other images, so AP of a resample needs only those counts: no mask and no matching.

Shapes used in this module: B resamples, M images, P detections, 8 classes, 10 overlaps.

The interval says how much AP would vary over other images of the same kind, not over other trainings: for that, train
with several seeds (:func:`scapes.draws.over_seeds`).
Source of the method: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13 (percentiles).
"""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from scapes.ap import IGNORED, OVERLAPS, TRUE_POSITIVE, ImageMatch, Outcomes, average_precision, outcomes
from scapes.labels import CLASSES

MEAN = "mean"
"""Stands for the mean over classes in the column ``class``."""

_COLUMNS_AT_A_TIME = 32  # resamples worked on together: their cumulative counts should stay in the processor's cache


def intervals(
    records: Iterable[ImageMatch] | Outcomes, *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """AP with its percentile interval: one row a class, and one for the mean, and metric (``ap``, ``ap50``).

    Columns: class, metric, value, low, high, standard_error; fractions 0..1. Resamples without ground truth of a class
    are left out of its interval, and the class out of their mean, as in AP itself.

    Args:
        records: of one run on one data set, or their :func:`scapes.ap.outcomes`.
        resamples: how many; 1,000 resamples of 500 images take seconds.
        seed: of the images drawn.
        level: probability that the interval is meant to have.

    Raises:
        ValueError: if there are no images; if ``level`` is not between 0 and 1.
    """
    pooled = pooled_outcomes(records)
    return _frame(
        summary(average_precision(pooled).ap), summary(bootstrap_ap(pooled, resamples=resamples, seed=seed)), level
    )


def pooled_outcomes(records: Iterable[ImageMatch] | Outcomes) -> Outcomes:
    """The outcomes of records, or as given. Raises ValueError if there are no images."""
    pooled = records if isinstance(records, Outcomes) else outcomes(records)
    if not pooled.image_ids:
        raise ValueError("found no images to draw from, expected at least one")
    return pooled


def summary(ap: np.ndarray) -> np.ndarray:
    """AP ``(..., 8, 10)`` to ``(..., 9, 2)``: each class and the mean of those that are not NaN; AP and AP50."""
    of_class = np.stack([ap.mean(-1), ap[..., 0]], axis=-1)
    known = ~np.isnan(of_class)
    count = known.sum(-2)
    total = np.where(known, of_class, 0).sum(-2)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return np.concatenate([of_class, mean[..., None, :]], axis=-2)


def _frame(value: np.ndarray, drawn: np.ndarray, level: float) -> pd.DataFrame:
    if not 0 < level < 1:
        raise ValueError(f"found level {level}, expected a probability between 0 and 1, such as 0.95")
    names = [*CLASSES, MEAN]
    tails = [(1 - level) / 2, (1 + level) / 2]
    rows = []
    for row, (name, metric) in enumerate((name, metric) for name in names for metric in ("ap", "ap50")):
        known = drawn.reshape(len(drawn), -1)[:, row]
        known = known[~np.isnan(known)]
        low, high = np.quantile(known, tails) if len(known) else (np.nan, np.nan)
        error = known.std(ddof=1) if len(known) > 1 else np.nan
        rows.append((name, metric, value.ravel()[row], low, high, error))
    return pd.DataFrame(rows, columns=["class", "metric", "value", "low", "high", "standard_error"])


def bootstrap_ap(pooled: Outcomes, *, resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """AP of resampled images, float64 ``(B, 8, 10)``, NaN where a resample has no ground truth of a class.

    The same seed draws the same images for any run on the same data set, so results can be subtracted, and other ones
    for another data set.
    """
    weights = _draw(pooled.image_ids, resamples, seed)
    return np.concatenate([weighted_ap(pooled, part) for part in np.split(weights, _cuts(resamples), axis=1)])


def _cuts(resamples: int) -> range:
    return range(_COLUMNS_AT_A_TIME, resamples, _COLUMNS_AT_A_TIME)


def _draw(image_ids: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    """How often each image counts in each resample, float64 ``(M, B)``."""
    images = len(image_ids)
    rng = np.random.default_rng([seed, zlib.crc32("\n".join(image_ids).encode())])
    return rng.multinomial(images, np.full(images, 1 / max(1, images)), resamples).T.astype(float)


def weighted_ap(pooled: Outcomes, weights: np.ndarray) -> np.ndarray:
    """AP with each image counted as often as ``weights``, float64 ``(M, B)``, says: float64 ``(B, 8, 10)``."""
    ap = np.empty((weights.shape[1], len(CLASSES), len(OVERLAPS)))
    for category in range(len(CLASSES)):
        evaluated = pooled.truths["evaluated"] & (pooled.truths["category"] == category)
        per_image = np.bincount(pooled.truth_image[evaluated], minlength=len(weights))
        truths = per_image @ weights
        (rows,) = np.nonzero(pooled.predictions["category"] == category)
        rows = rows[np.argsort(-pooled.predictions["score"][rows], kind="stable")]
        scores, outcome = pooled.predictions["score"][rows], pooled.outcome[rows]
        of_prediction = weights[pooled.prediction_image[rows]]
        for overlap in range(len(OVERLAPS)):
            counted = outcome[:, overlap] != IGNORED
            is_true = outcome[counted, overlap] == TRUE_POSITIVE
            area = _curve_areas(scores[counted], is_true, of_prediction[counted])
            ap[:, category, overlap] = np.divide(area, truths, out=np.full(len(area), np.nan), where=truths > 0)
    return ap


def _curve_areas(scores: np.ndarray, is_true: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under precision against the number of true positives, ``(B,)``, for detections by falling score.

    ``scores`` and ``is_true`` are ``(P,)``, ``weights`` ``(P, B)``. Recall changes at true positives only, so the
    trapezoidal rule needs the curve only at scores that have one, and just before.
    """
    if not is_true.any():
        return np.zeros(weights.shape[1])
    zero = np.zeros((1, weights.shape[1]))
    everything = np.concatenate([zero, np.cumsum(weights, axis=0)])
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))  # equal scores are one point of the curve
    group = np.searchsorted(first, np.flatnonzero(is_true), side="right") - 1
    group, starts = np.unique(group, return_index=True)
    gained = np.add.reduceat(weights[is_true], starts, axis=0)
    true = np.concatenate([zero, np.cumsum(gained, axis=0)])
    before, after = everything[first[group]], everything[np.append(first, len(scores))[group + 1]]
    return (gained * (_ratio(true[:-1], before) + _ratio(true[1:], after))).sum(0) / 2


def _ratio(true: np.ndarray, everything: np.ndarray) -> np.ndarray:
    """Precision, 1 before the first detection."""
    return np.divide(true, everything, out=np.ones_like(true), where=everything > 0)
