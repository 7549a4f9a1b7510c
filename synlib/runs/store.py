"""All runs of a folder: one sub-folder per run, named by its id. A file is read again only when it has changed."""

import contextlib
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

SCORE = ["run", "evaluated on", "class"]
RESULTS = ["run", "seed", "real", "synthetic", "evaluated on", "class", "ap", "ap50", "state", "low", "high"]
TABLE = (
    "run", "state", "trained on", "real", "synthetic", "removal", "from",
    "iterations done", "iterations", "epochs", "seed", "seconds left",
)  # fmt: skip
FAILED = ("failed", "diverged")
AP = "AP "
"""Start of the names of the columns with the mean AP in percent: one column per evaluation set."""


class RunStore:
    """The runs under ``root``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def run(self, spec_or_id: RunSpec | str) -> RunDir:
        return RunDir(self.root / (spec_or_id if isinstance(spec_or_id, str) else spec_or_id.run_id))

    def table(self, planned: Iterable[Any] | None = None) -> pd.DataFrame:
        """One row per distinct run of ``planned``, in its order; without ``planned`` one row per folder of the store.

        ``planned``: specs, or objects with a ``spec`` such as :class:`synlib.study.plan.Planned`.

        Columns: ``run``; ``state``, that of :meth:`RunDir.state` with the reason of a failure; ``trained on``, a text
        such as ``300 real + 600 synthetic without 30 %``; ``real``, ``synthetic`` (images); ``removal``, {class:
        fraction} without zeros; ``from`` (initial weights: a run id, ``imagenet``, ...); ``iterations done``,
        ``iterations``; ``epochs``; ``seed``; ``seconds left`` of the current stage of a running run, by its measured
        speed; ``AP NAME`` for each evaluation set that any of the runs has a result on: mean AP in percent.

        Raises no error for a folder: if it holds no run, a damaged one, or one of another version, its ``state`` says
        so and its other columns are missing values.
        """
        if planned is None:
            folders = sorted(p for p in self.root.glob("*") if p.is_dir() and not p.name.startswith("."))
            rows = [_row(RunDir(path)) for path in folders]
        else:
            specs = {spec.run_id: spec for spec in (getattr(item, "spec", item) for item in planned)}
            rows = [_row(self.run(run_id), spec) for run_id, spec in specs.items()]
        ap = sorted({name for row in rows for name in row}.difference(TABLE))
        return pd.DataFrame(rows, columns=[*TABLE, *ap], dtype=None if rows else object)

    def frame(self, specs: Iterable[RunSpec]) -> pd.DataFrame:
        """Results: one row per distinct run, evaluation set and class ("mean" among them), with AP in percent.

        Columns: ``run``, ``seed``, ``real``, ``synthetic`` (images trained on), ``evaluated on``, ``class``, ``ap``,
        ``ap50`` (averaged over overlaps; at overlap 0.5), ``state`` as in :meth:`table`, ``low``, ``high`` (95 %
        bootstrap interval of ``ap`` over the evaluation images). Runs that failed or diverged have all their rows, with
        AP missing; other runs without a result have one row each. Raises ValueError as :meth:`draws`.
        """
        table = self.table(specs)
        runs = [self.run(run_id) for run_id in table.loc[table["seed"].notna(), "run"]]
        scores = [{"run": run.path.name} | row for run in runs for row in _all_scores(run)]
        records = [path for run in runs for path in run.path.glob("evaluations/*/records.npz")]
        ends = [{"run": path.parents[2].name} | row for path in records for row in _ends(path)]
        table = table.merge(pd.DataFrame(scores, columns=[*SCORE, "ap", "ap50"]), on="run", how="left")
        return table.merge(pd.DataFrame(ends, columns=[*SCORE, "low", "high"]), on=SCORE, how="left")[RESULTS]

    def draws(self, run_id: str, evaluated_on: str) -> Draws:
        """Bootstrap draws of a run on an evaluation set, as fractions: made from its records once, then kept on disk.

        Raises ValueError naming the records file if it is missing or damaged.
        """
        path = self.run(run_id).evaluation(evaluated_on) / "records.npz"
        return _draws(path) if path.exists() else read_draws(path)  # the latter says what is missing


def shown(table: pd.DataFrame) -> str:
    """:meth:`RunStore.table` for a terminal: one line per run, the state last. ``table`` may have further columns."""
    formats: dict[str, Callable[[Any], str]] = {
        "iterations": "{:.0f}".format, "iterations done": "{:.0f}".format,
        "bytes": readable_size, "seconds left": tqdm.format_interval,
    }  # fmt: skip
    text = {}
    for name in table:
        form = "{:.1f}".format if name.startswith(AP) else formats.get(name, str)
        text[name] = ["" if pd.isna(value) else form(value) for value in table[name]]
    text["iterations"] = [
        "/".join(pair).strip("/") for pair in zip(text["iterations done"], text["iterations"], strict=True)
    ]
    more = [name for name in table if name not in TABLE]
    columns = ["run", "trained on", "from", "iterations", "seconds left", *more, "state"]
    text = pd.DataFrame(text, columns=columns).rename(columns={"seconds left": "left", "bytes": "size"})
    return text.to_string(index=False)


def size_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


def readable_size(count: float) -> str:
    """``1536`` -> ``1.50kB``."""
    return tqdm.format_sizeof(count, "B", divisor=1024)


def _cached(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """``read`` of a file's path, called again only when the file has changed. Callers must not change the result."""
    read_version = functools.lru_cache(maxsize=1024)(lambda path, changed_ns: read(path))
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


@_cached
def _ends(path: Path) -> list[dict[str, Any]]:
    """The rows of the bootstrap intervals that an evaluation's ``records.npz`` gives, in percent."""
    table = intervals(_draws(path)).assign(**{"evaluated on": path.parent.name})
    table[["low", "high"]] *= 100
    return table.to_dict("records")


def _all_scores(run: RunDir) -> list[dict[str, Any]]:
    """The rows of all evaluations of a run; those that a failed run has not come to have no AP."""
    scores = [row for path in sorted(run.path.glob("evaluations/*/result.json")) for row in _scores(path)]
    if run.state() not in FAILED:
        return scores
    found = {row["evaluated on"] for row in scores}
    wanted = [on["name"] for on in (run.read("job.json") or {}).get("evaluate_on", []) if on["name"] not in found]
    return [{"evaluated on": on, "class": name, "ap": np.nan} for on in wanted for name in (*CLASSES, "mean")] + scores


def _row(run: RunDir, planned: RunSpec | None = None) -> dict[str, Any]:
    """What :meth:`RunStore.table` tells of one run; ``planned`` stands in for a spec that is not in the folder yet."""
    row = {"run": run.path.name}
    try:
        spec = _spec(run.spec_path) if run.spec_path.exists() else planned
        if spec is None:
            return row | {"state": "no run: it has no spec.yaml"}
        if spec.run_id != run.path.name:
            return row | {"state": f"of another version: its spec is run {spec.run_id} here"}
        ap = {AP + score["evaluated on"]: score["ap"] for score in _all_scores(run) if score["class"] == "mean"}
        return row | _described(spec) | _progress(run, spec) | ap
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # damaged, or of another version
        return row | {"state": " ".join(f"unreadable: {error}".split())}


def _described(spec: RunSpec) -> dict[str, Any]:
    data, removal = spec.data, {name: fraction for name, fraction in spec.data.removal.items() if fraction}
    return {
        "trained on": _trained_on(data.real_images, data.synthetic_images, removal),
        "real": data.real_images, "synthetic": data.synthetic_images, "removal": removal,
        "from": spec.initial_run or spec.init,
        "iterations": spec.schedule.iterations, "epochs": spec.epochs, "seed": spec.seed,
    }  # fmt: skip


def _progress(run: RunDir, spec: RunSpec) -> dict[str, Any]:
    state = run.state()
    at_hand = (run.progress() if state == "running" else None) or {}
    speed = at_hand.get("per_second")
    return {
        "state": state if state not in FAILED else run.failure() if state == "diverged" else f"failed: {run.failure()}",
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
