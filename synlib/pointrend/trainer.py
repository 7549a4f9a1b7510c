"""Detectron2's trainer for one run: model, optimizer, samples and hooks, put together from the run's spec.

What makes a run a function of its spec: the order of samples and every random draw depend only on the seed and on a
sample's position, so that a killed run continues as if it had never stopped, and processes share a batch like one.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase, SimpleTrainer, create_ddp_model, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from torch import Tensor, distributed, nn
from torch.distributed import ReduceOp
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from seeded_rcnn import mapper, numerics, stopping, stream, weights
from seeded_rcnn.sampling import SeededRCNN, weighted
from synlib.curation.compose import TrainingSet
from synlib.pointrend import monitor
from synlib.runs.folder import RunDir
from synlib.spec import Execution, RunSpec

SCALARS_PERIOD = 10
"""Iterations between two lines of ``metrics.json``."""
CHECKPOINTS_KEPT = 2


class DivergedError(RuntimeError):
    """The loss is no longer finite: a result of a learning-rate study, not a fault."""


class Trainer(SimpleTrainer):
    """Detectron2's SimpleTrainer for a batch in any number of parts, which stops when the loss is not finite.

    The batch of an iteration may be divided among processes, and in each into parts of ``images_per_step`` images (0:
    one part) one after the other: losses and gradients are those of the whole batch in one part, up to rounding.
    ``clip_norm`` limits the norm of the gradient of all parameters together (0: no limit); Detectron2's own option
    clips each parameter by itself. ``batches``: this process's share of each batch; set before training.
    """

    batches: Iterator[list[dict[str, Any]]] | None = None

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, precision: str, images_per_step: int, clip_norm: float
    ) -> None:
        super().__init__(model, [], optimizer)
        self.images_per_step, self.clip_norm = images_per_step, clip_norm
        self.network: SeededRCNN = model.module if isinstance(model, DistributedDataParallel) else model
        self.autocast = numerics.autocast(precision, self.network.device)
        self.scaler = numerics.grad_scaler(precision, self.network.device)

    def run_step(self) -> None:
        started = time.perf_counter()
        batch = next(self.batches)
        data_s = time.perf_counter() - started
        size = self.images_per_step or len(batch)
        self.optimizer.zero_grad()
        try:
            losses = self._backward([batch[first : first + size] for first in range(0, len(batch), size)])
            self._write_metrics(losses, data_s)
        except torch.cuda.OutOfMemoryError as error:
            raise RuntimeError(_out_of_memory(batch, size)) from error
        except FloatingPointError as error:  # of a loss, or of the RPN's boxes before it
            raise DivergedError(f"diverged at iteration {self.iter}: a loss or box is not finite") from error
        self.scaler.unscale_(self.optimizer)  # gradients are clipped at their true size
        if self.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _backward(self, parts: list[list[dict[str, Any]]]) -> dict[str, Tensor]:
        """Add up the gradients of all parts; returns the losses, whose mean over processes is the batch's."""
        self._share_frame(parts)
        if len(parts) > 1:  # what the losses are divided by has to be known before the first part's gradient
            with self.autocast:
                total = _over_processes(sum(self.network.count(part) for part in parts), ReduceOp.SUM)
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(parts, 1):
            # Processes average their gradients once, with the last part.
            alone = number == len(parts) or comm.get_world_size() == 1
            with contextlib.nullcontext() if alone else self.model.no_sync():
                with self.autocast:
                    losses = self.model(part)
                counts = self.network.roi_heads.counts
                if len(parts) == 1:
                    total = _over_processes(counts.clone(), ReduceOp.SUM)
                losses = weighted(losses, counts, total, comm.get_world_size())
                self.scaler.scale(sum(losses.values())).backward()
            sums = {name: sums.get(name, 0) + loss.detach() for name, loss in losses.items()}
        return sums

    def _share_frame(self, parts: list[list[dict[str, Any]]]) -> None:
        """Pad all parts in all processes alike: the network sees the padding, and it has anchors."""
        sizes = torch.tensor([sample["image"].shape[1:] for part in parts for sample in part])
        frame = _over_processes(sizes.amax(0).to(self.network.device), ReduceOp.MAX).tolist()
        for part in parts:
            part[0]["frame"] = frame

    def state_dict(self) -> dict[str, Any]:
        scaler = {"grad_scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        return super().state_dict() | scaler

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.scaler.load_state_dict(state_dict.get("grad_scaler", {}))

    def after_train(self) -> None:
        try:
            super().after_train()
        finally:
            self.batches = None  # ends the loader workers now: they ignore SIGTERM, and Python would wait for them


def _over_processes(values: Tensor, operation: ReduceOp) -> Tensor:
    if comm.get_world_size() > 1:
        distributed.all_reduce(values, operation)
    return values


def _out_of_memory(batch: list[dict[str, Any]], size: int) -> str:
    height, width = batch[0]["frame"]
    tried = f"{size} images of {width}x{height} px at once do not fit into the GPU's memory"
    if size == 1:
        return f"{tried}: expected a GPU with more memory, or a model profile or images that need less"
    return f"{tried}: set execution.images_per_step to {size // 2}, or use more GPUs; results stay the same"


class ProgressHook(HookBase):
    """Report progress and memory, and delete checkpoints that a resume no longer needs; for the main process."""

    def __init__(self, run: RunDir, checkpointer: weights.SafeCheckpointer) -> None:
        self.run, self.checkpointer = run, checkpointer

    def before_train(self) -> None:
        self.status = monitor.Status(self.run, "train", self.trainer.max_iter, self.trainer.start_iter)

    def after_step(self) -> None:
        self.status.update(self.trainer.iter + 1)
        self.trainer.storage.put_scalar("memory_gib", monitor.memory_gib(), smoothing_hint=False)
        for old in self.checkpointer.saved()[CHECKPOINTS_KEPT:]:
            old.unlink()


def build_trainer(spec: RunSpec, cfg: CfgNode, data: TrainingSet, job: Execution, run: RunDir) -> tuple[Trainer, int]:
    """The trainer of a run, and the iteration from which it continues."""
    model, iterations, main = _starting_model(spec, cfg, job), spec.schedule.iterations, comm.is_main_process()
    optimizer = build_optimizer(cfg, model)
    trainer = Trainer(model, optimizer, spec.precision, job.images_per_step, spec.schedule.clip_gradient_norm)
    checkpointer = weights.SafeCheckpointer(model, str(run.path), trainer=trainer)
    every_process = [hooks.IterationTimer(), hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer))]
    checkpoints = hooks.PeriodicCheckpointer(checkpointer, job.checkpoint_period, iterations)
    in_main = [checkpoints, ProgressHook(run, checkpointer)] if main else []
    trainer.register_hooks([*every_process, *in_main, stopping.StopHook(checkpointer)])
    start = checkpointer.resume()
    if start == iterations:  # cut off between its last two writes, which have the same content
        checkpointer.save("model_final", iteration=start - 1)
    if main:  # what an earlier execution wrote to TensorBoard from iteration `start` on is void
        writers = [JSONWriter(str(run.path / "metrics.json")), TensorboardXWriter(str(run.path), purge_step=start)]
        trainer.register_hooks([hooks.PeriodicWriter(writers, SCALARS_PERIOD)])
    to_sample = mapper.InstanceMapper(mapper.training_augmentations(cfg), cfg.INPUT.FORMAT)
    samples = stream.TrainingSamples(data.images, data.instances, to_sample, spec.seed)
    del data
    stream.give_back_memory()
    positions = stream.batches(start, iterations, spec.batch_size, comm.get_rank(), comm.get_world_size())
    loader = DataLoader(
        samples,
        batch_sampler=positions,
        num_workers=job.loader_workers,
        collate_fn=list,
        worker_init_fn=stopping.ignore_sigterm,
    )
    trainer.batches = iter(loader)
    return trainer, start


def _starting_model(spec: RunSpec, cfg: CfgNode, job: Execution) -> nn.Module:
    """The model before its first iteration, on its device, with the weights that ``spec.init`` names."""
    torch.manual_seed(spec.seed)
    model = build_model(cfg)
    if spec.init == "imagenet":
        weights.load_imagenet(model, cfg, job.imagenet_weights)
    elif spec.init != "random":
        weights.load_initial(model, job.initial_weights, spec.init)
    numerics.prepare(model, spec.precision)
    gpus = None if cfg.MODEL.DEVICE == "cpu" else [torch.cuda.current_device()]
    return create_ddp_model(model, device_ids=gpus, broadcast_buffers=False)
