"""Removal limits of curves whose limit is known."""

import numpy as np
import pandas as pd
import pytest

from scapes.bootstrap import NAMES, Draws
from synlib.report.limits import last_near_highest, limits, range_text

TENS = np.arange(0, 100, 10)


def bent(bend, start=20.0, last=8.0, thresholds=TENS):
    """AP (percent) from ``start`` to 20 at the ``bend``, and to ``last`` at 90."""
    return np.interp(thresholds, [0, bend, 90], [start, 20, last])


def found(of_class, thresholds=TENS, errors=0.0):
    """The limits of runs with AP ``of_class`` ``(T, 9)``, whose 200 draws have ``errors`` in percent; by class."""
    rng, known = np.random.default_rng(0), {}
    for threshold, ap in zip(thresholds, of_class, strict=True):
        known[str(threshold)] = Draws(ap / 100, (ap + errors * rng.normal(size=(200, 9))) / 100, "on")
    rows = [{"threshold": t, "run": str(t), "class": "mean", "ap": 1.0} for t in thresholds]
    table = pd.DataFrame(rows).assign(**{"seed": 0, "evaluated on": "Synscapes"})
    return limits(table, lambda run, on: known[run]).set_index("class")


@pytest.mark.parametrize("start", [20, 10])
@pytest.mark.parametrize("thresholds", [TENS, np.array([0, 30, 60, 80, 90])])
@pytest.mark.parametrize("bend", [30, 60, 80])
def test_the_limit_is_where_a_first_phase_ends_that_is_constant_or_rises(bend, thresholds, start):
    trained = thresholds[thresholds <= bend]
    table = found(np.repeat(bent(bend, start, thresholds=thresholds)[:, None], 9, 1), thresholds)
    assert (table["limit"] == trained[-1]).all() and (table["below"] == thresholds[len(trained)]).all()
    assert (table[["low", "high"]].to_numpy() == table[["limit", "below"]].to_numpy()).all()  # the draws are equal


def test_a_limit_between_two_thresholds_is_not_told_more_exactly_than_by_them():
    """Falls from 37 % of removal on: at 40 % it is 1 % lower. AP is that of the run there."""
    table = found(np.repeat(bent(37)[:, None], 9, 1))
    assert table.loc["car", ["limit", "below"]].tolist() == [40, 50]
    assert table.loc["car", "ap"] == pytest.approx(bent(37)[4])


def test_one_low_training_in_the_first_phase_does_not_end_it_and_a_late_recovery_does_not_lengthen_it():
    low, late = bent(50), bent(20)
    low[2], late[9] = 17, 18
    assert last_near_highest(np.stack([low, late], 1)).tolist() == [5, 2]


def test_no_fall_leaves_the_limit_open_and_without_ap_there_is_none(recwarn):
    ap = np.repeat(bent(40)[:, None], 9, 1)
    ap[:, 0], ap[:, 1], ap[:, 2] = bent(40, last=19.5), 0, np.nan
    table = found(ap)
    assert table.index.tolist() == list(NAMES)
    assert table.loc["person", ["limit", "low"]].tolist() == [90, 90]
    assert table.loc["person", ["below", "high"]].isna().all()
    assert table.loc[["rider", "car"], ["limit", "below", "low", "high", "ap"]].isna().all(axis=None)
    texts = [range_text(*table.loc[name, ["limit", "below"]]) for name in ("person", "rider", "truck")]
    assert texts == ["≥ 90", "–", "40 – 50"]
    assert not recwarn.list


def test_two_thresholds_tell_whether_the_limit_is_between_them():
    ap = np.stack([np.full(9, 20.0), np.linspace(10, 20, 9)])
    table = found(ap, np.array([0, 80]))
    assert table.loc[["person", "mean"], "limit"].tolist() == [0, 80]
    assert table.loc["person", "below"] == 80 and np.isnan(table.loc["mean", "below"])


def test_intervals_cover_the_known_limit():
    """Draws with errors of the size of the curve's own, as a bootstrap has."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(20):
        table = found(bent(30)[:, None] + rng.normal(0, 0.6, (10, 9)), errors=0.6)
        covered += ((table["low"] <= 30) & ~(table["high"] <= 30)).tolist()
        assert (table["low"] <= table["limit"]).all() and (table["below"] <= table["high"]).all()
    assert np.mean(covered) > 0.9
