"""What the experiments of section 4 vary: the grids of a profile. The defaults are the paper's.

Shares are percent, as in the paper's figures, wherever a person types or reads them.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scapes.labels import CLASSES
from synlib.spec import ScheduleSpec

TENS = tuple(range(0, 100, 10))


@dataclass(frozen=True, kw_only=True)
class Grids:
    """Values of the factors of each experiment.

    ``thresholds``: Figure 4, percent of each class's synthetic instances to remove.
    ``removal``: the thresholds chosen from it, ``{class: percent}``, in force from section 4.2 on; other classes: 0.
    ``ratios``: Figure 5, percent of real images.
    ``added_images``, ``epochs``: Table 3, synthetic images beside all real ones, and epochs; ``mixed_images`` and
    ``mixed_epochs`` are the cell that stands for mixing in Table 2 and in Figure 1.
    ``pretraining_images``, ``pretraining_epochs``: section 4.3, synthetic images only.
    ``learning_rates``: Figure 6, ``{momentum: [learning rates]}``.
    ``tuned_momentum``, ``tuned_learning_rate``: the optimum, in force in Table 2 and Table 5.
    ``fine_tuning_schedule``: fields of the baseline's schedule that are others in fine-tuning.
    """

    thresholds: tuple[float, ...] = TENS
    removal: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(CLASSES, 30) | {"person": 60})
    ratios: tuple[float, ...] = (*TENS, 100)
    added_images: tuple[int, ...] = (0, 3000, 6000, 9000, 12_000, 20_000)
    epochs: tuple[float, ...] = (33, 50, 66)
    mixed_images: int = 20_000
    mixed_epochs: float = 50
    pretraining_images: int = 20_000
    pretraining_epochs: float = 100
    learning_rates: Mapping[float, tuple[float, ...]] = field(
        default_factory=lambda: {
            0.9: (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02),
            0.0: (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
        }
    )
    tuned_momentum: float = 0.0
    tuned_learning_rate: float = 0.005
    fine_tuning_schedule: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("thresholds", "ratios"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), "percentages from 0 to 100", 0, 100))
        object.__setattr__(self, "epochs", _numbers("epochs", self.epochs, "numbers of epochs above 0", 1e-9))
        object.__setattr__(self, "added_images", _numbers("added_images", self.added_images, "integers from 0 on", 0))
        if not all(isinstance(images, int) for images in self.added_images):
            raise ValueError(f"added_images: found {self.added_images!r}, expected integers from 0 on")
        _numbers("removal", list(_mapping("removal", self.removal).values()), "percentages for classes", 0, 100)
        if unknown := [name for name in self.removal if name not in CLASSES]:
            raise ValueError(f"removal: unknown class {unknown[0]!r}; expected some of {', '.join(CLASSES)}")
        rates = {
            _momentum(key): _numbers("learning_rates", values, "{momentum: [learning rates above 0]}", 1e-12)
            for key, values in _mapping("learning_rates", self.learning_rates).items()
        }
        object.__setattr__(self, "learning_rates", rates)
        self._check_single_values()
        known = {f.name for f in dataclasses.fields(ScheduleSpec)} - {"base_lr", "momentum"}
        if unknown := sorted(set(_mapping("fine_tuning_schedule", self.fine_tuning_schedule)) - known):
            raise ValueError(f"fine_tuning_schedule: unknown field {unknown[0]!r}; expected some of {sorted(known)}")

    def _check_single_values(self) -> None:
        for name, kinds, inside, expected in (
            ("mixed_images", (int,), lambda x: x >= 1, "an integer from 1 on"),
            ("pretraining_images", (int,), lambda x: x >= 1, "an integer from 1 on"),
            ("mixed_epochs", (int, float), lambda x: 0 < x < math.inf, "a number of epochs above 0"),
            ("pretraining_epochs", (int, float), lambda x: 0 < x < math.inf, "a number of epochs above 0"),
            ("tuned_learning_rate", (int, float), lambda x: 0 < x < math.inf, "a number above 0"),
            ("tuned_momentum", (int, float), lambda x: 0 <= x < 1, "a number from 0 to below 1"),
        ):
            value = getattr(self, name)
            if type(value) not in kinds or not inside(value):
                raise ValueError(f"{name}: found {value!r}, expected {expected}")

    def removal_fractions(self) -> dict[str, float]:
        """``removal`` as fractions, for a data spec."""
        return {name: percent / 100 for name, percent in self.removal.items()}


def _momentum(key: Any) -> float:
    """A key of ``learning_rates``: papermill hands keys of dictionaries on as text."""
    try:
        return float(key)
    except ValueError as error:
        raise ValueError(f"learning_rates: found the momentum {key!r}, expected a number") from error


def _mapping(name: str, value: Any) -> Mapping:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: found {value!r}, expected a mapping")
    return value


def _numbers(name: str, values: Any, expected: str, low: float, high: float = float("inf")) -> tuple:
    """``values`` as a tuple without repetitions, in their order."""
    numbers = isinstance(values, (list, tuple)) and all(type(value) in (int, float) for value in values)
    if not numbers or not values or not all(low <= value <= high for value in values):
        raise ValueError(f"{name}: found {values!r}, expected {expected}")
    return tuple(dict.fromkeys(values))
