"""What a notebook holds in its hand: the profile, its data, and the runs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pandas as pd

from synlib.job import EvaluationSet, Job
from synlib.spec import RunSpec
from synlib.study import launch, plan
from synlib.study.data import DOMAINS, StudyData, prepare
from synlib.study.plan import Planned
from synlib.study.profile import ROOT, Profile
from synlib.study.store import RunStore


class Study:
    """One study: planned from a profile, trained into a run store, read back as tidy DataFrames."""

    PARAMETERS = ("profile", "cityscapes", "synscapes", "data_dir", "run_dir", "seeds", "device")
    """What :meth:`open` takes; notebooks have parameters of the same names."""

    def __init__(
        self, profile: Profile, data: StudyData, store: RunStore, *, seeds: Sequence[int], device: str = ""
    ) -> None:
        self.profile, self.data, self.store, self.seeds, self.device = profile, data, store, tuple(seeds), device
        self.fingerprints = {domain: data.fingerprint(domain) for domain in DOMAINS}

    @classmethod
    def open(
        cls,
        profile: str = "demo",
        *,
        cityscapes: str = "",
        synscapes: str = "",
        data_dir: str | Path = "",
        run_dir: str | Path = "",
        seeds: Sequence[int] = (),
        device: str = "",
    ) -> Self:
        """Load a profile and make its data ready. Empty arguments mean the profile's values and the default folders.

        Raises FileNotFoundError or ValueError for an unknown profile or a missing data set.
        """
        loaded = Profile.load(profile)
        loaded = loaded.with_data_roots(cityscapes, synscapes)
        data = prepare(loaded, Path(data_dir or ROOT / "data" / loaded.name))
        store = RunStore(Path(run_dir or ROOT / "runs"))
        return cls(loaded, data, store, seeds=seeds or loaded.seeds, device=device)

    def planned(self, experiment: str) -> list[Planned]:
        """The runs of an experiment of the paper, by its name in :data:`synlib.study.plan.EXPERIMENTS`."""
        return plan.EXPERIMENTS[experiment](self.profile, self.fingerprints, self.seeds)

    def train(self, planned: Sequence[Planned], *, jobs: int = 1, keep_going: bool = False) -> pd.DataFrame:
        """Train what has no result yet, and return :meth:`results`."""
        launch.train([p.spec for p in planned], self.store, self.job(), jobs=jobs, keep_going=keep_going)
        return self.results(planned)

    def results(self, planned: Sequence[Planned]) -> pd.DataFrame:
        """:meth:`RunStore.frame` of these runs, with the column ``trained on``: each run's name in its experiment."""
        names = {p.spec.run_id: p.name for p in planned}
        frame = self.store.frame([p.spec for p in planned])
        return frame.assign(**{"trained on": frame["run"].map(names)})

    def intervals(self, planned: Sequence[Planned], level: float = 0.95) -> pd.DataFrame:
        """AP in percent with its bootstrap interval over the evaluation images: a row a run, evaluation set and class.

        Columns: ``trained on``, ``run``, ``seed``, ``evaluated on``, ``class`` ("mean" among them), ``ap``, ``low``,
        ``high``.
        """
        names = {p.spec.run_id: p.name for p in planned}
        frame = self.store.intervals([p.spec for p in planned], level)
        return frame.assign(**{"trained on": frame["run"].map(names)})

    def predictions(self, run_id: str, on: EvaluationSet) -> Path:
        """The file of a finished run's predictions on ``on``, which are made if they are not there.

        Raises FileNotFoundError for an unknown run.
        """
        run = self.store.run(run_id)
        if not (run.path / "result.json").exists():
            raise FileNotFoundError(
                f"{run.path}: no finished run; `python -m synlib runs` lists the runs that are there"
            )
        launch.train([run.spec()], self.store, dataclasses.replace(self.job(), evaluate_on=(on,)))
        return run.evaluation(on.name) / "predictions.parquet"

    def with_fingerprints(self, spec: RunSpec) -> RunSpec:
        """``spec`` for this study's data: fingerprints that are not given are filled in."""
        given = {
            "real_fingerprint": spec.data.real_fingerprint,
            "synthetic_fingerprint": spec.data.synthetic_fingerprint,
        }
        own = {f"{domain}_fingerprint": value for domain, value in self.fingerprints.items()}
        return spec.replace(data=dataclasses.replace(spec.data, **{key: given[key] or own[key] for key in given}))

    def job(self) -> Job:
        """How runs of this study are executed."""
        execution = self.profile.execution
        return Job(
            real_root=str(self.data.roots["real"]),
            synthetic_root=str(self.data.roots["synthetic"]),
            cache_dir=str(self.data.cache_dir),
            evaluate_on=self.data.evaluation_sets(),
            imagenet_weights=execution.imagenet_weights,
            device=self.device,
            processes=execution.processes,
            loader_workers=execution.loader_workers,
            threads=execution.threads,
            checkpoint_period=execution.checkpoint_period,
        )
