"""All runs of a folder: one sub-folder a run, named by its id. Nothing is trained twice."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from synlib.evaluation.draws import Draws
from synlib.labels import CLASSES
from synlib.rundir import RunDir
from synlib.spec import RunSpec
from synlib.study import intervals

COLUMNS = ("run", "seed", "real", "synthetic", "evaluated on", "class", "ap", "ap50", "state")


class RunStore:
    """The runs under ``root``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def run(self, spec_or_id: RunSpec | str) -> RunDir:
        run_id = spec_or_id if isinstance(spec_or_id, str) else spec_or_id.run_id
        return RunDir(self.root / run_id)

    def runs(self) -> Iterator[RunDir]:
        """Every folder under the root that holds a spec."""
        for path in sorted(self.root.glob("*/spec.yaml")):
            yield RunDir(path.parent)

    def frame(self, specs: Iterable[RunSpec] | None = None) -> pd.DataFrame:
        """Results, one row a run, evaluation set and class ("mean" among them), with AP in percent.

        Columns: ``run``, ``seed``, ``real``, ``synthetic`` (images trained on), ``evaluated on``, ``class``, ``ap``,
        ``ap50`` (averaged over overlaps; at overlap 0.5), ``state``. Runs without a result have one row with AP
        missing.
        """
        runs = self.runs() if specs is None else [self.run(spec) for spec in specs]
        rows = [row for run in runs for row in _rows(run)]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def intervals(self, specs: Iterable[RunSpec], level: float = 0.95) -> pd.DataFrame:
        """:func:`synlib.study.intervals.intervals` of these runs."""
        return intervals.intervals([self.run(spec) for spec in specs], level)

    def draws(self, run_id: str, evaluated_on: str) -> Draws:
        """:func:`synlib.study.intervals.draws` of a run."""
        return intervals.draws(self.run(run_id), evaluated_on)


def _rows(run: RunDir) -> list[dict]:
    if not run.spec_path.exists():
        return [{"run": run.path.name, "state": "planned"}]
    try:
        return _result_rows(run, run.spec())
    except (OSError, ValueError, KeyError) as error:  # of another version, damaged, or not ours: told, and left alone
        return [{"run": run.path.name, "state": f"unreadable: {error}"}]


def _result_rows(run: RunDir, spec: RunSpec) -> list[dict]:
    common = {
        "run": run.path.name,
        "seed": spec.seed,
        "real": spec.data.real_images,
        "synthetic": spec.data.synthetic_images,
        "state": run.state(),
    }
    rows = []
    for path in sorted(run.path.glob("evaluations/*/result.json")):
        result = run.read(str(path.relative_to(run.path)))
        if "ap" not in result:  # a split without public labels
            continue
        ap = 100 * np.array(result["ap"], float)
        per_class = [
            {"class": name, "ap": values.mean(), "ap50": values[0]} for name, values in zip(CLASSES, ap, strict=True)
        ]
        mean = {"class": "mean", "ap": 100 * _number(result["mean"]), "ap50": 100 * _number(result["ap50"])}
        rows += [common | {"evaluated on": path.parent.name} | row for row in (*per_class, mean)]
    return rows or [common]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
