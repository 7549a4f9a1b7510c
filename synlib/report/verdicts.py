"""Each claim of the paper against our runs: by how much it holds, and whether that is decided.

A claim is a weighted sum of APs that should be above 0, such as AP of one run minus AP of another. It holds if the 95 %
interval of the sum lies above 0, does not hold if the interval lies below 0, and is not decided otherwise, or where a
run is missing. The interval is a paired bootstrap: each draw has the same evaluation images for all runs, and with
several seeds the same trainings, so what the runs share cancels. With one seed, the interval does not cover how much
one training differs from the next. Of twenty differences that are 0 in truth, one will seem decided by chance.
"""

import functools
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


Judged = tuple[Estimate, str, str]
"""An estimate, the verdict that follows from it, and what both rest on."""
Results = Mapping[str, pd.DataFrame]
"""Experiment -> its results (:mod:`synlib.report.frames`)."""


def show(study: Study, *places: str) -> Styler:
    """The claims of a section ("4.1"), table or figure ("Table 2"), by default all, judged from the runs that exist.

    Nothing is trained. ``.tables["claims"]`` holds :func:`verdicts`. Raises ValueError for an unknown place.
    """
    experiments = {selection.experiment for claim in _chosen(places) for _, selection in claim.terms}
    results = {name: study.results(study.planned(name)) for name in sorted(experiments)}
    ended = {name: rows for name, rows in results.items() if rows["class"].notna().any()}
    return tables.claims(verdicts(ended, study.store.draws, *places))


def verdicts(results: Results, draws: DrawsOf, *places: str) -> pd.DataFrame:
    """One row per claim, columns :data:`COLUMNS`, sorted by section; ``places`` as in :func:`show`.

    ``paper``, ``ours``, ``low``, ``high``: in ``unit``; ``paper`` is missing where it states no number. ``because``:
    why a claim is not decided, or what the verdict rests on.
    """
    draws = functools.cache(draws)
    rows = []
    for claim in _chosen(places):
        try:
            found, verdict, because = RULES.get(claim.text, _above_zero)(claim, results, draws)
        except Missing as error:
            found, verdict, because = Estimate(np.nan, np.nan, np.nan), OPEN, str(error)
        values = (claim.section, claim.shown_in, claim.text, claim.unit, claim.paper)
        rows.append((*values, *found, verdict, because))
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("section", kind="stable", ignore_index=True)


def _chosen(places: Sequence[str]) -> list[Claim]:
    known = dict.fromkeys(place for claim in CLAIMS for place in (claim.section, claim.shown_in))
    wanted = [place for place in places if place]
    if unknown := [place for place in wanted if place not in known]:
        raise ValueError(f"claims of {unknown[0]!r}: expected one of {', '.join(known)}")
    return [claim for claim in CLAIMS if not wanted or claim.section in wanted or claim.shown_in in wanted]


def _above_zero(claim: Claim, results: Results, draws: DrawsOf) -> Judged:
    """A claim that is a sum of APs: in AP points."""
    selected = [_select(selection, results).assign(weight=weight) for weight, selection in claim.terms]
    runs = pd.concat(selected, keys=range(len(selected)), names=["term"]).reset_index("term")
    runs["weight"] /= runs.groupby("term")["trained on"].transform("nunique")  # of a term, all runs weigh the same
    found, seeds = contrast(runs, draws)
    because = f"{seeds} seeds" if seeds > 1 else "one seed"
    if runs.groupby(["evaluated on", "run"])["weight"].sum().abs().max() < 1e-12:
        because = "both are the same run"
    elif found.verdict == OPEN:
        because += "; 0 is in the interval"
    return found, found.verdict, because


def contrast(runs: pd.DataFrame, draws: DrawsOf) -> tuple[Estimate, int]:
    """The weighted sum of mean APs in AP points, averaged over the seeds that all its runs have; how many these are.

    ``runs``: one row per run and seed; columns ``term`` and ``trained on`` (which together name a run for all seeds),
    ``seed``, ``run``, ``evaluated on``, ``weight``.

    Raises Missing if no seed is common to all, or if runs on one evaluation set were evaluated on different images.
    """
    complete = runs.groupby("seed")["run"].transform("size") == runs.groupby(["term", "trained on"]).ngroups
    runs = runs[complete].sort_values("seed", kind="stable")
    if runs.empty:
        raise Missing("found no seed that all runs of the comparison have")
    read = pd.Series([draws(run, on) for run, on in zip(runs["run"], runs["evaluated on"], strict=True)], runs.index)
    for on in sorted(runs["evaluated on"].unique()):
        comparable(read[(runs["evaluated on"] == on)].tolist(), on)
    column, seeds, weights = NAMES.index(MEAN), runs["seed"].nunique(), runs["weight"].to_numpy()
    value = weights @ [item.value[column] for item in read] / seeds
    drawn = weights[:, None] * np.array([item.drawn[:, column] for item in read], float)  # (runs, B)
    of_seed = drawn.reshape(seeds, -1, drawn.shape[1]).sum(1)  # (S, B)
    return _estimate(100 * value, 100 * over_seeds(of_seed)), seeds


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    """A number with the 95 % interval of its draws ``(B,)``."""
    low, high = percentiles(drawn[:, None])
    return Estimate(float(value), float(low[0]), float(high[0]))


def _select(selection: Selection, results: Results) -> pd.DataFrame:
    """The rows of the mean AP of the runs selected that have results; raises Missing if a run has none for any seed."""
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
    done = found[found["ap"].notna()]
    for name, state in found[["trained on", "state"]].itertuples(index=False):
        if name not in set(done["trained on"]):
            raise Missing(f"{name}: {state}")
    return done


def _rows(experiment: str, results: Results) -> pd.DataFrame:
    if experiment not in results or results[experiment].empty:
        raise Missing(f"the experiment {experiment} was not run")
    return results[experiment]


def _persons_last_longer(claim: Claim, results: Results, draws: DrawsOf) -> Judged:
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
    return (found, found.verdict, "limits by the rule of Figure 4; the median of the other classes")


def _same_effective_rate(claim: Claim, results: Results, draws: DrawsOf) -> Judged:
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
    return (found, verdict, "of the rates tried; holds within half a decade, the same nominal rate would be 1")


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


RULES: dict[str, Callable[[Claim, Results, DrawsOf], Judged]] = {
    PERSONS: _persons_last_longer,
    MOMENTA: _same_effective_rate,
}
"""Claims that are no sums of AP, by their text, and how each is judged."""
