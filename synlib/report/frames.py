"""From tidy results to what figures, tables and verdicts are made of: means over seeds, and draws by a factor's value.

``results``: a row a run, evaluation set and class, with the columns ``experiment``, ``trained on``, ``run``, ``seed``,
``state``, ``evaluated on``, ``class``, ``ap``, ``low``, ``high`` (percent, with the bootstrap interval over the
evaluation images) and the experiment's factors; AP is missing where a run failed. ``draws``: a function of run id and
evaluation set, such as :meth:`synlib.runs.store.RunStore.draws`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scapes.bootstrap import Draws, check_pairable, over_seeds

DrawsOf = Callable[[str, str], Draws]
MEAN = "mean"
INTERVAL = "95 % interval"


class Missing(LookupError):
    """No result to draw a conclusion from; the message says which and why."""


def across_seeds(results: pd.DataFrame, by: Sequence[str], name: str | None = MEAN) -> pd.DataFrame:
    """One row a value of ``by``, evaluation set and class (``name``; None: all), in their order in ``results``.

    Columns besides: ``ap`` (mean over the seeds that did not fail), ``low``, ``high`` (the interval over images; if any
    row has several seeds, the smallest and largest AP over seeds, for all rows: see :func:`band`), ``spread`` (standard
    deviation over seeds, NaN for one), ``seeds`` (how many have AP), ``diverged`` (how many came to no result so),
    ``run`` (ids).
    """
    chosen = results if name is None else results[results["class"] == name]
    state = chosen["state"] if "state" in chosen else pd.Series("", index=chosen.index)
    chosen = chosen.assign(diverged=state.astype(str).str.contains("diverge"))
    groups = chosen.groupby([*by, "evaluated on", "class"], sort=False, dropna=False)
    table = groups.agg(
        ap=("ap", "mean"),
        low=("low", "first"),
        high=("high", "first"),
        spread=("ap", "std"),
        smallest=("ap", "min"),
        largest=("ap", "max"),
        seeds=("ap", "count"),
        diverged=("diverged", "sum"),
        run=("run", lambda runs: " ".join(dict.fromkeys(runs))),
    )
    if (table["seeds"] > 1).any():  # the mean of intervals would hide that trainings differ
        table["low"], table["high"] = table["smallest"], table["largest"]
    return table.drop(columns=["smallest", "largest"]).reset_index()


def band(table: pd.DataFrame) -> str:
    """What ``low`` and ``high`` of rows of :func:`across_seeds` are."""
    seeds = int(table["seeds"].max()) if len(table) else 0
    return f"range over {seeds} seeds" if seeds > 1 else INTERVAL


def comparable(draws: Sequence[Draws], on: str) -> None:
    """Raise :class:`Missing` if the runs were not evaluated on the same images of ``on``."""
    try:
        check_pairable(draws, on)
    except ValueError as error:
        raise Missing(str(error)) from error


class Stacked(NamedTuple):
    """Runs by the K rising ``values`` of a factor: fractions ``ap`` (K, 9) and ``drawn`` (K, B, 9); what ``failed``."""

    values: np.ndarray
    ap: np.ndarray
    drawn: np.ndarray
    failed: tuple[float, ...]


def stacked(results: pd.DataFrame, draws: DrawsOf, factor: str, on: str) -> Stacked:
    """AP on ``on`` and its draws by ``factor``, averaged over the seeds common to all its values.

    Values of which every run failed are left out, and listed in ``failed``. Raises :class:`Missing` if nothing is left.
    """
    rows = results[(results["class"] == MEAN) & (results["evaluated on"] == on)]
    done = rows[rows["ap"].notna()]
    failed = tuple(sorted(set(rows[factor]) - set(done[factor])))
    values = sorted(done[factor].unique())
    if not values:
        raise Missing(f"no result on {on} for any {factor}")
    by_value = [done[done[factor] == value].set_index("seed")["run"] for value in values]
    seeds = sorted(set.intersection(*(set(runs.index) for runs in by_value)))
    if not seeds:
        raise Missing(f"no seed has a result for every {factor}")
    found = [[draws(runs[seed], on) for runs in by_value] for seed in seeds]
    comparable([item for of_seed in found for item in of_seed], on)
    ap = np.mean([[item.value for item in of_seed] for of_seed in found], axis=0)
    drawn = np.stack([np.stack([item.drawn for item in of_seed], axis=1) for of_seed in found])  # (S, B, K, 9)
    return Stacked(np.array(values, float), ap, np.moveaxis(over_seeds(drawn), 1, 0), failed)
