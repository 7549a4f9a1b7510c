"""What is drawn for an image, and what a batch teaches, does not depend on how the batch is divided."""

import json
from unittest.mock import Mock

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.projects.point_rend import PointRendMaskHead
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from seeded_rcnn import trainer, weights
from seeded_rcnn.mapper import LabelMasks
from synlib.pointrend import worker
from synlib.pointrend.config import detectron2_config
from synlib.runs import launch
from synlib.spec import MODELS, DataSpec, RunSpec
from tests.workers import make_run, real_spec

SPEC = RunSpec(model="pointrend_tiny", data=DataSpec(real=1))


def sample(number: int, size: tuple[int, int] = (64, 96)) -> dict:
    """An image of ``number`` objects, with its seeds."""
    labels = torch.zeros(size, dtype=torch.uint8)
    for i in range(number):
        labels[5:50, 10 * i : 10 * i + 20] = i + 1
    masks = LabelMasks(labels, torch.arange(1, number + 1, dtype=torch.uint8))
    truth = Instances(size, gt_boxes=masks.get_bounding_boxes(), gt_masks=masks, gt_classes=torch.arange(number))
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(number)) * 255
    return {"image": image, "instances": truth, "seeds": [100 + number, 200 + number, 300 + number]}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(detectron2_config(SPEC, "cpu"))


@pytest.fixture
def draws(model, monkeypatch):
    """``draws(batch)``: anchors, proposals and points drawn in a forward pass on ``batch``, a list an image."""
    seen = {"anchors": [], "proposals": [], "points": []}

    def watch(stage, owner, name):
        draw = getattr(owner, name)

        def drawn(self, *arguments):
            found = draw(self, *arguments)
            seen[stage].append(found.clone() if stage == "anchors" else found)
            return found

        monkeypatch.setattr(owner, name, drawn)

    watch("anchors", RPN, "_subsample_labels")
    watch("proposals", StandardROIHeads, "_sample_proposals")
    watch("points", type(model.roi_heads.mask_head), "_draw_points")

    def drawn(batch: list[dict]) -> dict[str, list]:
        for items in seen.values():
            items.clear()
        with EventStorage():
            model(batch)
        return {stage: list(items) for stage, items in seen.items()}

    return drawn


def losses_of(model, batch: list[dict]) -> dict[str, torch.Tensor]:
    """Without seeds."""
    torch.manual_seed(1)
    with EventStorage():
        return model([{name: value for name, value in item.items() if name != "seeds"} for item in batch])


def assert_alone_as_together(draws, batch: list[dict]) -> None:
    together = draws(batch)
    for index, item in enumerate(batch):
        torch.manual_seed(index)  # to no effect
        for stage, found in draws([item]).items():
            torch.testing.assert_close(found[0], together[stage][index], rtol=0, atol=0, msg=stage)


def test_the_draws_of_an_image_are_its_own(draws):
    batch = [sample(3), sample(0), sample(5)]
    assert_alone_as_together(draws, batch)
    (own,), (other,) = (draws([{**batch[0], **seeds}])["proposals"] for seeds in ({}, {"seeds": [1, 2, 3]}))
    assert not torch.equal(own[0], other[0])
    small, large = sample(3, (64, 96)), sample(4, (70, 80))
    small["frame"] = large["frame"] = [70, 96]  # in a larger frame, too
    assert_alone_as_together(draws, [small, large])


def test_without_seeds_detectron2_draws(model, monkeypatch):
    """From the global generator: as many numbers, with the same effect as those of its own classes."""
    batch = [sample(3), sample(2)]
    ours = losses_of(model, batch), torch.rand(1)
    monkeypatch.setattr(model.proposal_generator, "__class__", RPN)
    monkeypatch.setattr(model.roi_heads, "__class__", StandardROIHeads)
    assert ours == (losses_of(model, batch), torch.rand(1))


@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.yaml")))
def test_every_model_profile_is_seeded(name):
    cfg = detectron2_config(SPEC.replace(model=name), "cpu").MODEL
    found = (cfg.META_ARCHITECTURE, cfg.PROPOSAL_GENERATOR.NAME, cfg.ROI_HEADS.NAME, cfg.ROI_MASK_HEAD.NAME)
    head = "NegativesMaskHead" if name.startswith("pointrend") else "MaskRCNNConvUpsampleHead"  # it draws nothing
    assert found == ("SeededRCNN", "SeededRPN", "SeededROIHeads", head)


def test_a_batch_without_an_object_reaches_every_parameter(model):
    model.zero_grad()
    found = losses_of(model, [sample(0), sample(0)])
    assert found["loss_mask"] == found["loss_mask_point"] == 0
    assert found["loss_cls"] > 0
    sum(found.values()).backward()
    for name, parameter in model.named_parameters():  # processes average their gradients: each must have all of them
        assert parameter.grad is not None or not parameter.requires_grad, name
    for parameter in model.roi_heads.mask_head.parameters():
        assert not parameter.grad.any()


@pytest.mark.parametrize("objects", [[3, 2], [0, 2]])
def test_with_objects_the_losses_are_those_of_detectron2s_mask_head(model, objects, monkeypatch):
    batch = [sample(count) for count in objects]
    ours = losses_of(model, batch)
    monkeypatch.setattr(model.roi_heads.mask_head, "__class__", PointRendMaskHead)
    theirs = losses_of(model, batch)
    assert ours["loss_mask_point"] > 0
    assert ours == theirs


@pytest.fixture(scope="module")
def spec(study):
    spec = real_spec(study, iterations=6, warmup_iterations=2)
    return spec.replace(batch_size=4, input=spec.input.replace(train_short_px=(48, 56, 64)))


def losses(run) -> dict[str, float]:
    """Medians over the iterations, of each loss and of their sum."""
    (line,) = (json.loads(line) for line in (run.path / "metrics.json").read_text().splitlines())
    return {name: value for name, value in line.items() if "loss" in name}


PARTS = [("pointrend_tiny", *part) for part in ((1, 1), (1, 2), (1, 3), (2, 0), (2, 1))]


@pytest.mark.parametrize(("model", "processes", "images_per_step"), [*PARTS, ("mask_rcnn_tiny", 1, 1)])
def test_parts_of_a_batch_teach_what_the_batch_teaches(tmp_path, store, spec, job, model, processes, images_per_step):
    """Up to rounding."""
    spec = spec.replace(model=model)
    run, expected = store.run(spec), make_run(tmp_path / "one part", spec, job)
    worker.execute(expected)
    job = job.replace(processes=processes, images_per_step=images_per_step)
    if processes == 1:
        worker.execute(make_run(run.path, spec, job))
    else:
        launch.train([spec], store, job)
    assert run.read("environment.json")["processes"] == processes
    assert losses(run) == pytest.approx(losses(expected), rel=1e-4)
    assert len(losses(run)) == 6 + model.startswith("pointrend")
    first, second = (weights.read_weights(path / "model_final.pth")["model"] for path in (expected.path, run.path))
    for name, value in first.items():
        assert (second[name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name


@pytest.mark.parametrize(("images_per_step", "advice"), [(0, "images_per_step to 2"), (1, "a GPU with more memory")])
def test_a_full_gpu_is_told_what_to_do(tmp_path, spec, job, monkeypatch, images_per_step, advice):
    monkeypatch.setattr(trainer.SeededRCNN, "forward", Mock(side_effect=torch.cuda.OutOfMemoryError("out of memory")))
    run = make_run(tmp_path / "full", spec, job.replace(images_per_step=images_per_step))
    with pytest.raises(RuntimeError, match=rf"^[14] images of \d+x\d+ px at once do not fit.*{advice}"):
        worker.execute(run)
