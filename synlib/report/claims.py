"""What the paper claims, as differences of mean AP between runs: data for :mod:`synlib.report.verdicts`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from synlib import paper
from synlib.report.frames import Missing


@dataclass(frozen=True)
class Selection:
    """Runs of an experiment, evaluated on ``on``: those with the factors of ``where``, equally weighted if several.

    A factor's value may be a function of the experiment's rising values, such as ``max``.
    """

    experiment: str
    on: str
    where: Mapping[str, Any | Callable[[Sequence], Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and the weighted sum of mean APs that should be above 0 if it holds here.

    ``paper``: that sum from its own numbers, NaN where it states none.
    """

    section: str
    shown_in: str
    text: str
    paper: float = float("nan")
    terms: tuple[tuple[float, Selection], ...] = ()
    unit: str = "AP points"


def middle(values: Sequence) -> Any:
    """The middle one of rising values; of two, the larger."""
    return values[len(values) // 2]


def between(values: Sequence) -> Any:
    """The middle one of at least three rising values; raises Missing if there are less."""
    if len(values) < 3:
        raise Missing(f"found {list(values)}, expected at least three values to compare")
    return middle(values)


def _minus(better: Selection, worse: Selection) -> tuple[tuple[float, Selection], ...]:
    return (1.0, better), (-1.0, worse)


def _table1() -> tuple[Claim, ...]:
    def trained(where: str, on: str) -> Selection:
        return Selection("table1", on, {"trained on": where})

    return tuple(
        Claim(
            "3.3",
            "Table 1",
            f"The network trained on {own} is better there than on {other}",
            paper.TABLE1[own, own] - paper.TABLE1[own, other],
            _minus(trained(own, own), trained(own, other)),
        )
        for own, other in (("Synscapes", "Cityscapes"), ("Cityscapes", "Synscapes"))
    )


def _removal(approach: str, on: str, switch: str = "on") -> Selection:
    return Selection("removal", on, {"approach": approach, "removal": switch})


def _table2() -> tuple[Claim, ...]:
    """That removal improves, or, for pre-training on Cityscapes, that it does not, as the paper's own numbers say."""

    def claim(approach: str, on: str, gain: float) -> Claim:
        with_removal, without = _removal(approach, on), _removal(approach, on, "off")
        terms = _minus(with_removal, without) if gain > 0 else _minus(without, with_removal)
        text = (
            f"Removing small instances {'improves' if gain > 0 else 'does not improve'} {approach}, evaluated on {on}"
        )
        return Claim("4.1", "Table 2", text, abs(gain), terms)

    return tuple(claim(approach, on, ap["on"] - ap["off"]) for (approach, on), ap in paper.TABLE2.items())


def _ratio(percent: float, on: str) -> Selection:
    return Selection("ratios", on, {"real_percent": percent})


def _threshold(percent: float | Callable) -> Selection:
    return Selection("thresholds", "Synscapes", {"threshold": percent})


_FIGURES_4_AND_5 = (
    Claim(
        "4.1",
        "Figure 4",
        "Removing too many instances loses AP on Synscapes (none against the most)",
        terms=_minus(_threshold(min), _threshold(max)),
    ),
    Claim(
        "4.2",
        "Figure 5",
        "Only real images are better on Cityscapes than only synthetic ones",
        paper.TABLE1["Cityscapes", "Cityscapes"] - paper.TABLE1["Synscapes", "Cityscapes"],
        _minus(_ratio(100, "Cityscapes"), _ratio(0, "Cityscapes")),
    ),
    Claim(
        "4.2",
        "Figure 5",
        "Only synthetic images are better on Synscapes than only real ones",
        paper.TABLE1["Synscapes", "Synscapes"] - paper.TABLE1["Cityscapes", "Synscapes"],
        _minus(_ratio(0, "Synscapes"), _ratio(100, "Synscapes")),
    ),
    Claim(
        "4.2",
        "Figure 5",
        "On Cityscapes, the first 10 % of real images gain more than the other 90 %",
        terms=(
            (2.0, _ratio(10, "Cityscapes")),
            (-1.0, _ratio(0, "Cityscapes")),
            (-1.0, _ratio(100, "Cityscapes")),
        ),
    ),
    Claim(
        "4.2",
        "Figure 5",
        "On Synscapes, the last 10 % of synthetic images are worth more than a mean tenth of the others",
        terms=(
            (1 + 1 / 9, _ratio(90, "Synscapes")),
            (-1.0, _ratio(100, "Synscapes")),
            (-1 / 9, _ratio(0, "Synscapes")),
        ),
    ),
)


def _amount(added: Callable | int, epochs: Callable | None = None) -> Selection:
    return Selection("amounts", "Cityscapes", {"added": added} | ({"epochs": epochs} if epochs else {}))


def _of_epochs(epochs: Callable) -> Selection:
    return Selection("amounts", "Cityscapes", {"epochs": epochs})


def _mean_gain() -> float:
    """Table 3: what the largest amount gains over none, averaged over the numbers of epochs."""
    return sum(row[max(row)] - row[0] for row in paper.TABLE3.values()) / len(paper.TABLE3)


def _mean_row(epochs: int) -> float:
    return sum(paper.TABLE3[epochs].values()) / len(paper.TABLE3[epochs])


def _step(step: str, on: str) -> Selection:
    return Selection("steps", on, {"step": step})


_TABLE3 = (
    Claim(
        "4.2",
        "Table 3",
        "For a fixed number of epochs, synthetic images added to all real ones help (all against none)",
        _mean_gain(),
        _minus(_amount(max), _amount(0)),
    ),
    Claim(
        "4.2",
        "Table 3",
        "A middle number of epochs is better than fewer",
        _mean_row(50) - _mean_row(33),
        _minus(_of_epochs(between), _of_epochs(min)),
    ),
    Claim(
        "4.2",
        "Table 3",
        "A middle number of epochs is better than more",
        _mean_row(50) - _mean_row(66),
        _minus(_of_epochs(between), _of_epochs(max)),
    ),
    Claim(
        "4.2",
        "Tables 2 and 5",  # in the paper's sentence, real images alone have 36.2: a run of Table 3, not the baseline
        "Mixing beats the baseline on real images alone, on Cityscapes",
        paper.TABLE2["mixing", "Cityscapes"]["on"] - paper.TABLE5["basic"]["Cityscapes"],
        _minus(_removal("mixing", "Cityscapes"), _step("basic", "Cityscapes")),
    ),
)


def _table5() -> tuple[Claim, ...]:
    def claim(text: str, better: str, worse: str, on: str) -> Claim:
        difference = paper.TABLE5[better][on] - paper.TABLE5[worse][on]
        return Claim("4.3", "Table 5", text, difference, _minus(_step(better, on), _step(worse, on)))

    lower = "Fine-tuning is better with the optimised learning rate than with the baseline's, on "
    return (
        claim("Pre-training gains from all synthetic images and more epochs, on Synscapes", "20k", "3k", "Synscapes"),
        claim("Fine-tuning with the baseline's settings beats real images alone", "fine-tuned", "basic", "Cityscapes"),
        claim("Fine-tuning, optimised, beats real images alone", "optimized", "basic", "Cityscapes"),
        *(claim(lower + on, "optimized", "fine-tuned", on) for on in ("Cityscapes", "Synscapes")),
    )


def _mixing_or_fine_tuning() -> tuple[Claim, ...]:
    return tuple(
        Claim(
            "4.3",
            "Table 2",
            f"Mixing beats fine-tuning on {on}",
            paper.TABLE2["mixing", on]["on"] - paper.TABLE2["fine-tuning", on]["on"],
            _minus(_removal("mixing", on), _removal("fine-tuning", on)),
        )
        for on in ("Cityscapes", "Synscapes")
    )


CLAIMS: tuple[Claim, ...] = (
    *_table1(),
    *_table2(),
    *_FIGURES_4_AND_5,
    *_TABLE3,
    *_table5(),
    *_mixing_or_fine_tuning(),
)
