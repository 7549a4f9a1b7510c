"""How large the study is, and where its data, runs and devices are: ``profiles/*.yaml``."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, NonNegativeInt, WrapValidator, model_validator

from scapes.labels import CLASSES
from synlib.section import Count, List, LocalPath, Section, Values, check, expanded, plain
from synlib.spec import Criterion, ExecutionSettings, Init, InputSpec, Model, Momentum, Policy, Precision, ScheduleSpec

ROOT = Path(__file__).resolve().parents[1]
"""The compendium: notebooks, profiles, and by default data, runs, figures and reports."""
PLACES = ("name", "data", "execution", "runs", "figures", "reports", "variant")  # fields that change no experiment
LEARNING_RATES = {
    0.9: (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02),
    0.0: (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
}
LONGEST = 150  # characters of a ``variant``; names of folders have 255 bytes
FINE_TUNING = tuple(name for name in ScheduleSpec.model_fields if name not in ("base_lr", "momentum"))


class ToyPart(Section):
    """Images of one domain of the embedded data set."""

    train: NonNegativeInt
    val: NonNegativeInt


class Toyscapes(Section):
    """The embedded miniature data set, in the formats of both real ones."""

    height: Annotated[int, Field(ge=64)]  # px
    width: int
    real: ToyPart
    synthetic: ToyPart
    streets: NonNegativeInt = 0  # images of each of the other data sets to evaluate on
    seed: int = 0
    gap: Annotated[float, Field(ge=0, le=2)] = 1.0  # between the looks of the two domains; 0: none

    @model_validator(mode="after")
    def _twice_as_wide(self) -> Self:
        check(self.width == 2 * self.height, self.width, f"{2 * self.height}, twice the height", "width")
        return self


class Synthetic(Section):
    """The synthetic data set, and how it becomes a tree in Cityscapes' format (section 3.2)."""

    root: LocalPath = ""  # its folder; empty: drawn in ``format``, where there is ``toyscapes``
    format: Literal["synscapes", "urbansyn", "cityscapes"] = "synscapes"  # cityscapes: taken as it is
    variant: str = "rgb"  # folder of its images; Synscapes: rgb or rgb-2k
    # Image ids, or [first, last]; empty: the first four fifths are ``train``
    split: dict[Literal["train", "val"], List[NonNegativeInt]] = Field(default_factory=dict)
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _as_it_is(self) -> Self:
        fits = self.format != "cityscapes" or (self.root and not self.split and self.policy == Policy())
        check(fits, self.format, "it with a root, and without split and policy: the tree is taken as it is", "format")
        return self


def _evaluation_name(name: str) -> str:
    own = ("cityscapes", "synscapes", "real", "synthetic")  # folders' names may not differ in case alone
    fits = re.fullmatch(r"\w[\w .+-]*", name) and name.lower() not in own
    return check(bool(fits), name, f"a name for tables and folders, such as BDD100K, and none of {', '.join(own)}")


class DataSource(Section):
    """A domain is the folder that is named; else drawn, where there is ``toyscapes``; else it is not there."""

    toyscapes: Toyscapes | None = None
    cityscapes: LocalPath = ""  # the folder of leftImg8bit and gtFine
    synthetic: Synthetic = Synthetic()
    # Other streets: name -> tree in Cityscapes' format; empty: drawn, where ``toyscapes`` has ``streets``
    also_evaluate_on: dict[Annotated[str, AfterValidator(_evaluation_name)], LocalPath] = Field(default_factory=dict)
    min_area_px: NonNegativeInt = 100  # smaller ground truth is not evaluated
    folder: LocalPath = ""  # of derived data; empty: data/PROFILE of the compendium


Number = Annotated[float, WrapValidator(lambda value, validate: value if validate(value) == value else None)]
"""A number, of which 30 stays an integer: tables then say 30, not 30.0."""
Percent = Annotated[Number, Field(ge=0, le=100)]
MomentumKey = Annotated[Momentum, Field(strict=False)]
Above0 = Annotated[Number, Field(gt=0)]


def _each_once(given: Any, validate: Any) -> Any:
    known = validate(given)
    check(len(known) == len(given), list(given), "each momentum once")
    return known


class Grids(Section):
    """What the experiments of section 4 vary; the defaults are the paper's. Shares are percent, as in its figures."""

    # Figure 4: percent of each class's synthetic instances to remove; those chosen from it, in force from section 4.2
    thresholds: Values[Percent] = tuple(range(0, 100, 10))
    removal: dict[Literal[CLASSES], Percent] = dict.fromkeys(CLASSES, 30) | {"person": 60}
    removed_by: Values[Criterion] = ("random", "occlusion")  # beyond the paper: what else to remove as much of
    ratios: Values[Percent] = tuple(range(0, 101, 10))  # Figure 5: percent of real images
    # Table 3: synthetic images beside all real ones, and epochs; the cell that stands for mixing in Table 2, Figure 1
    added_images: Values[NonNegativeInt] = (0, 3000, 6000, 9000, 12_000, 20_000)
    epochs: Values[Above0] = (33, 50, 66)
    mixed_images: Count = 20_000
    mixed_epochs: Above0 = 50
    other_model: Model = "mask_rcnn_r50"  # beyond the paper: does it hold for another network?
    # Section 4.3: pre-training on synthetic images only
    pretraining_images: Count = 20_000
    pretraining_epochs: Above0 = 100
    # Figure 6, momentum (text from papermill) -> learning rates; the optimum, in force in Tables 2 and 5
    learning_rates: Annotated[dict[MomentumKey, Values[Above0]], WrapValidator(_each_once)] = LEARNING_RATES
    tuned_momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    tuned_learning_rate: Above0 = 0.005
    fine_tuning_schedule: dict[Literal[FINE_TUNING], Any] = Field(default_factory=dict)  # what differs from schedule

    def removal_fractions(self) -> dict[str, float]:
        """``removal`` as fractions, for a data spec."""
        return {name: percent / 100 for name, percent in self.removal.items()}


class Profile(Section):
    """A size of the study."""

    name: str
    data: DataSource
    model: Model
    baseline_images: Count  # training images of the first experiments; the paper: 2,975
    input: InputSpec = InputSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    init: Init = "imagenet"
    precision: Precision = "float32"
    batch_size: Count = 8
    seeds: Values[NonNegativeInt] = (0,)
    grids: Grids = Grids()
    execution: ExecutionSettings = ExecutionSettings()
    runs: LocalPath = ""  # folder; empty: runs of the compendium
    figures: LocalPath = ""  # folder; empty: figures/NAME of the compendium
    reports: LocalPath = ""  # folder; empty: reports/NAME of the compendium
    variant: str = ""  # what settings changed: added to NAME, so that figures and reports of the profile stay

    @model_validator(mode="after")
    def _fine_tuning_has_a_schedule(self) -> Self:
        try:
            self.schedule.replace(**self.grids.fine_tuning_schedule)
        except ValueError as error:
            raise ValueError(f"grids.fine_tuning_schedule.{error}") from error
        return self

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Read ``profiles/NAME.yaml``, or a path that ends in ``.yaml``; FileNotFoundError lists the known profiles."""
        path = Path(expanded(str(name))) if str(name).endswith(".yaml") else ROOT / "profiles" / f"{name}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in (ROOT / "profiles").glob("*.yaml")))
            raise FileNotFoundError(f"profile {str(name)!r}: no file {path}; known profiles: {known}")
        return super().load(path, name=path.stem)

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The profile with other values of some fields: ``{"data.cityscapes": "/data/cs", "thresholds": [0, 40]}``.

        A name is a field, a dotted field of a section, or a field of ``grids`` without that word; those that change
        experiments make a ``variant``. Raises ValueError, naming the field, for an unknown one and for a value refused.
        """
        values = {"variant": self.variant} | self.model_dump(exclude_unset=True)
        for name, value in settings.items():
            *sections, field = f"grids.{name}".split(".") if name in Grids.model_fields else name.split(".")
            if [*sections, field][0] not in type(self).model_fields:
                known = ", ".join([*type(self).model_fields, *Grids.model_fields])
                raise ValueError(f"setting {name!r}: unknown; expected one of {known}, or a field of a section")
            target, before = values, self.model_dump()
            for section in sections:
                if not isinstance(target.get(section), dict):
                    target[section] = {}
                target, before = target[section], before.get(section) if isinstance(before.get(section), dict) else {}
            if [*sections, field][0] not in PLACES and plain(before.get(field)) != plain(value):
                text = re.sub(r"\.0\b|[^-+.,_0-9A-Za-z]", "", str(value).replace(":", "_"))  # of a folder's name
                values["variant"] += f"+{field}={text}"
            target[field] = value
        if len(variant := values["variant"]) > LONGEST:  # another one may begin alike
            values["variant"] = f"{variant[: LONGEST - 9]}-{hashlib.sha256(variant.encode()).hexdigest()[:8]}"
        return type(self)(**values)

    label = property(lambda self: self.name + self.variant)
    data_dir = property(lambda self: Path(self.data.folder or ROOT / "data" / self.name))
    runs_dir = property(lambda self: Path(self.runs or ROOT / "runs"))
    figures_dir = property(lambda self: Path(self.figures or ROOT / "figures" / self.label))
    reports_dir = property(lambda self: Path(self.reports or ROOT / "reports" / self.label))


def parse_settings(settings: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """``["seeds=[0, 1]", ...]`` as a dictionary; values are YAML. Raises ValueError, naming the setting."""
    parsed = {}
    for setting in settings:
        name, separator, value = setting.partition("=")
        try:
            check(bool(separator), setting, "NAME=VALUE")
            parsed[name.strip()] = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError) as error:  # YAML's errors have several lines
            raise ValueError(f"{option} {setting!r}: {' '.join(str(error).split())}") from error
    return parsed
