"""TensorBoard: scalars of every tenth iteration once, however often a run was resumed, and pictures of predictions."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scapes.labels import CLASSES, COLORS
from scapes.predictions import read_predictions
from synlib.pointrend import monitor, trainer, worker
from tests.cases import from_masks
from tests.workers import make_run, real_spec


@pytest.fixture(scope="module")
def run(tmp_path_factory, study):
    """40 iterations on real images, the first 25 of them twice: interrupted in between."""
    (on,) = (on for on in study.data.evaluation_sets() if on.name == "Cityscapes")
    job = study.execution().replace(evaluate_on=(on,), checkpoint_period=15)
    run = make_run(tmp_path_factory.mktemp("runs") / "watched", real_spec(study, iterations=40), job)

    def interrupt(hook):
        if hook.trainer.iter == 25:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer.stopping.StopHook, "after_step", interrupt)
        worker.execute(run)
    worker.execute(run)
    return run


@pytest.fixture(scope="module")
def events(run):
    return EventAccumulator(str(run.path), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_scalars_once_each_although_iterations_were_repeated(run, events):
    assert len(list(run.path.glob("events.out.tfevents.*"))) == 3
    assert {"total_loss", "lr", "data_time", "time", "memory_gib"} <= set(events.Tags()["scalars"])
    for tag in ("total_loss", "lr"):
        assert [scalar.step for scalar in events.Scalars(tag)] == [9, 19, 29, 39]
    assert all(0.01 < scalar.value < 100 for scalar in events.Scalars("memory_gib"))


def test_a_few_pictures_of_the_predictions(run, events, study):
    tags = events.Tags()["images"]
    assert len(tags) == monitor.PICTURES
    images = study.data.images("real", "val").set_index("image_id")
    for tag in tags:
        name, image_id = tag.split("/")
        assert name == "Cityscapes"
        (picture,) = events.Images(tag)
        assert picture.step == 40
        assert (picture.height, picture.width) == (images["height"][image_id], images["width"][image_id])


def test_all_predictions_can_be_painted(run, monkeypatch):
    found = next(read_predictions(run.path / "evaluations/Cityscapes/predictions.parquet"))
    photo = np.zeros((*found.size, 3), np.uint8)
    monkeypatch.setattr(monitor, "MIN_SCORE", 0.0)
    painted = monitor.painted(photo, found)
    covered = np.any([found.full_mask(i) for i in range(len(found))], axis=0)
    assert len(found) > 0
    assert (painted[~covered] == 0).all()
    assert (painted[covered] > 0).any(axis=1).all()


def test_the_surer_mask_lies_above_and_unsure_ones_are_left_out():
    photo = np.full((20, 30, 3), 100, np.uint8)
    masks = [np.pad(np.ones((9, 9), bool), ((y, 11 - y), (x, 21 - x))) for y, x in ((1, 1), (4, 4), (10, 20))]
    found = from_masks("a", (20, 30), [0, 2, 3], np.array([0.9, 0.6, 0.4], np.float32), masks)
    picture = monitor.painted(photo, found)
    assert (photo == 100).all()
    below = (100 + np.array(COLORS[CLASSES[2]])) // 2
    assert (picture[11, 11] == below).all()
    assert (picture[5, 5] == (below + COLORS[CLASSES[0]]) // 2).all()
    assert (picture[15, 25] == 100).all()
