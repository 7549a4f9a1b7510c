"""AP against the official evaluator itself, the invariants of matching and pooling, and AP by size."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from scipy import ndimage

from scapes import ap, png
from scapes.ap import ap_by_size, average_precision, counts, outcomes, precision_recall, thirds
from scapes.bootstrap import MEAN, NAMES, summary
from scapes.files import BadFile
from scapes.labels import CLASSES, LABEL_IDS
from scapes.match import match_image, pool
from scapes.predictions import Detections, check_images
from tests import official
from tests.cases import as_detections, draw_data_set, matched

PERSON, CAR = 24, 26
SIZE = (64, 128)
pytestmark = pytest.mark.filterwarnings("ignore:Mean of empty slice")  # from the official evaluator


def reference(paths, predictions, min_area_px):
    """The official AP and averages, or None where it fails because all predictions of a class are ignored."""
    try:
        result = official.evaluate_masks(paths, predictions, min_area_px=min_area_px)
    except IndexError:
        return None
    return np.array(result["resultApMatrix"])[0], result["averages"]


def easy_image(folder, min_area_px):
    """An image with one perfect detection of each class: with it, no class has all its predictions ignored."""
    frame = np.repeat(np.array(LABEL_IDS, np.uint16) * 1000, max(1, min_area_px)).reshape(len(LABEL_IDS), -1)
    path = folder / "easy.png"
    png.write(path, frame)
    predictions = [(label_id, 0.5, frame == label_id * 1000) for label_id in LABEL_IDS]
    return path, predictions, as_detections("easy", frame, predictions)


@pytest.mark.parametrize("block", range(10))
def test_equals_the_official_evaluator(tmp_path, block):
    for seed in range(100 * block, 100 * (block + 1)):
        rng = np.random.default_rng(seed)
        min_area_px = int(rng.choice([0, 1, 4, 10, 100]))
        paths, predictions, detections = draw_data_set(rng, tmp_path, int(rng.integers(1, 4)))
        expected = reference(paths, predictions, min_area_px)
        if expected is None:
            easy = easy_image(tmp_path, min_area_px)
            paths, predictions, detections = [*paths, easy[0]], [*predictions, easy[1]], [*detections, easy[2]]
            expected = reference(paths, predictions, min_area_px)
        found = average_precision(pool(matched(paths, detections, min_area_px=min_area_px)))
        np.testing.assert_allclose(found, expected[0], rtol=0, atol=1e-12, err_msg=f"seed {seed}")
        means = summary(found)[-1].tolist()
        averages = [expected[1]["allAp"], expected[1]["allAp50%"]]
        np.testing.assert_allclose(means, averages, rtol=0, atol=1e-12, err_msg=f"seed {seed}")
        per_class = [expected[1]["classes"][name]["ap"] for name in CLASSES]
        np.testing.assert_allclose(found.mean(1), per_class, rtol=0, atol=1e-12, err_msg=f"seed {seed}")


def test_random_cases_reach_every_rule(tmp_path):
    seen, kinds = set(), set()
    for seed in range(60):
        paths, predictions, detections = draw_data_set(np.random.default_rng(seed), tmp_path, 2)
        pooled = pool(matched(paths, detections, min_area_px=4))
        seen |= set(np.unique(outcomes(pooled)).tolist())
        truths = pooled.truths
        kinds |= {"group"} if (truths["instance_id"] < 1000).any() else set()
        kinds |= {"tiny group"} if ((truths["instance_id"] < 1000) & (truths["area_px"] < 4)).any() else set()
        kinds |= {"one pixel"} if (truths["area_px"] == 1).any() else set()
        kinds |= {"no truth"} if not len(truths) else set()
        kinds |= {"empty mask"} if len(pooled.predictions) < sum(map(len, detections)) else set()
        kinds |= {"no prediction"} if any(not len(item) for item in predictions) else set()
        kinds |= {"caravan"} if any(item[0] == 29 for item in itertools.chain(*predictions)) else set()
    assert seen == {ap.IGNORED, ap.FALSE_POSITIVE, ap.DUPLICATE, ap.TRUE_POSITIVE}
    assert kinds == {"group", "tiny group", "one pixel", "no truth", "empty mask", "no prediction", "caravan"}


@pytest.mark.parametrize("seed", range(20))
def test_order_changes_no_bit(tmp_path, seed):
    rng = np.random.default_rng(seed)
    paths, _, detections = draw_data_set(rng, tmp_path, 6)
    records = matched(paths, detections, min_area_px=4)
    shuffled = []
    for index in rng.permutation(len(paths)):
        item, order = detections[index], rng.permutation(len(detections[index]))
        masks = [item.masks[i] for i in order]
        item = Detections(item.image_id, item.size, item.category[order], item.score[order], item.boxes[order], masks)
        shuffled += matched([paths[index]], [item], min_area_px=4)
    first, second = pool(records), pool(iter(shuffled))
    assert average_precision(first).tobytes() == average_precision(second).tobytes()
    assert counts(first) == counts(second)


def rectangle(size, x0, y0, x1, y1):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_all_predictions_ignored_is_zero(tmp_path):
    frame = np.full((20, 20), 24, np.uint16)
    frame[:10, :10] = 24001
    predictions = [(24, 0.9, rectangle(frame.shape, 10, 10, 20, 20))]
    png.write(tmp_path / "a.png", frame)
    assert reference([tmp_path / "a.png"], [predictions], 4) is None
    result = average_precision(match_image(frame, as_detections("a", frame, predictions), min_area_px=4))
    assert result[0].tolist() == [0.0] * 10
    assert summary(result)[-1, 0] == 0.0


def test_counts_by_hand():
    frame = np.full((20, 40), 7, np.uint16)
    frame[0:10, 0:10], frame[0:10, 20:30] = 24001, 24002
    # Exact, duplicate, IoU 0.7, nothing there.
    boxes = {0.9: (0, 0, 10, 10), 0.8: (0, 0, 10, 9), 0.7: (20, 0, 30, 7), 0.6: (30, 10, 40, 20)}
    predictions = [(24, score, rectangle(frame.shape, *box)) for score, box in boxes.items()]
    record = match_image(frame, as_detections("a", frame, predictions))
    at = dict(zip(ap.OVERLAPS.round(2).tolist(), outcomes(record).T.tolist(), strict=True))
    assert at[0.65] == [ap.TRUE_POSITIVE, ap.DUPLICATE, ap.TRUE_POSITIVE, ap.FALSE_POSITIVE]
    assert at[0.70] == [ap.TRUE_POSITIVE, ap.DUPLICATE, ap.FALSE_POSITIVE, ap.FALSE_POSITIVE]  # not above it
    none = [0] * 7
    assert counts(record) == {"images": 1, "truths": [2, *none], "predictions": [4, *none]}


def image(image_id="a", value=24001):
    frame = np.full((20, 20), 7, np.uint16)
    frame[:12, :12] = value
    return frame, as_detections(image_id, frame, [(24, 0.5, frame == value)])


def test_what_is_wrong_is_named():
    frame, detections = image("munster_1")
    for value in (34, 999, 34000, 60000):
        with pytest.raises(BadFile, match=f"image a: value: found 1 such ids, the first is {value}"):
            match_image(*image(value=value))
    check_images("ab", "ba")
    a, b = (match_image(*image(image_id)) for image_id in "ab")
    for message, act, *given in (
        (r"munster_1.*\(20, 19\).*\(20, 20\)", match_image, frame[:, :-1], detections),
        ("munster_1.*found ground truth int32 .* expected uint16", match_image, frame.astype(np.int32), detections),
        ("image a: found several times, expected once", pool, [a, b, a]),
        (r"min_area_px = \[50, 100\]", pool, [a, dataclasses.replace(b, min_area_px=np.array([50]))]),
        ("found no images", pool, []),
        (r"image b: found a record, expected none \(1 ", check_images, "ab", "a"),
        (r"image c: found no record, expected one \(1 such images of 3\)", check_images, "ab", "abc"),
    ):
        with pytest.raises(ValueError, match=message):
            act(*given)
    nothing = average_precision(match_image(np.full((20, 20), 7, np.uint16), Detections("a", (20, 20), [], [], [], [])))
    assert np.isnan(nothing).all() and np.isnan(summary(nothing)).all()


@pytest.mark.parametrize("seed", range(40))
def test_boundary_ap_equals_a_slow_reference(tmp_path, seed):
    """Whole frames, eroded one pixel at a time; all but the IoU is as for mask AP."""
    rng = np.random.default_rng(seed)
    (path,), _, (item,) = draw_data_set(rng, tmp_path, 1)
    fraction, frame = rng.choice([0.001, 0.05, 0.1, 0.3]), png.read(path, "gray 16")
    width = max(1, round(fraction * np.hypot(*item.size)))
    expected, found = (match_image(frame, item, min_area_px=4, band=band) for band in (0, fraction))
    for row, index in zip(expected.predictions, np.flatnonzero([m.any() for m in item.masks]), strict=True):
        if row["iou"] > 0.5:
            masks = item.full_mask(index), frame == expected.truths["instance_id"][row["truth"]]
            a, b = (mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), width) for mask in masks)
            row["iou"] = min(row["iou"], (a & b).sum() / (a | b).sum())
    assert found.predictions.tobytes() == expected.predictions.tobytes()


def test_boundary_ap_by_hand():
    """Bands of one pixel: of 20 x 20 pixels 76, of 20 x 16 of them 68; they share 20 + 15 + 15."""
    for frame, x in ((np.full((20, 20), 26001, np.uint16), 0), (np.full((24, 30), 7, np.uint16), 5)):
        frame[2:22, x : x + 20] = 26001  # first the whole frame, whose edge is a contour too
        item = as_detections("a", frame, [(26, 0.5, rectangle(frame.shape, x, 2 * (x > 0), x + 16, 22))])
        assert [match_image(frame, item, band=band).predictions["iou"] for band in (0.03, 0)] == [50 / 94, 0.8]


def test_a_scene_by_hand():
    """A person in each band, a large car; medium and large found, and false positives of all sizes."""
    bands = {"small": (0, 4), "medium": (4, 36), "large": (36, np.inf)}
    frame, box = np.full(SIZE, 7, np.uint16), functools.partial(rectangle, SIZE)
    frame[0, 0:3], frame[10:15, 0:5], frame[20:26, 0:6], frame[40:50, 0:20] = 24000, 24001, 24002, 26000
    predictions = [
        (PERSON, 0.9, box(0, 10, 5, 15)),  # medium, 25 px: true
        (PERSON, 0.8, box(100, 0, 101, 2)),  # small, 2 px: false, before anything small is found
        (PERSON, 0.7, box(0, 20, 6, 26)),  # large, 36 px: true
        (PERSON, 0.6, box(0, 20, 6, 25)),  # the same person again, 30 px: false where that person counts, not by area
        (CAR, 0.5, box(100, 40, 120, 50)),  # large, 200 px: false
    ]
    table = ap_by_size(match_image(frame, as_detections("a", frame, predictions), min_area_px=1), bands)
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
    pooled = pool(matched(paths, detections, min_area_px=4))
    whole, expected = ap_by_size(pooled, {"all": (0, np.inf)}), summary(average_precision(pooled))
    np.testing.assert_array_equal(whole["ap"], expected[:, 0])
    parts = ap_by_size(pooled, {"small": (0, 20), "medium": (20, 180), "large": (180, np.inf)})
    by_class = parts.groupby("class", sort=False)["count"].sum()
    assert by_class.tolist() == [*counts(pooled)["truths"], sum(counts(pooled)["truths"])]
    areas = pooled.truths["area_px"][pooled.truths["evaluated"]]
    by_area = [(areas < 20).sum(), ((areas >= 20) & (areas < 180)).sum(), (areas >= 180).sum()]
    assert parts[parts["class"] == MEAN]["count"].tolist() == by_area


def test_thirds_hold_as_many_each():
    frame = np.full(SIZE, 7, np.uint16)
    for number in range(6):
        frame[number, : 10 + number] = 24000 + number
    frame[10, 0:2], frame[20, 0:50] = 24006, 24  # too small to count, and a group
    record = match_image(frame, as_detections("a", frame, []), min_area_px=3)
    assert thirds(record) == {"small": (0, 12), "medium": (12, 14), "large": (14, 16)}
    assert ap_by_size(record, thirds(record)).query("`class` == 'mean'")["count"].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="no evaluated ground truth"):
        thirds(match_image(frame, as_detections("a", frame, []), min_area_px=1000))


def test_the_area_under_precision_and_recall_is_ap50(tmp_path):
    """Each precision counts for half the way to both its neighbours, and the curve starts at precision 1, recall 0."""
    for seed in range(20):
        paths, _, detections = draw_data_set(np.random.default_rng(seed), tmp_path, 3)
        records = pool(matched(paths, detections, min_area_px=4))
        for category, rows in precision_recall(records).groupby("category"):
            assert (rows["score"].diff().dropna() < 0).all()
            precision, recall = [1, *rows["precision"]], np.pad([0, *rows["recall"]], 1, mode="edge")
            area = (precision * (recall[2:] - recall[:-2])).sum() / 2
            assert area == pytest.approx(average_precision(records)[category, 0], abs=1e-12, nan_ok=True)
