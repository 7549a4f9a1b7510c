"""All runs of a folder: one sub-folder a run, named by its id. Nothing is trained twice."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scapes.bootstrap import Draws
from scapes.labels import CLASSES
from synlib.runs import intervals
from synlib.runs.folder import RunDir
from synlib.spec import RunSpec

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
        """Results, one row a distinct run, evaluation set and class ("mean" among them), with AP in percent.

        Columns: ``run``, ``seed``, ``real``, ``synthetic`` (images trained on), ``evaluated on``, ``class``, ``ap``,
        ``ap50`` (averaged over overlaps; at overlap 0.5), ``state``. Runs that failed have their rows too, with AP
        missing and state ``failed: REASON`` (``failed: diverged at iteration N``); others without a result have one.
        """
        rows = [row for run in self._distinct(specs) for row in _rows(run)]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def intervals(self, specs: Iterable[RunSpec], level: float = 0.95) -> pd.DataFrame:
        """:func:`synlib.runs.intervals.intervals` of these runs."""
        return intervals.intervals(self._distinct(specs), level)

    def _distinct(self, specs: Iterable[RunSpec] | None) -> list[RunDir]:
        if specs is None:
            return list(self.runs())
        return [self.run(run_id) for run_id in dict.fromkeys(spec.run_id for spec in specs)]

    def draws(self, run_id: str, evaluated_on: str) -> Draws:
        """:func:`synlib.runs.intervals.draws` of a run."""
        return intervals.draws(self.run(run_id), evaluated_on)


def _rows(run: RunDir) -> list[dict]:
    if not run.spec_path.exists():
        return [{"run": run.path.name, "state": "planned"}]
    try:
        return _result_rows(run, run.spec())
    except (OSError, ValueError, KeyError) as error:  # of another version, damaged, or not ours: told, and left alone
        return [{"run": run.path.name, "state": f"unreadable: {error}"}]


def _result_rows(run: RunDir, spec: RunSpec) -> list[dict]:
    state = run.state()
    failed = state in ("failed", "diverged")
    common = {
        "run": run.path.name,
        "seed": spec.seed,
        "real": spec.data.real_images,
        "synthetic": spec.data.synthetic_images,
        "state": f"failed: {run.failure()}" if failed else state,
    }
    rows = []
    if failed:
        wanted = (run.read("job.json") or {}).get("evaluate_on", [])
        rows = [{"evaluated on": on["name"], "class": name} for on in wanted for name in (*CLASSES, "mean")]
    for name, result in results(run).items():
        rows = [row for row in rows if row["evaluated on"] != name]
        ap = 100 * np.array(result["ap"], float)
        per_class = [
            {"class": name, "ap": values.mean(), "ap50": values[0]} for name, values in zip(CLASSES, ap, strict=True)
        ]
        mean = {"class": "mean", "ap": 100 * _number(result["mean"]), "ap50": 100 * _number(result["ap50"])}
        rows += [{"evaluated on": name} | row for row in (*per_class, mean)]
    return [common | row for row in rows] or [common]


def results(run: RunDir) -> dict[str, dict]:
    """Results of a run by evaluation set, without those of a split whose labels are not public."""
    paths = sorted(run.path.glob("evaluations/*/result.json"))
    found = {path.parent.name: run.read(str(path.relative_to(run.path))) for path in paths}
    return {name: result for name, result in found.items() if "ap" in result}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
