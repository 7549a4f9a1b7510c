"""Which runs an experiment of the paper needs: pure functions of the profile and the data's fingerprints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from synlib.spec import DataSpec, RunSpec
from synlib.study.profile import Profile
from synlib.study.store import RunStore


@dataclass(frozen=True)
class Planned:
    """A run and its part in an experiment: ``name`` is its label there, such as the training set's in Table 1."""

    experiment: str
    name: str
    spec: RunSpec


def table1(profile: Profile, fingerprints: dict[str, str], seeds: Sequence[int]) -> list[Planned]:
    """Table 1 (section 3.3): the baseline trained on each domain alone, with equally many images."""
    amounts = {"Synscapes": {"synthetic": profile.baseline_images}, "Cityscapes": {"real": profile.baseline_images}}
    return [
        Planned("table1", name, baseline(profile, fingerprints, seed, **amount))
        for name, amount in amounts.items()
        for seed in seeds
    ]


def baseline(
    profile: Profile, fingerprints: dict[str, str], seed: int, *, real: int = 0, synthetic: int = 0
) -> RunSpec:
    """The profile's baseline on ``real`` + ``synthetic`` images; ``seed`` draws images and weights alike."""
    data = DataSpec(
        real=real,
        synthetic=synthetic,
        real_fingerprint=fingerprints.get("real", ""),
        synthetic_fingerprint=fingerprints.get("synthetic", ""),
        seed=seed,
    )
    return RunSpec(
        model=profile.model,
        data=data,
        schedule=profile.schedule,
        input=profile.input,
        init=profile.init,
        batch_size=profile.batch_size,
        seed=seed,
    )


EXPERIMENTS: dict[str, Callable[..., list[Planned]]] = {"table1": table1}
NOTEBOOKS: dict[str, tuple[str, ...]] = {"01_harmonization": ("table1",)}
"""Notebook -> the experiments whose runs it shows."""


def unplaced(profile: Profile, experiments: Sequence[str], seeds: Sequence[int] | None = None) -> list[Planned]:
    """The runs of ``experiments`` from the profile alone, without any data: for a plan, not for training."""
    return [run for name in experiments for run in EXPERIMENTS[name](profile, {}, seeds or profile.seeds)]


def overview(planned: Sequence[Planned], profile: Profile, store: RunStore | None) -> pd.DataFrame:
    """One row a distinct run, and a last row with totals.

    Columns: ``run``, ``used by``, ``real``, ``synthetic`` (images), ``iterations``, ``epochs``, ``hours`` (estimated
    from the profile's seconds per iteration), ``GPU hours`` (times its processes), ``state``. Without a ``store``, the
    data are not known, and so neither is a run's id or state.
    """
    rows: dict[str, dict] = {}
    for item in planned:
        spec, use = item.spec, f"{item.experiment}: {item.name}"
        if spec.run_id in rows:
            rows[spec.run_id]["used by"] += f", {use}"
            continue
        hours = spec.schedule.iterations * profile.execution.seconds_per_iteration / 3600
        known = {"run": "?", "state": "no data yet"}
        if store:
            known = {"run": spec.run_id, "state": store.run(spec).state()}
        rows[spec.run_id] = {
            "run": known["run"], "used by": use, "real": spec.data.real, "synthetic": spec.data.synthetic,
            "iterations": spec.schedule.iterations, "epochs": round(spec.epochs, 1), "hours": hours,
            "GPU hours": hours * profile.execution.processes, "state": known["state"],
        }  # fmt: skip
    table = pd.DataFrame(list(rows.values())).astype(object)
    total = dict.fromkeys(table.columns, "") | table[["iterations", "hours", "GPU hours"]].sum().to_dict()
    table.loc[len(table)] = total | {"run": "total"}
    return table.assign(**{name: table[name].map("{:.2f}".format) for name in ("hours", "GPU hours")})
