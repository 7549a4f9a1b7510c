"""Detections and records: what they accept and refuse, and that their files give back every bit."""

import itertools

import numpy as np
import pandas as pd
import pytest

from scapes.match import PREDICTION, Records, match_data_set, pool, read_records, write_records
from scapes.predictions import IMAGES_PER_ROW_GROUP, Detections, images_in, read_predictions, write_predictions
from tests.cases import draw_data_set, matched

BOX, MASK = [[0, 0, 2, 2]], [np.ones((2, 2), bool)]


def bits(array):
    return array.dtype, array.shape, array.tobytes()


def fields(item: Detections | Records) -> dict:
    """Every field, its arrays as their bits."""
    fields = vars(item) | ({"masks": list(map(bits, item.masks))} if isinstance(item, Detections) else {})
    return {name: bits(value) if isinstance(value, np.ndarray) else value for name, value in fields.items()}


def test_file_gives_back_every_bit(tmp_path):
    items = [draw_data_set(np.random.default_rng(i), tmp_path, [f"{i:03d}"])[2][0] for i in range(150)]
    assert any(not len(item) for item in items)
    write_predictions(tmp_path / "p.parquet", iter(items))
    for first, second in itertools.zip_longest(items, read_predictions(tmp_path / "p.parquet")):
        assert fields(first) == fields(second)


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
    with pytest.raises(ValueError, match="image a: found several times"):
        write_predictions(path, [item, item])
    assert [found.image_id for found in read_predictions(path)] == ["a"]
    assert [found.name for found in tmp_path.iterdir()] == ["p.parquet"]


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


@pytest.fixture
def data_set(tmp_path):
    """Image table and detections of 150 images."""
    paths, _, detections = draw_data_set(np.random.default_rng(7), tmp_path, 150)
    images = pd.DataFrame({"image_id": [item.image_id for item in detections], "instance_path": list(map(str, paths))})
    return images, detections


def test_processes_change_no_bit(tmp_path, data_set):
    images, detections = data_set
    expected = pool(matched(images["instance_path"], detections, min_area_px=4))
    path = tmp_path / "all.parquet"
    write_predictions(path, detections)
    one = match_data_set(images, path, min_area_px=4, workers=1, progress=False)
    many = match_data_set(images.iloc[::-1], path, min_area_px=4, workers=2, progress=False)
    assert fields(one) == fields(many) == fields(expected)


def test_a_file_of_records_gives_back_every_bit(tmp_path, data_set):
    images, detections = data_set
    records = matched(images["instance_path"], detections, min_area_px=4)
    with pytest.raises(ValueError, match=r"r\.npz: unreadable \(.*\), expected records; evaluate on it first$"):
        read_records(tmp_path / "r.npz")
    for kept in (pool(records), records[0]):
        write_records(tmp_path / "r.npz", kept)
        assert fields(read_records(tmp_path / "r.npz")) == fields(kept)


def test_file_of_an_earlier_version_is_read(tmp_path, data_set):
    """Its predictions had more fields."""
    images, detections = data_set
    records = pool(matched(images["instance_path"], detections))
    write_records(tmp_path / "r.npz", records)
    with np.load(tmp_path / "r.npz") as file:
        content = dict(file)
    earlier = np.zeros(len(content["predictions"]), [*PREDICTION.descr, ("other_iou", "<f8"), ("other_truth", "<i2")])
    for name in PREDICTION.names:
        earlier[name] = content["predictions"][name]
    np.savez_compressed(tmp_path / "r.npz", **content | {"predictions": earlier})
    assert fields(read_records(tmp_path / "r.npz")) == fields(records)


def test_images_are_checked_before_work(tmp_path, data_set):
    images, detections = data_set
    path = tmp_path / "p.parquet"
    write_predictions(path, detections[1:])
    with pytest.raises(ValueError, match=r"image 0: found no record.*1 such images of 150"):
        match_data_set(images, path, progress=False)
    with pytest.raises(ValueError, match="image 149: found a record, expected none"):
        match_data_set(images.iloc[:-1], path, progress=False)
    assert len(images_in(path)) == 149
