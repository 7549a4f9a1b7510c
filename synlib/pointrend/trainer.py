"""Detectron2's trainer for one run: model, optimizer, samples and hooks, put together from the run's spec.

What makes a run a function of its spec: the order of samples and every random draw depend on the seed and on a sample's
position alone, so a killed run goes on as if it had never stopped, and processes share a batch as if they were one.
"""

import contextlib
import functools
import time
from typing import Any

import torch
import torch.utils.data
from detectron2.config import CfgNode
from detectron2.engine import HookBase, SimpleTrainer, create_ddp_model, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter
from torch import distributed, nn
from torch.distributed import ReduceOp
from torch.nn.parallel import DistributedDataParallel

from seeded_rcnn import numerics, stopping, weights
from seeded_rcnn.checkpoint import SafeCheckpointer
from seeded_rcnn.mapper import InstanceMapper, training_augmentations
from seeded_rcnn.sampling import SeededRCNN, weighted
from seeded_rcnn.stream import PositionSampler, TrainingSamples, give_back_memory
from synlib.curation.compose import TrainingSet
from synlib.pointrend import monitor
from synlib.runs.folder import RunDir, stop_without_launcher
from synlib.spec import Execution, RunSpec

SCALARS_PERIOD = 10
"""Iterations between two lines of ``metrics.json``."""
CHECKPOINTS_KEPT = 2


class DivergedError(RuntimeError):
    """The loss is no longer finite. A legitimate result of a learning-rate study, not a fault."""


class Trainer(SimpleTrainer):
    """Detectron2's SimpleTrainer for a batch in any number of parts, and with an end when the loss is not finite.

    The batch of an iteration may be divided among processes, and in each into parts of ``images_per_step`` images (0:
    one part) one after the other: losses and gradients are those of the whole batch in one part, up to rounding.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: torch.utils.data.DataLoader,
        optimizer: torch.optim.Optimizer,
        images_per_step: int = 0,
        precision: str = "float32",
    ) -> None:
        super().__init__(model, loader, optimizer)
        self.images_per_step = images_per_step
        self.network: SeededRCNN = model.module if isinstance(model, DistributedDataParallel) else model
        self.autocast = numerics.autocast(precision, self.network.device)
        self.scaler = numerics.grad_scaler(precision, self.network.device)

    def run_step(self) -> None:
        started = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_s = time.perf_counter() - started
        size = self.images_per_step or len(batch)
        self.optimizer.zero_grad()
        try:
            losses = self._backward([batch[first : first + size] for first in range(0, len(batch), size)])
            self._write_metrics(losses, data_s)
        except torch.cuda.OutOfMemoryError as error:
            raise RuntimeError(_out_of_memory(batch, size)) from error
        except FloatingPointError as error:  # a loss, or already the RPN's boxes
            raise DivergedError(f"diverged at iteration {self.iter}: a loss or box is not finite") from error
        self.scaler.unscale_(self.optimizer)  # gradients are clipped at their own size
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _backward(self, parts: list[list[dict[str, Any]]]) -> dict[str, torch.Tensor]:
        """Add up the gradients of all parts; returns the losses, whose mean over processes is the batch's."""
        self._share_frame(parts)
        if len(parts) > 1:  # what the losses are divided by has to be known before the first part's gradient
            with self.autocast:
                total = _over_processes(sum(self.network.count(part) for part in parts), ReduceOp.SUM)
        sums: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts, 1):
            with contextlib.nullcontext() if number == len(parts) else self._apart():
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
        """Have all parts in all processes padded alike: padding is seen by the network and has anchors."""
        sizes = torch.tensor([sample["image"].shape[1:] for part in parts for sample in part])
        frame = _over_processes(sizes.amax(0).to(self.network.device), ReduceOp.MAX).tolist()
        for part in parts:
            part[0]["frame"] = frame

    def _apart(self) -> contextlib.AbstractContextManager:
        """Gradients are only added up here, and not yet averaged with the other processes'."""
        return self.model.no_sync() if comm.get_world_size() > 1 else contextlib.nullcontext()

    def state_dict(self) -> dict[str, Any]:
        scaler = {"grad_scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        return super().state_dict() | scaler

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.scaler.load_state_dict(state_dict.get("grad_scaler", {}))

    def read_from(self, loader: torch.utils.data.DataLoader) -> None:
        self.data_loader, self._data_loader_iter = loader, iter(loader)

    def after_train(self) -> None:
        try:
            super().after_train()
        finally:
            self._data_loader_iter = None  # its processes end now: later they are waited for, and take no SIGTERM


def _over_processes(values: torch.Tensor, operation: ReduceOp) -> torch.Tensor:
    if comm.get_world_size() > 1:
        distributed.all_reduce(values, operation)
    return values


def _out_of_memory(batch: list[dict[str, Any]], size: int) -> str:
    height, width = batch[0]["frame"]
    tried = f"{size} images of {width}x{height} px at once do not fit into the GPU's memory"
    if size == 1:
        return f"{tried}: expected a GPU with more memory, or a model profile or images that need less"
    return f"{tried}: set execution.images_per_step to {size // 2}, or use more GPUs; results stay the same"


class StatusHook(HookBase):
    """Keep ``status.json`` up to date, at most once a second, and drop checkpoints that a resume no longer needs."""

    def __init__(self, run: RunDir, checkpointer: SafeCheckpointer) -> None:
        self.run, self.checkpointer = run, checkpointer

    def before_train(self) -> None:
        self.started = time.monotonic()
        self._write(self.trainer.start_iter)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if time.monotonic() - self.written >= 1 or done == self.trainer.max_iter:
            self._write(done)
            stop_without_launcher()
        for old in self.checkpointer.saved()[CHECKPOINTS_KEPT:]:
            old.unlink()

    def _write(self, done: int) -> None:
        self.written = time.monotonic()
        steps = done - self.trainer.start_iter
        rate = steps / (self.written - self.started) if steps else None
        status = {"stage": "train", "done": done, "total": self.trainer.max_iter, "per_second": rate}
        self.run.write("status.json", status)


def build_trainer(spec: RunSpec, cfg: CfgNode, data: TrainingSet, job: Execution, run: RunDir) -> tuple[Trainer, int]:
    """The trainer of a run, and the iteration from which it goes on."""
    torch.manual_seed(spec.seed)
    model = build_model(cfg)
    if spec.init == "imagenet":
        weights.load_imagenet(model, cfg, job.imagenet_weights)
    elif spec.init != "random":
        weights.load_initial(model, job.initial_weights, spec.init)
    numerics.prepare(model, spec.precision)
    gpus = None if cfg.MODEL.DEVICE == "cpu" else [torch.cuda.current_device()]
    model = create_ddp_model(model, device_ids=gpus, broadcast_buffers=False)
    optimizer = build_optimizer(cfg, model)
    if spec.schedule.clip_gradient_norm:  # of all parameters together; Detectron2's own option clips each by itself
        optimizer.register_step_pre_hook(functools.partial(_clip_gradient, model, spec.schedule.clip_gradient_norm))
    trainer = Trainer(model, [], optimizer, job.images_per_step, spec.precision)
    checkpointer = SafeCheckpointer(model, str(run.path), trainer=trainer)
    trainer.register_hooks([hooks.IterationTimer(), hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer))])
    if comm.is_main_process():
        trainer.register_hooks(
            [
                hooks.PeriodicCheckpointer(checkpointer, job.checkpoint_period, spec.schedule.iterations),
                StatusHook(run, checkpointer),
            ]
        )
    trainer.register_hooks([stopping.StopHook(checkpointer)])
    start = checkpointer.resume()
    if start == spec.schedule.iterations:  # cut off between its last two writes, which have the same content
        checkpointer.finish()
    if comm.is_main_process():
        writers = [JSONWriter(str(run.path / "metrics.json")), monitor.scalar_writer(run.path, start)]
        trainer.register_hooks([monitor.MemoryHook(SCALARS_PERIOD), hooks.PeriodicWriter(writers, SCALARS_PERIOD)])
    mapper = InstanceMapper(training_augmentations(cfg), cfg.INPUT.FORMAT)
    samples = TrainingSamples(data.images, data.instances, mapper, spec.seed)
    del data
    give_back_memory()
    sampler = PositionSampler(start, spec.schedule.iterations, spec.batch_size, comm.get_rank(), comm.get_world_size())
    trainer.read_from(
        torch.utils.data.DataLoader(
            samples,
            batch_sampler=sampler,
            num_workers=job.loader_workers,
            collate_fn=list,
            worker_init_fn=stopping.leave_stopping_to_the_main_process,
        )
    )
    return trainer, start


def _clip_gradient(model: nn.Module, norm: float, *_: object) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), norm)
