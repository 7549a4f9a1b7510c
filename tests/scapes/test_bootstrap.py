"""Intervals: weights against repeated images, and coverage on a simulated detector whose AP is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from scapes.ap import average_precision, match_image, outcomes
from scapes.bootstrap import MEAN, bootstrap_ap, intervals, summary, weighted_ap
from scapes.labels import CLASSES
from tests.cases import draw_data_set, simulate


def drawn_records(seed, folder, images=5):
    paths, _, detections = draw_data_set(np.random.default_rng(seed), folder, images)
    return [match_image(path, item, min_area_px=4) for path, item in zip(paths, detections, strict=True)]


@pytest.mark.parametrize("seed", range(30))
def test_a_weight_is_as_good_as_a_repeated_image(tmp_path, seed):
    records = drawn_records(seed, tmp_path)
    pooled = outcomes(records)
    weights = np.random.default_rng(seed).integers(0, 4, (len(records), 6)).astype(float)
    found = weighted_ap(pooled, weights)
    for column, ap in zip(weights.T, found, strict=True):
        repeated = [
            dataclasses.replace(record, image_id=f"{record.image_id}-{copy}")
            for record in records
            for copy in range(int(column[pooled.image_ids.index(record.image_id)]))
        ]
        np.testing.assert_allclose(ap, average_precision(repeated).ap, rtol=0, atol=1e-12)


def test_intervals_cover_the_known_ap():
    rng = np.random.default_rng(0)
    known = average_precision(simulate(rng, 20000)).mean
    trials = 150
    rows = [intervals(simulate(rng, 60), resamples=200, seed=trial) for trial in range(trials)]
    rows = pd.concat([frame[(frame["class"] == MEAN) & (frame["metric"] == "ap")] for frame in rows])
    covered = ((rows["low"] < known) & (known < rows["high"])).mean()
    assert 0.90 < covered < 0.99  # 0.95, give or take two and a half standard errors of 150 trials
    assert rows["standard_error"].mean() == pytest.approx(rows["value"].std(), rel=0.25)


def test_two_runs_draw_the_same_images_so_what_they_share_cancels():
    first = simulate(np.random.default_rng(1), 100)
    second = [dataclasses.replace(record, predictions=record.predictions.copy()) for record in first]
    for record in second:
        record.predictions["iou"] = np.minimum(1, record.predictions["iou"] * 1.03)
    drawn = [summary(bootstrap_ap(outcomes(records), resamples=300))[:, -1, 0] for records in (first, second)]
    difference = drawn[1] - drawn[0]
    assert np.quantile(difference, 0.025) > 0
    assert difference.std() < 0.5 * drawn[0].std()


def test_seed_and_order_decide_the_bits():
    records = simulate(np.random.default_rng(2), 40)
    first = bootstrap_ap(outcomes(records), resamples=70, seed=3)
    assert first.shape == (70, 8, 10)
    assert first.tobytes() == bootstrap_ap(outcomes(records[::-1]), resamples=70, seed=3).tobytes()
    assert first.tobytes() != bootstrap_ap(outcomes(records), resamples=70, seed=4).tobytes()


def test_frame_has_classes_and_mean(recwarn):
    records = simulate(np.random.default_rng(2), 40)
    frame = intervals(records, resamples=50)
    assert frame["class"].tolist() == [name for name in [*CLASSES, MEAN] for _ in range(2)]
    absent = frame[~frame["class"].isin([*CLASSES[:2], MEAN])]
    assert absent[["value", "low", "high", "standard_error"]].isna().all(axis=None)
    result = average_precision(records)
    mean = frame[frame["class"] == MEAN].set_index("metric")["value"]
    assert mean["ap"] == pytest.approx(result.mean, abs=1e-12)
    assert mean["ap50"] == pytest.approx(result.ap50, abs=1e-12)
    assert not recwarn.list


def test_bad_input_is_named():
    records = simulate(np.random.default_rng(2), 4)
    with pytest.raises(ValueError, match="no images"):
        intervals([])
    with pytest.raises(ValueError, match=r"level 95"):
        intervals(records, resamples=2, level=95)
