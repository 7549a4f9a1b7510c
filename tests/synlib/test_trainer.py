"""Training: real iterations through the worker; whatever happens on the way, a run ends with the same bytes."""

import re
import signal
import subprocess
import sys
from unittest.mock import Mock

import pandas as pd
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scapes import cityscapes
from scapes.predictions import read_predictions
from seeded_rcnn import weights
from seeded_rcnn.trainer import DivergedError, Trainer
from synlib.pointrend import worker
from synlib.pointrend.config import detectron2_config
from synlib.pointrend.predict import evaluate
from synlib.runs import launch
from synlib.runs.folder import Status
from synlib.runs.store import RunStore
from tests.workers import finish, make_run, real_spec, variant

ITERATIONS = 24
KILLED = """
import os, signal, sys
from synlib.pointrend import worker
replace = os.replace
os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL) if "model_0000014" in str(b) else replace(a, b)
worker.main(sys.argv[1])
"""
NEWEST = "model_0000019.pth"
EVALUATION = "evaluations/Cityscapes/result.json"


@pytest.fixture(scope="module")
def spec(study):
    return real_spec(study, iterations=ITERATIONS, warmup_iterations=2)


@pytest.fixture(scope="module")
def job(study):
    """One evaluation set, a checkpoint every fifth iteration."""
    sets = tuple(on for on in study.data.evaluation_sets() if on.name == "Cityscapes")
    return study.execution().replace(evaluate_on=sets, checkpoint_period=5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, spec, job):
    run = make_run(tmp_path_factory.mktemp("runs") / "undisturbed", spec, job)
    finish(run)
    return run


def final(run) -> bytes:
    return (run.path / "model_final.pth").read_bytes()


def model_of(run) -> dict[str, torch.Tensor]:
    return dict(weights.read_weights(run.path / "model_final.pth")["model"])


def assert_same_end(run, undisturbed):
    assert final(run) == final(undisturbed)
    assert run.read(EVALUATION) == undisturbed.read(EVALUATION)


def test_a_run_leaves_everything_that_belongs_to_it(undisturbed, spec):
    assert undisturbed.state() == "done"
    expected = {"spec.yaml", "job.json", "environment.json", "config.yaml", "log.txt", "metrics.json", "result.json"}
    assert expected <= {path.name for path in undisturbed.path.iterdir()}
    checkpoints = sorted(path.name for path in undisturbed.path.glob("*.pth"))
    assert checkpoints == ["model_0000014.pth", "model_0000019.pth", "model_final.pth"]
    result = undisturbed.read("result.json")
    assert result["weights_sha256"] == weights.sha256(undisturbed.path / "model_final.pth")
    assert result["spec"] == spec.to_dict()
    assert result["trained"] == ITERATIONS
    assert result["initial_weights"]["matched"] == result["initial_weights"]["expected"] == 99
    assert 0 < result["training_seconds"] < result["seconds"]
    metrics = pd.read_json(undisturbed.path / "metrics.json", lines=True)
    assert metrics["iteration"].tolist() == [9, 19, 23]
    assert (metrics["total_loss"] > 0).all()
    status = undisturbed.read("status.json")
    assert (status["stage"], status["done"], status["total"]) == ("evaluate on Cityscapes", 4, 4)


def test_the_heads_learned_and_the_frozen_backbone_did_not(undisturbed, spec):
    cfg = detectron2_config(spec, "cpu")
    torch.manual_seed(spec.seed)
    model = build_model(cfg)
    weights.load_imagenet(model, cfg)
    before, after = model.state_dict(), model_of(undisturbed)
    assert before.keys() == after.keys()
    same = {name for name in before if torch.equal(before[name], after[name])}
    frozen = {name for name in before if name.startswith("backbone.bottom_up")}
    assert frozen <= same
    assert same - frozen <= {"pixel_mean", "pixel_std"} | {name for name in before if "anchor" in name}


def test_detectron2_loads_the_checkpoint(undisturbed, spec):
    """Its own checkpointer, into its own classes with other random weights; its model then finds what ours finds."""
    cfg = detectron2_config(spec, "cpu")
    path = undisturbed.path / "model_final.pth"
    ours = worker.finished_model(cfg, undisturbed)
    cfg.defrost()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.PROPOSAL_GENERATOR.NAME = "GeneralizedRCNN", "RPN"
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_MASK_HEAD.NAME = "StandardROIHeads", "PointRendMaskHead"
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    torch.manual_seed(99)
    theirs = build_model(cfg).eval()
    rest = DetectionCheckpointer(theirs).load(str(path))
    assert rest["iteration"] == ITERATIONS - 1
    torch.testing.assert_close(dict(theirs.state_dict()), model_of(undisturbed), rtol=0, atol=0)

    ours.roi_heads.box_predictor.test_score_thresh = 0.0
    image = {"image": torch.rand(3, 64, 128, generator=torch.Generator().manual_seed(1)) * 255}
    with torch.no_grad():
        found = [model([image])[0]["instances"].scores for model in (ours, theirs)]
    assert len(found[0]) > 0
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_killed_while_a_checkpoint_is_written_a_run_goes_on_from_the_one_before(tmp_path, undisturbed, spec, job):
    """Other moments: faults/test_steps.py."""
    run = make_run(tmp_path / "killed", spec, job)
    process = subprocess.run([sys.executable, "-c", KILLED, str(run.path)], capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert max(run.path.glob("model_0*.pth")).name == "model_0000009.pth"
    assert len(list(run.path.rglob(".*.tmp*"))) == 1
    finish(run)
    starts = re.findall(r"Starting training from iteration (\d+)", (run.path / "log.txt").read_text())
    assert starts == ["0", "10"]
    assert_same_end(run, undisturbed)
    assert not list(run.path.rglob(".*.tmp*"))


@pytest.mark.parametrize(
    ("damaged", "resumed"), [([NEWEST], 15), (["model_0000014.pth", NEWEST], 0), (["model_final.pth"], 20)]
)
def test_damaged_weights_are_made_again(tmp_path, undisturbed, spec, job, damaged, resumed):
    """From the newest checkpoint that is whole, or from the beginning."""
    run = make_run(tmp_path / "damaged", spec, job)
    for name in {"model_0000014.pth", NEWEST, *damaged}:
        content = (undisturbed.path / name).read_bytes()
        (run.path / name).write_bytes(content[: len(content) // 2] if name in damaged else content)
    if damaged == ["model_final.pth"]:
        run.write("result.json", {"weights_sha256": "of other weights"})
    worker.execute(run)
    assert all((run.path / name).read_bytes() == (undisturbed.path / name).read_bytes() for name in damaged)
    assert_same_end(run, undisturbed)
    result = run.read("result.json")
    assert result["weights_sha256"] == undisturbed.read("result.json")["weights_sha256"]
    assert result["trained"] == ITERATIONS - resumed


def test_final_weights_that_there_is_no_memory_for_stay(tmp_path, undisturbed, spec, job, monkeypatch):
    lack = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    run = make_run(tmp_path / "full", spec, job.replace(evaluate_on=()))
    (run.path / "model_final.pth").write_bytes(final(undisturbed))
    monkeypatch.setattr(worker.weights.torch, "load", Mock(side_effect=lack))
    with pytest.raises(MemoryError, match="can't allocate memory"):
        worker.execute(run)
    assert final(run) == final(undisturbed)
    assert run.failure().startswith("out of memory")


WAYS = (
    {"loader_workers": 2}, {"checkpoint_period": 1000}, {"checkpoint_period": 12}, {"stage_dir": "$SCRATCH/data"},
    {"stage_dir": "$SCRATCH/data", "stage_as": "arrays"},
)  # fmt: skip


@pytest.mark.parametrize("change", WAYS, ids=str)
def test_how_a_run_is_executed_changes_no_byte(tmp_path, undisturbed, spec, job, monkeypatch, change):
    """Nor that it is cut off between the last checkpoint, if it is at the end, and the final weights."""
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    run = make_run(tmp_path / "other", spec, job.replace(**change))
    for _ in range(2):
        worker.execute(run)
        assert_same_end(run, undisturbed)
        for name in ("model_final.pth", "result.json"):
            (run.path / name).unlink()
    copies = {path.name for path in tmp_path.glob("data/*") if path.is_dir()}
    assert copies == ({spec.data.real_fingerprint, job.evaluate_on[0].data} if "stage_dir" in change else set())


def test_the_seed_changes_the_weights(tmp_path, spec, job):
    ends = []
    for seed in (0, 1):
        short = variant(spec.replace(seed=seed), iterations=1, warmup_iterations=0)
        run = make_run(tmp_path / str(seed), short, job.replace(evaluate_on=()))
        worker.execute(run)
        ends.append(model_of(run)["roi_heads.box_predictor.cls_score.weight"])
    assert not torch.equal(*ends)


def test_weights_that_are_not_finite_are_noticed_by_the_boxes(tmp_path, spec, job, monkeypatch):
    whole = Trainer._backward

    def broken(self, parts):
        if self.iter == 2:  # as a gradient that overflows leaves them, with the loss before it finite
            self.network.proposal_generator.rpn_head.anchor_deltas.weight.data.fill_(float("nan"))
        return whole(self, parts)

    monkeypatch.setattr(Trainer, "_backward", broken)
    run = make_run(tmp_path / "broken", variant(spec, iterations=4), job)
    with pytest.raises(DivergedError, match="diverged at iteration 2: a loss or box is not finite"):
        worker.execute(run)
    assert run.state() == "diverged"


def test_two_workers_on_one_run(tmp_path, spec, job, monkeypatch):
    monkeypatch.setattr(worker, "LOCK_PATIENCE_S", 0)
    run = make_run(tmp_path / "busy", spec, job)
    with run.lock():
        assert worker.main(str(run.path)) == 3
        assert run.state() == "running"
        assert not (run.path / "failure.json").exists()


def test_a_run_starts_from_another(tmp_path, undisturbed, spec, job):
    """With a learning rate of almost nothing it ends where it starts."""
    follower = variant(spec.replace(init="run:0123"), iterations=1, base_lr=1e-12, warmup_iterations=0)
    initial = undisturbed.path / "model_final.pth"
    run = make_run(tmp_path / "follower", follower, job.replace(initial_weights=str(initial)))
    worker.execute(run)
    torch.testing.assert_close(model_of(run), model_of(undisturbed), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("init", "content", "message"),
    [
        ("imagenet", {}, r"initial_weights: found '.*w\.pth', expected none: init is imagenet"),
        ("run:0123", None, "initial_weights: found '', expected a checkpoint: init is run:0123"),
        ("run:0123", b"PK", r"from run 0123, .* missing or damaged .*w\.pth.*delete .*/result\.json and start again"),
        ("sha256:" + "0" * 64, {}, r"w\.pth: found sha256:.*another file than the run was planned with"),
    ],
)
def test_initial_weights_that_are_not_what_the_spec_says(tmp_path, spec, job, init, content, message):
    path = tmp_path / "w.pth"
    if content is not None:
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    run = make_run(tmp_path / "run", spec.replace(init=init), job.replace(initial_weights=str(path) * path.exists()))
    with pytest.raises((ValueError, RuntimeError), match=message):
        worker.execute(run)
    assert re.search(message, run.failure())


def test_a_gpu_that_is_not_there_is_missed_at_once(tmp_path, spec, job):
    run = make_run(tmp_path / "gpu", spec, job.replace(device="cuda", real_root="/none"))
    with pytest.raises(ValueError, match=r"execution\.device: found 'cuda', expected 'cpu' or nothing"):
        worker.execute(run)


def test_two_processes_share_training_and_evaluation(tmp_path, study, spec, job):
    """Under gloo: every image is evaluated once, and the evaluation is that of one process with the same weights."""
    short = variant(spec, iterations=4)
    two = job.replace(processes=2)
    store = RunStore(tmp_path)
    launch.train([short], store, two)
    run = store.run(short)
    assert run.read("environment.json")["processes"] == 2
    (on,) = job.evaluate_on
    images = cityscapes.read_images(on.root, on.split)
    found = [item.image_id for item in read_predictions(run.evaluation(on.name) / "predictions.parquet")]
    assert found == images["image_id"].tolist()

    cfg = detectron2_config(short, "cpu")
    alone = make_run(tmp_path / "alone", short, job)
    model = worker.finished_model(cfg, run)
    evaluate(model, cfg, on, images, alone, job)
    assert alone.read(EVALUATION) == run.read(EVALUATION)


def test_scalars_once_each_although_iterations_were_repeated(tmp_path, study, monkeypatch):
    """40 iterations, the first 25 of them twice: interrupted in between."""
    run = make_run(
        tmp_path / "watched", real_spec(study, iterations=40), study.execution().replace(checkpoint_period=15)
    )

    def interrupt(trainer, _):
        if trainer.iter == 26:
            raise KeyboardInterrupt

    losses = {}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "stop_if_asked", interrupt)
        patch.setattr(Status, "update", lambda _, done, loss: losses.update({done - 1: loss}))
        worker.execute(run)
    written = pd.read_json(run.path / "metrics.json", lines=True).set_index("iteration")["total_loss"]
    assert {iteration: losses[iteration] for iteration in written.index} == pytest.approx(written.to_dict())
    worker.execute(run)
    (named,) = (run.path / "tensorboard").iterdir()
    assert named.name == "8 real, lr 0.01" and len(list(named.glob("events.out.tfevents.*"))) == 2
    events = EventAccumulator(str(named), size_guidance={"scalars": 0}).Reload()
    assert {"total_loss", "lr", "data_time", "time", "memory_gib"} <= set(events.Tags()["scalars"])
    for tag in ("total_loss", "lr"):
        assert [scalar.step for scalar in events.Scalars(tag)] == [9, 19, 29, 39]
    assert all(0.01 < scalar.value < 100 for scalar in events.Scalars("memory_gib"))
