"""Section 4.1: how many of a class's smallest instances can be removed before AP on the class begins to fall.

The paper reads the limit off Figure 4: "precision trend [...] can be separated into two phases", first "constant or
even slightly increasing", then a strong decrease. Here it is a stated rule, so that it can have an interval:

1. Of all curves that do not fall up to some bend and fall along a straight line from there, take the one nearest to AP
   (least squares), of equals the one with the last bend. Bends are tried up to the last threshold but one, as any bend
   fits a single point: one there is that, or more.
2. Where the line ends at 90 % of the bend's AP or above, AP did not fall: the bend is the largest threshold, or more.
3. The limit is the threshold next to the bend. The same rule for each bootstrap draw gives its interval, widened to
   thresholds: what is between two of them was not trained. In simulations of a fall by 60 % with errors of 3 % of AP,
   95 % intervals held the bend in over 90 % of the cases.

The fit is a two-phase regression (D. J. Hudson, "Fitting Segmented Curves Whose Join Points Have to Be Estimated", JASA
61, 1966) with an isotonic first phase: for a given bend, the straight line acts on it as one more observation at the
bend (:func:`_nearest_with_bend`), and the formula by minima and maxima of means solves it for all curves at once
(R. E. Barlow et al., "Statistical Inference under Order Restrictions", 1972, theorem 1.4).

T thresholds, B draws, N curves, 9 = the eight classes and their mean.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from scapes.bootstrap import MEAN, NAMES, percentiles
from synlib import paper
from synlib.report.frames import DrawsOf, stacked

STILL_THERE = 0.9  # where this share of AP is left at the largest threshold, AP did not fall
_STEPS = 90  # bends that are tried besides the thresholds, evenly from the first to the last but one


def limits(results: pd.DataFrame, draws: DrawsOf) -> pd.DataFrame:
    """The removal threshold from which AP of each class on Synscapes falls: one row per class and one for the mean.

    ``results``: of the experiment ``thresholds``. Columns: those of :func:`fitted_limits`, and ``paper`` (its reading
    of Figure 4). Raises :class:`synlib.report.frames.Missing` as ``stacked``.
    """
    runs = stacked(results[results["evaluated on"] == "Synscapes"], draws, "threshold")
    table = fitted_limits(runs.values, 100 * runs.ap)
    return table.assign(paper=[np.nan if name == MEAN else paper.limit(name) for name in table["class"]])


def limit_text(row: pd.Series) -> tuple[str, str]:
    """A row of :func:`limits` as text: limit and interval, such as ``75`` and ``60 – ≥ 80``; dashes where unknown."""
    if pd.isna(row["limit"]):
        return "–", "–"
    ends = (("limit", "at_least"), ("high", "high_at_least"))
    limit, high = (f"{'≥ ' if row[flag] else ''}{row[name]:.0f}" for name, flag in ends)
    return limit, high if row["low"] == row["high"] else f"{row['low']:.0f} – {high}"


def fitted_limits(thresholds: np.ndarray, ap: np.ndarray) -> pd.DataFrame:
    """The limits of ``ap`` ``(T, 1 + B, 9)`` in percent, of which the first are not draws.

    Columns: ``class``; ``limit``, ``low``, ``high`` (percent removed, each one of the ``thresholds``; NaN where AP is 0
    or unknown, or from less than three thresholds); ``ap`` (found at the limit); ``bend``, ``level``, ``slope`` (of the
    curve fitted); ``at_least``, ``high_at_least`` (whether limit and upper end may be larger).
    """
    fitted, x = two_phases(thresholds, ap), np.asarray(thresholds, float)
    bend, level, slope = fitted[:, 0]
    low, high = percentiles(fitted[0, 1:])
    limit, low, high = _next(x, bend, np.round), _next(x, low, np.floor), _next(x, high, np.ceil)
    found = ap[(x[:, None] == limit).argmax(0), 0, np.arange(len(NAMES))]
    rows = {"limit": limit, "low": low, "high": high, "ap": np.where(np.isnan(limit), np.nan, found)}
    rows |= {"bend": bend, "level": level, "slope": slope}
    last = x[-2:][0]  # but one: bends are tried up to here
    return pd.DataFrame({"class": NAMES} | rows | {"at_least": limit >= last, "high_at_least": high >= last})


def _next(thresholds: np.ndarray, bends: np.ndarray, rounded: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The threshold next to each bend, ``rounded`` up, down or to the nearest; NaN stays."""
    place = rounded(np.interp(bends, thresholds, np.arange(len(thresholds))).round(6))
    return np.where(np.isnan(place), np.nan, thresholds[np.nan_to_num(place).astype(int)])


def two_phases(thresholds: np.ndarray, ap: np.ndarray) -> np.ndarray:
    """The nearest two-phase curve of each of the curves ``(T, ...)`` against T rising ``thresholds``: ``(3, ...)``.

    Bend; AP there; by how much it falls from there on for each percent removed (0 or more). A curve that holds a NaN,
    whose first phase is not above 0, or of less than three points, has NaN throughout.
    """
    x = np.asarray(thresholds, float)
    if len(x) < 3:
        return np.full((3, *ap.shape[1:]), np.nan)
    curves = np.asarray(ap, float).reshape(len(x), -1).T  # (N, T)
    bends, level, slope = np.full(len(curves), x[-1]), curves[:, -1].copy(), np.zeros(len(curves))
    smallest, tolerance = np.full(len(curves), np.inf), 1e-9 * (curves**2).sum(1)
    for tried in np.unique(np.concatenate([np.linspace(x[0], x[-2], _STEPS + 1), x[:-1]])):
        height, fall, error = _nearest_with_bend(x, curves, tried)
        better = (fall >= 0) & (error <= smallest + tolerance)
        smallest[better] = np.minimum(smallest, error)[better]
        bends[better], level[better], slope[better] = tried, height[better], fall[better]
    lasts = level - slope * (x[-1] - bends) >= STILL_THERE * level
    unknown = np.isnan(curves).any(1) | ~(level > 0)
    parts = np.stack([np.where(lasts, x[-1], bends), level, slope])
    return np.where(unknown, np.nan, parts).reshape(3, *ap.shape[1:])


def _nearest_with_bend(x: np.ndarray, curves: np.ndarray, bend: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height at the bend, slope of the fall, and sum of squared errors, each ``(N,)``, of the nearest two-phase curves.

    With the best slope for each height, the error of the points beyond the bend is a parabola in the height: that of an
    observation of the bend itself with a certain value and weight.
    """
    first, second = curves[:, x <= bend], curves[:, x > bend]
    beyond = x[x > bend] - bend
    total, squares = beyond.sum(), (beyond**2).sum()
    weight = len(beyond) - total**2 / squares
    observed, weights = first, np.ones(first.shape[1])
    if weight > 1e-9:  # else there is a single point beyond, which fits any height
        at_bend = (second.sum(1) - second @ beyond * (total / squares)) / weight
        observed, weights = np.column_stack([first, at_bend]), np.append(weights, weight)
    fitted = _rising(observed, weights)
    height = fitted[:, -1]
    slope = (height * total - second @ beyond) / squares
    errors = fitted[:, : first.shape[1]] - first, height[:, None] - slope[:, None] * beyond - second
    return height, slope, sum((error**2).sum(1) for error in errors)


def _rising(observed: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Isotonic regression of each row of ``observed`` ``(N, K)`` with ``weights`` ``(K,)``: ``(N, K)``."""
    count = len(weights)
    starts, ends = np.arange(count)[:, None], np.arange(count)
    heavy = np.append(0, np.cumsum(weights))
    sums = np.column_stack([np.zeros(len(observed)), np.cumsum(weights * observed, axis=1)])
    inside = ends >= starts
    span = np.where(inside, heavy[1:] - heavy[:-1, None], 1)
    means = np.where(inside, (sums[:, None, 1:] - sums[:, :-1, None]) / span, np.inf)  # (N, start, end)
    least = np.minimum.accumulate(means[..., ::-1], axis=2)[..., ::-1]  # over the ends from a point on
    return np.where(inside, least, -np.inf).max(1)
