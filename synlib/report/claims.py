"""The paper's claims, from ``claims.yaml``: which runs each compares. :mod:`synlib.report.verdicts` judges them."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from synlib.report.frames import Missing

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
"""The verdicts."""


@dataclass(frozen=True)
class Weighted:
    """The runs of an experiment whose factors are ``where``: values, or words of :data:`CHOICES`."""

    weight: float
    experiment: str
    where: Mapping[str, Any]
    evaluated_on: str


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, with what the head of ``claims.yaml`` says. ``paper``: None where ``runs`` have it."""

    section: str
    shown_in: str
    text: str
    runs: tuple[Weighted, ...]
    rule: str = "above_zero"
    unit: str = "AP points"
    paper: float | None = None


@functools.cache
def load() -> tuple[Claim, ...]:
    """All claims, by section."""
    entries = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    for entry in entries:
        entry["runs"] = tuple(Weighted(**run | {"weight": float(Fraction(run["weight"]))}) for run in entry["runs"])
    return tuple(Claim(**entry) for entry in entries)


def between(values: Sequence) -> Any:
    """The middle one of rising values; of two in the middle, the larger. Raises Missing for less than three values."""
    if len(values) < 3:
        raise Missing(f"found {list(values)}, expected at least three values to compare")
    return values[len(values) // 2]


CHOICES = {"min": min, "max": max, "between": between}
"""Word -> function of all values that an experiment has of a factor, in rising order."""
