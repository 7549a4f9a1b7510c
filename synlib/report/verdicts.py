"""The paper's claims, each held against our runs: what is compared, by how much, and whether that is decided.

A claim is a difference that should be above 0. It holds if the 95 % interval of ours (paired bootstrap over the
evaluation images and, with several seeds, over trainings) lies above 0, does not hold if it lies below, and is not
decided otherwise, or where a run is missing. With one seed, the interval knows nothing of how much a training differs
from the next. And of twenty claims that are none, one will seem decided.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from scapes.bootstrap import NAMES
from synlib.report.claims import CLAIMS, Claim, Selection
from synlib.report.contrasts import FAILS, HOLDS, OPEN, Estimate, Term, contrast, estimate
from synlib.report.frames import MEAN, DrawsOf, Missing, stacked
from synlib.report.limits import limit_draws, two_phases

Results = Mapping[str, pd.DataFrame]
"""Experiment -> its results (:mod:`synlib.report.frames`)."""
COLUMNS = ("section", "shown in", "claim", "unit", "paper", "ours", "low", "high", "verdict", "because")


def summary(results: Results, draws: DrawsOf, *, level: float = 0.95) -> pd.DataFrame:
    """Every claim and rule of the paper with its verdict: one row each, columns :data:`COLUMNS`.

    ``paper``, ``ours``, ``low``, ``high``: differences in ``unit``; the paper's is missing where it states no number.
    ``because``: why a claim is not decided, or what the verdict rests on.
    """
    draws = functools.cache(draws)  # read once, and one run is one object
    rows = [_row(claim, _judge(claim, results, draws, level)) for claim in CLAIMS]
    rows += [_row(claim, _judge_rule(rule, results, draws, level)) for claim, rule in RULES]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("section", kind="stable", ignore_index=True)


Judged = tuple[Estimate, str, str]
"""Number with interval, verdict, and what it rests on."""
_UNKNOWN = Estimate(np.nan, np.nan, np.nan)


def _row(claim: Claim, judged: Judged) -> dict:
    found, verdict, because = judged
    values = (claim.section, claim.shown_in, claim.text, claim.unit, claim.paper)
    return dict(zip(COLUMNS, (*values, found.value, found.low, found.high, verdict, because), strict=True))


def _judge(claim: Claim, results: Results, draws: DrawsOf, level: float) -> Judged:
    try:
        terms = [term for weight, selection in claim.terms for term in _terms(weight, selection, results, draws)]
        found = contrast(terms, level=level)
    except (Missing, ValueError) as error:
        return _UNKNOWN, OPEN, str(error)
    percent = Estimate(*(100 * number for number in found[:3]), found.seeds)
    return percent, percent.verdict, "both are the same run" if _cancel(terms) else _because(percent)


def _cancel(terms: Sequence[Term]) -> bool:
    """Whether every run is subtracted from itself."""
    weights: dict[tuple[str, int], float] = {}
    for term in terms:
        for drawn in term.draws.values():
            key = term.on, id(drawn)
            weights[key] = weights.get(key, 0) + term.weight
    return all(abs(weight) < 1e-12 for weight in weights.values())


def _because(found: Estimate) -> str:
    rests_on = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else "one seed, images alone vary"
    return f"{rests_on}; the interval contains 0" if found.verdict == OPEN else rests_on


def _terms(weight: float, selection: Selection, results: Results, draws: DrawsOf) -> list[Term]:
    """The runs selected, sharing ``weight`` equally."""
    named = _select(selection, results)
    terms = []
    for name, rows in named.groupby("trained on", sort=False):
        done = rows[rows["ap"].notna()]
        if done.empty:
            state = rows["state"].iloc[0] if "state" in rows else "no result"
            raise Missing(f"{name}: {state}")
        of_seed = {seed: draws(run, selection.on) for seed, run in zip(done["seed"], done["run"], strict=True)}
        terms.append(Term(weight, selection.on, of_seed))
    return [term._replace(weight=weight / len(terms)) for term in terms]


def _select(selection: Selection, results: Results) -> pd.DataFrame:
    if selection.experiment not in results:
        raise Missing(f"the experiment {selection.experiment} was not run")
    rows = results[selection.experiment]
    for factor, wanted in selection.where.items():
        values = sorted(rows[factor].unique().tolist())
        value = wanted(values) if callable(wanted) and values else wanted
        chosen = rows[factor] == value
        if not chosen.any():
            raise Missing(f"no run with {factor.replace('_', ' ')} {value}")
        rows = rows[chosen]
    found = rows[(rows["class"] == MEAN) & (rows["evaluated on"] == selection.on)]
    if found.empty:
        raise Missing(f"{' '.join(rows['trained on'].unique())}: no result on {selection.on}")
    return found


def _judge_rule(rule: Callable[[Results, DrawsOf, float], Judged], results: Results, draws: DrawsOf, level: float):
    try:
        return rule(results, draws, level)
    except KeyError as error:
        return _UNKNOWN, OPEN, f"the experiment {error.args[0]} was not run"
    except (Missing, ValueError) as error:
        return _UNKNOWN, OPEN, str(error)


def person_lasts_longer(results: Results, draws: DrawsOf, level: float = 0.95) -> Judged:
    """Figure 4: how far the removal limit of persons is above the median of the other classes' (percent removed)."""
    runs = stacked(results["thresholds"], draws, "threshold", "Synscapes")
    person, others = NAMES.index("person"), [k for k, name in enumerate(NAMES) if name not in ("person", MEAN)]

    def lead(limits: np.ndarray) -> np.ndarray:
        return limits[..., person] - pd.DataFrame(np.atleast_2d(limits)[:, others]).median(axis=1).to_numpy()

    (value,) = lead(two_phases(runs.values, runs.ap.T).limit)
    found = estimate(float(value), lead(limit_draws(runs.values, runs.drawn)), level=level)
    if np.isnan(found.value):
        raise Missing("AP is 0 throughout, and has no limit, for persons or for all others")
    return found, found.verdict, "limits by the rule of Figure 4; the median of the other classes"


def same_effective_rate(results: Results, draws: DrawsOf, level: float = 0.95) -> Judged:
    """Figure 6: do both momenta peak at the same effective learning rate lr / (1 - m)?

    Estimated: the distance of the two maxima in decades of the effective learning rate. 0 is the paper's answer; at the
    same nominal learning rate, momenta 0 and 0.9 would be 1 decade apart. Holds if the interval lies within half a
    decade of 0, does not hold if it lies outside, and is not decided otherwise or if a maximum is at an end of its
    grid. The interval knows nothing of what lies between the rates tried.
    """
    rows = results["fine_tuning"]
    momenta = sorted(rows["momentum"].unique().tolist())
    if len(momenta) < 2:
        raise Missing(f"found momentum {momenta}, expected two")
    peaks = [_peak(rows[rows["momentum"] == momentum], draws, momentum) for momentum in (momenta[0], momenta[-1])]
    (first, first_drawn), (second, second_drawn) = peaks
    found = estimate(second - first, second_drawn - first_drawn, level=level)
    near = max(abs(found.low), abs(found.high)) <= 0.5
    far = found.low > 0.5 or found.high < -0.5
    verdict = HOLDS if near else FAILS if far else OPEN
    return found, verdict, "of the rates tried; holds within half a decade, the same nominal rate would be 1"


def _peak(rows: pd.DataFrame, draws: DrawsOf, momentum: float) -> tuple[float, np.ndarray]:
    """log10 of the effective learning rate with the highest AP on Cityscapes, and its draws ``(B,)``."""
    runs = stacked(rows, draws, "learning_rate", "Cityscapes")
    column = NAMES.index(MEAN)
    best = runs.values[runs.ap[:, column].argmax()]
    tried = [*runs.values, *runs.failed]
    if best in (min(tried), max(tried)):
        raise Missing(f"momentum {momentum:g}: the maximum is at the end of the grid, at learning rate {best:g}")
    effective = np.log10(runs.values / (1 - momentum))
    drawn = effective[runs.drawn[..., column].argmax(0)]
    return float(np.log10(best / (1 - momentum))), drawn


RULES: tuple[tuple[Claim, Callable[..., Judged]], ...] = (
    (
        Claim("4.1", "Figure 4", "More of the persons can be removed than of other classes", 30.0, unit="% removed"),
        person_lasts_longer,
    ),
    (
        Claim(
            "4.3", "Figure 6", "Both momenta are best at the same effective learning rate", 0.0, unit="decades apart"
        ),
        same_effective_rate,
    ),
)
"""Claims that are no differences of AP, and the rule that judges each."""
