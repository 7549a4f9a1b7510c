"""Training iterations end to end, from files to new weights: Detectron2 v0.6 as it comes, and this package's trainer.

Run: ``python benchmarks/train_step.py`` on a machine with a GPU, or ``--scale tiny`` on any (a minute on a CPU). At
scale ``paper`` it draws images of 2048x1024 with about 46 instances and trains the paper's PointRend R50-FPN with the
paper's augmentation and learning rate, warm-up included; at scale ``tiny``, the miniature model on 192x96, timed in CPU
time if the loader has no processes of its own. One after the other, from the same ImageNet weights, with the same
number of loader workers:

- Detectron2: its modules, ``SimpleTrainer``, ``DatasetMapper``, ``build_detection_train_loader``, PyTorch's defaults;
- ours in each of ``--precision``; 16 bits come with the channels-last layout on a GPU.

Prints images a second, milliseconds an iteration takes and waits for data, peak GPU memory, in how many of them the GPU
works, kernels and waits for the GPU, and the mean loss in quarters of the iterations; ``--losses FILE`` keeps every
loss as CSV. The paper's model needs its weights: ``--weights R-50.pkl`` from
``https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl``, unless the machine can download them, or
``--weights random``, which is as fast.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper, build_detection_train_loader
from detectron2.data.detection_utils import build_augmentation
from detectron2.engine import HookBase, SimpleTrainer, TrainerBase, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from instance_table import write_tree
from mapper import samples_of
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from scapes import cityscapes
from seeded_rcnn import numerics, weights
from synlib.pointrend import trainer, worker
from synlib.pointrend.config import detectron2_config
from synlib.runs.folder import RunDir
from synlib.spec import DataSpec, Execution, InputSpec, RunSpec, ScheduleSpec
from toyscapes import write_cityscapes

WARM_UP = {"tiny": 5, "paper": 30}
"""Iterations before the clock starts: until then each of the eight frame sizes was met, with its memory and kernels."""
PROFILED = 4
"""Iterations after the clock has stopped, in which a GPU is watched."""
THEIRS = {
    "META_ARCHITECTURE": "GeneralizedRCNN",
    "PROPOSAL_GENERATOR.NAME": "RPN",
    "ROI_HEADS.NAME": "StandardROIHeads",
    "ROI_MASK_HEAD.NAME": "PointRendMaskHead",
}


class Recorder(HookBase):
    """Losses of all iterations; time and data time of those after the warm-up; watches the last ones."""

    def __init__(self, clock: Callable[[], float], warm_up: int) -> None:
        self.clock, self.warm_up, self.losses, self.data_s, self.watched = clock, warm_up, [], [], {}

    def before_train(self) -> None:
        self.last = self.trainer.max_iter - PROFILED
        self.profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        self.losses.append(latest["total_loss"][0])
        done = len(self.losses)
        if self.warm_up < done <= self.last:
            self.data_s.append(latest["data_time"][0])
        if done in (self.warm_up, self.last, self.trainer.max_iter) and torch.cuda.is_available():
            torch.cuda.synchronize()
        if done == self.warm_up:
            self.began = self.clock()
        if done == self.last:
            self.seconds = self.clock() - self.began
            if torch.cuda.is_available():
                self.profiler.start()
        if done == self.trainer.max_iter and torch.cuda.is_available():
            self.profiler.stop()
            self.watched = watched(self.profiler)


def watched(profiler: profile) -> dict[str, float]:
    """An iteration's milliseconds in which the GPU works, kernels, and waits of the program for it."""
    events = profiler.key_averages()
    on_gpu = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
    return {
        "GPU busy ms": sum(event.self_device_time_total for event in on_gpu) / 1000 / PROFILED,
        "kernels": sum(event.count for event in on_gpu) / PROFILED,
        "waits": sum(event.count for event in events if event.key == "cudaStreamSynchronize") / PROFILED,
    }


def detectron2(spec: RunSpec, cfg: CfgNode, job: Execution) -> TrainerBase:
    """Detectron2's trainer, as its ``tools/train_net.py`` and ``plain_train_net.py`` put it together."""
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False  # PyTorch's defaults
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list([part for key, name in THEIRS.items() for part in (f"MODEL.{key}", name)])
    torch.manual_seed(spec.seed)
    model = build_model(cfg)
    weights.load_imagenet(model, cfg, job.imagenet_weights)
    loader = build_detection_train_loader(
        [annotated for annotated, _ in samples_of(Path(job.real_root), 1, 255)],
        mapper=DatasetMapper(
            True,
            augmentations=build_augmentation(cfg, is_train=True),
            image_format=cfg.INPUT.FORMAT,
            use_instance_mask=True,
            instance_mask_format="bitmask",
        ),
        total_batch_size=spec.batch_size,
        num_workers=job.loader_workers,
    )
    optimizer = build_optimizer(cfg, model)
    peer = SimpleTrainer(model, loader, optimizer)
    peer.register_hooks([hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer))])
    return peer


def ours(spec: RunSpec, cfg: CfgNode, job: Execution, folder: Path) -> TrainerBase:
    numerics.configure(spec.precision, deterministic=False, gpu=cfg.MODEL.DEVICE != "cpu")
    run = RunDir(folder)
    run.path.mkdir()
    return trainer.build_trainer(spec, cfg, worker.training_set(spec.data, job), job, run)


def measured(
    built: TrainerBase, options: argparse.Namespace, batch_size: int, clock: Callable[[], float]
) -> tuple[dict[str, float], list[float]]:
    recorder, timed = Recorder(clock, WARM_UP[options.scale]), options.iterations - WARM_UP[options.scale]
    built.register_hooks([recorder])
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    built.train(0, options.iterations + PROFILED)
    figures = {
        "images/s": batch_size * timed / recorder.seconds,
        "ms": 1000 * recorder.seconds / timed,
        "data ms": 1000 * sum(recorder.data_s) / len(recorder.data_s),
        "GPU GiB": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else float("nan"),
    }
    return figures | recorder.watched, recorder.losses


def damped_backbone() -> dict[str, Any]:
    """Random weights of the R50's names, small enough for its losses to be finite."""
    torch.manual_seed(0)
    model = build_model(detectron2_config(RunSpec(model="pointrend_r50", data=DataSpec(real=1)), "cpu"))
    return {f"backbone.bottom_up.{name}": 0.5 * value for name, value in model.backbone.bottom_up.state_dict().items()}


def specs(options: argparse.Namespace, batch_size: int) -> RunSpec:
    """The float32 run; one iteration more than is trained, so that no final checkpoint is written."""
    tiny = options.scale == "tiny"
    warmup = min(20 if tiny else 1000, options.iterations)
    return RunSpec(
        model="pointrend_tiny" if tiny else "pointrend_r50",
        data=DataSpec(real=options.images),
        schedule=ScheduleSpec(iterations=options.iterations + PROFILED + 1, warmup_iterations=warmup),
        input=InputSpec(train_short_px=(96,), test_short_px=96, max_long_px=192) if tiny else InputSpec(),
        batch_size=batch_size,
    )


def parse() -> argparse.Namespace:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("paper", "tiny"), default="paper")
    parser.add_argument("--batch", type=int, nargs="+", help="default: 2 and 8, tiny: 2")
    parser.add_argument("--iterations", type=int, help="default: 200, tiny: 60")
    parser.add_argument("--precision", nargs="+", default=["tf32", "bf16"] if gpu else ["float32", "bf16"])
    parser.add_argument("--loader-workers", type=int, help="default: 4, tiny: 0")
    parser.add_argument("--images", type=int, default=40, help="drawn")
    parser.add_argument("--weights", default="", help="ImageNet weights of the model; random: damped random ones")
    parser.add_argument("--losses", type=Path, help="CSV of all losses")
    options = parser.parse_args()
    defaults = {"batch": [2], "iterations": 60, "loader_workers": 0} if options.scale == "tiny" else {
        "batch": [2, 8], "iterations": 200, "loader_workers": 4
    }  # fmt: skip
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.iterations <= (untimed := WARM_UP[options.scale]):
        parser.error(f"--iterations {options.iterations}: expected more than the {untimed} that are not timed")
    return options


def main() -> None:
    options = parse()
    cv2.setNumThreads(1)
    threads = 1 if options.scale == "tiny" else torch.get_num_threads()
    torch.set_num_threads(threads)
    alone = options.loader_workers == 0 and not torch.cuda.is_available()
    clock = time.process_time if alone else time.perf_counter
    rows, losses = [], {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cityscapes"
        if options.scale == "tiny":
            write_cityscapes(root, train=options.images, val=0, height=96, width=192)
        else:
            write_tree(root, options.images, options.images)
        if options.weights == "random":
            options.weights = str(Path(folder) / "R-50.pth")
            torch.save(damped_backbone(), options.weights)
        options.images = len(cityscapes.read_images(root, "train"))
        job = Execution(
            real_root=str(root),
            cache_dir=folder,
            imagenet_weights=options.weights,
            loader_workers=options.loader_workers,
            checkpoint_period=10**9,
        )
        for batch_size in options.batch:
            for name in ("Detectron2", *options.precision):
                spec = specs(options, batch_size)
                if name != "Detectron2":
                    spec = spec.replace(precision=name)
                cfg = detectron2_config(spec)
                run_folder = Path(folder) / f"{name} {batch_size}"
                built = detectron2(spec, cfg, job) if name == "Detectron2" else ours(spec, cfg, job, run_folder)
                found, losses[f"{name}, batch {batch_size}"] = measured(built, options, batch_size, clock)
                rows.append({"batch": batch_size, "trainer": name, **found})
                del built  # and with it the loader's workers, and what it holds of the GPU's memory
                gc.collect()
                torch.cuda.empty_cache()
    report(rows, losses, options, threads)


def report(
    rows: list[dict[str, float]], losses: dict[str, list[float]], options: argparse.Namespace, threads: int
) -> None:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {threads} threads"
    print(f"{options.scale}: {options.iterations} iterations, {options.loader_workers} loader workers, on {device}")
    curves = pd.DataFrame(losses).rename_axis("iteration")
    if options.losses:
        curves.to_csv(options.losses)
    quarters = curves.groupby(curves.index * 4 // len(curves)).mean().T
    quarters.columns = [f"loss {n}/4" for n in range(1, len(quarters.columns) + 1)]
    table = pd.DataFrame(rows)
    table = pd.concat([table, quarters.reset_index(drop=True)], axis=1)
    table["speedup"] = table["images/s"] / table.groupby("batch")["images/s"].transform("first")
    print(table.to_string(index=False, float_format="{:.3g}".format))
    best = table[table["trainer"] != "Detectron2"].sort_values("speedup").iloc[-1]
    print(f"speedup {best['speedup']:.1f}x, {best['trainer']} at batch {best['batch']} over Detectron2")


if __name__ == "__main__":
    main()
