"""AP by size: a scene worked out by hand, and identities with the overall AP."""

import numpy as np
import pytest

from scapes.ap import ap_by_size, average_precision, outcomes, thirds
from scapes.bootstrap import MEAN, NAMES, summary
from scapes.match import match_image
from tests.cases import as_detections, draw_data_set, matched

PERSON, CAR = 24, 26
SIZE = (64, 128)
BANDS = {"small": (0, 4), "medium": (4, 36), "large": (36, np.inf)}


def box(x0, y0, x1, y1):
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_scene_by_hand():
    """A person in each band, a large car; medium and large found, and false positives of all sizes."""
    frame = np.full(SIZE, 7, np.uint16)
    frame[0, 0:3], frame[10:15, 0:5], frame[20:26, 0:6], frame[40:50, 0:20] = 24000, 24001, 24002, 26000
    predictions = [
        (PERSON, 0.9, box(0, 10, 5, 15)),  # medium, 25 px: true
        (PERSON, 0.8, box(100, 0, 101, 2)),  # small, 2 px: false, before anything small is found
        (PERSON, 0.7, box(0, 20, 6, 26)),  # large, 36 px: true
        (PERSON, 0.6, box(0, 20, 6, 25)),  # the same person again, 30 px: false where that person counts, not by area
        (CAR, 0.5, box(100, 40, 120, 50)),  # large, 200 px: false
    ]
    table = ap_by_size(outcomes([match_image(frame, as_detections("a", frame, predictions), min_area_px=1)]), BANDS)
    assert list(table) == ["class", "size", "ap", "count"]
    assert table["class"].tolist() == 3 * list(NAMES)
    rows = table.set_index(["size", "class"])
    assert rows["ap"].xs("person", level="class").to_dict() == {"small": 0.0, "medium": 1.0, "large": 1.0}
    assert rows.loc[("large", "car"), "ap"] == 0.0
    assert rows["ap"].xs(MEAN, level="class").to_dict() == {"small": 0.0, "medium": 1.0, "large": 0.5}
    assert rows["count"].xs("person", level="class").to_dict() == {"small": 1, "medium": 1, "large": 1}
    assert rows["count"].xs(MEAN, level="class").to_dict() == {"small": 1, "medium": 1, "large": 2}
    assert np.isnan(rows.loc[("small", "car"), "ap"])


@pytest.mark.parametrize("seed", range(20))
def test_bands_make_up_the_whole(tmp_path, seed):
    paths, _, detections = draw_data_set(np.random.default_rng(seed), tmp_path, 5)
    pooled = outcomes(matched(paths, detections, min_area_px=4))
    whole = average_precision(pooled)
    np.testing.assert_array_equal(ap_by_size(pooled, {"all": (0, np.inf)})["ap"], summary(whole.ap)[:, 0])
    parts = ap_by_size(pooled, {"small": (0, 20), "medium": (20, 180), "large": (180, np.inf)})
    counts = parts.groupby("class", sort=False)["count"].sum()
    assert counts.tolist() == [*whole.truths.tolist(), whole.truths.sum()]
    areas = pooled.truths["area_px"][pooled.truths["evaluated"]]
    by_area = [(areas < 20).sum(), ((areas >= 20) & (areas < 180)).sum(), (areas >= 180).sum()]
    assert parts[parts["class"] == MEAN]["count"].tolist() == by_area


def test_thirds_hold_as_many_each():
    frame = np.full(SIZE, 7, np.uint16)
    for number in range(6):
        frame[number, : 10 + number] = 24000 + number
    frame[10, 0:2], frame[20, 0:50] = 24006, 24  # too small to count, and a group
    pooled = outcomes([match_image(frame, as_detections("a", frame, []), min_area_px=3)])
    assert thirds(pooled) == {"small": (0, 12), "medium": (12, 14), "large": (14, 16)}
    assert ap_by_size(pooled, thirds(pooled)).query("`class` == 'mean'")["count"].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="no evaluated ground truth"):
        thirds(outcomes([]))
