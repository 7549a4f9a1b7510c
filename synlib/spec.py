"""The description of one training run. Its canonical form is hashed into the run id, so equal runs are trained once.

Everything that changes the result is a field; nothing else is (no path, no number of GPUs or loader workers). A data
set enters through the fingerprint of its content (:func:`scapes.instances.fingerprint`).
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from scapes.files import replacing
from scapes.labels import CLASSES

RECIPE = 2
"""Raised by hand when a change of the code alters what a spec produces, so that old runs are not taken for new ones."""


def removal_fractions(value: float | Mapping[str, float]) -> dict[str, float]:
    """One fraction for every class, or ``{class: fraction}``, as ``{class: fraction}`` over all eight classes."""
    fractions = dict.fromkeys(CLASSES, 0.0) | (
        dict(value) if isinstance(value, Mapping) else dict.fromkeys(CLASSES, value)
    )
    for name, fraction in fractions.items():
        if name not in CLASSES:
            raise ValueError(f"removal: unknown class {name!r}; expected some of {', '.join(CLASSES)}")
        _require(_is_number(fraction) and 0 <= fraction <= 1, f"removal of {name}", fraction, "a fraction in [0, 1]")
    return {name: float(fractions[name]) for name in CLASSES}


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """The training set: how many images of each domain, or which, and which synthetic instances are left out.

    ``real``, ``synthetic``: a number of images, drawn with ``seed``, or a list of image ids, in any order.
    ``removal``: fraction of each class's synthetic instances to remove, smallest first (paper, section 4.1).
    ``removed_as``: what the network learns where an instance was removed, ``background`` (the paper) or nothing,
    ``ignore`` (an ablation that the paper does not have).
    ``emptied``: what happens to images without an instance, ``keep`` (they are negatives) or ``drop``.
    """

    real: int | tuple[str, ...] = 0
    synthetic: int | tuple[str, ...] = 0
    real_fingerprint: str = ""
    synthetic_fingerprint: str = ""
    removal: Mapping[str, float] | float = field(default_factory=lambda: removal_fractions(0.0))
    removed_as: str = "background"
    emptied: str = "keep"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("real", "synthetic"):
            object.__setattr__(self, name, _images(name, getattr(self, name)))
        _require(_is_int(self.seed) and self.seed >= 0, "seed", self.seed, "an integer >= 0")
        for name in ("real_fingerprint", "synthetic_fingerprint"):
            _require(isinstance(getattr(self, name), str), name, getattr(self, name), "text")
        _require(self.images > 0, "real + synthetic", 0, "at least one training image")
        known = self.removed_as in ("background", "ignore")
        _require(known, "removed_as", self.removed_as, "'background' or 'ignore'")
        _require(self.emptied in ("keep", "drop"), "emptied", self.emptied, "'keep' or 'drop'")
        # A domain without images leaves no trace, so that a change of its data does not rename the run.
        object.__setattr__(self, "real_fingerprint", self.real_fingerprint if self.real else "")
        object.__setattr__(self, "synthetic_fingerprint", self.synthetic_fingerprint if self.synthetic else "")
        object.__setattr__(self, "removal", removal_fractions(self.removal if self.synthetic else 0.0))
        object.__setattr__(self, "removed_as", self.removed_as if any(self.removal.values()) else "background")
        drawn = any(isinstance(images, int) and images > 0 for images in (self.real, self.synthetic))
        object.__setattr__(self, "seed", self.seed if drawn else 0)

    @property
    def real_images(self) -> int:
        """Number of real images."""
        return self.real if isinstance(self.real, int) else len(self.real)

    @property
    def synthetic_images(self) -> int:
        """Number of synthetic images."""
        return self.synthetic if isinstance(self.synthetic, int) else len(self.synthetic)

    @property
    def images(self) -> int:
        """Number of training images."""
        return self.real_images + self.synthetic_images


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """Optimisation by SGD. ``steps`` are fractions of ``iterations`` at which the learning rate drops to a tenth.

    The defaults are the paper's baseline (section 3.3): 24,000 iterations, 0.01, x0.1 after 18,000 and 22,000.
    ``warmup_iterations`` None means 1,000 iterations or a tenth of the run, whichever is less (Detectron2's default).
    """

    iterations: int = 24_000
    base_lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    policy: str = "steps"
    steps: tuple[float, ...] = (0.75, 11 / 12)
    warmup_iterations: int | None = None
    clip_gradient_norm: float = 0.0

    def __post_init__(self) -> None:
        _require(_is_int(self.iterations) and self.iterations > 0, "iterations", self.iterations, "an integer > 0")
        object.__setattr__(self, "steps", tuple(float(step) for step in _numbers("steps", self.steps)))
        if self.warmup_iterations is None:
            object.__setattr__(self, "warmup_iterations", min(1000, self.iterations // 10))
        for name in ("base_lr", "weight_decay", "momentum", "clip_gradient_norm"):
            if _is_int(getattr(self, name)):
                object.__setattr__(self, name, float(getattr(self, name)))
        _require(_is_number(self.base_lr) and self.base_lr > 0, "base_lr", self.base_lr, "a number > 0")
        _require(_is_number(self.momentum) and 0 <= self.momentum < 1, "momentum", self.momentum, "a number in [0, 1)")
        for name in ("weight_decay", "clip_gradient_norm"):
            _require(_is_number(getattr(self, name)) and getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        _require(self.policy in ("steps", "cosine"), "policy", self.policy, "'steps' or 'cosine'")
        _require(
            all(0 < s <= 1 for s in self.steps) and list(self.steps) == sorted(self.steps),
            "steps", self.steps, "increasing fractions of the run in (0, 1]",
        )  # fmt: skip
        _require(
            _is_int(self.warmup_iterations) and 0 <= self.warmup_iterations < max(2, self.iterations),
            "warmup_iterations", self.warmup_iterations, f"an integer from 0 to iterations ({self.iterations})",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Image sizes in px: the short side is one of ``train_short_px`` in training and ``test_short_px`` in testing."""

    train_short_px: tuple[int, ...] = (800, 832, 864, 896, 928, 960, 992, 1024)
    test_short_px: int = 1024
    max_long_px: int = 2048

    def __post_init__(self) -> None:
        object.__setattr__(self, "train_short_px", tuple(_numbers("train_short_px", self.train_short_px)))
        for name in ("train_short_px", "test_short_px", "max_long_px"):
            sizes = getattr(self, name)
            for size in sizes if isinstance(sizes, tuple) else (sizes,):
                _require(_is_int(size) and size >= 32, name, size, "an integer >= 32 (px)")
        _require(len(self.train_short_px) > 0, "train_short_px", self.train_short_px, "at least one size")


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training run.

    ``init``: ``imagenet``, ``random``, ``run:<run id>``, or ``sha256:<hash>`` of a checkpoint. ``precision``: of the
    forward and backward pass; ``bf16`` and ``fp16`` mean autocast with weights in float32. ``tf32``: float32 whose
    multiplications on a GPU have 10 bits of mantissa.
    """

    model: str = "pointrend_r50"
    data: DataSpec
    schedule: ScheduleSpec = field(default_factory=ScheduleSpec)
    input: InputSpec = field(default_factory=InputSpec)
    init: str = "imagenet"
    batch_size: int = 8
    precision: str = "float32"
    seed: int = 0
    recipe: int = RECIPE

    def __post_init__(self) -> None:
        _require(bool(self.model) and isinstance(self.model, str), "model", self.model, "the name of a model profile")
        known = isinstance(self.init, str) and re.fullmatch(r"imagenet|random|run:.+|sha256:[0-9a-f]{64}", self.init)
        _require(bool(known), "init", self.init, "'imagenet', 'random', 'run:<run id>' or 'sha256:<hash>'")
        _require(_is_int(self.batch_size) and self.batch_size > 0, "batch_size", self.batch_size, "an integer > 0")
        known = self.precision in ("float32", "tf32", "bf16", "fp16")
        _require(known, "precision", self.precision, "'float32', 'tf32', 'bf16' or 'fp16'")
        _require(_is_int(self.seed) and 0 <= self.seed < 2**31, "seed", self.seed, "an integer in [0, 2^31)")
        _require(_is_int(self.recipe), "recipe", self.recipe, "an integer")

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
    def run_id(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of :meth:`canonical`."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]

    def replace(self, **changes: Any) -> Self:
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build and validate; an unknown field is an error that lists the known ones.

        ``schedule`` may have ``epochs`` in place of ``iterations``: how often each training image is seen.
        """
        values = dict(values)
        epochs = None
        if isinstance(values.get("schedule"), Mapping) and "epochs" in values["schedule"]:
            values["schedule"] = dict(values["schedule"])
            epochs = values["schedule"].pop("epochs")
            _require("iterations" not in values["schedule"], "schedule", "epochs and iterations", "one of them")
            _require(_is_number(epochs) and epochs > 0, "schedule.epochs", epochs, "a number > 0")
        if "data" in values:
            values["data"] = build(DataSpec, values["data"], "data")
            batch_size = values.get("batch_size", cls.batch_size)
            if epochs and _is_int(batch_size) and batch_size > 0:
                iterations = iterations_for_epochs(epochs, values["data"].images, batch_size)
                values["schedule"]["iterations"] = iterations
        for name, section in {"schedule": ScheduleSpec, "input": InputSpec}.items():
            if name in values:
                values[name] = build(section, values[name], name)
        return build(cls, values, "spec")

    def save(self, path: str | Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a YAML spec; any error names the file."""
        path = Path(path)
        try:
            values = yaml.safe_load(path.read_text())
            if not isinstance(values, Mapping):
                raise ValueError(f"found {type(values).__name__}, expected a mapping of fields")
            return cls.from_dict(values)
        except (ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: not a run spec: {' '.join(str(error).split())}") from error


def iterations_for_epochs(epochs: float, images: int, batch_size: int) -> int:
    """Iterations that show each of ``images`` images ``epochs`` times: epochs = iterations * batch / images."""
    return max(1, math.ceil(epochs * images / batch_size))


def build(section: type, values: Any, name: str) -> Any:
    """A dataclass ``section`` from a mapping; ``name`` says in errors where it stands.

    Raises ValueError for an unknown field, listing the known ones, for a missing one, and for a value that is refused.
    """
    values = mapping(values, name)
    fields = {f.name: f.type for f in dataclasses.fields(section)}
    if unknown := sorted(set(values) - set(fields), key=str):
        raise ValueError(f"{name}: unknown field {unknown[0]!r}; expected some of {', '.join(fields)}")
    try:
        built = section(**values)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
    checks = {int: (_is_int, "an integer"), float: (_is_number, "a number"), str: (_is_text, "text")}
    for field_name, value in values.items():
        if fields[field_name] in checks:
            check, expected = checks[fields[field_name]]
            _require(check(value), f"{name}.{field_name}", value, expected)
    return built


def mapping(values: Any, name: str) -> dict[str, Any]:
    """``values`` as a dictionary; raises ValueError, saying that it stands at ``name``, when it is not a mapping."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{name}: found {values!r}, expected a mapping of fields")
    return dict(values)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _images(name: str, value: object) -> int | tuple[str, ...]:
    """A number of images, or image ids in alphabetical order: the order in which they are listed means nothing."""
    if isinstance(value, (list, tuple)) and value:
        _require(all(map(_is_text, value)), name, value, "image ids as text")
        twice = sorted({image for image in value if value.count(image) > 1}) if len(set(value)) < len(value) else []
        _require(not twice, name, twice[:5], "each image once")
        return tuple(sorted(value))
    value = 0 if isinstance(value, (list, tuple)) else value
    _require(_is_int(value) and value >= 0, name, value, "an integer >= 0, or a list of image ids")
    return value


def _numbers(name: str, values: object) -> list | tuple:
    _require(isinstance(values, (list, tuple)) and all(map(_is_number, values)), name, values, "a list of numbers")
    return values


def _require(condition: bool, name: str, found: object, expected: str) -> None:
    if not condition:
        raise ValueError(f"{name}: found {found!r}, expected {expected}")
