"""The runs of a folder as a person wants to see them: a row each, whatever state it is in and whoever put it there."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pandas as pd

from synlib.runs.folder import RunDir
from synlib.runs.store import RunStore, results
from synlib.spec import RunSpec

COLUMNS = (
    "run", "state", "real", "synthetic", "removal", "from",
    "iterations done", "iterations", "seconds left", "bytes",
)  # fmt: skip
AP = "AP "
"""Beginning of the names of the columns with the mean AP in percent, one an evaluation set."""


def listing(store: RunStore) -> pd.DataFrame:
    """One row a folder of the store, with :data:`COLUMNS` and one ``AP NAME`` an evaluation set that any run has.

    ``state`` is that of :meth:`RunDir.state` with the reason of a failure, or says what is wrong with a folder that
    holds no run, a damaged one, or one of another version; nothing of that is an error. ``removal``: {class: fraction}
    of those not 0. ``seconds left``: of the stage at hand of a running run, by the speed that it has measured.
    """
    folders = sorted(path for path in store.root.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not folders:
        return pd.DataFrame(columns=list(COLUMNS), dtype=object)
    frame = pd.DataFrame([_row(RunDir(path)) | {"bytes": size_bytes(path)} for path in folders])
    return frame.reindex(columns=[*COLUMNS, *(name for name in frame if name not in COLUMNS)])


def text(frame: pd.DataFrame) -> str:
    """``listing`` in columns for a terminal."""
    shown = pd.DataFrame({"run": frame["run"], "trained on": [_trained_on(row) for row in frame.to_dict("records")]})
    shown["from"] = frame["from"].fillna("")
    shown["iterations"] = [
        f"{done:.0f}/{total:.0f}" if total == total else ""
        for done, total in zip(frame["iterations done"], frame["iterations"], strict=True)
    ]
    shown["left"] = [str(timedelta(seconds=round(s))) if s == s else "" for s in frame["seconds left"].astype(float)]
    for name in frame.columns[len(COLUMNS) :]:
        shown[name] = [f"{value:.1f}" if value == value else "" for value in frame[name]]
    shown["size"] = [readable_size(value) for value in frame["bytes"]]
    shown["state"] = frame["state"]
    return shown.to_string(index=False)


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
    """``1536`` -> ``1.5 kB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def _row(run: RunDir) -> dict:
    row = {"run": run.path.name}
    if not run.spec_path.exists():
        return row | {"state": "no run: it has no spec.yaml"}
    try:
        spec = run.spec()
        if spec.run_id != run.path.name:
            return row | {"state": f"of another version: its spec is run {spec.run_id} here"}
        return row | _known(run, spec)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return row | {"state": " ".join(f"unreadable: {error}".split())}


def _known(run: RunDir, spec: RunSpec) -> dict:
    state = run.state()
    at_hand = run.progress() if state == "running" else None
    speed = at_hand and at_hand.get("per_second")
    return {
        "state": f"failed: {run.failure()}" if state == "failed" else run.failure() if state == "diverged" else state,
        "real": spec.data.real_images,
        "synthetic": spec.data.synthetic_images,
        "removal": {name: fraction for name, fraction in spec.data.removal.items() if fraction},
        "from": spec.initial_run or spec.init,
        "iterations done": run.iterations_done(spec.schedule.iterations),
        "iterations": spec.schedule.iterations,
        "seconds left": (at_hand["total"] - at_hand["done"]) / speed if speed else float("nan"),
    } | {
        AP + name: float("nan") if result["mean"] is None else 100 * result["mean"]
        for name, result in results(run).items()
    }


def _trained_on(row: Mapping) -> str:
    """``300 real + 600 synthetic without 30 % (person 60 %)``."""
    amounts = [f"{row[domain]:.0f} {domain}" for domain in ("real", "synthetic") if row[domain] > 0]
    if not isinstance(row["removal"], dict) or not row["removal"]:
        return " + ".join(amounts)
    (usual, _), *_ = Counter(row["removal"].values()).most_common(1)
    others = [f"{name} {100 * value:.0f} %" for name, value in row["removal"].items() if value != usual]
    return " + ".join(amounts) + f" without {100 * usual:.0f} %" + (f" ({', '.join(others)})" if others else "")
