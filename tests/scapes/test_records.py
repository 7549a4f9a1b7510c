"""Records of a data set: the same from any number of processes, and back from their file."""

import numpy as np
import pandas as pd
import pytest

from scapes import png
from scapes.ap import average_precision
from scapes.instances import image_instances
from scapes.match import PREDICTION
from scapes.predictions import images_by_row_group, write_predictions
from scapes.records import match_data_set, read_records, write_records
from tests.cases import draw_data_set, matched


@pytest.fixture
def data_set(tmp_path):
    """Image table, instance table and detections of 150 images."""
    paths, _, detections = draw_data_set(np.random.default_rng(7), tmp_path, 150)
    images = pd.DataFrame({"image_id": [item.image_id for item in detections], "instance_path": list(map(str, paths))})
    tables = [image_instances(png.read(path, "gray 16")) for path in paths]
    instances = pd.concat([table.assign(image_id=path.stem) for table, path in zip(tables, paths, strict=True)])
    return images, instances, detections


def assert_same(first, second):
    assert [record.image_id for record in first] == [record.image_id for record in second]
    for a, b in zip(first, second, strict=True):
        assert a.min_area_px == b.min_area_px
        assert a.truths.dtype == b.truths.dtype
        assert (a.truths.tobytes(), a.predictions.tobytes()) == (b.truths.tobytes(), b.predictions.tobytes())


def test_processes_and_instance_table_change_no_bit(tmp_path, data_set):
    images, instances, detections = data_set
    expected = sorted(matched(images["instance_path"], detections, min_area_px=4), key=lambda record: record.image_id)
    path = tmp_path / "all.parquet"
    write_predictions(path, detections)
    one = match_data_set(images, path, min_area_px=4, workers=1, progress=False)
    many = match_data_set(images.iloc[::-1], path, instances=instances, min_area_px=4, workers=2, progress=False)
    assert_same(one, expected)
    assert_same(many, expected)
    assert average_precision(one).ap.tobytes() == average_precision(many[::-1]).ap.tobytes()


def test_file_gives_back_every_bit(tmp_path, data_set):
    images, _, detections = data_set
    records = matched(images["instance_path"], detections, min_area_px=4)
    for kept in (records, records[:1], []):
        write_records(tmp_path / "r.npz", kept)
        assert_same(read_records(tmp_path / "r.npz"), kept)


def test_file_of_an_earlier_version_is_read(tmp_path, data_set):
    """Its predictions had more fields."""
    images, _, detections = data_set
    records = matched(images["instance_path"], detections)
    write_records(tmp_path / "r.npz", records)
    with np.load(tmp_path / "r.npz") as file:
        content = dict(file)
    earlier = np.zeros(len(content["predictions"]), [*PREDICTION.descr, ("other_iou", "<f8"), ("other_truth", "<i2")])
    for name in PREDICTION.names:
        earlier[name] = content["predictions"][name]
    np.savez_compressed(tmp_path / "r.npz", **content | {"predictions": earlier})
    assert_same(read_records(tmp_path / "r.npz"), records)


def test_images_are_checked_before_work(tmp_path, data_set):
    images, _, detections = data_set
    path = tmp_path / "p.parquet"
    write_predictions(path, detections[1:])
    with pytest.raises(ValueError, match=r"image 0: found no record.*1 such images of 150"):
        match_data_set(images, path, progress=False)
    with pytest.raises(ValueError, match="image 149: found a record, expected none"):
        match_data_set(images.iloc[:-1], path, progress=False)
    assert sum(map(len, images_by_row_group(path))) == 149
