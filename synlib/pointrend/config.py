"""A run's spec as a Detectron2 configuration. A model profile is one YAML file in ``configs/``."""

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.projects.point_rend import add_pointrend_config

from seeded_rcnn import backbone, sampling  # noqa: F401  (they register modules with Detectron2)
from synlib.spec import MODELS, RunSpec


def detectron2_config(spec: RunSpec, device: str = "") -> CfgNode:
    """The frozen Detectron2 configuration of ``spec`` on ``device`` ("": "cuda" if there is one, else "cpu").

    Raises ValueError without a GPU where "cuda" was asked for.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("execution.device: found 'cuda', expected 'cpu' or nothing: PyTorch sees no GPU with a driver")
    cfg = get_cfg()
    add_pointrend_config(cfg)
    cfg.merge_from_file(str(MODELS / f"{spec.model}.yaml"))
    cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
    cfg.SEED = spec.seed
    cfg.INPUT.MIN_SIZE_TRAIN = spec.input.train_short_px
    cfg.INPUT.MIN_SIZE_TEST = spec.input.test_short_px
    cfg.INPUT.MAX_SIZE_TRAIN = cfg.INPUT.MAX_SIZE_TEST = spec.input.max_long_px
    schedule = spec.schedule
    cfg.SOLVER.IMS_PER_BATCH = spec.batch_size
    cfg.SOLVER.MAX_ITER = schedule.iterations
    cfg.SOLVER.BASE_LR = schedule.base_lr
    cfg.SOLVER.MOMENTUM = schedule.momentum
    cfg.SOLVER.WEIGHT_DECAY = schedule.weight_decay
    cfg.SOLVER.LR_SCHEDULER_NAME = {"steps": "WarmupMultiStepLR", "cosine": "WarmupCosineLR"}[schedule.policy]
    steps = (round(step * schedule.iterations) for step in schedule.steps)
    cfg.SOLVER.STEPS = tuple(step for step in steps if step < schedule.iterations)
    cfg.SOLVER.WARMUP_ITERS = schedule.warmup_iterations
    cfg.freeze()
    return cfg
