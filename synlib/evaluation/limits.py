"""Section 4.1: how many of a class's smallest instances can be removed before AP on the class begins to fall.

The paper reads the limit off Figure 4: "precision trend [...] can be separated into two phases", constant at first,
then a strong decrease. Here it is a stated rule, so that it can have an interval:

1. Of all curves that are constant up to some threshold and fall along a straight line from there, take the one nearest
   to AP against the threshold (least squares): its bend is the limit. All trainings take part in the fit, so one that
   came out well or badly moves the limit little.
2. Where the line ends at 90 % of the constant or above, AP did not fall, and the limit is the largest threshold.
3. The same rule applied to each bootstrap draw gives the interval.

The fit is the two-phase regression of D. J. Hudson, "Fitting Segmented Curves Whose Join Points Have to Be Estimated",
JASA 61 (1966), with the first phase level.

Shapes used in this module: T thresholds, B draws, N curves, 9 = the eight classes and their mean.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from synlib.evaluation.draws import NAMES, percentiles

STILL_THERE = 0.9
"""Where this share of AP is left at the largest threshold, AP did not fall."""
_STEPS = 200
"""Bends that are tried, evenly from the first threshold to the last but one."""


class TwoPhases(NamedTuple):
    """Nearest two-phase curves, each ``(N,)``: ``level`` up to ``limit``, then falling by ``slope`` >= 0 a percent."""

    limit: np.ndarray
    level: np.ndarray
    slope: np.ndarray


def limits(thresholds: Sequence[float], curves: np.ndarray, drawn: np.ndarray, *, level: float = 0.95) -> pd.DataFrame:
    """Each class's limit: one row a class and one for the mean.

    Columns: ``class``; ``limit``, ``low``, ``high`` in the unit of ``thresholds`` (NaN where AP is 0 or unknown);
    ``level``, AP in the first phase, and ``slope``, what AP loses for each unit after it, in the unit of ``curves``.

    Args:
        thresholds: T rising numbers, percent removed.
        curves: AP ``(T, 9)``.
        drawn: bootstrap draws of it ``(T, B, 9)``.
        level: of the interval.

    Raises:
        ValueError: if there are less than three thresholds, if they do not rise, if shapes do not agree, or if
            ``level`` is not between 0 and 1.
    """
    fitted = two_phases(thresholds, np.asarray(curves, float).T)
    low, high = percentiles(limit_draws(thresholds, drawn), level)
    rows = {"limit": fitted.limit, "low": low, "high": high, "level": fitted.level, "slope": fitted.slope}
    return pd.DataFrame({"class": NAMES} | rows)


def limit_draws(thresholds: Sequence[float], drawn: np.ndarray) -> np.ndarray:
    """The limit of each draw and class, ``(B, 9)``, from draws ``(T, B, 9)``; NaN where a draw has none."""
    curves = np.moveaxis(np.asarray(drawn, float), 0, -1)
    return two_phases(thresholds, curves.reshape(-1, curves.shape[-1])).limit.reshape(curves.shape[:-1])


def two_phases(thresholds: Sequence[float], curves: np.ndarray) -> TwoPhases:
    """The nearest two-phase curve of each of the curves ``(N, T)``; errors as :func:`limits`.

    A curve that holds a NaN, or whose first phase is not above 0, has NaN throughout.
    """
    x = np.asarray(thresholds, float)
    if len(x) < 3 or not (np.diff(x) > 0).all():
        raise ValueError(f"thresholds: found {x.tolist()}, expected at least three rising numbers")
    if curves.ndim != 2 or curves.shape[1] != len(x):
        raise ValueError(f"found curves of shape {curves.shape}, expected {len(x)} thresholds in each")
    bends = np.linspace(x[0], x[-2], _STEPS + 1)
    beyond = np.maximum(0, x - bends[:, None])  # a curve is level - slope * beyond
    centred = beyond - beyond.mean(1, keepdims=True)
    squares = (centred**2).sum(1)
    slopes = np.maximum(0, -curves @ centred.T / squares)  # (N, bends), the best for each bend
    best = np.nan_to_num(slopes**2 * squares).argmax(1)  # what the slope takes off the sum of squared errors
    slope = slopes[np.arange(len(curves)), best]
    level = curves.mean(1) + slope * beyond[best].mean(1)
    fallen = level - slope * beyond[best, -1] < STILL_THERE * level
    limit = np.where(fallen, bends[best], x[-1])
    unknown = ~(level > 0)
    return TwoPhases(*(np.where(unknown, np.nan, part) for part in (limit, level, slope)))
