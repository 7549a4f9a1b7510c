"""All runs of a folder: one sub-folder per run, named by its id. A file is read again only when it has changed."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from scapes.ap import summary
from scapes.bootstrap import MEAN, NAMES, Draws, check_pairable, intervals, percentiles, read_draws
from synlib.runs.folder import RunDir
from synlib.section import check
from synlib.spec import DataSpec, RunSpec

SCORE = ["run", "evaluated on", "class"]
RESULTS = ["run", "seed", "real", "synthetic", "evaluated on", "class", "ap", "ap50", "state", "low", "high"]
TABLE = (
    "run", "state", "trained on", "real", "synthetic", "removal", "from",
    "iterations done", "iterations", "epochs", "model", "lr", "momentum", "seed", "seconds left",
)  # fmt: skip
ENDED_EARLY = ("failed", "diverged")
readable_size = functools.partial(tqdm.format_sizeof, suffix="B", divisor=1024)  # 1536 -> "1.50kB"
AP = "AP "  # and the name of an evaluation set: the column with the mean AP on it
HOME = "Cityscapes"  # the first of them: runs are sorted by it, and the paper's claims about real streets asked of it


class RunStore:
    """The runs under ``root``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def run(self, spec_or_id: RunSpec | str) -> RunDir:
        """Its folder, also by the first characters of an id. ValueError for none, or where several runs begin so."""
        name = spec_or_id if isinstance(spec_or_id, str) else spec_or_id.run_id
        check(bool(name), name, "the first characters of an id; `runs` lists them", "run")
        others = self.root.glob("*") if len(name) < 12 else ()
        found = sorted(path.name for path in others if path.name.startswith(name))
        if len(found) > 1 and name not in found:
            raise ValueError(f"run {name}: found {len(found)} that begin so, expected one of {', '.join(found)}")
        return RunDir(self.root / (found[0] if len(found) == 1 else name))

    def table(self, planned: Iterable[Any] | None = None) -> pd.DataFrame:
        """One row per distinct run of ``planned`` (specs, or objects with a ``spec``); without it one per folder.

        Columns: ``run``; ``state``, that of :meth:`RunDir.state` with the reason of a failure; ``trained on``, such as
        ``300 real + 600 synthetic without 30 %``; ``real``, ``synthetic`` (images); ``removal``, {class: fraction}
        without zeros; ``from`` (initial weights: a run id, ``imagenet``, ...); ``iterations done``, ``iterations``;
        ``epochs``, ``model``, ``lr``, ``momentum``, ``seed``; ``seconds left`` of what a running run does now; ``AP
        NAME``, the mean in percent, for each evaluation set that any of the runs has a result on. A folder without a
        run, with a damaged one, a copy or one of another version has a ``state`` that says so, and no other values.
        """
        if planned is None:
            specs = {path.name: None for path in sorted(self.root.glob("[!.]*")) if path.is_dir()}
        else:
            specs = {spec.run_id: spec for spec in (getattr(item, "spec", item) for item in planned)}
        rows = [_row(self.run(run_id), spec) for run_id, spec in specs.items()]
        ap = sorted({name for row in rows for name in row}.difference(TABLE), key=lambda ap: (HOME not in ap, ap))
        return pd.DataFrame(rows, columns=[*TABLE, *ap], dtype=None if rows else object)

    def frame(self, specs: Iterable[RunSpec]) -> pd.DataFrame:
        """Results: one row per distinct run, evaluation set and class ("mean" among them), with AP in percent.

        Columns: ``run``, ``seed``, ``real``, ``synthetic``, ``state`` as in :meth:`table`; ``evaluated on``, ``class``;
        ``ap``, ``ap50`` (averaged over overlaps; at overlap 0.5); ``low``, ``high`` (95 % bootstrap interval of ``ap``
        over the evaluation images). Runs that failed or diverged have all their rows, with AP missing; other runs
        without a result have one row each. Raises ValueError as :meth:`draws`.
        """
        table = self.table(specs)
        runs = [self.run(run_id) for run_id in table.loc[table["seed"].notna(), "run"]]
        scores = [{"run": run.path.name} | row for run in runs for row in _all_scores(run)]
        records = [path for run in runs for path in run.path.glob("evaluations/*/records.npz")]
        ends = [{"run": path.parents[2].name} | row for path in records for row in _ends(path)]
        table = table.merge(pd.DataFrame(scores, columns=[*SCORE, "ap", "ap50"]), on="run", how="left")
        return table.merge(pd.DataFrame(ends, columns=[*SCORE, "low", "high"]), on=SCORE, how="left")[RESULTS]

    def draws(self, run_id: str, evaluated_on: str) -> Draws:
        """Bootstrap draws of a run's AP, as fractions. Raises ValueError for a missing or damaged records file."""
        path = self.run(run_id).evaluation(evaluated_on) / "records.npz"
        return _draws(path) if path.exists() else read_draws(path)  # the latter says what is missing

    def compare(self, first: str, second: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """AP (percent) of two runs on the evaluation sets that both have, and the fields in which their specs differ.

        Rows: evaluation set and class. Columns: both ids; ``more``, what the second has more; ``low``, ``high``, its
        paired 95 % interval. Raises ValueError for the same run twice, without a common set, or where images differ.
        """
        runs = [self.run(name) for name in (first, second)]
        ids = [run.path.name for run in runs]
        check(ids[0] != ids[1], ids, "two runs; `runs` lists them", "compare")
        sets = [{path.parent.name for path in run.path.glob("evaluations/*/records.npz")} for run in runs]
        found, expected = [sorted(own) for own in sets], "a data set that both were evaluated on; `runs` lists them"
        check(bool(sets[0] & sets[1]), found, expected, f"runs {' and '.join(ids)}")
        tables = {}
        for on in sorted(sets[0] & sets[1], key=lambda on: (on != HOME, on)):
            before, after = both = [self.draws(run_id, on) for run_id in ids]
            check_pairable(both, f"runs {' and '.join(ids)} on {on}")
            values = before.value, after.value, after.value - before.value, *percentiles(after.drawn - before.drawn)
            tables[on] = pd.DataFrame(100 * np.transpose(values), NAMES, [*ids, "more", "low", "high"])
        fields = pd.json_normalize([run.spec().to_dict() for run in runs]).set_axis(ids).T.fillna("–").astype(str)
        return pd.concat(tables, names=["evaluated on", "class"]), fields[fields.nunique(axis=1) > 1]


def shown(table: pd.DataFrame) -> str:
    """:meth:`RunStore.table` for a terminal: one line per run, the state last, and how runs differ if they do."""
    differ = [name for name in ("model", "lr", "momentum", "seed") if table[name].nunique() > 1]
    named = [name for name in table if name == "name"]
    more = [name for name in table if name not in (*TABLE, *named)]
    counts = table[["iterations done", "iterations"]].map("{:.0f}".format, "ignore").astype("string")
    text = table.assign(iterations=(counts["iterations done"] + "/" + counts["iterations"]).fillna(""))
    text = text[["run", *named, "trained on", "from", *differ, "iterations", "seconds left", *more, "state"]]
    formats = {"left": tqdm.format_interval, "size": readable_size, "seed": "{:.0f}".format}
    formats |= {name: "{:.1f}".format for name in more if name.startswith(AP)}
    formats |= dict.fromkeys(["lr", "momentum"], "{:g}".format)
    text = text.rename(columns={"seconds left": "left", "bytes": "size"})
    return text.to_string(index=False, na_rep="", formatters=formats)


def _cached(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """``read`` of a file's path, called again only when the file has changed. Callers must not change the result."""
    read_version = functools.lru_cache(maxsize=1024)(lambda path, changed_ns: read(path))
    return lambda path: read_version(path, path.stat().st_mtime_ns)


_spec = _cached(RunSpec.load)
_draws = _cached(read_draws)


@_cached
def _scores(path: Path) -> list[dict[str, Any]]:
    """The rows of an evaluation's ``result.json``, AP in percent; none on a split whose labels are not public."""
    result = RunDir(path.parents[2]).read(f"evaluations/{path.parent.name}/result.json")
    if "ap" not in result:
        return []
    # (8 classes, 10 overlaps) in fractions, None where a class has no ground truth -> (9, 2) with the mean, in percent
    values = dict(zip(NAMES, 100 * summary(np.array(result["ap"], float)), strict=True))
    return [{"evaluated on": path.parent.name, "class": name, "ap": a, "ap50": b} for name, (a, b) in values.items()]


@_cached
def _ends(path: Path) -> list[dict[str, Any]]:
    """The bootstrap intervals of an evaluation's ``records.npz``, one row per class, in percent."""
    table = intervals(_draws(path)).assign(**{"evaluated on": path.parent.name})
    table[["low", "high"]] *= 100
    return table.to_dict("records")


def _all_scores(run: RunDir) -> list[dict[str, Any]]:
    """The rows of all evaluations of a run; those that a failed run has not come to have no AP."""
    scores = [row for path in sorted(run.path.glob("evaluations/*/result.json")) for row in _scores(path)]
    if run.state() not in ENDED_EARLY:
        return scores
    found = {row["evaluated on"] for row in scores}
    wanted = [on["name"] for on in (run.read("job.json") or {}).get("evaluate_on", []) if on["name"] not in found]
    return [{"evaluated on": on, "class": name, "ap": np.nan} for on in wanted for name in NAMES] + scores


def _row(run: RunDir, planned: RunSpec | None = None) -> dict[str, Any]:
    """A row of :meth:`RunStore.table`; ``planned`` stands in for a spec that is not in the folder yet."""
    try:
        return {"run": run.path.name} | _known(run, _spec(run.spec_path) if run.spec_path.exists() else planned)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # damaged, or of another version
        return {"run": run.path.name, "state": " ".join(f"unreadable: {error}".split())}


def _known(run: RunDir, spec: RunSpec | None) -> dict[str, Any]:
    if spec is None:
        return {"state": "no run: it has no spec.yaml"}
    if spec.run_id != run.path.name:
        return {"state": f"a copy, or of another version: its spec is run {spec.run_id} here"}
    ap = {AP + score["evaluated on"]: score["ap"] for score in _all_scores(run) if score["class"] == MEAN}
    data, iterations, state = spec.data, spec.schedule.iterations, run.state()
    at_hand = run.progress() if state == "running" else {}
    speed = at_hand.get("per_second")
    if state in ENDED_EARLY:
        state = f"failed: {run.failure()}" if state == "failed" else run.failure()
    return {
        "state": state, "trained on": trained_on(data), "real": data.real_images, "synthetic": data.synthetic_images,
        "removal": data.removed, "from": spec.initial_run or spec.init, "epochs": spec.epochs, "seed": spec.seed,
        "model": spec.model, "lr": spec.schedule.base_lr, "momentum": spec.schedule.momentum,
        "iterations done": run.iterations_done(iterations), "iterations": iterations,
        "seconds left": (at_hand["total"] - at_hand["done"]) / speed if speed else np.nan, **ap,
    }  # fmt: skip


def trained_on(data: DataSpec) -> str:
    """``300 real + 600 synthetic without 30 % (person 60 %)``, and what else is not as usual: ``random, balanced``."""
    counts = {"real": data.real_images, "synthetic": data.synthetic_images}
    text = " + ".join(f"{count} {domain}" for domain, count in counts.items() if count)
    if data.removed:
        (usual, _), *_ = Counter(data.removed.values()).most_common(1)
        others = [f"{name} {100 * value:.0f} %" for name, value in data.removed.items() if value != usual]
        text += f" without {100 * usual:.0f} %" + (f" ({', '.join(others)})" if others else "")
    how = [v for v in (data.criterion, data.removed_as, data.sampling) if v not in ("size", "background", "shuffled")]
    return ", ".join([text, *how])
