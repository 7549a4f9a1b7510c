"""How large the study is: ``profiles/*.yaml``. A profile names data, model and baseline schedule, no results."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from synlib.grids import Grids
from synlib.spec import InputSpec, ScheduleSpec, build, mapping

ROOT = Path(__file__).resolve().parents[1]
"""The compendium: notebooks, profiles, and by default data, runs, figures and reports."""
MODELS = Path(__file__).resolve().parent / "pointrend" / "configs"
"""The model profiles; importing what reads them would load PyTorch."""


@dataclass(frozen=True, kw_only=True)
class ToyPart:
    """Images of one domain of the embedded data set."""

    train: int
    val: int


@dataclass(frozen=True, kw_only=True)
class Toyscapes:
    """The embedded miniature data set, drawn at ``height`` x ``width`` px in the formats of both real ones.

    ``gap``: how far the look of the real domain is from the synthetic one, 0 (the same) to 2.
    """

    height: int
    width: int
    real: ToyPart
    synthetic: ToyPart
    seed: int = 0
    gap: float = 1.0


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Either ``toyscapes``, or the roots of both data sets. ``min_area_px``: smaller ground truth is not evaluated."""

    toyscapes: Toyscapes | None = None
    cityscapes: str = ""
    synscapes: str = ""
    synscapes_variant: str = "rgb"
    min_area_px: int = 100


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """What one training asks of a Slurm cluster; what is empty or 0 is left to the cluster's defaults.

    ``nodes``; ``gpus`` and ``cpus`` (0: enough for processes and loaders) on all of them together; ``mem`` of a node
    (``64G``); ``time`` (``12:00:00``), ``partition`` and ``account`` as sbatch takes them. With ``gpus``, a training
    has as many processes. ``directives``: further options of sbatch, such as ``--constraint=a100``. ``setup``: shell
    lines before the training, such as ``module load cuda``. ``stop_before_s``: seconds before the end of its time at
    which a job saves its state and goes back into the queue.
    """

    nodes: int = 1
    gpus: int = 0
    cpus: int = 0
    mem: str = ""
    time: str = ""
    partition: str = ""
    account: str = ""
    directives: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    stop_before_s: int = 120

    def __post_init__(self) -> None:
        for name in ("directives", "setup"):
            lines = getattr(self, name)
            if not isinstance(lines, (list, tuple)) or not all(isinstance(line, str) for line in lines):
                raise ValueError(f"slurm.{name}: found {lines!r}, expected a list of lines of text")
            object.__setattr__(self, name, tuple(lines))
        if not isinstance(self.time, str):  # without quotes YAML reads 12:00:00 as a number
            raise ValueError(f'slurm.time: found {self.time!r}, expected text in quotes, such as "12:00:00"')
        if self.nodes < 1:
            raise ValueError(f"slurm.nodes: found {self.nodes}, expected at least 1")
        if self.gpus % self.nodes:
            raise ValueError(f"slurm.gpus: found {self.gpus}, expected a multiple of the {self.nodes} nodes")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Processes (GPUs) and loader workers of a training, CPU threads of a process, iterations between checkpoints.

    ``images_per_step``: images that a process takes through the network at once, for GPUs with little memory (0: its
    share of the batch); the result is the same up to rounding. ``deterministic``: on GPUs, algorithms that repeat bit
    by bit where there are any. ``stage_dir``: a folder on a node's own disk to copy data sets to; empty: they are read
    where they are. ``seconds_per_iteration``: for the plan's estimates.
    """

    processes: int = 4
    loader_workers: int = 4
    threads: int = 4
    checkpoint_period: int = 1000
    images_per_step: int = 0
    deterministic: bool = False
    imagenet_weights: str = ""
    stage_dir: str = ""
    seconds_per_iteration: float = 0.35
    slurm: Slurm = field(default_factory=Slurm)

    def __post_init__(self) -> None:
        lowest = {"processes": 1, "threads": 1, "checkpoint_period": 1, "loader_workers": 0, "images_per_step": 0}
        for name, low in lowest.items():
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise ValueError(f"execution.{name}: found {value!r}, expected an integer from {low} on")
        seconds = self.seconds_per_iteration
        if type(seconds) not in (int, float) or not seconds > 0:
            raise ValueError(f"execution.seconds_per_iteration: found {seconds!r}, expected a number above 0")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A size of the study. ``baseline_images``: training images of the first experiments (2,975 in the paper)."""

    name: str
    data: DataSource
    model: str
    baseline_images: int
    input: InputSpec = field(default_factory=InputSpec)
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    init: str = "imagenet"
    precision: str = "float32"
    batch_size: int = 8
    seeds: tuple[int, ...] = (0,)
    grids: Grids = field(default_factory=Grids)
    execution: Execution = field(default_factory=Execution)

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Read ``profiles/NAME.yaml``, or the file at a path that ends in ``.yaml``.

        Raises FileNotFoundError, listing the known profiles, or ValueError, naming the file and the field.
        """
        path = Path(name) if str(name).endswith(".yaml") else ROOT / "profiles" / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in (ROOT / "profiles").glob("*.yaml")))
            raise FileNotFoundError(f"profile {str(name)!r}: no file {path}; known profiles: {known}")
        try:
            return cls._from_dict({"name": path.stem} | mapping(yaml.safe_load(path.read_text()), "profile"))
        except (ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error

    @classmethod
    def _from_dict(cls, values: Mapping[str, Any]) -> Self:
        sections = {"input": InputSpec, "schedule": ScheduleSpec, "grids": Grids, "execution": Execution}
        execution = mapping(values.get("execution", {}), "execution")
        execution["slurm"] = build(Slurm, execution.get("slurm", {}), "execution.slurm")
        values = values | {"execution": execution}
        values = {name: build(section, values.get(name, {}), name) for name, section in sections.items()} | {
            name: value for name, value in values.items() if name not in sections
        }
        data = mapping(values.get("data", {}), "data")
        if "toyscapes" in data:
            toy = mapping(data["toyscapes"], "data.toyscapes")
            parts = {name: build(ToyPart, toy.get(name), f"data.toyscapes.{name}") for name in ("real", "synthetic")}
            data["toyscapes"] = build(Toyscapes, toy | parts, "data.toyscapes")
        seeds = values.get("seeds", [0])
        if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
            raise ValueError(f"seeds: found {seeds!r}, expected a list of one or more integers from 0 on")
        models = sorted(path.stem for path in MODELS.glob("*.yaml"))
        if "model" in values and values["model"] not in models:
            raise ValueError(f"model: found {values['model']!r}, expected one of {', '.join(models)}")
        return build(cls, values | {"data": build(DataSource, data, "data"), "seeds": tuple(seeds)}, "profile")

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

    def with_grids(self, **changes: Any) -> Self:
        """The profile with other grids where the values are not empty."""
        given = {name: value for name, value in changes.items() if value not in ([], {}, ())}
        return self.replace(grids=dataclasses.replace(self.grids, **given))

    def with_data_roots(self, cityscapes: str, synscapes: str) -> Self:
        """The profile with other data roots where they are not empty; roots of real data replace the embedded data."""
        if not cityscapes and not synscapes:
            return self
        roots = {"cityscapes": cityscapes or self.data.cityscapes, "synscapes": synscapes or self.data.synscapes}
        return self.replace(data=dataclasses.replace(self.data, toyscapes=None, **roots))
