"""Removal limits: the fit against brute force, and what it says of curves whose bend is known."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression, lsq_linear

from scapes.bootstrap import NAMES
from synlib.report.limits import _rising, fitted_limits, two_phases

TENS = np.arange(0, 100, 10.0)
UNEVEN = np.array([0, 30, 60, 80, 90.0])


def bent(bend, level=20.0, last=8.0, thresholds=TENS):
    return np.interp(thresholds, [0, bend, 90], [level, level, last])


def with_draws(curves, errors):
    """Curves ``(T, 9)`` followed by draws with ``errors`` ``(T, B, 9)``."""
    return np.concatenate([curves[:, None], curves[:, None] + errors], axis=1)


@pytest.mark.parametrize("seed", range(8))
def test_the_fit_is_the_nearest_curve(seed):
    """Each bend on a grid, the first phase as increments that are not negative."""
    rng = np.random.default_rng(seed)
    thresholds = np.sort(rng.choice(100, 7, replace=False)).astype(float)
    curve = np.interp(thresholds, [0, 40, 100], [rng.uniform(10, 30), 30, 10]) + rng.normal(0, 1.5, 7)
    (bend_found,), _, _ = two_phases(thresholds, curve[:, None])
    errors = {}
    for bend in [*np.linspace(thresholds[0], thresholds[-2], 60), *thresholds[:-1], bend_found]:
        first = np.flatnonzero(thresholds <= bend)
        steps = [(thresholds >= thresholds[k]).astype(float) for k in first[1:]]
        last_step = (thresholds > bend).astype(float)
        columns = np.stack([np.ones(7), *steps, last_step, -np.maximum(0, thresholds - bend)], 1)
        lowest = [-np.inf] + [0.0] * (len(first) + 1)
        errors[bend] = 2 * lsq_linear(columns, curve, (lowest, np.inf), tol=1e-12).cost
    if bend_found < thresholds[-1]:
        assert errors[bend_found] <= min(errors.values()) * 1.02 + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_the_first_phase_is_an_isotonic_regression(seed):
    rng = np.random.default_rng(seed)
    observed, weights = rng.normal(size=(50, 6)), rng.random(6) + 0.1
    expected = [isotonic_regression(row, weights=weights).x for row in observed]
    np.testing.assert_allclose(_rising(observed, weights), expected, atol=1e-12)


@pytest.mark.parametrize("thresholds, bend", [*((TENS, bend) for bend in (0, 20, 35, 60, 75)), (UNEVEN, 60)])
def test_a_clean_bend_is_found(thresholds, bend):
    found, level, slope = two_phases(thresholds, bent(bend, thresholds=thresholds))
    assert found == pytest.approx(bend, abs=2)
    assert level == pytest.approx(20, abs=0.3)
    assert slope == pytest.approx(12 / (90 - bend), rel=0.05)


@pytest.mark.parametrize("thresholds", [TENS, UNEVEN])
@pytest.mark.parametrize("start", [20, 10])
def test_a_first_phase_may_rise_and_level_off(start, thresholds):
    curve = np.interp(thresholds, [0, 30, 75, 90], [start, 20, 20.5, 8])
    assert two_phases(thresholds, curve)[0] == pytest.approx(75, abs=2)


def test_of_equally_near_bends_the_last():
    """11, 17, 20.5 rise and 17.5, 10 fall: the fall may begin anywhere up to where its line is 20.5 high."""
    bend, _, slope = two_phases(UNEVEN, np.array([11, 17, 20.5, 17.5, 10]))
    assert bend == pytest.approx(76, abs=1)
    assert slope == pytest.approx(0.75)


def test_a_late_recovery_hides_no_fall_and_a_curve_that_hardly_falls_has_its_limit_at_the_end():
    recovers = np.array([18.7, 18.1, 13.6, 14, 12.8, 12.4, 13.3, 12.9, 14.9, 17.1])
    curves = np.stack([recovers, *(bent(40, last=last) for last in (20, 19, 25))], axis=1)
    assert two_phases(TENS, curves)[0].tolist() == [0, 90, 90, 90]


def test_unknown_and_zero_have_no_limit(recwarn):
    curves = np.stack([np.full(10, np.nan), np.zeros(10), bent(35)], axis=1)
    curves[3:, 0] = 1
    assert np.isnan(two_phases(TENS, curves)[0]).tolist() == [True, True, False]
    assert not recwarn.list


def test_intervals_cover_the_known_bend():
    """Draws with errors of the size of the curve's own, as a bootstrap has; what the module says of its intervals."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(25):
        curves = bent(35)[:, None] + rng.normal(0, 0.6, (10, 9))
        table = fitted_limits(TENS, with_draws(curves, rng.normal(0, 0.6, (10, 150, 9))))
        covered += ((table["low"] <= 35) & (table["high"] >= 35)).tolist()
    assert 0.8 < np.mean(covered) < 1


def test_a_limit_or_end_at_the_last_bend_tried_is_a_lower_bound():
    """Only numbers that lie at the last threshold but one or beyond are flagged; none lies between these two."""
    curves = np.repeat(bent(60)[:, None], 9, 1)
    curves[:, 0], curves[:, 1] = bent(85), bent(40, last=20)
    ap = with_draws(curves, np.zeros((10, 40, 9)))
    ap[:, 1:21, 2] = bent(82)[:, None]  # half of the draws
    ap[:, 1:2, 4] = bent(40, last=20)[:, None]  # one in forty does not fall
    table = fitted_limits(TENS, ap).set_index("class")
    columns = ["limit", "high", "at_least", "high_at_least"]
    assert table.loc["person", columns].tolist() == [80, 80, True, True]
    assert table.loc["rider", columns].tolist() == [90, 90, True, True]
    assert table.loc["car", columns].tolist() == [pytest.approx(60, abs=1), 80, False, True]
    assert table.loc["train", columns].tolist() == [pytest.approx(60, abs=1)] * 2 + [False, False]
    assert not ((table["high"] > 80) & (table["high"] < 90)).any()


def test_limits_are_thresholds_that_were_trained():
    """The bend of 34 is between two; AP at the limit is what was found there, not what was fitted."""
    rng = np.random.default_rng(1)
    ap = with_draws(np.repeat(bent(34)[:, None], 9, 1), rng.normal(0, 0.4, (10, 40, 9)))
    ap[:, 0, 3] = np.nan
    table = fitted_limits(TENS, ap)
    assert table["class"].tolist() == list(NAMES)
    assert table[["limit", "ap", "level", "slope"]].isna().all(axis=1).tolist() == [name == "truck" for name in NAMES]
    table = table.drop(index=3)
    assert table["bend"].tolist() == pytest.approx([34] * 8, abs=1)
    assert (table["limit"] == 30).all() and (table["ap"] == 20).all()
    assert np.isin(table[["low", "high"]], TENS).all()
    assert (table["low"] <= table["bend"]).all() and (table["bend"] <= table["high"]).all()


def test_two_thresholds_have_no_limit():
    found = fitted_limits(TENS[:2], np.ones((2, 5, 9)))
    assert found[["limit", "low", "high", "ap", "level"]].isna().all(axis=None)
    assert not found[["at_least", "high_at_least"]].any(axis=None)
