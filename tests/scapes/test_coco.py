"""COCO export against pycocotools' own encoder, and COCO AP where it is known."""

import json

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco_mask

from scapes import png
from scapes.coco import MEAN, coco_ap, coco_predictions, coco_truth, run_lengths
from scapes.files import write_json
from scapes.instances import image_instances
from scapes.labels import CLASSES, LABEL_IDS
from scapes.predictions import Detections
from tests.cases import draw_data_set, from_masks


@pytest.fixture
def data_set(tmp_path):
    """Image table, instance table and detections of 12 images."""
    paths, _, detections = draw_data_set(np.random.default_rng(5), tmp_path, 12)
    images = pd.DataFrame({"image_id": [path.stem for path in paths], "instance_path": list(map(str, paths))})
    images["image_path"] = ["root/leftImg8bit/val/munster/" + path.name for path in paths]
    images["height"], images["width"] = detections[0].size
    tables = [image_instances(png.read(path, "gray 16")) for path in paths]
    instances = pd.concat([table.assign(image_id=path.stem) for table, path in zip(tables, paths, strict=True)])
    return images, instances, detections


def encode(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def test_run_lengths_equal_the_reference(data_set):
    _, _, detections = data_set
    compared = 0
    for item in detections:
        for index in range(len(item)):
            rle = run_lengths(item.masks[index], item.boxes[index], item.size)
            assert rle == {"size": list(item.size), "counts": encode(item.full_mask(index))}
            compared += 1
    assert compared > 20
    for mask in (np.ones((3, 4), bool), np.zeros((3, 4), bool)):
        assert run_lengths(mask, (0, 0, 4, 3), (3, 4))["counts"] == encode(mask)


def test_truth_holds_every_instance(tmp_path, data_set):
    images, instances, _ = data_set
    truth = coco_truth(images)
    write_json(tmp_path / "truth.json", truth)
    assert json.loads((tmp_path / "truth.json").read_text()) == truth
    assert [image["file_name"] for image in truth["images"]] == [f"munster/{i}.png" for i in images["image_id"]]
    assert {category["id"]: category["name"] for category in truth["categories"]} == dict(
        zip(LABEL_IDS, CLASSES, strict=True)
    )
    assert len(truth["annotations"]) == len(instances)
    expected = instances.to_dict("records")
    for annotation, row in zip(truth["annotations"], expected, strict=True):
        assert annotation["iscrowd"] == row["crowd"] == (row["instance_id"] < 1000)
        assert annotation["bbox"] == [row["x0"], row["y0"], row["x1"] - row["x0"], row["y1"] - row["y0"]]
        frame = png.read(images.iloc[annotation["image_id"] - 1]["instance_path"], "gray 16")
        assert annotation["segmentation"]["counts"] == encode(frame == row["instance_id"])


def as_detections(images, instances):
    """Each instance as a perfect detection."""
    items = []
    for image in images.itertuples():
        frame = png.read(image.instance_path, "gray 16")
        rows = instances[(instances["image_id"] == image.image_id) & ~instances["crowd"]]
        masks = [frame == instance_id for instance_id in rows["instance_id"]]
        scores = np.ones(len(masks))
        items.append(from_masks(image.image_id, frame.shape, rows["category"].to_numpy(), scores, masks))
    return items


def test_ap_of_perfect_and_of_no_detections(data_set):
    images, instances, _ = data_set
    truth = coco_truth(images)
    present = {CLASSES[category] for category in instances.loc[~instances["crowd"], "category"]}
    assert 2 < len(present) < len(CLASSES)
    perfect = coco_ap(truth, coco_predictions(images, as_detections(images, instances)))
    assert set(perfect["metric"]) == {"ap", "ap50", "ap75"}
    for frame, value in ((perfect, 1.0), (coco_ap(truth, []), 0.0)):
        known = frame[frame["class"].isin({*present, MEAN})]["value"]
        assert known.tolist() == pytest.approx([value] * len(known))
        assert frame[~frame["class"].isin({*present, MEAN})]["value"].isna().all()


def test_ap_of_a_known_overlap(tmp_path):
    frame = np.full((20, 40), 7, np.uint16)
    frame[:10, :25] = 26001
    png.write(tmp_path / "a.png", frame)
    fields = {"image_id": "a", "image_path": "x/a.png", "instance_path": str(tmp_path / "a.png")}
    images = pd.DataFrame([fields | {"height": 20, "width": 40}])
    # IoU 0.72: 5 overlaps of 10.
    item = Detections("a", (20, 40), [2], [0.5], [[0, 0, 18, 10]], [np.ones((10, 18), bool)])
    frame = coco_ap(coco_truth(images), coco_predictions(images, [item]))
    values = frame[frame["class"] == MEAN].set_index("metric")["value"].round(6)
    assert values.to_dict() == {"ap": 0.5, "ap50": 1.0, "ap75": 0.0}


def test_bad_input_is_named(data_set):
    images, _, detections = data_set
    with pytest.raises(ValueError, match="image 0: found detections, expected an image of the table"):
        coco_predictions(images.iloc[1:], detections)
