"""The trainer of a run: model, optimizer, samples and hooks, put together from the run's spec.

What makes a run a function of its spec: the order of samples and every random draw depend only on the seed and on a
sample's position, so that a killed run continues as if it had never stopped, and processes share a batch like one.
"""

from pathlib import Path
from typing import Any

import psutil
import torch
from detectron2.config import CfgNode
from detectron2.data.detection_utils import build_augmentation
from detectron2.engine import create_ddp_model, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter, TensorboardXWriter

from seeded_rcnn import mapper, numerics, stream, weights
from seeded_rcnn.trainer import Trainer
from synlib.curation.compose import TrainingSet
from synlib.runs.folder import RunDir, Status
from synlib.runs.store import trained_on
from synlib.spec import Execution, RunSpec


def report(status: Status, trainer: Trainer) -> None:
    """Progress, loss (the median of 20 iterations) and memory of the main process, after an iteration."""
    status.update(trainer.iter + 1, trainer.storage.history("total_loss").median(20))
    # PyTorch's peak on the GPU so far; on a CPU, what this process holds now.
    used = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else psutil.Process().memory_info().rss
    trainer.storage.put_scalar("memory_gib", used / 2**30, smoothing_hint=False)


def build_trainer(spec: RunSpec, cfg: CfgNode, data: TrainingSet, job: Execution, run: RunDir) -> Trainer:
    """The trainer of a run: it continues from ``start_iter``, and began with the ``initial_weights``."""
    iterations, main = spec.schedule.iterations, comm.is_main_process()
    model, loaded = _starting_model(spec, cfg, job)
    optimizer = build_optimizer(cfg, model)
    trainer = Trainer(model, optimizer, spec.precision, job.images_per_step, spec.schedule.clip_gradient_norm)
    scaler = {"grad_scaler": trainer.scaler} if trainer.scaler.is_enabled() else {}
    checkpointer = weights.SafeCheckpointer(model, str(run.path), trainer=trainer, **scaler)
    scheduler = hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer))
    saver = hooks.PeriodicCheckpointer(checkpointer, job.checkpoint_period, iterations)
    trainer.register_hooks([hooks.IterationTimer(), scheduler, saver])
    start = checkpointer.resume()
    if start == iterations:  # cut off between its last two writes, which have the same content
        checkpointer.save("model_final", iteration=start - 1)
    status = Status(run, "train", iterations, start, main=main)
    if main:  # what an earlier execution wrote to TensorBoard from iteration `start` on is void
        shown = run.path / "tensorboard" / f"{trained_on(spec.data)}, lr {spec.schedule.base_lr:g}"  # by this name
        writers = [JSONWriter(str(run.path / "metrics.json")), TensorboardXWriter(str(shown), purge_step=start)]
        progress = hooks.CallbackHook(after_step=lambda trainer: report(status, trainer))
        trainer.register_hooks([progress, hooks.PeriodicWriter(writers, period=10)])
    to_sample = mapper.InstanceMapper(build_augmentation(cfg, is_train=True), cfg.INPUT.FORMAT)
    samples = stream.TrainingSamples(data.images, data.instances, to_sample, spec.seed)
    if spec.data.sampling == "balanced":
        samples.groups = list(data.images.groupby("dataset").indices.values())
    positions = stream.batches(start, iterations, spec.batch_size, comm.get_rank(), comm.get_world_size())
    # Photo of 3 channels and label map, of 8 bits, at the largest size.
    sample_bytes = 4 * max(cfg.INPUT.MIN_SIZE_TRAIN) * cfg.INPUT.MAX_SIZE_TRAIN
    batch_bytes = sample_bytes * (spec.batch_size // comm.get_world_size())
    del data
    stream.give_back_memory()
    loading = job.loader_workers, batch_bytes, lambda slow: (status.wait(slow), trainer.stop_if_asked(checkpointer))
    trainer.batches = stream.load(samples, positions, *loading)
    trainer.start_iter, trainer.initial_weights = start, loaded
    return trainer


def _starting_model(spec: RunSpec, cfg: CfgNode, job: Execution) -> tuple[torch.nn.Module, dict[str, Any] | None]:
    """The model before its first iteration, on its device; and what of the weights that ``spec.init`` names it took."""
    torch.manual_seed(spec.seed)
    model, loaded = build_model(cfg), None
    if spec.init == "imagenet":
        loaded = weights.load_imagenet(model, cfg, job.imagenet_weights)
    elif spec.init != "random":
        loaded = _load_initial(model, job.initial_weights, spec)
    numerics.prepare(model, spec.precision)
    gpus = None if cfg.MODEL.DEVICE == "cpu" else [torch.cuda.current_device()]
    return create_ddp_model(model, device_ids=gpus, broadcast_buffers=False), loaded


def _load_initial(model: torch.nn.Module, path: str, spec: RunSpec) -> dict[str, Any]:
    """Raises ValueError when ``path`` is another checkpoint than the spec's or, with the remedy, a run's is damaged."""
    if not spec.initial_run and (found := f"sha256:{weights.sha256(path)}") != spec.init:
        raise ValueError(f"{path}: found {found}, expected {spec.init}: another file than the run was planned with")
    try:
        return weights.load_into(model, weights.read_weights(path))
    except (FileNotFoundError, ValueError) as error:
        if not spec.initial_run:
            raise
        remedy = f"delete {Path(path).with_name('result.json')} and start again: that run then makes them again"
        lack = f"it starts from run {spec.initial_run}, whose final weights are missing or damaged ({error})"
        raise ValueError(f"{lack}; {remedy}") from error
