"""The paper's claims, from ``claims.yaml``: which runs each compares. :mod:`synlib.report.verdicts` judges them."""

import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

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


CHOICES = {"min": min, "max": max, "between": statistics.median_high}
"""Word -> function of all values that an experiment has of a factor."""
