"""AP of a run on an evaluation set together with its bootstrap draws: made once from the records, kept beside them.

Draws of runs on the same evaluation set come from the same images, so they can be subtracted (paired bootstrap); on
different sets they are independent.

Shapes used in this module: B draws, S seeds (trainings that differ in their seed), 9 = the eight classes and their
mean.

Sources: as of :mod:`scapes.bootstrap`; one seed fewer than there are is drawn so that the variance of the
mean over seeds has no bias: Rao and Wu, "Resampling Inference with Complex Survey Data", JASA 83 (1988), section 3.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scapes import bootstrap
from scapes.ap import Outcomes, average_precision, outcomes
from scapes.files import replacing
from scapes.labels import CLASSES
from scapes.records import read_records

NAMES = (*CLASSES, bootstrap.MEAN)
"""What the 9 columns of draws are."""
RESAMPLES, SEED = 1000, 0
_VERSION = 1
"""Part of what a kept file is checked against: raise it when draws of the same records change."""


@dataclass(frozen=True, eq=False)
class Draws:
    """AP as fractions 0..1; NaN for a class without ground truth.

    Attributes:
        value: float64 ``(9,)``, from the images as they are.
        drawn: float32 ``(B, 9)``, from resampled images.
        truth: names the images and ground truth that the run was evaluated on; equal for runs that can be paired.
    """

    value: np.ndarray
    drawn: np.ndarray
    truth: str


def draw(pooled: Outcomes, *, resamples: int = RESAMPLES, seed: int = SEED) -> Draws:
    """AP and bootstrap draws of pooled records. Raises ValueError if there are no images."""
    pooled = bootstrap.pooled_outcomes(pooled)
    drawn = bootstrap.bootstrap_ap(pooled, resamples=resamples, seed=seed)
    value, drawn = (bootstrap.summary(ap)[..., 0] for ap in (average_precision(pooled).ap, drawn))
    return Draws(value, drawn.astype(np.float32), _truth(pooled))


def read_draws(records_path: str | Path, *, resamples: int = RESAMPLES, seed: int = SEED) -> Draws:
    """:func:`draw` of a records file, kept as ``draws.npz`` beside it.

    What is kept counts only for the very records and settings that it was made from; what is damaged or outdated is
    made again. Where the folder may not be written to, nothing is kept.

    Raises:
        ValueError: naming the records file if it is missing or unreadable; as :func:`draw`.
    """
    records_path = Path(records_path)
    kept = records_path.with_name("draws.npz")
    try:
        content = records_path.read_bytes()
        made_from = f"{_VERSION} {resamples} {seed} {hashlib.sha256(content).hexdigest()}"
        if (draws := _read(kept, made_from)) is not None:
            return draws
        records = read_records(records_path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{records_path}: unreadable ({error}); delete {records_path.parent} and run again, it is made anew"
        ) from error
    draws = draw(outcomes(records), resamples=resamples, seed=seed)
    _write(kept, made_from, draws)
    return draws


def frame(draws: Draws, level: float = 0.95) -> pd.DataFrame:
    """One row a class and one for the mean; columns ``class``, ``ap``, ``low``, ``high``: fractions, by percentiles."""
    low, high = percentiles(draws.drawn, level)
    return pd.DataFrame({"class": NAMES, "ap": draws.value, "low": low, "high": high})


def percentiles(drawn: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Both ends ``(...)`` of the central interval of ``drawn`` ``(B, ...)``; draws that are NaN are left out.

    Raises ValueError if ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"found level {level}, expected a probability between 0 and 1, such as 0.95")
    ends = np.full((2, *drawn.shape[1:]), np.nan)
    known = ~np.isnan(drawn).all(0)
    if known.any():
        ends[:, known] = np.nanquantile(drawn[:, known].astype(float), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends[0], ends[1]


def over_seeds(drawn: np.ndarray, *, seed: int = SEED) -> np.ndarray:
    """Draws ``(S, B, ...)`` of S trainings -> draws ``(B, ...)`` of their mean, in which the seeds vary as well.

    Each draw averages S - 1 of the trainings, drawn with replacement; of a single training, nothing can be drawn, and
    the interval is over images alone. Of two or three trainings, percentiles are narrower than the t distribution would
    have it: take such an interval as a lower bound. The same ``seed`` draws the same trainings for any two calls with
    equal S and B.
    """
    trainings, resamples = drawn.shape[:2]
    if trainings == 1:
        return drawn[0]
    chosen = np.random.default_rng([seed, trainings]).integers(0, trainings, (trainings - 1, resamples))
    return drawn[chosen, np.arange(resamples)].mean(0)


def check_pairable(draws: Iterable[Draws], what: str) -> None:
    """Raise ValueError, with ``what`` in front, if the runs were not evaluated on the same images and ground truth."""
    truths = sorted({item.truth for item in draws})
    if len(truths) > 1:
        raise ValueError(f"{what}: found runs evaluated on {len(truths)} different sets of images, expected one")


def _truth(pooled: Outcomes) -> str:
    digest = hashlib.sha256(repr(pooled.image_ids).encode())
    for part in (pooled.truth_image, pooled.truths):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path, made_from: str) -> Draws | None:
    try:
        with np.load(path) as file:
            if str(file["made_from"]) != made_from:
                return None
            return Draws(file["value"], file["drawn"], str(file["truth"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):  # missing or damaged
        return None


def _write(path: Path, made_from: str, draws: Draws) -> None:
    content = {"made_from": made_from, "value": draws.value, "drawn": draws.drawn, "truth": draws.truth}
    try:
        with replacing(path, sync=False) as temporary, open(temporary, "wb") as file:
            np.savez(file, **content)
    except OSError:  # somebody else's folder, a full disk: the draws are made again next time
        return
