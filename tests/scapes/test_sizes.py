"""Bands and kinds of errors: scenes with one of each, and identities with the overall AP."""

import numpy as np
import pandas as pd
import pytest

from scapes.ap import FALSE_POSITIVE, average_precision, match_image, outcomes
from scapes.sizes import ap_by, ap_by_size, errors, property_of_truths
from tests.cases import as_detections, draw_data_set


def box(x0, y0, x1, y1, size=(40, 80)):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


PERSON, CAR = 24, 26


@pytest.fixture
def one_of_each():
    """Five persons and a car; a detection of each kind, the scores in that order."""
    frame = np.full((40, 80), 7, np.uint16)
    for number in range(5):
        frame[0:10, 12 * number : 12 * number + 10] = PERSON * 1000 + number
    frame[20:30, 0:10] = CAR * 1000
    predictions = [
        (PERSON, 0.9, box(0, 0, 10, 10)),  # true positive
        (PERSON, 0.8, box(0, 0, 10, 9)),  # duplicate
        (CAR, 0.7, box(12, 0, 22, 10)),  # classification: this person is missed, misclassified
        (PERSON, 0.6, box(24, 0, 34, 4)),  # localization: IoU 0.4, this person is missed, mislocalized
        (CAR, 0.5, box(36, 0, 46, 4)),  # both: this person and the next are missed
        (CAR, 0.4, box(60, 30, 70, 40)),  # background: the car is missed
    ]
    return outcomes([match_image(frame, as_detections("a", frame, predictions))])


def nonzero(frame):
    return {(row["class"], row["error"]): row["count"] for _, row in frame.iterrows() if row["count"]}


def test_one_error_of_each_kind(one_of_each):
    assert nonzero(errors(one_of_each)) == {
        ("person", "duplicate"): 1,
        ("car", "classification"): 1,
        ("person", "localization"): 1,
        ("car", "both"): 1,
        ("car", "background"): 1,
        ("person", "missed, misclassified"): 1,
        ("person", "missed, mislocalized"): 1,
        ("person", "missed"): 2,
        ("car", "missed"): 1,
    }


def test_detections_under_the_score_are_left_out(one_of_each):
    found = nonzero(errors(one_of_each, min_score=0.85))
    assert found == {("person", "missed"): 4, ("car", "missed"): 1}
    assert nonzero(errors(one_of_each, min_score=0.95)) == {("person", "missed"): 5, ("car", "missed"): 1}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("overlap", [0.5, 0.75])
def test_errors_add_up_to_the_counts_of_ap(tmp_path, seed, overlap):
    paths, _, detections = draw_data_set(np.random.default_rng(seed), tmp_path, 5)
    pooled = outcomes([match_image(p, d, min_area_px=4) for p, d in zip(paths, detections, strict=True)])
    counts = average_precision(pooled).frame().query("overlap == @overlap").set_index("class")
    frame = errors(pooled, overlap=overlap)
    missed = frame["error"].str.startswith("missed")
    for rows, column in ((frame[missed], "misses"), (frame[~missed], "false_positives")):
        pd.testing.assert_series_equal(
            rows.groupby("class")["count"].sum(), counts[column].sort_index(), check_names=False
        )


@pytest.mark.parametrize("seed", range(20))
def test_bands(tmp_path, seed):
    paths, _, detections = draw_data_set(np.random.default_rng(seed), tmp_path, 5)
    pooled = outcomes([match_image(p, d, min_area_px=4) for p, d in zip(paths, detections, strict=True)])
    everything = average_precision(pooled).frame()
    whole = ap_by_size(pooled, {"all": (0, np.inf)})
    pd.testing.assert_frame_equal(whole[everything.columns], everything)
    parts = ap_by_size(pooled, {"small": (0, 20), "large": (20, np.inf)})
    for column in ("truths", "true_positives"):
        total = parts.groupby(["class", "overlap"], sort=False)[column].sum().to_numpy()
        np.testing.assert_array_equal(total, everything[column])
    unmatched = pooled.outcome[:, 0] == FALSE_POSITIVE
    small = (pooled.predictions["area_px"] < 20) & unmatched
    assert _unmatched(parts, pooled, "small", 20) == small.sum()


def _unmatched(parts, pooled, band, limit_px):
    """False positives of a band at 0.5 that are no duplicates."""
    duplicates = (pooled.outcome[:, 0] == 2) & (pooled.truths["area_px"][pooled.prediction_truth] < limit_px)
    return parts.query("band == @band and overlap == 0.5")["false_positives"].sum() - duplicates.sum()


def test_ap_by_a_property_of_the_ground_truth(one_of_each):
    table = pd.DataFrame({"image_id": "a", "instance_id": [24000, 24001, 24002, 24003, 24004, 26000]})
    hidden = property_of_truths(one_of_each, table.assign(occluded=[0.0, 0.3, 0.3, 0.9, 0.9, 0.0]), "occluded")
    frame = ap_by(one_of_each, hidden, {"visible": (0, 0.1), "hidden": (0.1, 1)}).query("overlap == 0.5")
    rows = frame.set_index(["band", "class"])
    assert rows.loc[("visible", "person"), ["truths", "true_positives", "recall", "ap"]].tolist() == [1, 1, 1, 1]
    assert rows.loc[("hidden", "person"), ["truths", "true_positives", "recall", "ap"]].tolist() == [4, 0, 0, 0]
    assert rows.loc[("visible", "person"), "false_positives"] == 2  # the duplicate, and what matches nothing
    assert rows.loc[("hidden", "person"), "false_positives"] == 1
    assert np.isnan(rows.loc[("hidden", "bus"), "recall"])


def test_bad_input_is_named(one_of_each):
    table = pd.DataFrame({"image_id": "a", "instance_id": [24000, 24001, 24002, 24003, 24004, 26000], "x": 0})
    with pytest.raises(ValueError, match="image a, instance 26000: found no x in the table"):
        property_of_truths(one_of_each, table.iloc[:-1], "x")
    with pytest.raises(ValueError, match="image a, instance 24000: found twice"):
        property_of_truths(one_of_each, pd.concat([table, table.iloc[:1]]), "x")
    with pytest.raises(ValueError, match="found 2 values, expected one for each of 6 ground truths"):
        ap_by(one_of_each, np.zeros(2), {"all": (0, 1)})
    with pytest.raises(ValueError, match=r"found overlap 0.52, expected one of \[0.5, 0.55"):
        errors(one_of_each, overlap=0.52)
