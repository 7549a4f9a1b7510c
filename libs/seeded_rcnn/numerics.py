"""Precision of products, and bit-exact repetition on a GPU. Weights, losses and boxes are always float32."""

import os
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp.decompositions import grid_sampler_2d

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}  # of convolutions and products; else float32 or tf32


def configure(precision: str, *, deterministic: bool, gpu: bool) -> None:
    """Configure PyTorch for this process: TensorFloat-32 and, if asked for, deterministic algorithms on a ``gpu``.

    ``grid_sample``, of PointRend's points, is then PyTorch's decomposition into indices: its gradient can be repeated.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
    if gpu:
        if deterministic:  # read when cuBLAS is first used
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            nn.functional.grid_sample = repeatable_grid_sample
        torch.use_deterministic_algorithms(deterministic, warn_only=True)


def repeatable_grid_sample(features: Tensor, grid: Tensor, padding_mode: str = "zeros", **_: Any) -> Tensor:
    """``grid_sample(..., align_corners=False)``, bilinear, up to rounding."""
    return grid_sampler_2d(features, grid, 0, ("zeros", "border").index(padding_mode), False)


def prepare(model: nn.Module, precision: str) -> None:
    """Before training with autocast: heads return float32, of which boxes, scores and losses are computed.

    On a GPU the weights get the channels-last layout, which tensor cores need.
    """
    if precision not in AUTOCAST:
        return
    for name, module in model.named_modules():
        if name.endswith(("rpn_head", "box_predictor", "coarse_head", "point_head", "mask_head.predictor")):
            module.register_forward_hook(lambda _module, _inputs, outputs: _float32(outputs))
    if model.device.type == "cuda":
        model.to(memory_format=torch.channels_last)


def compile_parts(model: nn.Module, folder: str) -> None:
    """Compile backbone and RPN head for each frame shape, equal up to rounding; ``folder``: what the compiler keeps."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
    torch._dynamo.config.recompile_limit = 64  # shapes: Cityscapes has eight; further ones run as they are
    for part in (model.backbone, model.proposal_generator.rpn_head):
        part.compile(mode="reduce-overhead", dynamic=False)
    model.register_forward_pre_hook(lambda *_: torch.compiler.cudagraph_mark_step_begin())  # earlier outputs may go


def _float32(outputs: Any) -> Any:
    return outputs.float() if isinstance(outputs, Tensor) else type(outputs)(map(_float32, outputs))
