"""Detectron2's SimpleTrainer for a batch that is divided among processes and into parts, and how it is stopped."""

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.checkpoint import Checkpointer
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from seeded_rcnn.numerics import AUTOCAST
from seeded_rcnn.sampling import SeededRCNN

Batch = list[dict[str, Any]]
UNITS = {"loss_rpn_cls": 0, "loss_rpn_loc": 0, "loss_cls": 1, "loss_box_reg": 1, "loss_mask": 2, "loss_mask_point": 2}
"""What each loss is a mean over: images (0), sampled proposals (1), or those of them that are foreground (2)."""


class DivergedError(RuntimeError):
    """The loss is no longer finite: a result of a learning-rate study, not a fault."""


class Trainer(SimpleTrainer):
    """Trains with the losses and gradients of the whole batch, up to rounding, however the batch is divided.

    ``images_per_step``: size of the parts that each process takes one after the other (0: all at once).
    ``clip_norm``: limit for the norm of all gradients together (0: none); Detectron2's clips each parameter by itself.
    ``batches``: this process's share of each batch; set before training. Raises DivergedError when a loss or
    box is not finite, RuntimeError with advice when the GPU's memory is full.
    """

    batches: Iterator[Batch] | None = None

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, precision: str, images_per_step: int, clip_norm: float
    ) -> None:
        super().__init__(model, [], optimizer)
        self.images_per_step, self.clip_norm = images_per_step, clip_norm
        self.network: SeededRCNN = model.module if isinstance(model, DistributedDataParallel) else model
        device, dtype = self.network.device.type, AUTOCAST.get(precision)
        for group in optimizer.param_groups:
            group["fused"] = device == "cuda" or None  # one kernel for all parameters; on a CPU as PyTorch has it
        self.autocast = torch.autocast(device, dtype, enabled=dtype is not None)
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
        self.asked_to_stop = threading.Event()

    def run_step(self) -> None:
        started = time.perf_counter()
        batch = next(self.batches)
        data_s = time.perf_counter() - started
        # All parts in all processes are padded alike: the network sees the padding, and it has anchors.
        largest = torch.tensor([sample["image"].shape[1:] for sample in batch]).amax(0)
        frame = torch.stack(comm.all_gather(largest)).amax(0).tolist()
        for sample in batch:
            sample["frame"] = frame
        size = self.images_per_step or len(batch)
        self.optimizer.zero_grad()
        try:
            losses = self._backward([batch[first : first + size] for first in range(0, len(batch), size)])
            self._write_metrics(losses, data_s)
        except torch.cuda.OutOfMemoryError as error:
            height, width = batch[0]["frame"]
            fewer = f"set execution.images_per_step to {size // 2}, or use more GPUs; results stay the same"
            advice = fewer if size > 1 else "expected a GPU with more memory, or a model or images that need less"
            tried = f"{size} images of {width}x{height} px at once do not fit into the GPU's memory"
            raise RuntimeError(f"{tried}: {advice}") from error
        except FloatingPointError as error:  # of a loss, or of the RPN's boxes before it
            raise DivergedError(f"diverged at iteration {self.iter}: a loss or box is not finite") from error
        self.scaler.unscale_(self.optimizer)  # gradients are clipped at their true size
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _backward(self, parts: list[Batch]) -> dict[str, Tensor]:
        """Add up the gradients of all parts; returns the losses, whose mean over processes is the batch's."""
        if len(parts) > 1:  # what the losses are divided by has to be known before the first part's gradient
            with self.autocast:
                total = _over_processes(sum(self.network.count(part) for part in parts))
        sums: dict[str, Tensor] = {}
        for part in parts:
            self.model.require_backward_grad_sync = part is parts[-1]  # processes average their gradients once
            with self.autocast:
                losses = self.model(part)
            counts = self.network.roi_heads.counts
            if len(parts) == 1:
                total = _over_processes(counts.clone())
            # From means over the part to what it adds to the means over the batch. Gradients are averaged over the
            # processes, hence their number as a factor. For a batch in one part the weights are exactly 1.
            weights = counts * comm.get_world_size() / total.clamp(min=1)
            losses = {name: loss * weights[UNITS[name]] for name, loss in losses.items()}
            self.scaler.scale(sum(losses.values())).backward()
            sums = {name: sums.get(name, 0) + loss.detach() for name, loss in losses.items()}
        return dict(zip(sums, torch.stack([*sums.values()]).cpu(), strict=True))  # one wait for the device

    def before_train(self) -> None:
        self.previous = signal.signal(signal.SIGTERM, lambda *_: self.asked_to_stop.set())
        super().before_train()

    def stop_if_asked(self, checkpointer: Checkpointer) -> None:
        """After SIGTERM, in the main process: save the last complete iteration, and raise KeyboardInterrupt.

        To be called before each batch, and while it is awaited. The other processes continue, since the main one may
        need them for its iteration, and fail or are ended when it has left: no failure of the run.
        """
        if self.asked_to_stop.is_set() and comm.is_main_process():
            if self.iter > self.start_iter:  # otherwise there is nothing new
                checkpointer.save(f"model_{self.iter - 1:07d}", iteration=self.iter - 1)
            raise KeyboardInterrupt(f"asked to stop before iteration {self.iter}")

    def after_train(self) -> None:
        try:
            super().after_train()
        finally:
            self.batches = None  # ends the loading processes now
            signal.signal(signal.SIGTERM, self.previous)
        if self.asked_to_stop.is_set() and not comm.is_main_process() and self.iter < self.max_iter:
            raise KeyboardInterrupt("asked to stop")  # instead of the error that the main process's exit has caused


def _over_processes(counts: Tensor) -> Tensor:
    if comm.get_world_size() > 1:
        distributed.all_reduce(counts)
    return counts
