"""Differences between runs, with their uncertainty: weighted sums of mean APs, by the paired bootstrap.

A claim such as "mixing beats fine-tuning" is AP of one run minus AP of another; "the first 10 % of real images gain
more than the other 90 %" weighs three runs 2, -1, -1. Each draw has the same images for all runs on an evaluation set,
and with several seeds the same trainings for all runs, so what they share cancels.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scapes.bootstrap import NAMES, Draws, check_pairable, over_seeds, percentiles

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"


class Term(NamedTuple):
    """One run of a contrast: its ``weight``, the evaluation set's name, and its draws by seed."""

    weight: float
    on: str
    draws: Mapping[int, Draws]


class Estimate(NamedTuple):
    """A number with its interval, and the seeds (trainings) that it rests on."""

    value: float
    low: float
    high: float
    seeds: tuple[int, ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the claim that the number is above 0 :data:`HOLDS`, :data:`FAILS`, or is :data:`OPEN`."""
        return HOLDS if self.low > 0 else FAILS if self.high < 0 else OPEN


def contrast(terms: Sequence[Term], name: str = "mean", level: float = 0.95) -> Estimate:
    """The weighted sum of AP of class ``name`` (default: the mean), fractions, averaged over the seeds that all have.

    Raises:
        ValueError: if there are no terms, if no seed is common to all, or if runs on one evaluation set were evaluated
            on different images.
    """
    if not terms:
        raise ValueError("found no terms, expected at least one")
    seeds = tuple(sorted(set.intersection(*(set(term.draws) for term in terms))))
    if not seeds:
        raise ValueError("found no seed that all runs of the comparison have")
    for on in sorted({term.on for term in terms}):
        check_pairable((term.draws[seed] for term in terms if term.on == on for seed in seeds), on)
    column = NAMES.index(name)
    value = np.mean([sum(term.weight * term.draws[seed].value[column] for term in terms) for seed in seeds])
    drawn = [sum(term.weight * term.draws[seed].drawn[:, column].astype(float) for term in terms) for seed in seeds]
    return estimate(float(value), over_seeds(np.stack(drawn)), seeds, level)


def estimate(value: float, drawn: np.ndarray, seeds: Sequence[int] = (), level: float = 0.95) -> Estimate:
    """A number with the central interval of its draws ``(B,)``."""
    low, high = percentiles(drawn[:, None], level)
    return Estimate(value, float(low[0]), float(high[0]), tuple(seeds))
