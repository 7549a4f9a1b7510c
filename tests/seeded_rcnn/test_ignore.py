"""Ignored instances: without any, Detectron2's own labels; with them, a brute-force count of what may be sampled."""

import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import build_augmentation
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model, build_proposal_generator, build_roi_heads
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from scapes import cityscapes, instances
from seeded_rcnn.mapper import InstanceMapper
from seeded_rcnn.stream import TrainingSamples
from synlib.curation.compose import IGNORED, compose
from synlib.pointrend.config import detectron2_config
from synlib.spec import DataSpec, InputSpec, RunSpec

HEIGHT, WIDTH = 64, 128
BACKGROUND = 8
SPEC = RunSpec(
    model="pointrend_tiny",
    data=DataSpec(synthetic=8, removal=0.5, removed_as="ignore"),
    input=InputSpec(train_short_px=(64,), test_short_px=64, max_long_px=128),
)
SHAPES = {f"p{level}": ShapeSpec(channels=48, stride=2**level) for level in (2, 3, 4)}


def modules(*, sample_all: bool = False):
    """RPN and heads of a model; ``sample_all``: whatever may be sampled, is."""
    cfg = detectron2_config(SPEC, "cpu")
    rpn, heads = build_proposal_generator(cfg, SHAPES), build_roi_heads(cfg, SHAPES)
    if sample_all:
        rpn.batch_size_per_image = heads.batch_size_per_image = 10**6
    return rpn, heads


def random_boxes(rng: np.random.Generator, count: int, largest: int) -> np.ndarray:
    size = rng.integers(4, largest, (count, 2))
    start = rng.integers(0, [WIDTH - 4, HEIGHT - 4], (count, 2))
    return np.concatenate([start, np.minimum(start + size, [WIDTH, HEIGHT])], 1).astype(np.float32)


def scene(seed: int, learned: int, ignored: int) -> tuple[np.ndarray, Instances]:
    """300 boxes, some of them near the ground truth, and that ground truth in random order."""
    rng = np.random.default_rng(seed)
    truth = Instances((HEIGHT, WIDTH))
    boxes = random_boxes(rng, learned + ignored, 50)
    near = boxes[rng.integers(0, len(boxes), 100)] + rng.integers(-3, 4, (100, 4)) if len(boxes) else boxes
    near = near[(near[:, 2:] > near[:, :2]).all(1)].astype(np.float32)
    classes = rng.permutation(np.concatenate([rng.integers(0, 8, learned), np.full(ignored, -1)]))
    truth.gt_boxes, truth.gt_classes = Boxes(torch.from_numpy(boxes)), torch.from_numpy(classes)
    truth.gt_masks = BitMasks(torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool))
    return np.concatenate([near, random_boxes(rng, 200, 30)]), truth


def proposals_of(boxes: np.ndarray) -> Instances:
    """Proposals whose logit is their number; the ground truth that is appended has another."""
    numbers = torch.arange(len(boxes), dtype=torch.float32) + 100
    return Instances((HEIGHT, WIDTH), proposal_boxes=Boxes(torch.from_numpy(boxes)), objectness_logits=numbers)


def area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Common area of each of the N boxes ``a`` with each of the M boxes ``b``, (N, M)."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    return (high - low).clip(0).prod(2)


def reference(boxes: np.ndarray, truth: Instances) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which boxes are covered; IoU of each ground truth to be learned with each box; the classes of the former."""
    every, classes = truth.gt_boxes.tensor.numpy(), truth.gt_classes.numpy()
    learned, ignored = every[classes >= 0], every[classes < 0]
    covered = (overlap(boxes, ignored) / area(boxes)[:, None] > 0.5).any(1)
    common = overlap(learned, boxes)
    return covered, common / (area(learned)[:, None] + area(boxes) - common), classes[classes >= 0]


SCENES = [(seed, learned, ignored) for seed, (learned, ignored) in enumerate([(5, 6), (1, 12), (9, 2), (0, 7), (4, 0)])]


@pytest.mark.parametrize("scenes", [[(1, 6, 0), (2, 0, 0), (3, 1, 0)], [(4, 12, 0)]])
def test_without_ignored_instances_the_labels_are_detectron2s(scenes):
    boxes, truths = zip(*(scene(*item) for item in scenes), strict=True)
    (their_rpn, their_heads), (our_rpn, our_heads) = modules(), modules()
    their_rpn.__class__, their_heads.__class__ = RPN, StandardROIHeads
    anchors = [Boxes(torch.from_numpy(boxes[0][:120])), Boxes(torch.from_numpy(boxes[0][120:]))]
    labelled, sampled = [], []
    for rpn, heads in ((their_rpn, their_heads), (our_rpn, our_heads)):
        torch.manual_seed(3)
        labelled.append(rpn.label_and_sample_anchors(anchors, list(truths)))
        with EventStorage():
            sampled.append(heads.label_and_sample_proposals([proposals_of(b) for b in boxes], list(truths)))
        sampled[-1].append(torch.rand(1))  # as many random numbers drawn
    for theirs, ours in zip(*(labels + targets for labels, targets in labelled), strict=True):
        assert torch.equal(theirs, ours)
    assert sampled[0].pop() == sampled[1].pop()
    for fields in zip(*sampled, strict=True):
        theirs, ours = ({n: getattr(v, "tensor", v) for n, v in found.get_fields().items()} for found in fields)
        torch.testing.assert_close(theirs, ours, rtol=0, atol=0)


@pytest.mark.parametrize(("seed", "learned", "ignored"), SCENES)
def test_which_anchors_may_be_sampled(seed, learned, ignored):
    boxes, truth = scene(seed, learned, ignored)
    covered, iou, _ = reference(boxes, truth)
    best = iou.max(0, initial=0)
    expected = np.where(best >= np.float32(0.7), 1, np.where(best < np.float32(0.3), 0, -1))
    expected[(iou == iou.max(1, initial=0)[:, None]).any(0)] = 1  # the best anchors of each ground truth
    assert (covered & (expected == 0)).any() == (ignored > 0)
    expected[covered & (expected == 0)] = -1

    rpn, _ = modules(sample_all=True)
    (found,), (targets,) = rpn.label_and_sample_anchors([Boxes(torch.from_numpy(boxes))], [truth])
    assert found.tolist() == expected.tolist()
    allowed = truth.gt_boxes.tensor[truth.gt_classes >= 0].tolist()
    assert all(target in allowed for target in targets[found == 1].tolist())


def test_which_proposals_may_be_sampled():
    """In several images at once, which do not mix."""
    boxes, truths = zip(*(scene(*item) for item in SCENES), strict=True)
    _, heads = modules(sample_all=True)
    with EventStorage():
        sampled = heads.label_and_sample_proposals([proposals_of(b) for b in boxes], list(truths))
    for found, truth, proposed, (_, _, ignored) in zip(sampled, truths, boxes, SCENES, strict=True):
        covered, iou, classes = reference(proposed, truth)
        foreground = iou.max(0, initial=0) >= 0.5
        assert (covered & ~foreground).any() == (ignored > 0)
        expected = dict.fromkeys(np.flatnonzero(~covered & ~foreground), BACKGROUND)
        expected |= {number: classes[iou[:, number].argmax()] for number in np.flatnonzero(foreground)}
        numbers, labels = found.objectness_logits.numpy() - 100, found.gt_classes.numpy()
        own = numbers >= 0
        assert dict(zip(numbers[own], labels[own], strict=True)) == expected
        assert sorted(labels[~own]) == sorted(classes)


def test_an_image_that_is_ignored_as_a_whole_can_be_trained_on():
    model = build_model(detectron2_config(SPEC, "cpu"))
    truth = Instances((HEIGHT, WIDTH), gt_boxes=Boxes(torch.tensor([[0.0, 0.0, WIDTH, HEIGHT]])))
    truth.gt_classes = torch.tensor([IGNORED])
    truth.gt_masks = BitMasks(torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool))
    with EventStorage() as storage:
        losses = model([{"image": torch.zeros(3, HEIGHT, WIDTH), "instances": truth}])
        assert storage.latest()["roi_head/num_bg_samples"][0] == 0
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)


def test_removed_instances_reach_the_model_as_ignored(smoke_data):
    images = cityscapes.read_images(smoke_data / "synscapes-harmonized", "train")
    data = compose(SPEC.data, synthetic=(images, instances.instance_table(images, workers=1, progress=False)))
    mapper = InstanceMapper(build_augmentation(detectron2_config(SPEC, "cpu"), is_train=True), "RGB")
    samples = TrainingSamples(data.images, data.instances, mapper, 0)
    seen = torch.cat([samples[position]["instances"].gt_classes for position in range(len(images))])
    # At this size no instance is lost by resizing.
    assert (seen == IGNORED).sum() == data.instances["crowd"].sum() > 0
    assert (seen >= 0).sum() == (~data.instances["crowd"]).sum() > 0
