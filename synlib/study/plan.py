"""Which runs a notebook needs, and what they cost, without training any."""

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from synlib.profile import Profile
from synlib.runs.local import listed_gpus, visible_gpus
from synlib.runs.store import RunStore
from synlib.spec import ExecutionSettings, RunSpec
from synlib.study.experiments import EXPERIMENTS, Planner

MEASURED_ITERATIONS = 20  # with fewer, a training's first iterations, which are slow, would decide


class Planned(NamedTuple):
    """A run and its part in an experiment."""

    experiment: str
    name: str  # in the experiment
    spec: RunSpec
    factors: Mapping[str, Any]  # the run's values of what the experiment varies


NOTEBOOKS: dict[str, tuple[str, ...]] = {  # notebook -> the experiments whose runs it shows
    "01_harmonization": ("table1",),
    "02_pruning_study": ("thresholds", "what_to_remove"),
    "03_mixing_study": ("ratios", "amounts", "sampling", "other_network"),
    "04_fine_tuning_study": ("pre_training", "fine_tuning", "removal", "steps"),
    "05_summary": EXPERIMENTS,
    "06_other_streets": ("table1", "removal", "steps"),
}


def plan(profile: Profile, names: Sequence[str], fingerprints: Mapping[str, str] | None = None) -> list[Planned]:
    """Runs of experiments for each seed; ValueError for an unknown. Without ``fingerprints``, none can be trained."""
    if unknown := [name for name in names if name not in EXPERIMENTS]:
        raise ValueError(f"experiment {unknown[0]!r}: expected one of {', '.join(EXPERIMENTS)}")
    return [
        Planned(experiment, name, spec, factors)
        for experiment in names
        for seed in profile.seeds
        for name, spec, factors in getattr(Planner(profile, fingerprints or {}, seed), experiment)()
    ]


def text(planned: Sequence[Planned], profile: Profile, store: RunStore | None) -> str:
    """A table of the distinct runs with their costs, and totals. Without ``store``, ids and states are not known."""
    uses: dict[str, dict[str, None]] = {}
    for item in planned:
        uses.setdefault(item.spec.run_id, {})[f"{item.experiment}: {item.name}"] = None
    table = (store or RunStore(profile.runs_dir)).table(planned)
    if not store:
        table = table.replace({"from": dict.fromkeys(uses, "?")}).assign(run="?", state="no data yet")
    table["used by"] = [", ".join(names) for names in uses.values()]
    seconds, source = seconds_per_iteration(planned, profile, store)
    table["hours"] = table["iterations"] * seconds / 3600
    table["GPU hours"] = table["hours"] * gpus_of(profile.execution)
    columns = ["run", "used by", "real", "synthetic", "from", "iterations", "epochs", "hours", "GPU hours", "state"]
    formats = {"epochs": "{:.1f}".format, "hours": "{:.2f}".format, "GPU hours": "{:.2f}".format}
    iterations, hours, gpu_hours = table[["iterations", "hours", "GPU hours"]].sum()
    total = f"total: {iterations:.0f} iterations, {hours:.2f} hours, {gpu_hours:.2f} GPU hours"
    total = f"{total}; {seconds:.3g} s an iteration, {source}"
    return f"{table[columns].to_string(index=False, formatters=formats)}\n{total}"


def seconds_per_iteration(planned: Sequence[Planned], profile: Profile, store: RunStore | None) -> tuple[float, str]:
    """The median over the distinct runs whose last execution tells it; else the profile's; and where it is from."""
    rates, execution, gpus = [], profile.execution, gpus_of(profile.execution)
    for run_id in {item.spec.run_id for item in planned} if store else ():
        with contextlib.suppress(OSError, ValueError, TypeError):  # an estimate is no reason to stop
            found = store.run(run_id).read("result.json") or {}
            if (trained := int(found.get("trained", 0))) >= MEASURED_ITERATIONS and found.get("training_seconds"):
                rates.append(float(found["training_seconds"]) / trained)
    if rates:
        return statistics.median(rates), f"measured in {len(rates)} runs"
    seconds, source, here = execution.seconds_per_iteration, "the profile's", next(iter(listed_gpus().values()), "")
    for name, by_precision in execution.seconds_by_gpu.items():
        if name in here and profile.precision in by_precision:
            seconds, source = by_precision[profile.precision], f"measured on {name} in {profile.precision}:"
    scale = (execution.slurm.gpus or gpus) / gpus  # the profile's is for its Slurm job's GPUs, if it names any
    return seconds * scale, f"{source} {seconds:g} s" + " scaled to the GPUs here" * (scale != 1)


def gpus_of(execution: ExecutionSettings) -> int:
    """GPUs of one training; with ``auto`` this machine's or, where it has none and only plans, the Slurm job's."""
    here = len(visible_gpus()) if execution.processes == "auto" else execution.processes
    asked = execution.slurm.gpus or here or 1
    return asked if execution.executor == "slurm" else here or asked
