"""AP with bootstrap intervals, and the draws behind them, of the runs of a store."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from scapes import bootstrap
from scapes.bootstrap import Draws, read_draws
from synlib.runs.folder import RunDir

COLUMNS = ("run", "seed", "evaluated on", "class", "ap", "low", "high")


def draws(run: RunDir, evaluated_on: str) -> Draws:
    """Bootstrap draws of a run on an evaluation set, as fractions; made from its records at the first call, then kept.

    Raises ValueError naming the records file if it is missing or damaged.
    """
    return read_draws(_records(run, evaluated_on))


def intervals(runs: Iterable[RunDir], level: float = 0.95) -> pd.DataFrame:
    """AP in percent with bootstrap intervals, one row a run, evaluation set and class ("mean" among them).

    Columns: :data:`COLUMNS`. Runs without results have no row. Raises ValueError as :func:`draws`.
    """
    frames = []
    for run in runs:
        for path in sorted(run.path.glob("evaluations/*/records.npz")):
            table = bootstrap.intervals(draws(run, path.parent.name), level)
            table[["ap", "low", "high"]] *= 100
            frames.append(table.assign(run=run.path.name, seed=run.spec().seed, **{"evaluated on": path.parent.name}))
    columns = list(COLUMNS)
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _records(run: RunDir, evaluated_on: str) -> Path:
    return run.path / "evaluations" / evaluated_on / "records.npz"
