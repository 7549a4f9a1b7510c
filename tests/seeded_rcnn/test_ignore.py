"""Ignored instances: Detectron2's own labels where there are none, and where there are, a brute-force count of what may
be sampled."""

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model, build_proposal_generator, build_roi_heads
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from scapes import cityscapes, instances
from seeded_rcnn import ignore
from seeded_rcnn.mapper import InstanceMapper, training_augmentations
from seeded_rcnn.stream import TrainingSamples
from synlib.curation.compose import IGNORED, compose
from synlib.curation.prune import prune
from synlib.pointrend import worker
from synlib.pointrend.config import detectron2_config
from synlib.runs.folder import RunDir
from synlib.spec import DataSpec, Execution, InputSpec, RunSpec, ScheduleSpec

HEIGHT, WIDTH = 64, 128
BACKGROUND = 8
SPEC = RunSpec(
    model="pointrend_tiny",
    data=DataSpec(synthetic=8, removal=0.5, removed_as="ignore"),
    schedule=ScheduleSpec(iterations=3, warmup_iterations=1),
    input=InputSpec(train_short_px=(64,), test_short_px=64, max_long_px=128),
    init="random",
    batch_size=2,
)
PLAIN = SPEC.replace(data=SPEC.data.replace(removed_as="background"))
SHAPES = {f"p{level}": ShapeSpec(channels=48, stride=2**level) for level in (2, 3, 4)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def modules(spec: RunSpec, *, sample_all: bool = False):
    """RPN and heads of a model; ``sample_all``: whatever may be sampled, is."""
    cfg = detectron2_config(spec, "cpu")
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


def area(box) -> np.float32:
    return max(np.float32(0), box[2] - box[0]) * max(np.float32(0), box[3] - box[1])


def overlap(a, b) -> np.float32:
    return area([*np.maximum(a[:2], b[:2]), *np.minimum(a[2:], b[2:])])


def is_covered(box, truth: Instances) -> bool:
    ignored = truth.gt_boxes.tensor.numpy()[truth.gt_classes.numpy() < 0]
    return any(overlap(box, other) / area(box) > 0.5 for other in ignored)


def ious(boxes: np.ndarray, truth: Instances) -> tuple[np.ndarray, np.ndarray]:
    """IoU of each ground truth to be learned with each box, and the classes of the former."""
    learned = truth.gt_classes.numpy() >= 0
    table = [
        [overlap(a, b) / (area(a) + area(b) - overlap(a, b)) for b in boxes]
        for a in truth.gt_boxes.tensor.numpy()[learned]
    ]
    return np.array(table, np.float32).reshape(-1, len(boxes)), truth.gt_classes.numpy()[learned]


SCENES = [(seed, learned, ignored) for seed, (learned, ignored) in enumerate([(5, 6), (1, 12), (9, 2), (0, 7), (4, 0)])]


@pytest.mark.parametrize("scenes", [[(1, 6, 0), (2, 0, 0), (3, 1, 0)], [(4, 12, 0)]])
def test_without_ignored_instances_the_labels_are_detectron2s(scenes):
    boxes, truths = zip(*(scene(*item) for item in scenes), strict=True)
    (their_rpn, their_heads), (our_rpn, our_heads) = modules(PLAIN), modules(SPEC)
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
    for theirs, ours in zip(*sampled, strict=True):
        assert theirs.get_fields().keys() == ours.get_fields().keys()
        for name, value in theirs.get_fields().items():
            mine = ours.get(name)
            assert torch.equal(getattr(value, "tensor", value), getattr(mine, "tensor", mine))


@pytest.mark.parametrize(("seed", "learned", "ignored"), SCENES)
def test_which_anchors_may_be_sampled(seed, learned, ignored):
    boxes, truth = scene(seed, learned, ignored)
    iou, _ = ious(boxes, truth)
    best = iou.max(0, initial=0)
    expected = np.where(best >= np.float32(0.7), 1, np.where(best < np.float32(0.3), 0, -1))
    expected[(iou == iou.max(1, initial=0)[:, None]).any(0)] = 1  # the best anchors of each ground truth
    covered = np.array([is_covered(box, truth) for box in boxes])
    assert (covered & (expected == 0)).any() == (ignored > 0)
    expected[covered & (expected == 0)] = -1

    rpn, _ = modules(SPEC, sample_all=True)
    (found,), (targets,) = rpn.label_and_sample_anchors([Boxes(torch.from_numpy(boxes))], [truth])
    assert found.tolist() == expected.tolist()
    allowed = truth.gt_boxes.tensor[truth.gt_classes >= 0].tolist()
    assert all(target in allowed for target in targets[found == 1].tolist())


@pytest.mark.parametrize(("seed", "learned", "ignored"), SCENES)
def test_which_proposals_may_be_sampled(seed, learned, ignored):
    boxes, truth = scene(seed, learned, ignored)
    iou, classes = ious(boxes, truth)
    expected, dropped = {}, 0
    for number, box in enumerate(boxes):
        if learned and iou[:, number].max() >= 0.5:
            expected[number] = classes[iou[:, number].argmax()]
        elif is_covered(box, truth):
            dropped += 1
        else:
            expected[number] = BACKGROUND
    assert (dropped > 0) == (ignored > 0)

    _, heads = modules(SPEC, sample_all=True)
    with EventStorage():
        (found,) = heads.label_and_sample_proposals([proposals_of(boxes)], [truth])
    numbers = found.objectness_logits.numpy() - 100
    proposed = numbers >= 0
    assert dict(zip(numbers[proposed], found.gt_classes.numpy()[proposed], strict=True)) == expected
    assert sorted(found.gt_classes.numpy()[~proposed]) == sorted(classes)


def test_several_images_do_not_mix():
    boxes, truths = zip(*(scene(*item) for item in SCENES), strict=True)
    _, heads = modules(SPEC, sample_all=True)
    with EventStorage():
        together = heads.label_and_sample_proposals([proposals_of(b) for b in boxes], list(truths))
        alone = [
            heads.label_and_sample_proposals([proposals_of(b)], [t])[0] for b, t in zip(boxes, truths, strict=True)
        ]
    for one, other in zip(together, alone, strict=True):
        pairs = [sorted(zip(x.objectness_logits.tolist(), x.gt_classes.tolist(), strict=True)) for x in (one, other)]
        assert pairs[0] == pairs[1]


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


def test_other_runs_do_not_ignore():
    cfg = detectron2_config(PLAIN, "cpu")
    assert (cfg.MODEL.PROPOSAL_GENERATOR.NAME, cfg.MODEL.ROI_HEADS.NAME) == ("SeededRPN", "SeededROIHeads")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    with pytest.raises(ValueError, match="has CascadeROIHeads, expected SeededROIHeads"):
        ignore.enable(cfg)


def test_removed_instances_reach_the_model_as_ignored(smoke_data):
    images = cityscapes.read_images(smoke_data / "synscapes-harmonized", "train")
    table = instances.instance_table(images, workers=1, progress=False)
    ignoring, plain = (compose(spec.data, synthetic=(images, table)) for spec in (SPEC, PLAIN))
    learned = ignoring.instances[~ignoring.instances["crowd"]]
    assert learned.to_numpy().tolist() == plain.instances.to_numpy().tolist()
    assert ignoring.emptied == plain.emptied

    counted = table[~table["crowd"]]
    removed = counted[~prune(counted, 0.5)]
    ignored = ignoring.instances[ignoring.instances["crowd"]]
    key = ["image_id", "instance_id"]
    assert sorted(ignored[key].to_numpy().tolist()) == sorted(removed[key].to_numpy().tolist())
    assert (ignored["category"] == IGNORED).all()

    mapper = InstanceMapper(training_augmentations(detectron2_config(SPEC, "cpu")), "RGB")
    samples = TrainingSamples(ignoring.images, ignoring.instances, mapper, 0)
    seen = torch.cat([samples[position]["instances"].gt_classes for position in range(len(images))])
    assert (seen == IGNORED).sum() == len(ignored)  # at this size no instance is lost by resizing
    assert (seen >= 0).sum() == len(learned)


def test_images_with_nothing_but_ignored_instances_can_be_dropped(smoke_data):
    images = cityscapes.read_images(smoke_data / "synscapes-harmonized", "train")
    table = instances.instance_table(images, workers=1, progress=False)
    table = table[(table["image_id"] != images["image_id"][0]) | (table["area_px"] < table["area_px"].quantile(0.3))]
    spec = SPEC.data.replace(removal=0.9)
    kept, dropped = (compose(spec.replace(emptied=emptied), synthetic=(images, table)) for emptied in ("keep", "drop"))
    assert 0 < dropped.emptied == kept.emptied == len(kept.images) - len(dropped.images)
    assert set(dropped.instances["image_id"]) == set(dropped.images["image_id"])
    assert set(dropped.instances["image_id"]) < set(kept.instances["image_id"])


def test_a_run_that_ignores_removed_instances(smoke_data, tmp_path):
    job = Execution(synthetic_root=str(smoke_data / "synscapes-harmonized"), device="cpu")
    run = RunDir(tmp_path / SPEC.run_id)
    run.path.mkdir()
    model, _ = worker.train(SPEC, detectron2_config(SPEC, "cpu"), job, run)
    assert isinstance(model.proposal_generator, ignore.IgnoringRPN)
    assert isinstance(model.roi_heads, ignore.IgnoringROIHeads)
    assert run.read("status.json")["done"] == 3
    assert all(torch.isfinite(p).all() for p in model.parameters())
