"""Detectron2's trainer for one run: model, optimizer, samples and hooks, put together from the run's spec.

What makes a run a function of its spec: the order of samples and every random draw depend on (seed, iteration) alone,
so a killed run goes on as if it had never stopped.
"""

import functools
import time

import numpy as np
import torch
import torch.utils.data
from detectron2.config import CfgNode
from detectron2.engine import HookBase, SimpleTrainer, create_ddp_model, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter
from torch import nn

from synlib.curation.compose import TrainingSet
from synlib.job import Job
from synlib.pointrend import weights
from synlib.pointrend.checkpoint import SafeCheckpointer
from synlib.pointrend.mapper import InstanceMapper, training_augmentations
from synlib.pointrend.samples import PositionSampler, TrainingSamples
from synlib.rundir import RunDir, stop_without_launcher
from synlib.spec import RunSpec

SCALARS_PERIOD = 10
"""Iterations between two lines of ``metrics.json``."""
CHECKPOINTS_KEPT = 2


class DivergedError(RuntimeError):
    """The loss is no longer finite. A legitimate result of a learning-rate study, not a fault."""


class Trainer(SimpleTrainer):
    """Detectron2's SimpleTrainer, with a seed for every iteration and an end when the loss is not finite."""

    def __init__(
        self, model: nn.Module, loader: torch.utils.data.DataLoader, optimizer: torch.optim.Optimizer, seed: int
    ) -> None:
        super().__init__(model, loader, optimizer)
        self.seed = seed

    def run_step(self) -> None:
        # The heads sample anchors, proposals and points at random: seeded here, a resumed run samples the same.
        words = np.random.SeedSequence([self.seed, 2, self.iter, comm.get_rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0] >> 1))
        try:
            super().run_step()
        except FloatingPointError as error:
            raise DivergedError(f"diverged at iteration {self.iter}: the loss is not finite") from error

    def read_from(self, loader: torch.utils.data.DataLoader) -> None:
        self.data_loader, self._data_loader_iter = loader, iter(loader)


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


def build_trainer(spec: RunSpec, cfg: CfgNode, data: TrainingSet, job: Job, run: RunDir) -> tuple[Trainer, int]:
    """The trainer of a run, and the iteration from which it goes on."""
    torch.manual_seed(spec.seed)
    model = build_model(cfg)
    if spec.init == "imagenet":
        weights.load_imagenet(model, cfg, job.imagenet_weights)
    elif spec.init != "random":
        weights.load_initial(model, job.initial_weights, spec.init)
    model = create_ddp_model(model, device_ids=None if cfg.MODEL.DEVICE == "cpu" else [torch.cuda.current_device()])
    optimizer = build_optimizer(cfg, model)
    if spec.schedule.clip_gradient_norm:  # of all parameters together; Detectron2's own option clips each by itself
        optimizer.register_step_pre_hook(functools.partial(_clip_gradient, model, spec.schedule.clip_gradient_norm))
    trainer = Trainer(model, [], optimizer, spec.seed)
    checkpointer = SafeCheckpointer(model, str(run.path), trainer=trainer)
    trainer.register_hooks([hooks.IterationTimer(), hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer))])
    if comm.is_main_process():
        trainer.register_hooks(
            [
                hooks.PeriodicCheckpointer(checkpointer, job.checkpoint_period, spec.schedule.iterations),
                hooks.PeriodicWriter([JSONWriter(str(run.path / "metrics.json"))], SCALARS_PERIOD),
                StatusHook(run, checkpointer),
            ]
        )
    start = checkpointer.resume()
    mapper = InstanceMapper(training_augmentations(cfg), cfg.INPUT.FORMAT)
    samples = TrainingSamples(data.images, data.instances, mapper, spec.seed)
    sampler = PositionSampler(start, spec.schedule.iterations, spec.batch_size, comm.get_rank(), comm.get_world_size())
    trainer.read_from(
        torch.utils.data.DataLoader(samples, batch_sampler=sampler, num_workers=job.loader_workers, collate_fn=list)
    )
    return trainer, start


def _clip_gradient(model: nn.Module, norm: float, *_: object) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), norm)
