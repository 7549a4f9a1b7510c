"""What figures, tables and verdicts are made of: means over seeds, draws by a factor's value, the paper's numbers.

``results``: one row per run, evaluation set and class: ``experiment``, ``trained on``, ``run``, ``seed``, ``state``,
``evaluated on``, ``class``, ``ap``, ``low``, ``high`` (percent, with the bootstrap interval over the evaluation images)
and the experiment's factors; AP is missing where a run failed. ``draws``: :meth:`synlib.runs.store.RunStore.draws`.
"""

import functools
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


@functools.cache
def published() -> dict[str, pd.DataFrame]:
    """The paper's numbers by experiment: one row per mean AP, columns ``ap``, ``evaluated on``, and the factors."""
    table2 = pd.concat({approach: pd.DataFrame(aps) for approach, aps in paper.TABLE2.items()})
    tables = {
        "table1": pd.DataFrame(paper.TABLE1).unstack().rename_axis(["trained on", "evaluated on"]),
        "removal": table2.stack().rename_axis(["approach", "removal", "evaluated on"]),
        "steps": pd.DataFrame(paper.TABLE5).unstack().rename_axis(["step", "evaluated on"]),
        "amounts": pd.DataFrame(paper.TABLE3).unstack().rename_axis(["epochs", "added"]),
    }
    found = {name: table.rename("ap").reset_index() for name, table in tables.items()}
    percent = found["table1"]["trained on"].map({"Synscapes": 0, "Cityscapes": 100})
    amounts = found["amounts"].assign(**{"evaluated on": "Cityscapes"})
    amounts["iterations"] = amounts["epochs"] * (paper.IMAGES["Cityscapes"] + amounts["added"]) / paper.BATCH_SIZE
    return found | {"ratios": found["table1"].assign(real_percent=percent), "amounts": amounts}


def across_seeds(results: pd.DataFrame, by: Sequence[str], name: str | None = MEAN) -> pd.DataFrame:
    """One row per value of ``by``, evaluation set and class (``name``; None: all), in their order in ``results``.

    Columns besides: ``ap`` (mean over seeds), ``low``, ``high`` (the interval over images; if any row has several
    seeds, the smallest and largest AP, for all rows), ``seeds`` (with AP), ``diverged`` (seeds), ``run`` (ids with AP).
    """
    chosen = results if name is None else results[results["class"] == name]
    chosen = chosen.assign(run=chosen["run"].where(chosen["ap"].notna()))
    groups = chosen.groupby([*by, "evaluated on", "class"], sort=False, dropna=False)
    ends = {"low": ("low", "first"), "high": ("high", "first")}
    if (groups["ap"].count() > 1).any():  # the mean of intervals would hide that trainings differ
        ends = {"low": ("ap", "min"), "high": ("ap", "max")}
    return groups.agg(
        ap=("ap", "mean"),
        **ends,
        seeds=("ap", "count"),
        diverged=("state", lambda states: sum("diverge" in state for state in states)),
        run=("run", lambda runs: " ".join(runs.dropna().unique())),
    ).reset_index()


def band(table: pd.DataFrame) -> str:
    """What ``low`` and ``high`` of rows of :func:`across_seeds` are."""
    seeds = int(table["seeds"].max()) if len(table) else 0
    return f"range over {seeds} seeds" if seeds > 1 else INTERVAL


class Stacked(NamedTuple):
    """AP by the K rising ``values`` of a factor, mean over ``seeds``: fractions ``(K, 1 + B, 9)``, itself and draws."""

    values: np.ndarray
    ap: np.ndarray
    seeds: int


def stacked(results: pd.DataFrame, draws: DrawsOf, factor: str) -> Stacked:
    """AP by ``factor``, averaged over the seeds that all its values have; values without any AP are left out.

    ``results``: with one evaluation set for each value. Raises :class:`Missing` if no seed is common to all, or if runs
    on one evaluation set were evaluated on different images.
    """
    done = results[(results["class"] == MEAN) & results["ap"].notna()]
    runs = done.pivot(index=[factor, "evaluated on"], columns="seed", values="run").dropna(axis="columns")
    if runs.empty:
        raise Missing(f"found no seed with results for every {factor}")
    of_seed = runs.stack(future_stack=True)  # run ids by factor, evaluation set and seed
    read = pd.Series([draws(run, on) for (_, on, _), run in of_seed.items()], of_seed.index)
    for on, on_set in read.groupby("evaluated on"):
        try:
            check_pairable(on_set, on)
        except ValueError as error:
            raise Missing(str(error)) from error
    ap = []
    for _, of_value in read.groupby(factor):
        mean = np.mean([item.value for item in of_value], axis=0)
        drawn = over_seeds(np.array([item.drawn for item in of_value], float))  # (S, B, 9) -> (B, 9)
        ap.append(np.concatenate([mean[None], drawn]))
    return Stacked(runs.index.get_level_values(factor).to_numpy(), np.array(ap), runs.shape[1])
