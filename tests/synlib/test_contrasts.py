"""Sums of runs, paired by image and seed, and their verdicts."""

import numpy as np
import pandas as pd
import pytest

from scapes.bootstrap import Draws
from synlib.report.claims import FAILS, HOLDS, OPEN
from synlib.report.frames import Missing
from synlib.report.verdicts import Estimate, contrast


def made(rng, ap, images, own=0.01, truth="val"):
    """Draws of a run whose AP is ``ap``: errors shared through the ``images``, and its own."""
    value = np.full(9, ap)
    drawn = ap + images[:, None] + rng.normal(0, own, (len(images), 9))
    return Draws(value, drawn.astype(np.float32), truth)


def total(*terms):
    """The contrast of (weight, evaluation set, {seed: draws}), as fractions."""
    known = {f"{k}/{seed}": drawn for k, (_, _, runs) in enumerate(terms) for seed, drawn in runs.items()}
    rows = [(k, "", w, on, seed, f"{k}/{seed}") for k, (w, on, runs) in enumerate(terms) for seed in runs]
    named = pd.DataFrame(rows, columns=["term", "trained on", "weight", "evaluated on", "seed", "run"])
    found, seeds = contrast(named, lambda run, on: known[run])
    assert seeds == len(set.intersection(*(set(runs) for _, _, runs in terms)))
    return Estimate(*(number / 100 for number in found))


def test_what_runs_share_cancels():
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.1, 2000)
    first, second = made(rng, 0.30, images), made(rng, 0.35, images)
    found = total((1, "val", {0: second}), (-1, "val", {0: first}))
    assert found.value == pytest.approx(0.05)
    assert (found.low, found.high) == pytest.approx((0.05 - 0.0277, 0.05 + 0.0277), abs=0.004)
    assert found.verdict == HOLDS
    assert total((1, "val", {0: first}), (-1, "val", {0: second})).verdict == FAILS
    assert total((1, "val", {0: first}), (-1, "val", {0: first})) == (0, 0, 0)


def test_weights_and_the_mean():
    rng = np.random.default_rng(1)
    runs = [made(rng, ap, np.zeros(100)) for ap in (0.1, 0.3, 0.35)]
    runs[0].value[2] = 0.2
    terms = [(weight, "val", {0: run}) for weight, run in zip((-1, 2, -1), runs, strict=True)]
    assert total(*terms).value == pytest.approx(0.15)


def test_seeds_are_paired_and_their_spread_counts():
    rng = np.random.default_rng(2)
    images = rng.normal(0, 0.01, 1000)
    lucky = {0: 0.0, 1: 0.04, 2: -0.04, 3: 0.5}
    first = {seed: made(rng, 0.3 + luck, images, 0.001) for seed, luck in lucky.items()}
    second = {seed: made(rng, 0.31 + lucky[seed], images, 0.001) for seed in (0, 1, 2)}
    paired = total((1, "val", second), (-1, "val", first))
    assert paired.value == pytest.approx(0.01)  # of the three seeds that both have
    assert paired.verdict == HOLDS  # a lucky seed is lucky for both
    spread = {seed: made(rng, 0.31 + luck, images, 0.001) for seed, luck in ((0, 0.04), (1, -0.04), (2, 0.0))}
    unpaired = total((1, "val", spread), (-1, "val", first))
    assert unpaired.value == pytest.approx(0.01)
    assert unpaired.verdict == OPEN


def test_different_evaluation_sets_may_differ_in_their_images():
    rng = np.random.default_rng(3)
    first, second = (made(rng, 0.3, np.zeros(50), truth=truth) for truth in "ab")
    assert total((1, "Cityscapes", {0: first}), (-1, "Synscapes", {0: second})).verdict == OPEN
    with pytest.raises(Missing, match="Cityscapes: found runs evaluated on 2 different"):
        total((1, "Cityscapes", {0: first}), (-1, "Cityscapes", {0: second}))


def test_without_a_common_seed_nothing_is_compared():
    run = made(np.random.default_rng(0), 0.3, np.zeros(5))
    with pytest.raises(Missing, match="no seed that all runs"):
        total((1, "val", {0: run}), (-1, "val", {1: run}))


@pytest.mark.parametrize("low, high, verdict", [(0.1, 0.2, HOLDS), (-0.2, -0.1, FAILS), (-0.1, 0.1, OPEN)])
def test_verdicts(low, high, verdict):
    assert Estimate(0.0, low, high).verdict == verdict
    assert Estimate(0.0, float("nan"), float("nan")).verdict == OPEN
