"""COCO export against pycocotools, COCO AP where it is known, and submissions against the official evaluator."""

import copy
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from scapes import png
from scapes.ap import average_precision
from scapes.exchange import MEAN, coco_ap, coco_predictions, coco_truth, read_coco, read_submission, write_submission
from scapes.files import BadFile, write_json
from scapes.instances import image_instances
from scapes.labels import CLASSES, LABEL_IDS
from scapes.match import pool
from scapes.predictions import Detections
from tests import official
from tests.cases import draw_data_set, matched

IDS = [f"berlin_{number:06d}_000019" for number in range(12)]


@pytest.fixture
def data_set(tmp_path):
    """Image table, instance table and detections of 12 images."""
    paths, _, detections = draw_data_set(np.random.default_rng(5), tmp_path, 12)
    images = pd.DataFrame({"image_id": [path.stem for path in paths], "instance_path": list(map(str, paths))})
    images["image_path"] = ["root/leftImg8bit/val/munster/" + path.name for path in paths]
    images["height"], images["width"] = detections[0].size
    tables = [pd.DataFrame(image_instances(png.read(path, "gray 16"))) for path in paths]
    instances = pd.concat([table.assign(image_id=path.stem) for table, path in zip(tables, paths, strict=True)])
    return images, instances, detections


def encode(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def test_truth_holds_every_instance(tmp_path, data_set):
    images, instances, _ = data_set
    truth = coco_truth(images)
    write_json(tmp_path / "truth.json", truth)
    assert json.loads((tmp_path / "truth.json").read_text()) == truth
    assert [image["file_name"] for image in truth["images"]] == [f"munster/{i}.png" for i in images["image_id"]]
    assert [(item["id"], item["name"]) for item in truth["categories"]] == list(zip(LABEL_IDS, CLASSES, strict=True))
    assert len(truth["annotations"]) == len(instances)
    expected = instances.to_dict("records")
    for annotation, row in zip(truth["annotations"], expected, strict=True):
        assert annotation["iscrowd"] == row["crowd"] == (row["instance_id"] < 1000)
        assert annotation["bbox"] == [row["x0"], row["y0"], row["x1"] - row["x0"], row["y1"] - row["y0"]]
        frame = png.read(images.iloc[annotation["image_id"] - 1]["instance_path"], "gray 16")
        assert annotation["segmentation"]["counts"] == encode(frame == row["instance_id"])


def test_ap_of_no_detections_and_of_unknown_images(data_set):
    images, instances, detections = data_set
    with pytest.raises(ValueError, match="image 0: found detections, expected an image of the table"):
        coco_predictions(images.iloc[1:], detections)
    present = {CLASSES[category] for category in instances.loc[~instances["crowd"], "category"]}
    assert 2 < len(present) < len(CLASSES)
    for name, values in coco_ap(coco_truth(images), []).iterrows():
        assert (values == 0.0).all() if name in {*present, MEAN} else values.isna().all()


def test_ap_equals_pycocotools(data_set, capsys):
    images, _, detections = data_set
    truth, found = coco_truth(images), coco_predictions(images, detections)
    known = COCO()
    known.dataset = copy.deepcopy(truth)
    known.createIndex()
    evaluation = COCOeval(known, known.loadRes(copy.deepcopy(found)), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1].mean(1)  # (overlaps, classes), -1 without ground truth
    expected = np.where(precision < 0, np.nan, precision).mean(0)
    ap = coco_ap(truth, found)["ap"][[*CLASSES]]
    np.testing.assert_allclose(ap, expected, rtol=0, atol=1e-12)
    assert 0.05 < np.nanmean(expected) < 0.95


@pytest.fixture
def submitted(tmp_path):
    """Paths of ground truth, detections, and the image table."""
    paths, _, detections = draw_data_set(np.random.default_rng(3), tmp_path, IDS)
    height, width = detections[0].size
    return paths, detections, pd.DataFrame({"image_id": IDS, "height": height, "width": width})


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_the_official_evaluator_reads_the_same_predictions(tmp_path, submitted):
    paths, detections, images = submitted
    write_submission(iter(detections), tmp_path / "out.zip", images)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        archive.extractall(tmp_path / "out")
    expected = average_precision(pool(matched(paths, detections, min_area_px=4)))
    for place in ("out.zip", "out"):
        read = [*read_submission(tmp_path / place, images)]
        assert [item.image_id for item in read] == IDS
        np.testing.assert_array_equal(average_precision(pool(matched(paths, read, min_area_px=4))), expected)
    texts = [tmp_path / "out" / f"{image_id}.txt" for image_id in IDS]
    reference = official.evaluate_files(paths, texts, tmp_path / "out", min_area_px=4)
    np.testing.assert_allclose(expected, reference["resultApMatrix"][0], rtol=0, atol=1e-12)


def test_wrong_images_are_named_and_leave_no_file(tmp_path, submitted):
    _, detections, images = submitted
    for items, message in [
        (detections[1:], f"image {IDS[0]}: found no record"),
        ([*detections, detections[0]], f"image {IDS[0]}: found several times"),
        ([*detections, Detections("bonn_000000_000019", detections[0].size, [], [], [], [])], "bonn.*expected none"),
        ([Detections("17", detections[0].size, [], [], [], [])], "image 17: expected an id CITY_SEQ_FRAME"),
        ([Detections(IDS[0], (3, 4), [], [], [], [])], rf"image {IDS[0]}: found masks of \(3, 4\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_submission(items, tmp_path / "out.zip", images)
    assert not list(tmp_path.glob("*.zip"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("masks/a.png 26", "'masks/a.png 26', expected PNG LABEL_ID SCORE"),
        ("masks/b.png 26 0.5", "masks/b.png"),
        ("masks/a.png 2 0.5", "one of"),
        ("masks/a.png 26 nan", "finite number"),
        ("/masks/a.png 26 0.5", "relative path"),
        ("../a.png 26 0.5", "without '..'"),
        (None, f"{IDS[0]}: found 0 texts"),
    ],
)
def test_what_the_server_would_refuse_is_named(tmp_path, text, message):
    images = pd.DataFrame({"image_id": IDS[:1], "height": 3, "width": 4})
    item = Detections(IDS[0], (3, 4), [0], [0.5], [[0, 0, 1, 1]], [np.ones((1, 1), bool)])
    write_submission([item], tmp_path / "good.zip", images)
    with zipfile.ZipFile(tmp_path / "good.zip") as good, zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        bad.writestr("masks/a.png", good.read(f"masks/{IDS[0]}_000.png"))
        if text is not None:
            bad.writestr(f"{IDS[0]}.txt", text)
    with pytest.raises((ValueError, OSError), match=f"bad.zip.*{message}"):
        list(read_submission(tmp_path / "bad.zip", images))
    with pytest.raises(ValueError, match=rf"image {IDS[0]}: found a mask of \(3, 4\) pixels"):
        list(read_submission(tmp_path / "good.zip", images.assign(height=5)))


RLE = {"size": [3, 4], "counts": [3, 2, 7]}
RESULT = {"image_id": 7, "category_id": 1, "score": 0.5, "segmentation": RLE}
ANNOTATIONS = {"images": [{"id": 7, "file_name": f"{IDS[0]}.png"}], "categories": [{"id": 1, "name": "car"}]}


@pytest.mark.parametrize(
    ("change", "annotations", "message"),
    [
        ({"image_id": 8}, ANNOTATIONS, "image_id 8, category_id 1, expected .*, of the annotations"),
        ({"image_id": IDS[0]}, ANNOTATIONS, f"image_id '{IDS[0]}', category_id 1"),
        ({"category_id": 26}, ANNOTATIONS, "image_id 7, category_id 26"),
        ({}, ANNOTATIONS | {"categories": [{"id": 1, "name": "dog"}]}, "image_id 7, category_id 1"),
        ({}, ANNOTATIONS | {"images": []}, f"annotations: found .*no image {IDS[0]}, expected .*all of the split"),
        ({}, ANNOTATIONS | {"images": 2 * ANNOTATIONS["images"]}, "annotations: found .*key 7 stands twice"),
        ({}, ANNOTATIONS | {"images": [{"id": 7, "file_name": 7}]}, "annotations: found TypeError"),
        ({}, [], "annotations: found TypeError.* expected images with id and file_name"),
        ({"score": float("nan")}, ANNOTATIONS, f"image {IDS[0]}, detection 0: found nan as score"),
        ({"segmentation": RLE | {"size": [4, 3]}}, ANNOTATIONS, rf"image {IDS[0]}: found a mask of \(4, 3\) pixels"),
        ({"segmentation": RLE | {"counts": [3, 2]}}, ANNOTATIONS, "run lengths of 5 pixels, of 3 x 4"),
        ({"segmentation": RLE | {"counts": "3"}}, ANNOTATIONS, "run lengths of 3 pixels, of 3 x 4"),
        ({"segmentation": RLE | {"counts": "plain words"}}, ANNOTATIONS, "RLE"),
        ({"segmentation": [[0, 0, 2, 0, 2, 2]]}, ANNOTATIONS, "TypeError: list indices"),
    ],
)
def test_what_is_wrong_with_coco_results_is_named(tmp_path, change, annotations, message):
    images = pd.DataFrame({"image_id": IDS[:1], "height": 3, "width": 4})
    for name, content in (("found", [RESULT]), ("annotations", ANNOTATIONS)):
        write_json(tmp_path / f"{name}.json", content)
    (item,) = read_coco(tmp_path / "found.json", images, tmp_path / "annotations.json")
    assert (item.image_id, item.category.tolist(), item.boxes.tolist()) == (IDS[0], [2], [[1, 0, 2, 2]])
    for name, content in (("found", [RESULT | change]), ("annotations", annotations)):
        write_json(tmp_path / f"{name}.json", content)
    with pytest.raises(BadFile, match=f"^{tmp_path}/[a-z]*.json: COCO .*{message}"):
        list(read_coco(tmp_path / "found.json", images, tmp_path / "annotations.json"))
