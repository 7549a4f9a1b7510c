"""Whole runs: in 16 bits one repeats bit by bit like any other, and one that is asked to stop saves where it is."""

import contextlib
import functools
import os
import re
import shutil
import signal

import pandas as pd
import pytest
import torch
from torch.nn import functional

from seeded_rcnn import numerics, weights
from synlib.pointrend import worker
from synlib.pointrend.config import detectron2_config
from synlib.runs.launch import train
from synlib.runs.local import LocalExecutor, WorkerProcess
from synlib.runs.store import RunStore
from tests.workers import PATIENCE_S, make_run, real_spec, variant, wait_for

LOSSES = ["loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask", "loss_mask_point", "total_loss"]


def trained(folder, spec, job, *start):
    """Final losses, and the run; ``start``: checkpoints that it finds."""
    run = make_run(folder, variant(spec, iterations=6, warmup_iterations=2), job.replace(checkpoint_period=3))
    for checkpoint in start:
        (run.path / checkpoint.name).write_bytes(checkpoint.read_bytes())
    worker.execute(run)
    return pd.read_json(run.path / "metrics.json", lines=True).iloc[-1][LOSSES].to_dict(), run


@pytest.fixture(scope="module")
def in_float32(tmp_path_factory, spec, job):
    return trained(tmp_path_factory.mktemp("runs") / "float32", spec, job)[0]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_compiled_parts_give_the_same_losses(tmp_path, monkeypatch, spec, job, in_float32):
    """The compiler's front end; its code generator takes minutes on a CPU: benchmarks/gpu_check.py tries it."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    losses, run = trained(tmp_path / "compiled", spec, job.replace(compile=True))
    assert losses == in_float32 and torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2
    assert worker.finished_model(detectron2_config(spec, "cpu"), run)  # its weights have the names of any other's
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"execution.compile: found True, expected false or auto: there is no gcc"):
        trained(tmp_path / "not", spec, job.replace(compile=True))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_in_16_bits(tmp_path, spec, job, in_float32, precision):
    spec = spec.replace(precision=precision)
    losses, run = trained(tmp_path / "whole", spec, job)
    assert losses == pytest.approx(in_float32, rel=0.2, abs=0.02)  # processors add up bf16 in different ways
    assert losses["total_loss"] == pytest.approx(in_float32["total_loss"], rel=0.05)
    assert losses != in_float32
    checkpoint = run.path / "model_0000002.pth"
    kept = weights.read_weights(checkpoint)
    assert all(value.dtype == torch.float32 for value in kept["model"].values())
    assert (kept.get("grad_scaler", {}).get("scale", 0) > 1) == (precision == "fp16")
    _, resumed = trained(tmp_path / "resumed", spec, job, checkpoint)
    assert (resumed.path / "model_final.pth").read_bytes() == (run.path / "model_final.pth").read_bytes()


@pytest.mark.parametrize(("model", "last"), [("pointrend_tiny", "point_head"), ("mask_rcnn_tiny", "predictor")])
def test_heads_hand_on_float32(spec, job, monkeypatch, tmp_path, model, last):
    """Boxes and losses see nothing in 16 bits, which would round coordinates to several px."""
    seen = []
    prepare = numerics.prepare

    def watched(model, precision):
        prepare(model, precision)
        of_masks = getattr(model.roi_heads.mask_head, last)
        for head in (model.proposal_generator.rpn_head, model.roi_heads.box_predictor, of_masks):
            head.register_forward_hook(lambda _module, inputs, outputs: seen.append((inputs, outputs)))

    monkeypatch.setattr(numerics, "prepare", watched)
    run = make_run(tmp_path / "run", variant(spec.replace(model=model, precision="bf16"), iterations=1), job)
    worker.execute(run)
    assert len(seen) == 3
    given, handed_on = ({tensor.dtype for item in seen for tensor in flat(item[side])} for side in (0, 1))
    assert torch.bfloat16 in given
    assert handed_on == {torch.float32}


def flat(item):
    return [item] if isinstance(item, torch.Tensor) else [tensor for part in item for tensor in flat(part)]


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True), ("bf16", True)])
def test_what_a_process_is_configured_for(monkeypatch, precision, allowed):
    """TensorFloat-32 only where the spec says so; deterministic algorithms only on a GPU and if asked for."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(functional, "grid_sample", plain := functional.grid_sample)  # put back after the test
    for deterministic, gpu in ((True, False), (True, True), (False, True)):  # ends as PyTorch starts
        numerics.configure(precision, deterministic=deterministic, gpu=gpu)
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == allowed
        assert torch.are_deterministic_algorithms_enabled() == (deterministic and gpu)
        assert torch.is_deterministic_algorithms_warn_only_enabled() or not gpu
        assert functional.grid_sample is (numerics.repeatable_grid_sample if gpu else plain)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    numerics.configure("float32", deterministic=False, gpu=False)


@contextlib.contextmanager
def working(spec, store, job, iterations: int):
    """A worker that has done that many iterations."""
    worker = WorkerProcess(spec, store, job)
    try:
        wait_for(lambda: (worker.run.progress() or {"done": 0})["done"] >= iterations, worker.process)
        yield worker
    finally:
        LocalExecutor.leave([worker])


def test_an_error_in_a_loading_process_ends_the_worker(study, tmp_path):
    """Loading processes do not end when asked to: the worker must not wait for them."""
    spec = real_spec(study, iterations=20_000, warmup_iterations=0)
    root = shutil.copytree(study.data.roots["real"], tmp_path / "data")
    job = study.execution().replace(evaluate_on=(), loader_workers=2, real_root=str(root))
    store = RunStore(tmp_path / "runs")
    run = store.run(spec)
    with working(spec, store, job, 1) as worker:
        shutil.rmtree(root / "leftImg8bit")
        assert worker.process.wait(PATIENCE_S) == 1
    assert re.fullmatch(r"\[Errno 2\] No such file or directory: '\S+_leftImg8bit.png'", run.failure())


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "loader_workers"), [(1, 2), (2, 1)])
def test_asked_to_stop_it_saves_the_iteration_at_hand(study, tmp_path, processes, loader_workers):
    spec = real_spec(study, iterations=30, warmup_iterations=0)
    shape = {"processes": processes, "loader_workers": loader_workers}
    job = study.execution().replace(evaluate_on=(), checkpoint_period=1000, **shape)
    store, undisturbed = RunStore(tmp_path / "stopped"), RunStore(tmp_path / "not")
    run = store.run(spec)
    with working(spec, store, job, 3) as worker:
        os.killpg(worker.process.pid, signal.SIGTERM)
        worker.process.wait(PATIENCE_S)  # ends by itself, and its loading processes with it
    saved = [int(path.stem.split("_")[1]) + 1 for path in run.path.glob("model_0*.pth")]
    assert len(saved) == 1
    assert 3 <= saved[0] < 30
    assert run.state() == "interrupted"
    assert run.failure() is None

    train([spec], store, job)
    train([spec], undisturbed, job)
    assert f"Starting training from iteration {saved[0]}" in run.log_path.read_text()
    assert (run.path / "model_final.pth").read_bytes() == (undisturbed.run(spec).path / "model_final.pth").read_bytes()


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
def test_the_sampling_that_a_gpu_can_repeat_is_grid_sample(padding_mode):
    torch.manual_seed(0)
    features = torch.randn(3, 5, 13, 17, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(3, 40, 7, 2, dtype=torch.float64) * 2.4 - 1.2  # some points lie outside
    ways = functional.grid_sample, numerics.repeatable_grid_sample
    theirs, ours = (way(features, grid, padding_mode=padding_mode, align_corners=False) for way in ways)
    upstream = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(values, features, upstream) for values in (ours, theirs)))
