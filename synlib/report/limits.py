"""Section 4.1: how many of a class's smallest instances can be removed before AP on the class begins to fall.

The paper reads the limit off Figure 4: AP is first "constant or even slightly increasing", then follows "a strong
decrease", and the limit is between these two phases. Here, the first phase ends at the largest threshold that was
trained and whose AP is within 5 % of the highest. The limit is there or above, but below the next threshold: nothing
is known of what is between two. The same rule for each paired bootstrap draw gives the 95 % interval.
"""

import numpy as np
import pandas as pd

from scapes.bootstrap import NAMES, percentiles
from synlib import paper
from synlib.report.frames import DrawsOf, Missing, Stacked, stacked

NEAR = 0.95  # AP within this share of the highest has not begun to fall


def limits(results: pd.DataFrame, draws: DrawsOf) -> pd.DataFrame:
    """The removal limits of AP on Synscapes (experiment ``thresholds``): one row per class and one for the mean.

    Columns: ``class``; ``limit`` and ``below`` (percent removed: the limit is from the one on, below the other);
    ``low``, ``high`` (ends of the interval); ``ap`` (percent, at ``limit``); ``paper`` (its reading). All are
    thresholds that were trained; ``below`` and ``high`` are missing beyond the last, all where AP is 0 or unknown.
    """
    try:
        runs = stacked(results[results["evaluated on"] == "Synscapes"], draws, "threshold")
    except Missing:  # the verdicts say why
        runs = Stacked(np.zeros(1), np.full((1, 2, len(NAMES)), np.nan), 0)
    last = last_near_highest(runs.ap)
    low, high = percentiles(last[1:])
    places = {"limit": last[0], "below": last[0] + 1, "low": np.floor(low), "high": np.ceil(high) + 1}
    table = pd.DataFrame({"class": NAMES} | {name: at(runs.values, place) for name, place in places.items()})
    table["ap"] = [at(100 * ap, place) for ap, place in zip(runs.ap[:, 0].T, last[0], strict=True)]
    return table.assign(paper=[paper.LIMITS.get(name, np.nan) for name in NAMES])


def last_near_highest(ap: np.ndarray) -> np.ndarray:
    """Place of the last of T values ``ap`` ``(T, ...)`` near the highest: ``(...)``, NaN where that is 0 or NaN."""
    highest = ap.max(0)
    near = ap >= NEAR * highest
    return np.where(highest > 0, len(ap) - 1.0 - near[::-1].argmax(0), np.nan)


def at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """``values`` ``(T,)`` at ``places``, of any shape; NaN where a place is NaN, or beyond the last."""
    return np.append(values, np.nan)[np.nan_to_num(places, nan=len(values)).astype(int)]


def range_text(low: float, high: float) -> str:
    """``60 – 80``; ``≥ 80`` where no larger threshold was trained; a dash where unknown."""
    return "–" if np.isnan(low) else f"≥ {low:g}" if np.isnan(high) else f"{low:g} – {high:g}"
