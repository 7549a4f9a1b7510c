"""The paper's claims as data: which runs each compares. :mod:`synlib.report.verdicts` judges them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synlib import paper
from synlib.report.frames import Missing

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
"""The verdicts."""
UNSTATED = float("nan")


@dataclass(frozen=True)
class Selection:
    """Runs of an experiment, evaluated on ``on``: those whose factors are ``where``; several have equal weights.

    A factor's value may be a function of all values that the experiment has, in rising order, such as ``max``.
    ``paper``: their mean AP in the paper, NaN where it states none.
    """

    experiment: str
    on: str
    where: Mapping[str, Any | Callable[[Sequence], Any]]
    paper: float = UNSTATED


Terms = tuple[tuple[float, Selection], ...]
"""A weighted sum of mean APs."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper. It holds if the sum of its ``terms`` is above 0, or by a rule where its unit is not AP.

    ``paper``: the same sum of the paper's own numbers, NaN where it does not state them all.
    """

    section: str
    shown_in: str
    text: str
    terms: Terms
    paper: float
    unit: str = "AP points"


def between(values: Sequence) -> Any:
    """The middle one of rising values; of two in the middle, the larger. Raises Missing for less than three values."""
    if len(values) < 3:
        raise Missing(f"found {list(values)}, expected at least three values to compare")
    return values[len(values) // 2]


def _trained(where: str, on: str) -> Selection:
    return Selection("table1", on, {"trained on": where}, paper.TABLE1[where, on])


def _threshold(percent: Callable) -> Selection:
    return Selection("thresholds", "Synscapes", {"threshold": percent})


def _removal(approach: str, on: str, switch: str = "on") -> Selection:
    return Selection("removal", on, {"approach": approach, "removal": switch}, paper.TABLE2[approach, on][switch])


def _ratio(percent: float, on: str) -> Selection:
    stated = {0: paper.TABLE1["Synscapes", on], 100: paper.TABLE1["Cityscapes", on]}
    return Selection("ratios", on, {"real_percent": percent}, stated.get(percent, UNSTATED))


def _added(images: int | Callable) -> Selection:
    """All numbers of epochs, with so many synthetic images added."""
    stated = [row[images(row) if callable(images) else images] for row in paper.TABLE3.values()]
    return Selection("amounts", "Cityscapes", {"added": images}, sum(stated) / len(stated))


def _epochs(epochs: Callable) -> Selection:
    """All numbers of synthetic images, with so many epochs."""
    stated = paper.TABLE3[epochs(sorted(paper.TABLE3))].values()
    return Selection("amounts", "Cityscapes", {"epochs": epochs}, sum(stated) / len(stated))


def _step(step: str, on: str) -> Selection:
    return Selection("steps", on, {"step": step}, paper.TABLE5[step][on])


def _minus(better: Selection, worse: Selection) -> Terms:
    return (1, better), (-1, worse)


def _removal_helps(approach: str, on: str) -> tuple[str, Terms]:
    """That removal improves AP, or that it does not, as the paper's own numbers say."""
    with_removal, without = _removal(approach, on), _removal(approach, on, "off")
    if with_removal.paper > without.paper:
        return f"Removing small instances improves {approach}, evaluated on {on}", _minus(with_removal, without)
    return f"Removing small instances does not improve {approach}, evaluated on {on}", _minus(without, with_removal)


def _claims(section: str, shown_in: str, terms: Mapping[str, Terms]) -> list[Claim]:
    return [
        Claim(section, shown_in, text, sums, sum(weight * selection.paper for weight, selection in sums))
        for text, sums in terms.items()
    ]


SYN, CITY = "Synscapes", "Cityscapes"
_TABLE_1 = {
    f"The network trained on {own} is better there than on {other}": _minus(_trained(own, own), _trained(own, other))
    for own, other in ((SYN, CITY), (CITY, SYN))
}
_FIGURE_4 = {
    "Removing too many instances loses AP on Synscapes (none against the most)": _minus(
        _threshold(min), _threshold(max)
    )
}
_FIGURE_5 = {
    "Only real images are better on Cityscapes than only synthetic ones": _minus(_ratio(100, CITY), _ratio(0, CITY)),
    "Only synthetic images are better on Synscapes than only real ones": _minus(_ratio(0, SYN), _ratio(100, SYN)),
    "On Cityscapes, the first 10 % of real images gain more than the other 90 %": (
        (2, _ratio(10, CITY)),
        (-1, _ratio(0, CITY)),
        (-1, _ratio(100, CITY)),
    ),
    "On Synscapes, the last 10 % of synthetic images are worth more than a mean tenth of the others": (
        (1 + 1 / 9, _ratio(90, SYN)),
        (-1, _ratio(100, SYN)),
        (-1 / 9, _ratio(0, SYN)),
    ),
}
_TABLE_3 = {
    "For a fixed number of epochs, synthetic images added to all real ones help (all against none)": _minus(
        _added(max), _added(0)
    ),
    "A middle number of epochs is better than fewer": _minus(_epochs(between), _epochs(min)),
    "A middle number of epochs is better than more": _minus(_epochs(between), _epochs(max)),
}
# In the paper's sentence, real images alone have 36.2: a run of Table 3, not the baseline.
_TABLES_2_AND_5 = {
    "Mixing beats the baseline on real images alone, on Cityscapes": _minus(
        _removal("mixing", CITY), _step("basic", CITY)
    )
}
_LOWER = "Fine-tuning is better with the optimised learning rate than with the baseline's, on "
_TABLE_5 = {
    "Pre-training gains from all synthetic images and more epochs, on Synscapes": _minus(
        _step("20k", SYN), _step("3k", SYN)
    ),
    "Fine-tuning with the baseline's settings beats real images alone": _minus(
        _step("fine-tuned", CITY), _step("basic", CITY)
    ),
    "Fine-tuning, optimised, beats real images alone": _minus(_step("optimized", CITY), _step("basic", CITY)),
} | {_LOWER + on: _minus(_step("optimized", on), _step("fine-tuned", on)) for on in (CITY, SYN)}
_MIXING = {
    f"Mixing beats fine-tuning on {on}": _minus(_removal("mixing", on), _removal("fine-tuning", on))
    for on in (CITY, SYN)
}
PERSONS = "More of the persons can be removed than of other classes"
MOMENTA = "Both momenta are best at the same effective learning rate"
CLAIMS: tuple[Claim, ...] = (
    *_claims("3.3", "Table 1", _TABLE_1),
    *_claims("4.1", "Table 2", dict(_removal_helps(*cell) for cell in paper.TABLE2)),
    *_claims("4.1", "Figure 4", _FIGURE_4),
    *_claims("4.2", "Figure 5", _FIGURE_5),
    *_claims("4.2", "Table 3", _TABLE_3),
    *_claims("4.2", "Tables 2 and 5", _TABLES_2_AND_5),
    *_claims("4.3", "Table 5", _TABLE_5),
    *_claims("4.3", "Table 2", _MIXING),
    Claim("4.1", "Figure 4", PERSONS, ((1, Selection("thresholds", SYN, {})),), 30.0, "% removed"),
    Claim("4.3", "Figure 6", MOMENTA, ((1, Selection("fine_tuning", CITY, {})),), 0.0, "decades apart"),
)
