"""All runs of a folder: one sub-folder per run, named by its id. A file is read again only when it has changed."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from scapes.bootstrap import Draws, intervals, read_draws
from scapes.labels import CLASSES
from synlib.runs.folder import RunDir
from synlib.spec import RunSpec

RESULTS = ("run", "seed", "real", "synthetic", "evaluated on", "class", "ap", "ap50", "state")
INTERVALS = ("run", "evaluated on", "class", "ap", "low", "high")
TABLE = (
    "run", "state", "trained on", "real", "synthetic", "removal", "from",
    "iterations done", "iterations", "epochs", "seed", "seconds left",
)  # fmt: skip
AP = "AP "
"""Start of the names of the columns with the mean AP in percent: one column per evaluation set."""


class RunStore:
    """The runs under ``root``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def run(self, spec_or_id: RunSpec | str) -> RunDir:
        run_id = spec_or_id if isinstance(spec_or_id, str) else spec_or_id.run_id
        return RunDir(self.root / run_id)

    def table(self, planned: Iterable[Any] | None = None, *, sizes: bool = False) -> pd.DataFrame:
        """One row per distinct run of ``planned``, in its order; without ``planned`` one row per folder of the store.

        ``planned``: specs, or objects with a ``spec`` such as :class:`synlib.study.plan.Planned`.

        Columns: ``run``; ``state``, that of :meth:`RunDir.state` with the reason of a failure; ``trained on``, a text
        such as ``300 real + 600 synthetic without 30 %``; ``real``, ``synthetic`` (images); ``removal``, {class:
        fraction} without zeros; ``from`` (initial weights: a run id, ``imagenet``, ...); ``iterations done``,
        ``iterations``; ``epochs``; ``seed``; ``seconds left`` of the current stage of a running run, by its measured
        speed; ``AP NAME`` for each evaluation set that any of the runs has a result on: mean AP in percent. With
        ``sizes`` also ``bytes`` of each folder.

        Raises no error for a folder: if it holds no run, a damaged one, or one of another version, its ``state`` says
        so and its other columns are missing values.
        """
        if planned is None:
            folders = sorted(p for p in self.root.glob("*") if p.is_dir() and not p.name.startswith("."))
            rows = [_row(RunDir(path)) for path in folders]
        else:
            specs = {spec.run_id: spec for spec in (getattr(item, "spec", item) for item in planned)}
            rows = [_row(self.run(run_id), spec) for run_id, spec in specs.items()]
        if sizes:
            rows = [row | {"bytes": size_bytes(self.root / row["run"])} for row in rows]
        found = dict.fromkeys(name for row in rows for name in row if name not in TABLE)
        columns = [*TABLE, *(["bytes"] if sizes else []), *sorted(name for name in found if name.startswith(AP))]
        return pd.DataFrame(rows, columns=columns, dtype=None if rows else object)

    def frame(self, specs: Iterable[RunSpec]) -> pd.DataFrame:
        """Results: one row per distinct run, evaluation set and class ("mean" among them), with AP in percent.

        Columns: ``run``, ``seed``, ``real``, ``synthetic`` (images trained on), ``evaluated on``, ``class``, ``ap``,
        ``ap50`` (averaged over overlaps; at overlap 0.5), ``state`` as in :meth:`table`. Runs that failed or diverged
        have all their rows, with AP missing; other runs without a result have one row each.
        """
        table = self.table(specs)
        readable = table.loc[table["seed"].notna(), "run"]
        scores = [{"run": run_id} | row for run_id in readable for row in _all_scores(self.run(run_id))]
        scores = pd.DataFrame(scores, columns=["run", "evaluated on", "class", "ap", "ap50"])
        return table.merge(scores, on="run", how="left")[list(RESULTS)]

    def intervals(self, specs: Iterable[RunSpec], level: float = 0.95) -> pd.DataFrame:
        """AP in percent with bootstrap intervals: one row per run, evaluation set and class ("mean" among them).

        Columns: ``run``, ``evaluated on``, ``class``, ``ap``, ``low``, ``high``. Runs without results have no row.
        Raises ValueError as :meth:`draws`.
        """
        frames = [
            intervals(_draws(path), level).assign(run=run_id, **{"evaluated on": path.parent.name})
            for run_id in dict.fromkeys(spec.run_id for spec in specs)
            for path in sorted(self.root.glob(f"{run_id}/evaluations/*/records.npz"))
        ]
        table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(INTERVALS))
        table[["ap", "low", "high"]] *= 100
        return table[list(INTERVALS)]

    def draws(self, run_id: str, evaluated_on: str) -> Draws:
        """Bootstrap draws of a run on an evaluation set, as fractions: made from its records once, then kept on disk.

        Raises ValueError naming the records file if it is missing or damaged.
        """
        path = self.run(run_id).evaluation(evaluated_on) / "records.npz"
        return _draws(path) if path.exists() else read_draws(path)  # the latter says what is missing


def shown(table: pd.DataFrame) -> str:
    """:meth:`RunStore.table` for a terminal: a line per run, the state last. Further columns are shown as they are."""
    text = table[["run", "trained on", "from"]].fillna("")
    text["iterations"] = [
        "" if pd.isna(total) else f"{done:.0f}/{total:.0f}"
        for done, total in zip(table["iterations done"], table["iterations"], strict=True)
    ]
    text["left"] = ["" if pd.isna(seconds) else tqdm.format_interval(seconds) for seconds in table["seconds left"]]
    for name in (column for column in table if column not in TABLE):
        if name == "bytes":
            text["size"] = table[name].map(readable_size)
        elif name.startswith(AP):
            text[name] = ["" if pd.isna(ap) else f"{ap:.1f}" for ap in table[name]]
        else:
            text[name] = table[name].fillna("")
    return text.assign(state=table["state"]).to_string(index=False)


def size_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def readable_size(count: float) -> str:
    """``1536`` -> ``1.50kB``."""
    return tqdm.format_sizeof(count, "B", divisor=1024)


def _cached(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """``read`` of a file's path, called again only when the file has changed. Callers must not change the result."""

    @functools.lru_cache(maxsize=1024)
    def read_version(path: Path, changed_ns: int) -> Any:
        return read(path)

    return lambda path: read_version(path, path.stat().st_mtime_ns)


_spec = _cached(RunSpec.load)
_draws = _cached(read_draws)


@_cached
def _scores(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``result.json`` of an evaluation, AP in percent; none on a split whose labels are not public."""
    result = RunDir(path.parents[2]).read(f"evaluations/{path.parent.name}/result.json")
    if "ap" not in result:
        return []
    # ap: (8 classes, 10 overlaps) in fractions, None where a class has no ground truth
    ap = 100 * np.array(result["ap"], float)
    mean, mean50 = 100 * np.array([result["mean"], result["ap50"]], float)
    values = [*zip(CLASSES, ap.mean(1), ap[:, 0], strict=True), ("mean", mean, mean50)]
    return [{"evaluated on": path.parent.name, "class": name, "ap": a, "ap50": b} for name, a, b in values]


def _all_scores(run: RunDir) -> list[dict[str, Any]]:
    """The rows of all evaluations of a run; those that a failed run has not come to have no AP."""
    scores = [row for path in sorted(run.path.glob("evaluations/*/result.json")) for row in _scores(path)]
    if run.state() not in ("failed", "diverged"):
        return scores
    found = {row["evaluated on"] for row in scores}
    wanted = [on["name"] for on in (run.read("job.json") or {}).get("evaluate_on", []) if on["name"] not in found]
    return [{"evaluated on": on, "class": name, "ap": np.nan} for on in wanted for name in (*CLASSES, "mean")] + scores


def _row(run: RunDir, planned: RunSpec | None = None) -> dict[str, Any]:
    """What :meth:`RunStore.table` tells of one run; ``planned`` stands in for a spec that is not in the folder yet."""
    row = {"run": run.path.name}
    if not run.spec_path.exists() and planned is None:
        return row | {"state": "no run: it has no spec.yaml"}
    try:
        spec = _spec(run.spec_path) if run.spec_path.exists() else planned
        if spec.run_id != run.path.name:
            return row | {"state": f"of another version: its spec is run {spec.run_id} here"}
        ap = {AP + score["evaluated on"]: score["ap"] for score in _all_scores(run) if score["class"] == "mean"}
        return row | _described(spec) | _progress(run, spec) | ap
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # damaged, or of another version
        return row | {"state": " ".join(f"unreadable: {error}".split())}


def _described(spec: RunSpec) -> dict[str, Any]:
    removal = {name: fraction for name, fraction in spec.data.removal.items() if fraction}
    return {
        "trained on": _trained_on(spec.data.real_images, spec.data.synthetic_images, removal),
        "real": spec.data.real_images,
        "synthetic": spec.data.synthetic_images,
        "removal": removal,
        "from": spec.initial_run or spec.init,
        "iterations": spec.schedule.iterations,
        "epochs": spec.epochs,
        "seed": spec.seed,
    }


def _progress(run: RunDir, spec: RunSpec) -> dict[str, Any]:
    state = run.state()
    if state in ("failed", "diverged"):
        state = run.failure() if state == "diverged" else f"failed: {run.failure()}"
    at_hand = (run.progress() if state == "running" else None) or {}
    speed = at_hand.get("per_second")
    return {
        "state": state,
        "iterations done": run.iterations_done(spec.schedule.iterations),
        "seconds left": (at_hand["total"] - at_hand["done"]) / speed if speed else np.nan,
    }


def _trained_on(real: int, synthetic: int, removal: Mapping[str, float]) -> str:
    """``300 real + 600 synthetic without 30 % (person 60 %)``."""
    text = " + ".join(f"{count} {domain}" for count, domain in ((real, "real"), (synthetic, "synthetic")) if count)
    if not removal:
        return text
    (usual, _), *_ = Counter(removal.values()).most_common(1)
    others = [f"{name} {100 * value:.0f} %" for name, value in removal.items() if value != usual]
    return text + f" without {100 * usual:.0f} %" + (f" ({', '.join(others)})" if others else "")
