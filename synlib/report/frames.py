"""What figures, tables and verdicts are made of: means over seeds, draws by a factor's value, the paper's numbers.

``results``: one row per run, evaluation set and class, with the columns ``experiment``, ``trained on``, ``run``,
``seed``, ``state``, ``evaluated on``, ``class``, ``ap``, ``low``, ``high`` (percent, with the bootstrap interval over
the evaluation images) and the experiment's factors; AP is missing where a run failed. ``draws``: a function of run id
and evaluation set, such as :meth:`synlib.runs.store.RunStore.draws`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scapes.bootstrap import MEAN, Draws, check_pairable, over_seeds
from synlib import paper

DrawsOf = Callable[[str, str], Draws]
INTERVAL = "95 % interval"


class Missing(LookupError):
    """No result to draw a conclusion from; the message says which and why."""


def published() -> dict[str, pd.DataFrame]:
    """The paper's numbers by experiment: one row per mean AP, columns ``ap``, ``evaluated on``, and the factors."""
    tables = {
        "table1": pd.Series(paper.TABLE1).rename_axis(["trained on", "evaluated on"]),
        "removal": pd.DataFrame(paper.TABLE2).unstack().rename_axis(["approach", "evaluated on", "removal"]),
        "steps": pd.DataFrame(paper.TABLE5).unstack().rename_axis(["step", "evaluated on"]),
    }
    found = {name: table.rename("ap").reset_index() for name, table in tables.items()}
    percent = found["table1"]["trained on"].map({"Synscapes": 0, "Cityscapes": 100})
    amounts = pd.DataFrame(paper.table3_rows()).assign(**{"evaluated on": "Cityscapes"})
    return found | {"ratios": found["table1"].assign(real_percent=percent), "amounts": amounts}


def across_seeds(results: pd.DataFrame, by: Sequence[str], name: str | None = MEAN) -> pd.DataFrame:
    """One row per value of ``by``, evaluation set and class (``name``; None: all), in their order in ``results``.

    Columns besides: ``ap`` (mean over the seeds that did not fail), ``low``, ``high`` (the interval over images; if any
    row has several seeds, the smallest and largest AP over seeds, for all rows: see :func:`band`), ``seeds`` (how many
    have AP), ``diverged`` (how many came to no result so), ``run`` (ids).
    """
    chosen = results if name is None else results[results["class"] == name]
    state = chosen.get("state", pd.Series("", chosen.index))
    chosen = chosen.assign(diverged=state.astype(str).str.contains("diverge"))
    groups = chosen.groupby([*by, "evaluated on", "class"], sort=False, dropna=False)
    ends = {"low": ("low", "first"), "high": ("high", "first")}
    if (groups["ap"].count() > 1).any():  # the mean of intervals would hide that trainings differ
        ends = {"low": ("ap", "min"), "high": ("ap", "max")}
    return groups.agg(
        ap=("ap", "mean"),
        **ends,
        seeds=("ap", "count"),
        diverged=("diverged", "sum"),
        run=("run", lambda runs: " ".join(dict.fromkeys(runs))),
    ).reset_index()


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

    Values of which every run failed are in ``failed`` only. Raises :class:`Missing` if nothing is left.
    """
    rows = results[(results["class"] == MEAN) & (results["evaluated on"] == on)]
    done = rows[rows["ap"].notna()]
    if done.empty:
        raise Missing(f"no result on {on} for any {factor}")
    runs = done.pivot(index="seed", columns=factor, values="run").dropna()
    if runs.empty:
        raise Missing(f"no seed has a result for every {factor}")
    found = [[draws(run, on) for run in of_seed] for of_seed in runs.to_numpy()]  # S x K
    comparable([item for of_seed in found for item in of_seed], on)
    ap = np.mean([[item.value for item in of_seed] for of_seed in found], axis=0)
    drawn = np.array([[item.drawn for item in of_seed] for of_seed in found])  # (S, K, B, 9)
    drawn = over_seeds(drawn.swapaxes(1, 2)).swapaxes(0, 1)
    return Stacked(runs.columns.to_numpy(float), ap, drawn, tuple(sorted(set(rows[factor]) - set(runs.columns))))
