"""What one training run is (:class:`RunSpec`), and where and with what it is executed (:class:`Execution`).

RunSpec has every field that changes the result and no other: no path, no number of GPUs; data sets enter through their
content (:func:`scapes.instances.fingerprint`). The run id is a hash of it, so that equal runs are trained once.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic.types import NonNegativeFloat, NonNegativeInt, PositiveFloat

from scapes.labels import CLASSES
from synlib.section import Count, List, LocalPath, Section, check

MODELS = Path(__file__).resolve().parent / "pointrend" / "configs"  # importing what reads them would load PyTorch
RECIPE = 2  # raised by hand when a change of the code alters what a spec produces: old runs are not taken for new ones


def _of_every_class(value: Any) -> Any:
    """One fraction for all classes, or ``{class: fraction}``, as ``{class: fraction}`` with all eight classes."""
    return dict.fromkeys(CLASSES, 0.0) | (value if isinstance(value, Mapping) else dict.fromkeys(CLASSES, value))


def _images(value: Any) -> int | tuple[str, ...]:
    """A number of images, or image ids in alphabetical order: the order in which they are listed means nothing."""
    if not isinstance(value, (list, tuple)):
        return check(type(value) is int and value >= 0, value, "an integer from 0 on, or a list of image ids")
    check(all(isinstance(image, str) for image in value), value, "image ids as text")
    twice = [image for image, number in Counter(value).items() if number > 1]
    check(not twice, twice[:5], "each image once")
    return tuple(sorted(value)) or 0


def _processes(value: Any) -> Any:
    return check(value == "auto" or (type(value) is int and value >= 1), value, "auto, or a number from 1 on")


Momentum = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(ge=32)]
Model = Literal[*sorted(path.stem for path in MODELS.glob("*.yaml"))]
Images = Annotated[int | tuple[str, ...], BeforeValidator(_images)]
Init = Annotated[str, Field(pattern="^(imagenet|random|run:.+|sha256:[0-9a-f]{64})$")]
Precision = Literal["float32", "tf32", "bf16", "fp16"]
Criterion = Literal["size", "random", "occlusion", "distance"]
Processes = Annotated[int | Literal["auto"], BeforeValidator(_processes)]


class DataSpec(Section):
    """The training set. ``real``, ``synthetic``: a number of images, drawn with ``seed``, or a list of image ids."""

    real: Images = 0
    synthetic: Images = 0
    real_fingerprint: str = ""
    synthetic_fingerprint: str = ""
    # Fraction of each class's synthetic instances to remove, smallest first (section 4.1).
    removal: Annotated[dict[Literal[CLASSES], Fraction], BeforeValidator(_of_every_class)] = _of_every_class(0.0)
    removed_as: Literal["background", "ignore"] = "background"  # ignore: nothing is learned from their pixels
    emptied: Literal["keep", "drop"] = "keep"  # images without an instance: negatives, or left out
    seed: NonNegativeInt = 0
    # Beyond the paper; at their defaults in no file and no run id. What goes first; whether the domains take turns.
    criterion: Annotated[Criterion, Field(exclude_if="size".__eq__)] = "size"
    sampling: Annotated[Literal["shuffled", "balanced"], Field(exclude_if="shuffled".__eq__)] = "shuffled"

    @model_validator(mode="after")
    def _default_what_means_nothing(self) -> Self:
        """What this training does not use, such as the data of a domain without images, must not change the run id."""
        check(self.images > 0, 0, "at least one training image", "real + synthetic")
        removes = self.synthetic and self.removed
        drawn = any(isinstance(images, int) and images for images in (self.real, self.synthetic))
        used = {
            "real_fingerprint": self.real,
            "synthetic_fingerprint": self.synthetic,
            "removal": self.synthetic,
            "removed_as": removes,
            "criterion": removes,
            "sampling": self.real and self.synthetic,
            "seed": drawn or (removes and self.criterion == "random"),
        }
        fields = type(self).model_fields
        self.__dict__.update({name: fields[name].get_default() for name in used if not used[name]})
        return self

    real_images = property(lambda self: self.real if isinstance(self.real, int) else len(self.real))
    synthetic_images = property(lambda self: self.synthetic if isinstance(self.synthetic, int) else len(self.synthetic))
    images = property(lambda self: self.real_images + self.synthetic_images)
    removed = property(lambda self: {name: fraction for name, fraction in self.removal.items() if fraction})


class ScheduleSpec(Section):
    """Optimisation by SGD; the defaults are the paper's baseline (section 3.3)."""

    iterations: Count = 24_000
    base_lr: PositiveFloat = 0.01
    momentum: Momentum = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    policy: Literal["steps", "cosine"] = "steps"
    steps: List[Annotated[float, Field(gt=0, le=1)]] = (0.75, 11 / 12)  # fractions of the run, where the rate is x 0.1
    warmup_iterations: NonNegativeInt | None = None  # None: 1,000 (Detectron2's), or a tenth of a shorter run
    clip_gradient_norm: NonNegativeFloat = 0.0  # 0: no clipping

    @model_validator(mode="after")
    def _steps_and_warmup(self) -> Self:
        check(list(self.steps) == sorted(self.steps), self.steps, "increasing fractions of the run", "steps")
        warmup = min(1000, self.iterations // 10) if self.warmup_iterations is None else self.warmup_iterations
        short = warmup < max(2, self.iterations)
        check(short, warmup, f"less than the {self.iterations} iterations", "warmup_iterations")
        self.__dict__["warmup_iterations"] = warmup
        return self


class InputSpec(Section):
    """Image sizes in px: the short side is one of ``train_short_px`` in training and ``test_short_px`` in testing."""

    train_short_px: Annotated[List[Pixels], Field(min_length=1)] = (800, 832, 864, 896, 928, 960, 992, 1024)
    test_short_px: Pixels = 1024
    max_long_px: Pixels = 2048


class RunSpec(Section):
    """One training run. ``schedule`` may be given with ``epochs`` (passes over the images) instead of iterations."""

    model: Model = "pointrend_r50"
    data: DataSpec
    batch_size: Count = 8
    schedule: ScheduleSpec = ScheduleSpec()
    input: InputSpec = InputSpec()
    init: Init = "imagenet"  # or random, run:RUN_ID, sha256:HASH of a checkpoint
    precision: Precision = "float32"  # bf16, fp16: autocast, weights in float32; tf32: products of 10 bits on a GPU
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    recipe: int = RECIPE

    @field_validator("schedule", mode="before")
    @classmethod
    def _iterations_of_epochs(cls, schedule: Any, info: ValidationInfo) -> Any:
        if not isinstance(schedule, dict) or "epochs" not in schedule:
            return schedule
        check("iterations" not in schedule, "epochs and iterations", "one of them")
        epochs, rest = schedule["epochs"], {name: schedule[name] for name in schedule if name != "epochs"}
        check(type(epochs) in (int, float) and 0 < epochs < math.inf, epochs, "a number above 0", "epochs")
        if {"data", "batch_size"} <= info.data.keys():  # otherwise their errors are the ones reported
            rest["iterations"] = max(1, math.ceil(epochs * info.data["data"].images / info.data["batch_size"]))
        return rest

    # The run whose final weights this one starts from, or None.
    initial_run = property(lambda self: self.init.removeprefix("run:") if self.init.startswith("run:") else None)
    # How many images the training processes, each epoch counted: the measure of its length; and passes over its data.
    training_images = property(lambda self: self.schedule.iterations * self.batch_size)
    epochs = property(lambda self: self.training_images / self.data.images)

    @property
    def run_id(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the spec as JSON with sorted keys and no spaces."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class Policy(Section):
    """What to do where section 3.2 is silent; recorded in the manifest of the harmonised data set."""

    # Pixels of a rider-and-vehicle instance that the class map calls neither rider nor bicycle nor motorcycle. strict:
    # they leave the instance and keep their class ("reduced to the strict vehicle area"). vehicle: they stay with it
    leftover: Literal["strict", "vehicle"] = "strict"
    # Person instances most of whose pixels are rider in the class map. rider: they become riders, as Cityscapes labels
    # a person in a wheelchair. person: they stay persons
    wheelchairs: Literal["rider", "person"] = "rider"
    # Pixels of a class with instances that belong to none, such as bicycles without riders that were not told apart;
    # evaluation ignores them. group: a group region. void: unlabelled
    orphans: Literal["group", "void"] = "group"


class EvaluationSet(Section):
    """A split to evaluate on."""

    name: str
    root: str  # a Cityscapes-format tree
    data: str  # fingerprint of the split's content
    split: str = "val"
    min_area_px: NonNegativeInt = 100  # smaller ground truth is ignored

    def identity(self) -> dict[str, Any]:
        """What a result on this set depends on: with the same identity it need not be made again."""
        return self.model_dump(include={"data", "split", "min_area_px"})


class Slurm(Section):
    """What one training asks of a Slurm cluster, in sbatch's words; what is empty or 0 is left to its defaults."""

    nodes: Count = 1
    gpus: NonNegativeInt = 0  # of all nodes together; a training has one process for each
    cpus: NonNegativeInt = 0  # of all nodes together; 0: enough for processes and loaders
    mem: str = ""  # of a node: 64G
    time: str = ""  # 12:00:00
    partition: str = ""
    account: str = ""
    directives: List[str] = ()  # further options of sbatch: --constraint=a100
    setup: List[str] = ()  # shell lines before the training: module load cuda
    stop_before_s: NonNegativeInt = 120  # seconds before its time ends, a job saves its state and is requeued


class ExecutionSettings(Section):
    """How trainings are executed. ``processes``, ``images_per_step``, ``device`` change results by rounding only."""

    processes: Processes = "auto"  # of one training, each on a GPU; auto: as the machine, or Slurm's job, has them
    loader_workers: NonNegativeInt = 4  # of each process
    threads: Count = 4  # CPU threads of each process
    checkpoint_period: Count = 1000  # iterations
    images_per_step: NonNegativeInt = 0  # of a process, at once; gradients add up over its share; 0: all at once
    deterministic: bool = False  # GPU algorithms that repeat bit by bit, where there are any; slower
    compile: bool | Literal["auto"] = False  # backbone and RPN head, kept in the run folder; auto: on a GPU, if it can
    imagenet_weights: LocalPath = ""  # file of the backbone's weights; empty: downloaded
    stage_dir: str = ""  # folder on the worker's own disk, such as /tmp/$USER, to which data sets are copied first
    stage_as: Literal["files", "arrays"] = "files"  # arrays: training images decoded, read twice as fast
    seconds_per_iteration: PositiveFloat = 0.24  # for the plan's estimates, where it does not know better
    seconds_by_gpu: dict[str, dict[Precision, PositiveFloat]] = Field(default_factory=dict)  # GPU's name -> as measured
    device: Literal["", "cpu", "cuda"] = ""  # empty: CUDA if there is one
    executor: Literal["local", "slurm"] = "local"  # this machine, or a cluster
    slurm: Slurm = Slurm()

    @property
    def job_processes(self) -> int:
        """Processes of a training in its Slurm job: one for each GPU."""
        return self.slurm.gpus or (self.slurm.nodes if self.processes == "auto" else self.processes)

    @model_validator(mode="after")
    def _same_on_every_node(self) -> Self:
        nodes, count, field = self.slurm.nodes, self.job_processes, "slurm.gpus" if self.slurm.gpus else "processes"
        check(self.stage_dir or self.stage_as == "files", "arrays", "a stage_dir to keep them in", "stage_as")
        check(self.executor == "local" or count % nodes == 0, count, f"a multiple of the {nodes} nodes", field)
        return self


class Execution(ExecutionSettings):
    """What a worker needs to know besides the spec: the settings, and paths."""

    real_root: str = ""  # Cityscapes-format trees whose split train is trained on
    synthetic_root: str = ""
    cache_dir: str = ""  # of instance tables
    evaluate_on: List[EvaluationSet] = ()
    initial_weights: str = ""  # the checkpoint, where the spec starts from a run or a file
