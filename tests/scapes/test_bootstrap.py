"""Draws: weights against repeated images, coverage where AP is known, and what is kept beside the records."""

import dataclasses
from unittest.mock import Mock

import numpy as np
import pytest

from scapes import bootstrap
from scapes.ap import average_precision, outcomes, summary, weighted_ap
from scapes.labels import CLASSES
from scapes.match import pool, write_records
from tests.cases import draw_data_set, matched, simulate


@pytest.mark.parametrize("seed", range(30))
def test_a_weight_is_as_good_as_a_repeated_image(tmp_path, seed):
    paths, _, detections = draw_data_set(np.random.default_rng(seed), tmp_path, 5)
    records = matched(paths, detections, min_area_px=4)
    pooled = pool(records)
    weights = np.random.default_rng(seed).integers(0, 4, (len(records), 6)).astype(float)
    found = weighted_ap(pooled, outcomes(pooled), weights)
    for column, ap in zip(weights.T, found, strict=True):
        repeated = [
            dataclasses.replace(record, image_id=np.array([f"{record.image_id[0]}-{copy}"]))
            for record in records
            for copy in range(int(column[pooled.image_id == record.image_id].item()))
        ]
        np.testing.assert_allclose(ap, average_precision(pool(repeated)), rtol=0, atol=1e-12)


def test_intervals_cover_the_known_ap():
    rng = np.random.default_rng(0)
    known = summary(average_precision(pool(simulate(rng, 20000))))[-1, 0]
    trials = [bootstrap.draw(pool(simulate(rng, 60)), resamples=200, seed=trial) for trial in range(150)]
    low, high = np.transpose([bootstrap.percentiles(trial.drawn[:, -1]) for trial in trials])
    covered = ((low < known) & (known < high)).mean()
    assert 0.90 < covered < 0.99  # 0.95, give or take two and a half standard errors of 150 trials
    errors, values = [trial.drawn[:, -1].std(ddof=1) for trial in trials], [trial.value[-1] for trial in trials]
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.25)


def test_seed_and_order_decide_the_bits():
    records = simulate(np.random.default_rng(2), 40)
    first = bootstrap.draw(pool(records), resamples=70, seed=3).drawn
    assert first.shape == (70, 9)
    assert first.tobytes() == bootstrap.draw(pool(records[::-1]), resamples=70, seed=3).drawn.tobytes()
    assert first.tobytes() != bootstrap.draw(pool(records), resamples=70, seed=4).drawn.tobytes()
    assert bootstrap.draw(records[0], resamples=2).drawn.shape == (2, 9)


def test_intervals_have_classes_and_mean(recwarn):
    records = pool(simulate(np.random.default_rng(2), 40))
    table = bootstrap.intervals(bootstrap.draw(records, resamples=50)).set_index("class")
    assert table.index.tolist() == list(bootstrap.NAMES) == [*CLASSES, bootstrap.MEAN]
    assert table.loc[list(CLASSES[2:])].isna().all(axis=None)  # classes without ground truth
    known = table.loc[[*CLASSES[:2], bootstrap.MEAN]]
    assert (known["low"] < known["ap"]).all()
    assert (known["ap"] < known["high"]).all()
    ap = average_precision(records)
    assert bootstrap.summary(ap)[-1] == pytest.approx([np.nanmean(ap), np.nanmean(ap[:, 0])], abs=1e-12)
    assert table.loc[bootstrap.MEAN, "ap"] == bootstrap.summary(ap)[-1, 0]
    assert not recwarn.list


def bits(draws):
    return draws.value.tobytes(), draws.drawn.tobytes(), draws.truth


def test_other_records_or_settings_are_drawn_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)
    monkeypatch.setattr(bootstrap, "draw", draw := Mock(wraps=bootstrap.draw))
    records = tmp_path / "records.npz"
    write_records(records, pool(simulate(np.random.default_rng(0), 30)))
    first = bootstrap.read_draws(records)
    assert (first.drawn.shape, first.drawn.dtype) == ((20, 9), np.float32)
    assert bits(first) == bits(bootstrap.read_draws(records))
    assert draw.call_count == 1
    monkeypatch.setattr(bootstrap, "SEED", 1)
    assert bits(first) != bits(bootstrap.read_draws(records))
    monkeypatch.setattr(bootstrap, "RESAMPLES", 21)
    assert bootstrap.read_draws(records).drawn.shape == (21, 9)
    write_records(records, pool(simulate(np.random.default_rng(1), 30)))
    changed = bootstrap.read_draws(records)
    assert draw.call_count == 4
    assert changed.truth != first.truth


def test_the_same_images_are_drawn_for_runs_on_one_set_and_others_on_another():
    rng = np.random.default_rng(0)
    first = pool(simulate(rng, 200))
    better = dataclasses.replace(first, predictions=first.predictions.copy())
    better.predictions["score"] **= 1.5  # keeps the order, hence AP
    other = dataclasses.replace(first, image_id=np.char.add("x", first.image_id))
    one, same, another = (bootstrap.draw(records, resamples=300) for records in (first, better, other))
    np.testing.assert_array_equal(one.drawn, same.drawn)
    assert abs(np.corrcoef(one.drawn[:, -1], another.drawn[:, -1])[0, 1]) < 0.2


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_over_seeds_has_the_variance_of_a_mean(seeds):
    rng = np.random.default_rng(seeds)
    variances = [bootstrap.over_seeds(np.repeat(rng.normal(0, 1, (seeds, 1)), 300, 1)).var() for _ in range(600)]
    assert np.mean(variances) == pytest.approx(1 / seeds, rel=0.12)
    drawn = rng.normal(size=(1, 50, 9))
    np.testing.assert_array_equal(bootstrap.over_seeds(drawn), drawn[0])


def test_percentiles_leave_unknown_draws_out(recwarn):
    drawn = np.stack([np.arange(101.0), np.full(101, np.nan)], 1)
    drawn[50:, 0] = np.nan
    low, high = bootstrap.percentiles(drawn)
    assert (low[0], high[0]) == pytest.approx((49 * 0.025, 49 * 0.975))
    assert np.isnan([low[1], high[1]]).all()
    assert not recwarn.list
