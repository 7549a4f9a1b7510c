"""The trainer of a run: model, optimizer, samples and hooks, put together from the run's spec.

What makes a run a function of its spec: the order of samples and every random draw depend only on the seed and on a
sample's position, so that a killed run continues as if it had never stopped, and processes share a batch like one.
"""

import psutil
import torch
from detectron2.config import CfgNode
from detectron2.data.detection_utils import build_augmentation
from detectron2.engine import HookBase, create_ddp_model, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter
from torch import nn
from torch.utils.data import DataLoader

from seeded_rcnn import mapper, numerics, stopping, stream, weights
from seeded_rcnn.trainer import Trainer
from synlib.curation.compose import TrainingSet
from synlib.pointrend import monitor
from synlib.runs.folder import RunDir
from synlib.spec import Execution, RunSpec

SCALARS_PERIOD = 10
"""Iterations between two lines of ``metrics.json``."""
CHECKPOINTS_KEPT = 2


class ProgressHook(HookBase):
    """Report progress and memory, and delete checkpoints that a resume no longer needs; for the main process."""

    def __init__(self, run: RunDir, checkpointer: weights.SafeCheckpointer) -> None:
        self.run, self.checkpointer = run, checkpointer

    def before_train(self) -> None:
        self.status = monitor.Status(self.run, "train", self.trainer.max_iter, self.trainer.start_iter)

    def after_step(self) -> None:
        self.status.update(self.trainer.iter + 1)
        # PyTorch's peak on the GPU so far; on a CPU, what this process holds now.
        used = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else psutil.Process().memory_info().rss
        self.trainer.storage.put_scalar("memory_gib", used / 2**30, smoothing_hint=False)
        for old in self.checkpointer.saved()[CHECKPOINTS_KEPT:]:
            old.unlink()


def build_trainer(spec: RunSpec, cfg: CfgNode, data: TrainingSet, job: Execution, run: RunDir) -> tuple[Trainer, int]:
    """The trainer of a run, and the iteration from which it continues."""
    model, iterations, main = _starting_model(spec, cfg, job), spec.schedule.iterations, comm.is_main_process()
    optimizer = build_optimizer(cfg, model)
    trainer = Trainer(model, optimizer, spec.precision, job.images_per_step, spec.schedule.clip_gradient_norm)
    checkpointer = weights.SafeCheckpointer(model, str(run.path), trainer=trainer)
    trainer.register_hooks(
        [
            hooks.IterationTimer(),
            hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer)),
            hooks.PeriodicCheckpointer(checkpointer, job.checkpoint_period, iterations),
            ProgressHook(run, checkpointer) if main else None,
            stopping.StopHook(checkpointer),
        ]
    )
    start = checkpointer.resume()
    if start == iterations:  # cut off between its last two writes, which have the same content
        checkpointer.save("model_final", iteration=start - 1)
    if main:  # what an earlier execution wrote to TensorBoard from iteration `start` on is void
        writers = [JSONWriter(str(run.path / "metrics.json")), TensorboardXWriter(str(run.path), purge_step=start)]
        trainer.register_hooks([hooks.PeriodicWriter(writers, SCALARS_PERIOD)])
    to_sample = mapper.InstanceMapper(build_augmentation(cfg, is_train=True), cfg.INPUT.FORMAT)
    samples = stream.TrainingSamples(data.images, data.instances, to_sample, spec.seed)
    del data
    stream.give_back_memory()
    positions = stream.batches(start, iterations, spec.batch_size, comm.get_rank(), comm.get_world_size())
    loading = {"num_workers": job.loader_workers, "worker_init_fn": stopping.ignore_sigterm}
    trainer.batches = iter(DataLoader(samples, batch_sampler=positions, collate_fn=list, **loading))
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
