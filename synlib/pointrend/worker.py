"""Execute the run in a folder: ``python -m synlib.pointrend.worker RUN_FOLDER``, alone or as a process of torchrun.

Reads ``spec.yaml``, ``job.json``; trains, or goes on from the newest checkpoint; evaluates; ends with ``result.json``.
"""

import atexit
import contextlib
import logging
import os
import platform
import shutil
import sys
import time
from importlib.metadata import version
from typing import Any

import pandas as pd
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

import synlib
from scapes import cityscapes, instances, staging
from seeded_rcnn import numerics, weights
from synlib.curation.compose import TrainingSet, compose
from synlib.curation.harmonize import with_details
from synlib.pointrend.config import detectron2_config
from synlib.pointrend.predict import evaluate
from synlib.pointrend.trainer import build_trainer
from synlib.runs.folder import RunBusyError, RunDir, stop_without_launcher
from synlib.section import check
from synlib.spec import DataSpec, Execution, RunSpec

LOG = logging.getLogger("synlib")
FINAL = "model_final.pth"
LOCK_PATIENCE_S = 10
CLUSTER_PATIENCE_S = 180  # file servers take up to two minutes to notice that the node that held the lock is gone


def training_set(spec: DataSpec, job: Execution) -> TrainingSet:
    """Both domains' tables, composed. ValueError when a tree is missing, or is not what ``spec`` was made for."""
    tables = {}
    for domain in ("real", "synthetic"):
        count, root = getattr(spec, f"{domain}_images"), getattr(job, f"{domain}_root")
        check(root or not count, f"no {domain} data set in the job", f"one: the run needs {count} {domain} images")
        if count:
            images, found = _checked_images(root, "train", getattr(spec, f"{domain}_fingerprint"), job)
            counted = instances.instance_table(images, job.cache_dir or None, workers=1, progress=False)
            if domain == "synthetic" and spec.criterion not in ("size", "random"):
                counted = with_details(counted, root, spec.criterion)
            how = {"check": stop_without_launcher, "arrays": job.stage_as == "arrays"}
            tables[domain] = staging.staged(images, root, job.stage_dir, found, **how), counted
    data = compose(spec, **tables)
    ignored = int(data.instances["crowd"].sum())
    counts = (len(data.images), len(data.instances) - ignored, data.emptied, ignored)
    LOG.info("%d images, %d instances, %d images without any; %d instances removed and ignored", *counts)
    return data


def _checked_images(root: str, split: str, expected: str, job: Execution) -> tuple[pd.DataFrame, str]:
    images = cityscapes.read_images(root, split)
    found = instances.fingerprint(images, job.cache_dir or None)
    check(found == (expected or found), found, f"{expected} in {split}: changed since the run was planned", root)
    return images, found


def train(spec: RunSpec, cfg: CfgNode, job: Execution, run: RunDir) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train to the last iteration; returns the model, and what ``result.json`` says of this execution's training.

    That is the iterations ``trained``, the ``training_seconds`` without start-up and evaluation, ``initial_weights``.
    """
    expected = "none" if spec.init in ("imagenet", "random") else "a checkpoint"
    fits = bool(job.initial_weights) == (expected != "none")
    check(fits, job.initial_weights, f"{expected}: init is {spec.init}", "initial_weights")
    compiles = job.compile is True or (job.compile and cfg.MODEL.DEVICE != "cpu" and shutil.which("gcc"))
    check(not compiles or shutil.which("gcc"), True, "false or auto: there is no gcc here", "execution.compile")
    # The tables have no name here: loading processes would inherit them.
    trainer = build_trainer(spec, cfg, training_set(spec.data, job), job, run)
    if compiles:
        numerics.compile_parts(trainer.network, str(run.path.parent / ".compiled"))
    started, first = time.monotonic(), trainer.start_iter
    trainer.train(first, spec.schedule.iterations)
    done = {"trained": spec.schedule.iterations - first, "training_seconds": time.monotonic() - started}
    return trainer.network, done | {"initial_weights": trainer.initial_weights}


def execute(run: RunDir) -> None:
    """Do all of the run in ``run``, and leave ``result.json`` or ``failure.json``, which says what was raised."""
    spec, job = run.spec(), Execution(**run.read("job.json"))
    started = time.time()
    try:
        torch.set_num_threads(job.threads)
        cfg = detectron2_config(spec, job.device)
        numerics.configure(spec.precision, deterministic=job.deterministic, gpu=cfg.MODEL.DEVICE != "cpu")
        if comm.is_main_process():
            run.write("environment.json", environment(cfg))
            (run.path / "config.yaml").write_text(cfg.dump())
        model, training = finished_model(cfg, run), {"trained": 0, "training_seconds": 0.0}
        if model is None:
            model, training = train(spec, cfg, job, run)
        for on in job.evaluate_on:
            if run.evaluation_result(on.name, on.identity()) is None:  # not yet, or of other data or settings
                images, data = _checked_images(on.root, on.split, on.data, job)
                images = staging.staged(images, on.root, job.stage_dir, data, stop_without_launcher)
                evaluate(model, cfg, on, images, run, job)
        run.check(spec)
        if comm.is_main_process() and run.read("result.json") is None:
            result = {"weights_sha256": weights.sha256(run.path / FINAL), "spec": spec.to_dict(), **training}
            run.write("result.json", result | {"seconds": time.time() - started})
    except BaseException as error:
        # Any process may be the one that failed; others then fail because it is gone, and come later.
        if not isinstance(error, KeyboardInterrupt) and run.read("failure.json") is None:
            run.fail(error)
        raise


def finished_model(cfg: CfgNode, run: RunDir) -> torch.nn.Module | None:
    """The model of a run that is trained; None if it is still to be trained.

    Deletes damaged final weights, and ``result.json``, which has their hash: training from the newest checkpoint makes
    the same ones again. Raises OSError or MemoryError when the file may be intact but cannot be read now.
    """
    path = run.path / FINAL
    if not path.exists():
        return None
    try:
        model = build_model(cfg)
        weights.load_into(model, weights.read_weights(path))
        numerics.prepare(model, run.spec().precision)
        return model.eval()
    except ValueError as error:
        LOG.warning("%s; continuing from the newest checkpoint", error)
    comm.synchronize()  # every process has looked at the file
    if comm.is_main_process():
        for damaged in (run.path / "result.json", path):
            damaged.unlink(missing_ok=True)
    return None


def environment(cfg: CfgNode) -> dict[str, object]:
    """Versions and hardware of this execution."""
    packages = ("torch", "torchvision", "detectron2", "numpy", "pillow")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages} | {"synlib": synlib.__version__},
        "device": torch.cuda.get_device_name() if cfg.MODEL.DEVICE != "cpu" else platform.processor() or "cpu",
        "processes": comm.get_world_size(),
        "threads": torch.get_num_threads(),
        "started": pd.Timestamp.now("UTC").isoformat(timespec="seconds"),
    }


def join_process_group(device: str) -> None:
    """Join torchrun's process group, if any, until the program ends: NCCL where each has its own GPU, else gloo."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    torch.distributed.init_process_group("nccl" if gpus >= int(os.environ["LOCAL_WORLD_SIZE"]) else "gloo")
    atexit.register(torch.distributed.destroy_process_group)


def main(folder: str) -> int:
    """Exit code 0 when the run is done, 1 when it failed (see ``failure.json`` and ``log.txt``), 3 when it is taken."""
    run = RunDir(folder)
    patience_s = CLUSTER_PATIENCE_S if "SLURM_JOB_ID" in os.environ else LOCK_PATIENCE_S
    join_process_group((run.read("job.json") or {}).get("device"))
    for name in ("detectron2", "seeded_rcnn", "synlib"):
        setup_logger(str(run.log_path), distributed_rank=comm.get_rank(), name=name)
    try:
        with run.lock(patience_s) if comm.is_main_process() else contextlib.nullcontext():
            comm.synchronize()
            execute(run)
    except RunBusyError as error:
        LOG.error("%s", error)
        return 3
    except Exception as error:
        LOG.exception("%s: %s", type(error).__name__, error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
