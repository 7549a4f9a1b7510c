"""How far AP can be trusted: a bootstrap over images, with the same images for all runs on an evaluation set.

A resample draws as many images as there are, with replacement. What became of a detection does not depend on other
images, so AP of a resample needs only how often each image counts: no masks and no matching. Draws of runs on the same
evaluation set can be subtracted (paired bootstrap); on different sets they are independent. The interval says how much
AP would vary over other images of the same kind. For other trainings, see :func:`over_seeds`.

Shapes: B draws (resamples), M images, S seeds, 8 classes, 10 overlaps; 9 = the eight classes and MEAN.

Sources: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 6 and 13 (percentiles). One seed fewer
than there are is drawn so that the variance of the mean over seeds has no bias: Rao and Wu, "Resampling Inference with
Complex Survey Data", JASA 83 (1988), section 3.
"""

import contextlib
import hashlib
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scapes.ap import MEAN as MEAN  # beside NAMES, for those who read intervals
from scapes.ap import NAMES, average_precision, outcomes, summary, weighted_ap
from scapes.files import replacing
from scapes.match import DAMAGE, Records, read_records

RESAMPLES, SEED, LEVEL = 1000, 0, 0.95

_VERSION = 2  # raise it when draws of the same records change: kept files of other versions are made again
_COLUMNS_AT_A_TIME = 32  # resamples worked on together: their cumulative counts should stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Draws:
    """AP of a run on an evaluation set, as fractions 0..1; NaN for a class without ground truth."""

    value: np.ndarray  # float64 (9,), from the images as they are
    drawn: np.ndarray  # float32 (B, 9), from resampled images
    truth: str  # hash of the images and ground truth evaluated on; equal for runs that can be paired


def draw(records: Records, *, resamples: int = RESAMPLES, seed: int = SEED) -> Draws:
    """AP and bootstrap draws of records; on the same data set, the same seed draws the same images."""
    images = len(records.image_id)
    outcome = outcomes(records)
    value = summary(average_precision(records))[:, 0]
    rng = np.random.default_rng([seed, zlib.crc32("\n".join(records.image_id).encode())])
    # How often each image counts in each resample, (M, B)
    weights = rng.multinomial(images, np.full(images, 1 / images), resamples).T.astype(float)
    cuts = range(_COLUMNS_AT_A_TIME, resamples, _COLUMNS_AT_A_TIME)
    drawn = [summary(weighted_ap(records, outcome, part))[..., 0] for part in np.split(weights, cuts, axis=1)]
    truth = repr(tuple(records.image_id.tolist())).encode() + records.images[0].tobytes() + records.truths.tobytes()
    return Draws(value, np.concatenate(drawn, dtype=np.float32), hashlib.sha256(truth).hexdigest()[:16])


def read_draws(records_path: str | Path) -> Draws:
    """:func:`draw` of a records file, kept in ``draws.npz`` beside it where that folder may be written to.

    A kept file that is damaged, or of other records, is made again. Raises as :func:`scapes.match.read_records`.
    """
    kept = Path(records_path).with_name("draws.npz")
    made_from = ""
    with contextlib.suppress(*DAMAGE):  # a missing file is among them
        made_from = f"{_VERSION} {RESAMPLES} {SEED} {hashlib.sha256(Path(records_path).read_bytes()).hexdigest()}"
        with np.load(kept) as file:
            if str(file["made_from"]) == made_from:
                return Draws(file["value"], file["drawn"], str(file["truth"]))
    draws = draw(read_records(records_path), resamples=RESAMPLES, seed=SEED)
    # Somebody else's folder, a full disk: the draws are made again next time
    with contextlib.suppress(OSError), replacing(kept, sync=False) as temporary, open(temporary, "wb") as file:
        np.savez(file, made_from=made_from, value=draws.value, drawn=draws.drawn, truth=draws.truth)
    return draws


def intervals(draws: Draws) -> pd.DataFrame:
    """AP with its 95 % interval, fractions: ``class`` (the 9 names), ``ap``, ``low``, ``high``."""
    low, high = percentiles(draws.drawn)
    return pd.DataFrame({"class": NAMES, "ap": draws.value, "low": low, "high": high})


def percentiles(drawn: np.ndarray) -> np.ndarray:
    """Both ends, ``(2, ...)``, of the central 95 % of ``drawn`` ``(B, ...)``; draws that are NaN are left out."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # where all are NaN, so is the result
        return np.nanquantile(drawn.astype(float), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)


def over_seeds(drawn: np.ndarray) -> np.ndarray:
    """Draws ``(S, B, ...)`` of S trainings -> draws ``(B, ...)`` of their mean, in which the seeds vary as well.

    Each draw averages S - 1 of the trainings, drawn with replacement, the same ones for equal S and B. One training:
    an interval over images alone. Two or three: percentiles are narrower than the t distribution, so a lower bound.
    """
    trainings, resamples = drawn.shape[:2]
    if trainings == 1:
        return drawn[0]
    chosen = np.random.default_rng([SEED, trainings]).integers(0, trainings, (trainings - 1, resamples))
    return drawn[chosen, np.arange(resamples)].mean(0)


def check_pairable(draws: Iterable[Draws], what: str) -> None:
    """Raise ValueError, with ``what`` in front, if the runs were not evaluated on the same images and ground truth."""
    if len(truths := {item.truth for item in draws}) > 1:
        raise ValueError(f"{what}: found runs evaluated on {len(truths)} different sets of images, expected one")
