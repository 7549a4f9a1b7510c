"""Training in 16 bits: on a CPU it must run, learn about the same, and repeat bit by bit like any other."""

import os

import pandas as pd
import pytest
import torch

from seeded_rcnn import numerics, weights
from synlib.pointrend import worker
from tests.workers import make_run, real_spec, variant

LOSSES = ["loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask", "loss_mask_point", "total_loss"]


@pytest.fixture(scope="module")
def spec(study):
    return real_spec(study, iterations=6, warmup_iterations=2)


@pytest.fixture(scope="module")
def job(study):
    return study.execution().replace(evaluate_on=(), checkpoint_period=3)


def trained(folder, spec, job, *start):
    """Final losses, and the run; ``start``: checkpoints that it finds."""
    run = make_run(folder, spec, job)
    for checkpoint in start:
        (run.path / checkpoint.name).write_bytes(checkpoint.read_bytes())
    worker.execute(run)
    return pd.read_json(run.path / "metrics.json", lines=True).iloc[-1][LOSSES].to_dict(), run


@pytest.fixture(scope="module")
def in_float32(tmp_path_factory, spec, job):
    return trained(tmp_path_factory.mktemp("runs") / "float32", spec, job)[0]


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
    assert (kept["trainer"].get("grad_scaler", {}).get("scale", 0) > 1) == (precision == "fp16")
    _, resumed = trained(tmp_path / "resumed", spec, job, checkpoint)
    assert (resumed.path / "model_final.pth").read_bytes() == (run.path / "model_final.pth").read_bytes()


def test_heads_hand_on_float32(spec, job, monkeypatch, tmp_path):
    """Boxes and losses see nothing in 16 bits, which would round coordinates to several px."""
    seen = []
    prepare = numerics.prepare

    def watched(model, precision):
        prepare(model, precision)
        mask_head = model.roi_heads.mask_head
        for head in (model.proposal_generator.rpn_head, model.roi_heads.box_predictor, mask_head.point_head):
            head.register_forward_hook(lambda _module, inputs, outputs: seen.append((inputs, outputs)))

    monkeypatch.setattr(numerics, "prepare", watched)
    run = make_run(tmp_path / "run", variant(spec.replace(precision="bf16"), iterations=1, warmup_iterations=0), job)
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
    for deterministic, gpu in ((True, False), (True, True), (False, True)):  # ends as PyTorch starts
        numerics.configure(precision, deterministic=deterministic, gpu=gpu)
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == allowed
        assert torch.are_deterministic_algorithms_enabled() == (deterministic and gpu)
        assert torch.is_deterministic_algorithms_warn_only_enabled() or not gpu
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    numerics.configure("float32", deterministic=False, gpu=False)
