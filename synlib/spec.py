"""What one training run is (:class:`RunSpec`), and where and with what it is executed (:class:`Execution`).

Everything that changes the result is a field of RunSpec; nothing else is (no path, no number of GPUs or loader
workers). Its canonical form is hashed into the run id, so equal runs are trained once. A data set enters through the
fingerprint of its content (:func:`scapes.instances.fingerprint`).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from scapes.labels import CLASSES
from synlib.section import Count, List, Natural, NotNegative, Positive, Section, check

RECIPE = 2
"""Raised by hand when a change of the code alters what a spec produces, so that old runs are not taken for new ones."""


def removal_fractions(value: float | Mapping[str, float]) -> dict[str, float]:
    """One fraction for every class, or ``{class: fraction}``, as ``{class: fraction}`` over all eight classes."""
    given = value if isinstance(value, Mapping) else dict.fromkeys(CLASSES, value)
    for name, fraction in given.items():
        if name not in CLASSES:
            raise ValueError(f"unknown class {name!r}; expected some of {', '.join(CLASSES)}")
        number = isinstance(fraction, (int, float)) and not isinstance(fraction, bool)
        check(number and 0 <= fraction <= 1, fraction, "a fraction to remove, 0 to 1", name)
    return {name: float(given.get(name, 0.0)) for name in CLASSES}


def _images(value: Any) -> int | tuple[str, ...]:
    """A number of images, or image ids in alphabetical order: the order in which they are listed means nothing."""
    if isinstance(value, (list, tuple)) and value:
        check(all(isinstance(image, str) for image in value), value, "image ids as text")
        twice = sorted({image for image in value if value.count(image) > 1}) if len(set(value)) < len(value) else []
        check(not twice, twice[:5], "each image once")
        return tuple(sorted(value))
    value = 0 if isinstance(value, (list, tuple)) else value
    check(type(value) is int and value >= 0, value, "an integer from 0 on, or a list of image ids")
    return value


Momentum = Annotated[float, Field(ge=0, lt=1)]
Pixels = Annotated[int, Field(ge=32)]
Images = Annotated[int | tuple[str, ...], BeforeValidator(_images)]
Init = Annotated[str, Field(pattern="^(imagenet|random|run:.+|sha256:[0-9a-f]{64})$")]
Precision = Literal["float32", "tf32", "bf16", "fp16"]


class DataSpec(Section):
    """The training set: how many images of each domain, or which, and which synthetic instances are left out.

    ``real``, ``synthetic``: a number of images, drawn with ``seed``, or a list of image ids, in any order.
    ``removal``: fraction of each class's synthetic instances to remove, smallest first (paper, section 4.1).
    ``removed_as``: what the network learns where an instance was removed, ``background`` (the paper) or nothing,
    ``ignore`` (an ablation that the paper does not have).
    ``emptied``: what happens to images without an instance, ``keep`` (they are negatives) or ``drop``.
    """

    real: Images = 0
    synthetic: Images = 0
    real_fingerprint: str = ""
    synthetic_fingerprint: str = ""
    removal: Annotated[dict[str, float], BeforeValidator(removal_fractions)] = removal_fractions(0.0)
    removed_as: Literal["background", "ignore"] = "background"
    emptied: Literal["keep", "drop"] = "keep"
    seed: Natural = 0

    @model_validator(mode="after")
    def _leave_out_what_means_nothing(self) -> Self:
        """A domain without images leaves no trace, so that a change of its data does not rename the run."""
        check(self.images > 0, 0, "at least one training image", "real + synthetic")
        self._set(real_fingerprint=self.real_fingerprint if self.real else "")
        if not self.synthetic:
            self._set(synthetic_fingerprint="", removal=removal_fractions(0.0))
        if not any(self.removal.values()):
            self._set(removed_as="background")
        if not any(isinstance(images, int) and images > 0 for images in (self.real, self.synthetic)):
            self._set(seed=0)
        return self

    @property
    def real_images(self) -> int:
        return self.real if isinstance(self.real, int) else len(self.real)

    @property
    def synthetic_images(self) -> int:
        return self.synthetic if isinstance(self.synthetic, int) else len(self.synthetic)

    @property
    def images(self) -> int:
        return self.real_images + self.synthetic_images


class ScheduleSpec(Section):
    """Optimisation by SGD. ``steps`` are fractions of ``iterations`` at which the learning rate drops to a tenth.

    The defaults are the paper's baseline (section 3.3): 24,000 iterations, 0.01, x0.1 after 18,000 and 22,000.
    ``warmup_iterations`` None means 1,000 iterations or a tenth of the run, whichever is less (Detectron2's default).
    """

    iterations: Count = 24_000
    base_lr: Positive = 0.01
    momentum: Momentum = 0.9
    weight_decay: NotNegative = 1e-4
    policy: Literal["steps", "cosine"] = "steps"
    steps: List[Annotated[float, Field(gt=0, le=1)]] = (0.75, 11 / 12)
    warmup_iterations: Natural | None = None
    clip_gradient_norm: NotNegative = 0.0

    @model_validator(mode="after")
    def _steps_and_warmup(self) -> Self:
        check(list(self.steps) == sorted(self.steps), self.steps, "increasing fractions of the run", "steps")
        if self.warmup_iterations is None:
            self._set(warmup_iterations=min(1000, self.iterations // 10))
        short = self.warmup_iterations < max(2, self.iterations)
        check(short, self.warmup_iterations, f"less than the {self.iterations} iterations", "warmup_iterations")
        return self


class InputSpec(Section):
    """Image sizes in px: the short side is one of ``train_short_px`` in training and ``test_short_px`` in testing."""

    train_short_px: Annotated[List[Pixels], Field(min_length=1)] = (800, 832, 864, 896, 928, 960, 992, 1024)
    test_short_px: Pixels = 1024
    max_long_px: Pixels = 2048


class RunSpec(Section):
    """One training run.

    ``init``: ``imagenet``, ``random``, ``run:<run id>``, or ``sha256:<hash>`` of a checkpoint. ``precision``: of the
    forward and backward pass; ``bf16`` and ``fp16`` mean autocast with weights in float32. ``tf32``: float32 whose
    multiplications on a GPU have 10 bits of mantissa. ``schedule`` may be given with ``epochs`` in place of
    ``iterations``: how often each training image is seen.
    """

    model: Annotated[str, Field(min_length=1)] = "pointrend_r50"
    data: DataSpec
    batch_size: Count = 8
    schedule: ScheduleSpec = ScheduleSpec()
    input: InputSpec = InputSpec()
    init: Init = "imagenet"
    precision: Precision = "float32"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    recipe: int = RECIPE

    @field_validator("schedule", mode="before")
    @classmethod
    def _iterations_of_epochs(cls, schedule: Any, info: ValidationInfo) -> Any:
        if not isinstance(schedule, dict) or "epochs" not in schedule:
            return schedule
        check("iterations" not in schedule, "epochs and iterations", "one of them")
        epochs = schedule["epochs"]
        check(type(epochs) in (int, float) and 0 < epochs < math.inf, epochs, "a number above 0", "epochs")
        rest = {name: value for name, value in schedule.items() if name != "epochs"}
        if {"data", "batch_size"} <= info.data.keys():  # else it is their errors that are told
            rest["iterations"] = iterations_for_epochs(epochs, info.data["data"].images, info.data["batch_size"])
        return rest

    @property
    def initial_run(self) -> str | None:
        """The run whose final weights this one starts from, or None."""
        return self.init.removeprefix("run:") if self.init.startswith("run:") else None

    @property
    def epochs(self) -> float:
        return self.schedule.iterations * self.batch_size / self.data.images

    def canonical(self) -> str:
        """JSON with sorted keys and no spaces: equal specs give equal text."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @property
    def training_images(self) -> int:
        """How many images the training processes, each epoch counted: the measure of its length."""
        return self.schedule.iterations * self.batch_size

    @property
    def run_id(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of :meth:`canonical`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]


def iterations_for_epochs(epochs: float, images: int, batch_size: int) -> int:
    """Iterations that show each of ``images`` images ``epochs`` times: epochs = iterations * batch / images."""
    return max(1, math.ceil(epochs * images / batch_size))


class EvaluationSet(Section):
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


class Slurm(Section):
    """What one training asks of a Slurm cluster; what is empty or 0 is left to the cluster's defaults.

    ``nodes``; ``gpus`` and ``cpus`` (0: enough for processes and loaders) on all of them together; ``mem`` of a node
    (``64G``); ``time`` (``12:00:00``), ``partition`` and ``account`` as sbatch takes them. With ``gpus``, a training
    has as many processes. ``directives``: further options of sbatch, such as ``--constraint=a100``. ``setup``: shell
    lines before the training, such as ``module load cuda``. ``stop_before_s``: seconds before the end of its time at
    which a job saves its state and goes back into the queue.
    """

    nodes: Count = 1
    gpus: Natural = 0
    cpus: Natural = 0
    mem: str = ""
    time: str = ""
    partition: str = ""
    account: str = ""
    directives: List[str] = ()
    setup: List[str] = ()
    stop_before_s: int = 120

    @model_validator(mode="after")
    def _same_on_every_node(self) -> Self:
        check(self.gpus % self.nodes == 0, self.gpus, f"a multiple of the {self.nodes} nodes", "gpus")
        return self


class ExecutionSettings(Section):
    """How trainings are executed; no part of a run's identity. Processes, ``images_per_step`` and the device change
    results by rounding, the rest does not.

    ``processes``: one for each GPU. ``loader_workers``: data-loading processes of each. ``threads``: CPU threads of
    each. ``checkpoint_period``: iterations between checkpoints. ``images_per_step``: images that a process takes
    through the network at once, adding up gradients over its share of a batch; 0 takes all. Fewer need less memory and
    more time. ``deterministic``: on a GPU, use algorithms that repeat bit by bit, as a CPU's do, where there are any;
    slower. ``imagenet_weights``: file of the backbone's weights; empty: downloaded. ``stage_dir``: a folder on the
    worker's own disk that data sets are copied to and read from; variables such as ``$USER`` are those of the worker.
    ``seconds_per_iteration``: for the plan's estimates. ``device``: empty: CUDA if there is one.
    ``executor``: ``local``, this machine, or ``slurm``, a cluster.
    """

    processes: Count = 4
    loader_workers: Natural = 4
    threads: Count = 4
    checkpoint_period: Count = 1000
    images_per_step: Natural = 0
    deterministic: bool = False
    imagenet_weights: str = ""
    stage_dir: str = ""
    seconds_per_iteration: Positive = 0.35
    device: Literal["", "cpu", "cuda"] = ""
    executor: Literal["local", "slurm"] = "local"
    slurm: Slurm = Slurm()


class Execution(ExecutionSettings):
    """What a worker needs to know besides the spec: the settings, and paths.

    ``real_root``, ``synthetic_root``: Cityscapes-format trees whose ``train`` split is trained on.
    ``cache_dir``: where instance tables are kept. ``initial_weights``: the checkpoint, when the spec names a run or a
    file.
    """

    processes: Count = 1
    loader_workers: Natural = 0
    threads: Count = 1
    real_root: str = ""
    synthetic_root: str = ""
    cache_dir: str = ""
    evaluate_on: List[EvaluationSet] = ()
    initial_weights: str = ""
