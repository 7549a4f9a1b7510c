"""Where and with what a run is executed: paths and devices, which are no part of a run's identity and not hashed.

Paths do not change a result. Another device, number of processes or ``images_per_step`` does, by rounding.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A split to evaluate on: a Cityscapes-format tree, and the area below which ground truth is ignored.

    ``data``: fingerprint of the split's content.
    """

    name: str
    root: str
    data: str
    split: str = "val"
    min_area_px: int = 100

    def identity(self) -> dict[str, Any]:
        """What a result on this set depends on: with the same identity it need not be made again."""
        return {"data": self.data, "split": self.split, "min_area_px": self.min_area_px}


@dataclass(frozen=True, kw_only=True)
class Job:
    """Paths and devices of one execution.

    ``real_root``, ``synthetic_root``: Cityscapes-format trees whose ``train`` split is trained on.
    ``cache_dir``: where instance tables are kept. ``initial_weights``: the checkpoint, when the spec names a run or a
    file.
    ``processes``: torchrun workers, one a GPU. ``loader_workers``: data-loading processes a worker. ``threads``: CPU
    threads a worker. ``images_per_step``: images that a worker takes through the network at once, adding up gradients
    over its share of a batch; 0 takes all. Fewer need less memory and more time. ``deterministic``: on a GPU, use
    algorithms that repeat bit by bit, as a CPU's do, where there are any; slower. ``stage_dir``: a folder on the
    worker's own disk that data sets are copied to and read from; variables such as ``$USER`` are those of the worker.
    """

    real_root: str = ""
    synthetic_root: str = ""
    cache_dir: str = ""
    evaluate_on: tuple[EvaluationSet, ...] = ()
    initial_weights: str = ""
    imagenet_weights: str = ""
    device: str = ""
    processes: int = 1
    loader_workers: int = 0
    threads: int = 1
    checkpoint_period: int = 1000
    images_per_step: int = 0
    deterministic: bool = False
    stage_dir: str = ""

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        sets = tuple(EvaluationSet(**value) for value in values.get("evaluate_on", ()))
        return cls(**{**values, "evaluate_on": sets})
