"""What a notebook holds in its hand: the profile, its data, and the runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pandas as pd

from synlib.profile import Profile
from synlib.runs import launch
from synlib.runs.local import LocalExecutor
from synlib.runs.slurm import SlurmExecutor
from synlib.runs.store import RunStore
from synlib.spec import EvaluationSet, Execution, RunSpec
from synlib.study import plan
from synlib.study.data import DOMAINS, NAMES, StudyData, existing, prepare
from synlib.study.plan import Planned


def _checked(
    profile: str,
    *,
    cityscapes: str = "",
    synscapes: str = "",
    data_dir: str | Path = "",
    run_dir: str | Path = "",
    seeds: Sequence[int] = (),
    device: str = "",
    executor: str = "local",
    **grids: Any,
) -> tuple[Profile, Path, RunStore, Sequence[int], str, str]:
    """Profile, data folder, run store, seeds, device and executor that the parameters mean."""
    if executor not in ("local", "slurm"):
        raise ValueError(f"executor: found {executor!r}, expected 'local' or 'slurm'")
    paths = {"cityscapes": cityscapes, "synscapes": synscapes, "data_dir": data_dir, "run_dir": run_dir}
    for name, value in (paths | {"profile": profile, "device": device}).items():
        if not isinstance(value, (str, Path)):
            raise ValueError(f"{name}: found {value!r}, expected text")
    if not isinstance(seeds, (list, tuple)) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ValueError(f"seeds: found {seeds!r}, expected a list of integers from 0 on")
    settings = {"data.cityscapes": str(cityscapes), "data.synscapes": str(synscapes), **grids}
    loaded = Profile.load(profile).with_settings({k: v for k, v in settings.items() if v not in ("", [], {}, ())})
    folder = Path(data_dir).resolve() if data_dir else loaded.data_dir
    return loaded, folder, RunStore(run_dir or loaded.runs_dir), seeds or loaded.seeds, device, executor


class Study:
    """One study: planned from a profile, trained into a run store, read back as tidy DataFrames."""

    GRIDS = ("thresholds", "removal", "ratios", "added_images", "epochs", "learning_rates")
    PARAMETERS = ("profile", "cityscapes", "synscapes", "data_dir", "run_dir", "seeds", "device", "executor", *GRIDS)
    """What :meth:`open` takes; notebooks have parameters of the same names."""

    def __init__(
        self,
        profile: Profile,
        data: StudyData,
        store: RunStore,
        seeds: Sequence[int],
        device: str = "",
        executor: str = "local",
    ) -> None:
        self.profile, self.data, self.store, self.seeds = profile, data, store, tuple(seeds)
        self.device, self.executed_on = device, executor
        self.fingerprints = {domain: data.fingerprint(domain) for domain in DOMAINS}

    @classmethod
    def open(cls, profile: str = "demo", **parameters: Any) -> Self:
        """Load a profile and make its data ready; ``parameters`` are those of :data:`PARAMETERS`.

        ``cityscapes``, ``synscapes``: roots of the data sets (default: the profile's). ``data_dir``, ``run_dir``: where
        derived data and runs are kept (default: ``data/PROFILE`` and ``runs`` of the compendium). ``seeds``: list of
        integers (default: the profile's). ``device``: ``cpu`` or ``cuda`` (default: cuda if there is one).
        ``executor``: where runs are trained, on this machine (``local``) or by a cluster (``slurm``). Those of
        :data:`GRIDS` replace the profile's (:class:`synlib.profile.Grids`). Relative paths are relative to the
        current folder.

        Raises FileNotFoundError or ValueError for an unknown profile, a missing data set, or a parameter that is not
        what it should be.
        """
        loaded, data_dir, *others = _checked(profile, **parameters)
        return cls(loaded, prepare(loaded, data_dir), *others)

    @classmethod
    def if_ready(cls, profile: str = "demo", **parameters: Any) -> Self | None:
        """:meth:`open` if the data are ready already, else None; nothing is made."""
        loaded, data_dir, *others = _checked(profile, **parameters)
        data = existing(loaded, data_dir)
        return cls(loaded, data, *others) if data else None

    def planned(self, experiment: str) -> list[Planned]:
        """The runs of an experiment of the paper, by its name in :data:`synlib.study.plan.EXPERIMENTS`.

        Raises ValueError for an unknown experiment, and when a run wants more training images than there are.
        """
        planned = plan.plan(experiment, self.profile, self.fingerprints, self.seeds)
        for domain in DOMAINS:
            there = len(self.data.images(domain, "train"))
            for item in planned:
                wanted = getattr(item.spec.data, f"{domain}_images")
                if wanted > there:
                    raise ValueError(
                        f"{experiment}: {item.name}: found {there} {domain} training images in "
                        f"{self.data.roots[domain]}, expected at least the {wanted} of the plan; plan with fewer, or "
                        f"name the whole data set"
                    )
        return planned

    def train(self, planned: Sequence[Planned], *, jobs: int = 1, keep_going: bool = False) -> pd.DataFrame:
        """Train what has no result yet, and return :meth:`results`."""
        specs = [p.spec for p in planned]
        launch.train(specs, self.store, self.job(), keep_going=keep_going, executor=self.executor(jobs))
        return self.results(planned)

    def executor(self, jobs: int = 1, *, wait: bool = True) -> LocalExecutor | SlurmExecutor:
        """What trains this study's runs: ``jobs`` at a time on this machine, or the cluster, left after submission
        if ``wait`` is false.
        """
        if self.executed_on == "slurm":
            return SlurmExecutor(self.profile.execution.slurm, wait=wait)
        return LocalExecutor(jobs)

    def results(self, planned: Sequence[Planned], level: float = 0.95) -> pd.DataFrame:
        """Tidy results: one row a run, evaluation set of this study and class ("mean" among them).

        Columns: ``experiment``, ``trained on`` (the run's name in it), the experiment's factors, those of
        :meth:`RunStore.frame`, and ``low``, ``high``: the bootstrap interval of ``ap`` over the evaluation images, in
        percent. A run that failed has its rows, with AP missing.
        """
        specs = [p.spec for p in planned]
        named = pd.DataFrame(
            [{"experiment": p.experiment, "trained on": p.name, "run": p.spec.run_id} | p.factors for p in planned]
        )
        frame = self.store.frame(specs)
        own = frame["evaluated on"].isin(NAMES.values()) | frame["evaluated on"].isna()
        intervals = self.store.intervals(specs, level)[["run", "evaluated on", "class", "low", "high"]]
        return named.merge(frame[own], on="run").merge(intervals, on=["run", "evaluated on", "class"], how="left")

    def train_everything(self, *, jobs: int = 1, keep_going: bool = False) -> dict[str, pd.DataFrame]:
        """:meth:`train` for all experiments of the paper together; results by experiment."""
        planned = {name: self.planned(name) for name in plan.EXPERIMENTS}
        self.train([run for runs in planned.values() for run in runs], jobs=jobs, keep_going=keep_going)
        return {name: self.results(runs) for name, runs in planned.items()}

    def predictions(self, run_id: str, on: EvaluationSet) -> Path:
        """The file of a finished run's predictions on ``on``, which are made if they are not there.

        Raises FileNotFoundError for an unknown run, ValueError if the run has results on other data of that name.
        """
        run = self.store.run(run_id)
        if not (run.path / "result.json").exists():
            raise FileNotFoundError(
                f"{run.path}: no finished run; `python -m synlib runs` lists the runs that are there"
            )
        made = run.read(f"evaluations/{on.name}/result.json")
        if made and made.get("identity") != on.identity():
            raise ValueError(
                f"run {run_id} has a result on other data named {on.name}, found {made.get('identity')}, expected "
                f"{on.identity()} of {on.root}; choose the profile and data that the run belongs to"
            )
        launch.train([run.spec()], self.store, self.job().replace(evaluate_on=(on,)))
        return run.evaluation(on.name) / "predictions.parquet"

    def with_fingerprints(self, spec: RunSpec) -> RunSpec:
        """``spec`` for this study's data: fingerprints that are not given are filled in."""
        given = {
            "real_fingerprint": spec.data.real_fingerprint,
            "synthetic_fingerprint": spec.data.synthetic_fingerprint,
        }
        own = {f"{domain}_fingerprint": value for domain, value in self.fingerprints.items()}
        return spec.replace(data=spec.data.replace(**{key: given[key] or own[key] for key in given}))

    def job(self) -> Execution:
        """How runs of this study are executed."""
        execution = self.profile.execution
        return Execution(
            **dict(execution)
            | {
                "imagenet_weights": execution.imagenet_weights and str(Path(execution.imagenet_weights).resolve()),
                "device": self.device or execution.device,
            },
            real_root=str(self.data.roots["real"]),
            synthetic_root=str(self.data.roots["synthetic"]),
            cache_dir=str(self.data.cache_dir),
            evaluate_on=self.data.evaluation_sets(),
        )
