"""What is drawn for an image, and what a batch teaches, does not depend on how the batch is divided."""

import json

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from seeded_rcnn import weights
from synlib.pointrend import trainer, worker
from synlib.pointrend.config import CONFIGS, detectron2_config
from synlib.spec import DataSpec, RunSpec
from tests.workers import make_run, variant

HEIGHT, WIDTH = 64, 96
SPEC = RunSpec(model="pointrend_tiny", data=DataSpec(real=1))


def sample(number: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> dict:
    """An image of ``number`` objects, with its seeds."""
    generator = torch.Generator().manual_seed(number)
    boxes, masks = torch.zeros(number, 4), torch.zeros(number, *size, dtype=torch.bool)
    for i in range(number):
        boxes[i] = torch.tensor([10 * i, 5, 10 * i + 20, 50])
        masks[i, 5:50, 10 * i : 10 * i + 20] = True
    truth = Instances(size, gt_boxes=Boxes(boxes), gt_masks=BitMasks(masks), gt_classes=torch.arange(number))
    image = torch.rand(3, *size, generator=generator) * 255
    return {"image": image, "instances": truth, "seeds": [100 + number, 200 + number, 300 + number]}


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build_model(detectron2_config(SPEC, "cpu"))


@pytest.fixture
def draws(model, monkeypatch):
    """``draws(batch)``: anchors, proposals and points drawn in a forward pass on ``batch``, a list an image."""
    seen = {"anchors": [], "proposals": [], "points": []}
    draw_anchors, draw_proposals = RPN._subsample_labels, StandardROIHeads._sample_proposals
    draw_points = type(model.roi_heads.mask_head)._sample_points

    def anchors(self, label):
        seen["anchors"].append(draw_anchors(self, label).clone())
        return seen["anchors"][-1]

    def proposals(self, *arguments):
        seen["proposals"].append(draw_proposals(self, *arguments))
        return seen["proposals"][-1]

    def points(self, *arguments):
        seen["points"].append(draw_points(self, *arguments))
        return seen["points"][-1]

    monkeypatch.setattr(RPN, "_subsample_labels", anchors)
    monkeypatch.setattr(StandardROIHeads, "_sample_proposals", proposals)
    monkeypatch.setattr(type(model.roi_heads.mask_head), "_sample_points", points)

    def drawn(batch: list[dict]) -> dict[str, list]:
        for items in seen.values():
            items.clear()
        with EventStorage():
            model(batch)
        return {stage: list(items) for stage, items in seen.items()}

    return drawn


def same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))


def test_the_draws_of_an_image_are_its_own(draws):
    batch = [sample(3), sample(0), sample(5)]
    together = draws(batch)
    for index, item in enumerate(batch):
        torch.manual_seed(index)  # to no effect
        alone = draws([item])
        for stage, found in alone.items():
            assert same(found[0], together[stage][index]), stage
    assert not same(draws([{**batch[0], "seeds": [1, 2, 3]}])["proposals"], [together["proposals"][0]])


def test_an_image_in_a_larger_frame_draws_the_same_in_any_company(draws):
    small, large = sample(3, (64, 96)), sample(4, (70, 80))
    small["frame"] = large["frame"] = [70, 96]
    together = draws([small, large])
    for index, item in enumerate((small, large)):
        for stage, found in draws([item]).items():
            assert same(found[0], together[stage][index]), stage


def test_without_seeds_detectron2_draws(model):
    """From the global generator: as many numbers, with the same effect as those of its own classes."""
    batch = [{key: value for key, value in sample(3).items() if key != "seeds"}, sample(2)]
    batch[1].pop("seeds")
    found = []
    for classes in (None, (RPN, StandardROIHeads)):
        before = model.proposal_generator.__class__, model.roi_heads.__class__
        if classes:
            model.proposal_generator.__class__, model.roi_heads.__class__ = classes
        torch.manual_seed(7)
        with EventStorage():
            found.append((model(batch), torch.rand(1)))
        model.proposal_generator.__class__, model.roi_heads.__class__ = before
    assert found[0] == found[1]


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_every_model_profile_is_seeded(name):
    cfg = detectron2_config(SPEC.replace(model=name), "cpu").MODEL
    found = (cfg.META_ARCHITECTURE, cfg.PROPOSAL_GENERATOR.NAME, cfg.ROI_HEADS.NAME, cfg.ROI_MASK_HEAD.NAME)
    assert found == ("SeededRCNN", "SeededRPN", "SeededROIHeads", "NegativesMaskHead")


# -- whole runs, on batches of four images of two sizes


@pytest.fixture(scope="module")
def spec(study):
    (real,) = (item.spec for item in study.planned("table1") if item.name == "Cityscapes")
    sizes = real.input.replace(train_short_px=(48, 56, 64))
    return variant(real.replace(batch_size=4, input=sizes), iterations=6, warmup_iterations=2)


@pytest.fixture(scope="module")
def job(study):
    return study.execution().replace(evaluate_on=(), checkpoint_period=1000)


@pytest.fixture(scope="module")
def in_one_part(tmp_path_factory, spec, job):
    run = make_run(tmp_path_factory.mktemp("runs") / "one part", spec, job)
    worker.execute(run)
    return run


def losses(run) -> dict[str, float]:
    """Medians over the iterations, of each loss and of their sum."""
    (line,) = (json.loads(line) for line in (run.path / "metrics.json").read_text().splitlines())
    return {name: value for name, value in line.items() if "loss" in name}


def assert_equal_up_to_rounding(run, expected):
    assert losses(run) == pytest.approx(losses(expected), rel=1e-4)
    assert len(losses(run)) == 7
    first, second = (weights.read_weights(path / "model_final.pth")["model"] for path in (expected.path, run.path))
    for name, value in first.items():
        assert (second[name] - value).norm() <= 1e-4 * value.norm() + 1e-7, name


@pytest.mark.parametrize("images_per_step", [1, 2, 3])
def test_parts_of_a_batch_teach_what_the_batch_teaches(tmp_path, spec, job, in_one_part, images_per_step):
    run = make_run(tmp_path / "parts", spec, job.replace(images_per_step=images_per_step))
    worker.execute(run)
    assert_equal_up_to_rounding(run, in_one_part)


@pytest.mark.parametrize("images_per_step", [0, 1])
def test_two_processes_teach_what_one_does(tmp_path, study, spec, job, in_one_part, images_per_step):
    from synlib.runs import launch

    store = type(study.store)(tmp_path)
    launch.train([spec], store, job.replace(processes=2, images_per_step=images_per_step))
    run = store.run(spec)
    assert run.read("environment.json")["processes"] == 2
    assert_equal_up_to_rounding(run, in_one_part)


@pytest.mark.parametrize(("images_per_step", "advice"), [(0, "images_per_step to 2"), (1, "a GPU with more memory")])
def test_a_full_gpu_is_told_what_to_do(tmp_path, spec, job, monkeypatch, images_per_step, advice):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer.SeededRCNN, "forward", full)
    run = make_run(tmp_path / "full", spec, job.replace(images_per_step=images_per_step))
    with pytest.raises(RuntimeError, match=rf"^[14] images of \d+x\d+ px at once do not fit.*{advice}"):
        worker.execute(run)
