"""Each claim of the paper against our runs: by how much it holds, and whether that is decided.

A claim is a weighted sum of APs that should be above 0, such as AP of one run minus AP of another. It holds if the 95 %
interval of the sum lies above 0, does not hold if the interval lies below 0, and is not decided otherwise, or where a
run is missing. The interval is a paired bootstrap: each draw has the same evaluation images for all runs, and with
several seeds the same trainings, so what the runs share cancels. With one seed, the interval does not cover how much
one training differs from the next. Of twenty differences that are 0 in truth, one will seem decided by chance.
"""

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from scapes.bootstrap import NAMES, over_seeds, percentiles
from synlib.report import tables
from synlib.report.claims import CLAIMS, FAILS, HOLDS, MOMENTA, OPEN, PERSONS, Claim, Selection
from synlib.report.frames import MEAN, DrawsOf, Missing, comparable, stacked
from synlib.report.limits import limit_draws, two_phases
from synlib.study.study import Study

COLUMNS = ("section", "shown in", "claim", "unit", "paper", "ours", "low", "high", "verdict", "because")


class Estimate(NamedTuple):
    """A number with its interval."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """On the claim that the number is above 0."""
        return HOLDS if self.low > 0 else FAILS if self.high < 0 else OPEN


class Judged(NamedTuple):
    """An estimate, the verdict that follows from it, and what both rest on."""

    found: Estimate
    verdict: str
    because: str


class Term(NamedTuple):
    """A run in a sum: its ``weight``, the evaluation set's name, and seed -> run id."""

    weight: float
    on: str
    runs: Mapping[int, str]


def show(study: Study, *places: str) -> Styler:
    """The claims of a section ("4.1"), table or figure ("Table 2"), by default all, judged from the runs that exist.

    Nothing is trained. ``.tables["claims"]`` holds :func:`verdicts`. Raises ValueError for an unknown place.
    """
    experiments = {selection.experiment for claim in _chosen(places) for _, selection in claim.terms}
    results = {name: study.results(study.planned(name)) for name in sorted(experiments)}
    ended = {name: rows for name, rows in results.items() if rows["class"].notna().any()}
    return tables.claims(verdicts(ended, study.store.draws, *places))


def verdicts(results: Mapping[str, pd.DataFrame], draws: DrawsOf, *places: str) -> pd.DataFrame:
    """One row per claim, columns :data:`COLUMNS`, sorted by section; ``places`` as in :func:`show`.

    ``results``: experiment -> its results (:mod:`synlib.report.frames`). ``paper``, ``ours``, ``low``, ``high``: in
    ``unit``; ``paper`` is missing where it states no number. ``because``: why a claim is not decided, or what the
    verdict rests on.
    """
    draws = functools.cache(draws)
    rows = []
    for claim in _chosen(places):
        try:
            judged = RULES.get(claim.text, _above_zero)(claim, results, draws)
        except Missing as error:
            judged = Judged(Estimate(np.nan, np.nan, np.nan), OPEN, str(error))
        values = (claim.section, claim.shown_in, claim.text, claim.unit, claim.paper)
        rows.append((*values, *judged.found, judged.verdict, judged.because))
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("section", kind="stable", ignore_index=True)


def _chosen(places: Sequence[str]) -> list[Claim]:
    known = dict.fromkeys(place for claim in CLAIMS for place in (claim.section, claim.shown_in))
    wanted = [place for place in places if place]
    if unknown := [place for place in wanted if place not in known]:
        raise ValueError(f"claims of {unknown[0]!r}: expected one of {', '.join(known)}")
    return [claim for claim in CLAIMS if not wanted or claim.section in wanted or claim.shown_in in wanted]


def _above_zero(claim: Claim, results: Mapping[str, pd.DataFrame], draws: DrawsOf) -> Judged:
    """A claim that is a sum of APs: in AP points."""
    terms = [term for weight, selection in claim.terms for term in _terms(weight, selection, results)]
    seeds = _common_seeds(terms)
    found = contrast(terms, draws)
    rests_on = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    if _same_runs(terms):
        rests_on = "both are the same run"
    elif found.verdict == OPEN:
        rests_on += "; 0 is in the interval"
    return Judged(found, found.verdict, rests_on)


def contrast(terms: Sequence[Term], draws: DrawsOf) -> Estimate:
    """The weighted sum of mean APs in AP points, averaged over the seeds that all terms have.

    Raises Missing if no seed is common to all, or if runs on one evaluation set were evaluated on different images.
    """
    seeds = _common_seeds(terms)
    read = [[draws(term.runs[seed], term.on) for seed in seeds] for term in terms]
    for on in sorted({term.on for term in terms}):
        comparable([item for term, items in zip(terms, read, strict=True) if term.on == on for item in items], on)
    column, weights = NAMES.index(MEAN), np.array([term.weight for term in terms])
    value = np.array([[item.value[column] for item in items] for items in read])  # (terms, S)
    drawn = np.array([[item.drawn[:, column] for item in items] for items in read], float)  # (terms, S, B)
    return _estimate(100 * (weights @ value).mean(), 100 * over_seeds(np.tensordot(weights, drawn, 1)))


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    """A number with the 95 % interval of its draws ``(B,)``."""
    low, high = percentiles(drawn[:, None])
    return Estimate(float(value), float(low[0]), float(high[0]))


def _common_seeds(terms: Sequence[Term]) -> list[int]:
    seeds = sorted(set.intersection(*(set(term.runs) for term in terms)))
    if not seeds:
        raise Missing("found no seed that all runs of the comparison have")
    return seeds


def _same_runs(terms: Sequence[Term]) -> bool:
    """Whether every run is subtracted from itself."""
    weights = Counter()
    for term in terms:
        for run in term.runs.values():
            weights[term.on, run] += term.weight
    return all(abs(weight) < 1e-12 for weight in weights.values())


def _terms(weight: float, selection: Selection, results: Mapping[str, pd.DataFrame]) -> list[Term]:
    """The runs selected, with equal shares of ``weight``."""
    runs = []
    for name, rows in _select(selection, results).groupby("trained on", sort=False):
        done = rows[rows["ap"].notna()]
        if done.empty:
            raise Missing(f"{name}: {rows['state'].iloc[0]}")
        runs.append(dict(zip(done["seed"], done["run"], strict=True)))
    return [Term(weight / len(runs), selection.on, of_seed) for of_seed in runs]


def _select(selection: Selection, results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows of the mean AP of the runs selected."""
    rows = _rows(selection.experiment, results)
    for factor, wanted in selection.where.items():
        value = wanted(sorted(rows[factor].unique().tolist())) if callable(wanted) else wanted
        chosen = rows[factor] == value
        if not chosen.any():
            raise Missing(f"no run with {factor.replace('_', ' ')} {value}")
        rows = rows[chosen]
    found = rows[(rows["class"] == MEAN) & (rows["evaluated on"] == selection.on)]
    if found.empty:
        raise Missing(f"{' '.join(rows['trained on'].unique())}: no result on {selection.on}")
    return found


def _rows(experiment: str, results: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    if experiment not in results or results[experiment].empty:
        raise Missing(f"the experiment {experiment} was not run")
    return results[experiment]


def _persons_last_longer(claim: Claim, results: Mapping[str, pd.DataFrame], draws: DrawsOf) -> Judged:
    """Figure 4: how far the removal limit of persons is above the median of the other classes' (percent removed)."""
    runs = stacked(_rows("thresholds", results), draws, "threshold", "Synscapes")
    if len(runs.values) < 3:
        raise Missing(f"found results for thresholds {runs.values.tolist()}, expected at least three")
    person, others = NAMES.index("person"), [k for k, name in enumerate(NAMES) if name not in ("person", MEAN)]

    def lead(limits: np.ndarray) -> np.ndarray:
        return limits[:, person] - pd.DataFrame(limits[:, others]).median(axis=1).to_numpy()

    (value,) = lead(two_phases(runs.values, runs.ap.T).limit[None])
    if np.isnan(value):
        raise Missing("AP is 0 throughout, and has no limit, for persons or for all others")
    found = _estimate(value, lead(limit_draws(runs.values, runs.drawn)))
    return Judged(found, found.verdict, "limits by the rule of Figure 4; the median of the other classes")


def _same_effective_rate(claim: Claim, results: Mapping[str, pd.DataFrame], draws: DrawsOf) -> Judged:
    """Figure 6: do both momenta peak at the same effective learning rate lr / (1 - m)?

    Estimated: the distance of the two maxima in decades of the effective learning rate. 0 is the paper's answer; at the
    same nominal learning rate, momenta 0 and 0.9 would be 1 decade apart. Holds if the interval lies within half a
    decade of 0, does not hold if it lies outside, and is not decided otherwise or if a maximum is at an end of its
    grid. The interval does not cover rates between those tried.
    """
    rows = _rows("fine_tuning", results)
    momenta = sorted(rows["momentum"].unique().tolist())
    if len(momenta) < 2:
        raise Missing(f"found momentum {momenta}, expected two")
    peaks = [_peak(rows[rows["momentum"] == momentum], draws, momentum) for momentum in (momenta[0], momenta[-1])]
    (first, first_drawn), (second, second_drawn) = peaks
    found = _estimate(second - first, second_drawn - first_drawn)
    near = max(abs(found.low), abs(found.high)) <= 0.5
    far = found.low > 0.5 or found.high < -0.5
    verdict = HOLDS if near else FAILS if far else OPEN
    return Judged(found, verdict, "of the rates tried; holds within half a decade, the same nominal rate would be 1")


def _peak(rows: pd.DataFrame, draws: DrawsOf, momentum: float) -> tuple[float, np.ndarray]:
    """log10 of the effective learning rate with the highest AP on Cityscapes, and its draws ``(B,)``."""
    runs = stacked(rows, draws, "learning_rate", "Cityscapes")
    column = NAMES.index(MEAN)
    best = runs.ap[:, column].argmax()
    tried = [*runs.values, *runs.failed]
    if runs.values[best] in (min(tried), max(tried)):
        end = f"{runs.values[best]:g}"
        raise Missing(f"momentum {momentum:g}: the maximum is at the end of the grid, at learning rate {end}")
    effective = np.log10(runs.values / (1 - momentum))
    return effective[best], effective[runs.drawn[..., column].argmax(0)]


RULES: dict[str, Callable[[Claim, Mapping[str, pd.DataFrame], DrawsOf], Judged]] = {
    PERSONS: _persons_last_longer,
    MOMENTA: _same_effective_rate,
}
"""Claims that are no sums of AP, by their text, and how each is judged."""
