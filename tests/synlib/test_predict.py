"""Predictions: the masks of Detectron2's own post-processing, and the AP of the official evaluator."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances

from scapes import cityscapes
from scapes.bootstrap import read_draws
from scapes.labels import LABEL_IDS
from scapes.predictions import Detections, read_predictions
from seeded_rcnn import weights
from seeded_rcnn.mapper import read_photo
from synlib.pointrend.config import detectron2_config
from synlib.pointrend.predict import evaluate, pasted, predict
from synlib.runs.folder import RunDir, Status
from synlib.spec import DataSpec, EvaluationSet, Execution, InputSpec, RunSpec
from tests import official

SIZES = InputSpec(train_short_px=(64,), test_short_px=96, max_long_px=192)
SPEC = RunSpec(model="pointrend_tiny", data=DataSpec(real=1), input=SIZES)


@pytest.fixture(scope="module")
def cfg():
    """Everything the box head proposes counts as a detection, so that an untrained model detects something."""
    cfg = detectron2_config(SPEC, "cpu").clone()
    cfg.defrost()
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    return cfg


@pytest.fixture(scope="module")
def model(cfg):
    torch.manual_seed(0)
    model = build_model(cfg)
    weights.load_imagenet(model, cfg)
    return model.eval()


@pytest.fixture(scope="module")
def images(smoke_data):
    return cityscapes.read_images(smoke_data / "cityscapes", "val")


def full_masks(found: Detections) -> np.ndarray:
    return np.array([found.full_mask(index) for index in range(len(found))], bool).reshape(-1, *found.size)


def assert_as_detectron2(raw: Instances, size: tuple[int, int]) -> Detections:
    ours = pasted(raw, "image", size)
    copy = Instances(raw.image_size, **{name: value.clone() for name, value in raw.get_fields().items()})
    theirs = detector_postprocess(copy, *size)
    assert len(ours.masks) == len(theirs)
    assert np.array_equal(full_masks(ours), theirs.pred_masks.numpy())
    assert np.array_equal(ours.category, theirs.pred_classes.numpy())
    assert np.array_equal(ours.score, theirs.scores.numpy())
    return ours


@pytest.mark.parametrize("size", [(64, 128), (96, 192), (37, 251), (200, 100)])
def test_masks_of_a_model_are_those_of_detectron2(model, cfg, images, size):
    resize = T.ResizeShortestEdge([96, 96], 192)
    detected = 0
    whole = predict(model, cfg, images.assign(height=size[0], width=size[1]))
    for path, found in zip(images["image_path"], whole, strict=True):
        image = read_photo(path, "RGB")
        resized = resize.get_transform(image).apply_image(image)
        tensor = torch.as_tensor(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        with torch.inference_mode():
            (raw,) = model.inference([{"image": tensor}], do_postprocess=False)
        ours = assert_as_detectron2(raw, size)
        assert np.array_equal(full_masks(found), full_masks(ours))
        detected += len(ours.masks)
    assert detected > 50


def test_boxes_anywhere_give_the_masks_of_detectron2():
    """Outside the image, on its border, without area, of a fraction of a pixel."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        count = int(rng.integers(0, 12))
        corner, extent = rng.uniform(-20, 110, (count, 2)), rng.choice([0, 0.3, 1, 10, 80], (count, 2))
        raw = Instances((64, 100))
        raw.pred_boxes = Boxes(torch.as_tensor(np.hstack([corner, corner + extent]), dtype=torch.float32))
        raw.scores = torch.as_tensor(rng.random(count), dtype=torch.float32)
        raw.pred_classes = torch.as_tensor(rng.integers(0, 8, count))
        raw.pred_masks = torch.as_tensor(rng.random((count, 1, 14, 14)), dtype=torch.float32)
        assert_as_detectron2(raw, (int(rng.integers(20, 150)), int(rng.integers(20, 150))))


def test_an_image_without_detections_is_in_the_file(model, cfg, images):
    nothing = cfg.clone()
    nothing.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 1.0
    silent = build_model(nothing)
    found = list(predict(silent, nothing, images))
    assert [item.image_id for item in found] == images["image_id"].tolist()
    assert all(len(item.masks) == 0 and item.size == (64, 128) for item in found)


def test_what_pasting_raises_is_raised_in_its_turn(model, cfg, images, monkeypatch):
    """Masks are pasted by a thread, one image behind the network."""
    paste = Mock(side_effect=["first", ValueError("second"), "third"])
    monkeypatch.setattr("synlib.pointrend.predict.pasted", paste)
    found = predict(model, cfg, images)
    assert next(found) == "first"
    assert paste.call_count <= 2
    with pytest.raises(ValueError, match="second"):
        next(found)


def test_an_evaluation_leaves_predictions_records_draws_and_result(tmp_path, model, cfg, images, monkeypatch):
    """The same ones every time; opening the draws makes none."""
    on = EvaluationSet(name="Cityscapes", root="unused", data="fingerprint", min_area_px=10)
    run, again = RunDir(tmp_path / "run"), RunDir(tmp_path / "again")
    evaluate(model, cfg, on, images, run, Execution(loader_workers=2))
    result = run.evaluation_result("Cityscapes", on.identity())
    assert result["images"] == len(images) == 4
    assert np.array(result["ap"], float).shape == (8, 10)
    kept = list(read_predictions(run.evaluation("Cityscapes") / "predictions.parquet"))
    assert [item.image_id for item in kept] == images["image_id"].tolist()
    for a, b in zip(kept, predict(model, cfg, images), strict=True):
        assert np.array_equal(full_masks(a), full_masks(b))
        assert np.array_equal(a.score, b.score)

    evaluate(model, cfg, on, images, again, Execution(loader_workers=0))
    made = {"predictions.parquet", "records.npz", "draws.npz", "result.json"}
    assert {path.name for path in run.evaluation("Cityscapes").iterdir()} == made
    for name in made - {"predictions.parquet"}:
        first, second = (one.evaluation("Cityscapes") / name for one in (run, again))
        assert first.read_bytes() == second.read_bytes(), name
    monkeypatch.setattr("scapes.bootstrap.draw", None)
    assert read_draws(second.with_name("records.npz")).drawn.shape == (1000, 9)


def test_the_loss_and_a_long_wait_for_images_are_in_the_status(tmp_path):
    status = Status(run := RunDir(tmp_path), "train", 10, main=True)
    for slow, loss in (("", 2.5), ("no batch", 2.0), ("", None)):
        status.wait(slow)
        status.update(10, loss)
        assert (run.progress()["slow"], run.progress()["loss"]) == (slow, loss)


def triples(found: Detections) -> list[tuple[int, float, np.ndarray]]:
    """Label id, score and mask of each detection, as the official evaluator takes them."""
    categories, scores = (LABEL_IDS[category] for category in found.category), found.score.tolist()
    return list(zip(categories, scores, full_masks(found), strict=True))


def test_the_ap_of_a_run_is_the_official_evaluators(trained):
    """The predictions of a real training, as they lie in its folder."""
    (on,) = (on for on in trained.study.data.evaluation_sets() if on.name == "Cityscapes")
    images = cityscapes.read_images(on.root, on.split)
    predictions = list(map(triples, read_predictions(trained.run.evaluation(on.name) / "predictions.parquet")))
    assert sum(map(len, predictions)) > 0
    theirs = official.evaluate_masks(images["instance_path"].tolist(), predictions, min_area_px=on.min_area_px)
    result = trained.run.read("evaluations/Cityscapes/result.json")
    np.testing.assert_allclose(np.array(result["ap"], float), theirs["resultApMatrix"][0], rtol=0, atol=1e-12)
    assert on.min_area_px == result["identity"]["min_area_px"]
