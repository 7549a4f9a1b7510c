"""Detections: what they accept and refuse, and that their file gives back every bit."""

import itertools

import numpy as np
import pytest

from scapes.predictions import IMAGES_PER_ROW_GROUP, Detections, read_predictions, write_predictions
from tests.cases import draw_data_set


def assert_same(first: Detections, second: Detections):
    assert (first.image_id, first.size) == (second.image_id, second.size)
    for name in ("category", "score", "boxes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).dtype == getattr(second, name).dtype
    assert len(first.masks) == len(second.masks)
    for index in range(len(first)):
        np.testing.assert_array_equal(first.masks[index], second.masks[index])
        assert second.masks[index].dtype == bool


def many(folder, count=150):
    sets = (draw_data_set(np.random.default_rng(seed), folder, 1)[2][0] for seed in range(count))
    fields = ("size", "category", "score", "boxes", "masks")
    return [Detections(f"{i:03d}", *(getattr(item, name) for name in fields)) for i, item in enumerate(sets)]


def test_file_gives_back_every_bit(tmp_path):
    items = many(tmp_path)
    assert any(not len(item) for item in items)
    write_predictions(tmp_path / "p.parquet", iter(items))
    for first, second in itertools.zip_longest(items, read_predictions(tmp_path / "p.parquet")):
        assert_same(first, second)


def test_single_images_are_read_from_a_file_of_many(tmp_path):
    path, empty = tmp_path / "predictions.parquet", np.empty(0)
    ids = [f"image{number}" for number in range(IMAGES_PER_ROW_GROUP + 3)]
    write_predictions(path, (Detections(name, (2, 3), empty, empty, empty, []) for name in ids))
    for wanted in ([ids[0]], [ids[-1]], [ids[1], ids[-2]]):
        assert [found.image_id for found in read_predictions(path, image_ids=wanted)] == wanted
    with pytest.raises(KeyError, match="no image other"):
        next(read_predictions(path, image_ids={"other", ids[0]}))


def test_interrupted_and_repeated_images_leave_the_file_alone(tmp_path):
    item = Detections("a", (3, 4), [], [], [], [])
    path = tmp_path / "p.parquet"
    write_predictions(path, [item])
    with pytest.raises(ValueError, match="image a: found twice"):
        write_predictions(path, [item, item])
    assert [found.image_id for found in read_predictions(path)] == ["a"]
    assert [found.name for found in tmp_path.iterdir()] == ["p.parquet"]


BOX, MASK = [[0, 0, 2, 2]], [np.ones((2, 2), bool)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (([8], [0.5], BOX, MASK), "found 8 as class, expected 0..7"),
        (([-1], [0.5], BOX, MASK), "found -1 as class"),
        (([0], [np.nan], BOX, MASK), "found nan as score"),
        (([0], [np.inf], BOX, MASK), "found inf as score"),
        (([0], [0.5], [[0, 0, 2, 4]], [np.ones((4, 2), bool)]), r"found \[0 0 2 4\] as box .* inside 4 x 3 pixels"),
        (([0], [0.5], [[2, 2, 0, 0]], MASK), "as box"),
        (([0], [0.5], [[0, 0, 3, 2]], MASK), r"found \('bool', \(2, 2\)\) as mask, expected"),
        (([0], [0.5], BOX, [np.ones((2, 2), np.uint8)]), "found .'uint8', .* as mask, expected bool"),
        (([0, 1], [0.5], BOX, MASK), "found lengths .*'category': 2"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=f"image munster_7.*{message}"):
        Detections("munster_7", (3, 4), *fields)
