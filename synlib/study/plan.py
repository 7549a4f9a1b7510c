"""Which runs a notebook needs, without training any: experiments -> planned runs -> the table with their cost."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from synlib.profile import Grids, Profile
from synlib.runs.folder import RunDir
from synlib.runs.store import RunStore
from synlib.spec import RunSpec
from synlib.study import experiments
from synlib.study.experiments import Planner, Runs

MEASURED_ITERATIONS = 20
"""With fewer, a training's first iterations, which are slow, would decide."""


@dataclass(frozen=True)
class Planned:
    """A run and its part in an experiment: ``name`` is its label there, such as the training set's in Table 1.

    ``factors``: what the experiment varies, and this run's values of it.
    """

    experiment: str
    name: str
    spec: RunSpec
    factors: Mapping[str, Any] = field(default_factory=dict)


EXPERIMENTS: dict[str, Callable[[Planner], Runs]] = {
    function.__name__: function
    for function in (
        experiments.table1,
        experiments.thresholds,
        experiments.ratios,
        experiments.amounts,
        experiments.pre_training,
        experiments.fine_tuning,
        experiments.removal,
        experiments.steps,
    )
}
NOTEBOOKS: dict[str, tuple[str, ...]] = {
    "01_harmonization": ("table1",),
    "02_pruning_study": ("thresholds",),
    "03_mixing_study": ("ratios", "amounts"),
    "04_fine_tuning_study": ("pre_training", "fine_tuning", "removal", "steps"),
    "05_summary": tuple(EXPERIMENTS),
}
"""Notebook -> the experiments whose runs it shows."""


def plan(experiment: str, profile: Profile, fingerprints: Mapping[str, str], seeds: Sequence[int]) -> list[Planned]:
    """The runs of ``experiment``, once for each seed.

    ``fingerprints``: of the training splits, by domain; empty for a plan without data. Raises ValueError for an unknown
    experiment.
    """
    if experiment not in EXPERIMENTS:
        raise ValueError(f"experiment {experiment!r}: expected one of {', '.join(EXPERIMENTS)}")
    return [
        Planned(experiment, name, spec, factors)
        for seed in seeds
        for name, spec, factors in EXPERIMENTS[experiment](Planner(profile, fingerprints, seed))
    ]


def unplaced(profile: Profile, names: Sequence[str], seeds: Sequence[int] | None = None) -> list[Planned]:
    """The runs of experiments ``names`` from the profile alone, without any data: for a plan, not for training."""
    return [run for name in names for run in plan(name, profile, {}, seeds or profile.seeds)]


def overview(planned: Sequence[Planned], profile: Profile, store: RunStore | None) -> pd.DataFrame:
    """One row a distinct run, and a last row with totals.

    Columns: ``run``, ``used by``, ``real``, ``synthetic`` (images), ``from`` (initial weights), ``iterations``,
    ``epochs``, ``hours`` (estimated by :func:`seconds_per_iteration`), ``GPU hours`` (times the profile's processes),
    ``state``. Without a ``store``, the data are not known, and so neither is a run's id or state.
    """
    specs = {item.spec.run_id: item.spec for item in planned}
    uses: dict[str, dict[str, None]] = {run_id: {} for run_id in specs}
    for item in planned:
        uses[item.spec.run_id][f"{item.experiment}: {item.name}"] = None
    seconds, _ = seconds_per_iteration(list(specs.values()), profile, store)
    rows = []
    for run_id, spec in specs.items():
        hours = spec.schedule.iterations * seconds / 3600
        known = {"run": "?", "from": "?" if spec.initial_run else spec.init, "state": "no data yet"}
        if store:
            known = {"run": run_id, "from": spec.initial_run or spec.init, "state": store.run(spec).state()}
        rows.append({
            "run": known["run"], "used by": ", ".join(uses[run_id]),
            "real": spec.data.real_images, "synthetic": spec.data.synthetic_images, "from": known["from"],
            "iterations": spec.schedule.iterations, "epochs": round(spec.epochs, 1),
            "hours": hours, "GPU hours": hours * profile.execution.processes, "state": known["state"],
        })  # fmt: skip
    table = pd.DataFrame(rows).astype(object)
    total = dict.fromkeys(table.columns, "") | table[["iterations", "hours", "GPU hours"]].sum().to_dict()
    table.loc[len(table)] = total | {"run": "total"}
    return table.assign(**{name: table[name].map("{:.2f}".format) for name in ("hours", "GPU hours")})


def seconds_per_iteration(specs: Sequence[RunSpec], profile: Profile, store: RunStore | None) -> tuple[float, int]:
    """Of training alone, measured in those of ``specs`` that are done: the median, and in how many; else the profile's,
    and 0.

    A run counts if the execution that ended it trained at least :data:`MEASURED_ITERATIONS`.
    """
    measured = [_measured_rate(store.run(spec)) for spec in specs] if store else []
    rates = [rate for rate in measured if rate]
    return (statistics.median(rates), len(rates)) if rates else (profile.execution.seconds_per_iteration, 0)


def _measured_rate(run: RunDir) -> float | None:
    try:
        found = run.read("result.json") or {}
        iterations, seconds = int(found.get("trained", 0)), float(found.get("training_seconds", 0))
    except (OSError, ValueError, TypeError):  # an estimate is no reason to stop: whoever needs the result says so
        return None
    return seconds / iterations if iterations >= MEASURED_ITERATIONS else None


def reductions(profile: Profile) -> list[str]:
    """In which factors the profile has fewer values than the paper's study, a line each."""
    paper = Grids()
    names = ("thresholds", "ratios", "added_images", "epochs", "learning_rates")
    sizes = {name: (_points(getattr(profile.grids, name)), _points(getattr(paper, name))) for name in names}
    return [f"{name}: {ours} of the paper's {theirs}" for name, (ours, theirs) in sizes.items() if ours < theirs]


def _points(values: Sequence | Mapping) -> int:
    return sum(map(len, values.values())) if isinstance(values, Mapping) else len(values)
