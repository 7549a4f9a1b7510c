"""What a notebook works with: the profile, its data, and the runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import pandas as pd

from scapes.files import replacing
from synlib.profile import Profile
from synlib.runs import launch
from synlib.runs.store import RunStore
from synlib.spec import EvaluationSet, Execution, RunSpec
from synlib.study import plan
from synlib.study.data import DOMAINS, NAMES, StudyData, existing, prepare
from synlib.study.experiments import EXPERIMENTS
from synlib.study.notebooks import refuse_unknown_parameters
from synlib.study.plan import Planned


class Study:
    """One study: planned from a profile, trained into a run store, read back as tidy DataFrames."""

    def __init__(self, profile: Profile, data: StudyData, jobs: int = 1) -> None:
        self.profile, self.data, self.jobs = profile, data, jobs
        self.store = RunStore(profile.runs_dir)
        self.fingerprints = {f"{domain}_fingerprint": data.fingerprint(domain) for domain in DOMAINS}

    @classmethod
    def open(
        cls, profile: str | Path | Profile = "demo", *, seeds: Sequence[int] | None = None, jobs: int = 1, **grids: Any
    ) -> Self:
        """Load a profile, by its name in ``profiles/`` or the path of a YAML file, and make its data ready.

        ``jobs``: trainings at a time on this machine. Seeds and ``grids`` (fields of :class:`synlib.profile.Grids`)
        that are None or empty are the profile's.

        Raises FileNotFoundError or ValueError for an unknown profile, a missing data set, or a wrong parameter, be it
        one of papermill's that the notebook does not have.
        """
        refuse_unknown_parameters()
        if type(jobs) is not int or jobs < 1:
            raise ValueError(f"jobs: found {jobs!r}, expected an integer from 1 on")
        given = {name: value for name, value in {"seeds": seeds, **grids}.items() if value not in (None, [], (), {})}
        loaded = profile if isinstance(profile, Profile) else Profile.load(profile)
        changed = loaded.with_settings(given)
        return cls(changed, prepare(changed), jobs)

    @classmethod
    def if_ready(cls, profile: Profile) -> Self | None:
        """The study of ``profile`` if its data are ready, else None; nothing is made."""
        data = existing(profile)
        return cls(profile, data) if data else None

    def planned(self, *experiments: str) -> list[Planned]:
        """The runs of experiments; ValueError for an unknown one, or if a run wants more images than there are."""
        planned = plan.plan(self.profile, experiments, self.fingerprints)
        for domain in DOMAINS:
            there = len(self.data.images(domain, "train"))
            for item in planned:
                if (wanted := getattr(item.spec.data, f"{domain}_images")) > there:
                    found = f"found {there} {domain} training images in {self.data.roots[domain]}"
                    expected = (
                        f"expected at least the {wanted} of the plan; plan with fewer, or name the whole data set"
                    )
                    raise ValueError(f"{item.experiment}: {item.name}: {found}, {expected}")
        return planned

    def run(self, experiment: str) -> pd.DataFrame:
        """Train what has no result yet of an experiment, and return its :meth:`results`."""
        return self.run_all([experiment])[experiment]

    def run_all(self, experiments: Iterable[str] = EXPERIMENTS) -> dict[str, pd.DataFrame]:
        """:meth:`run` for experiments together: experiment -> results."""
        planned = {name: self.planned(name) for name in experiments}
        specs = [item.spec for items in planned.values() for item in items]
        launch.train(specs, self.store, self.execution(), jobs=self.jobs)
        return {name: self.results(items) for name, items in planned.items()}

    def results(self, planned: Sequence[Planned]) -> pd.DataFrame:
        """Results as :mod:`synlib.report.frames` describes them, on this study's evaluation sets."""
        rows = [{"experiment": p.experiment, "trained on": p.name, "run": p.spec.run_id} | p.factors for p in planned]
        frame = self.store.frame(item.spec for item in planned)
        own = frame["evaluated on"].isin(NAMES.values()) | frame["evaluated on"].isna()
        return pd.DataFrame(rows).merge(frame[own], on="run")

    def save(self, shown: Any) -> Any:
        """Write what :func:`synlib.report.style.named` gave to the profile's figures, and return it for display.

        Each table becomes a CSV file, a Matplotlib figure also ``NAME.png`` and ``NAME.pdf``. Results keep their column
        ``run``: the file says which runs a figure shows.
        """
        folder = self.profile.figures_dir
        for stem, table in shown.tables.items():
            with replacing(folder / f"{stem}.csv") as temporary:
                table.to_csv(temporary, index=False)
        if hasattr(shown, "savefig"):
            for suffix, options in ((".png", {"dpi": 150}), (".pdf", {})):
                with replacing(folder / f"{shown.name}{suffix}") as temporary:
                    shown.savefig(temporary, bbox_inches="tight", **options)
            from matplotlib import pyplot

            pyplot.close(shown)  # the notebook shows what the cell returns, and nothing twice
        return shown

    def predictions(self, run_id: str, on: EvaluationSet) -> Path:
        """The file of a finished run's predictions on ``on``, which are made if they are not there.

        Raises FileNotFoundError for an unknown run, ValueError if it has results on other data of that name.
        """
        run = self.store.run(run_id)
        if not (run.path / "result.json").exists():
            raise FileNotFoundError(f"{run.path}: no finished run; `python -m synlib runs` lists those that are there")
        made = run.read(f"evaluations/{on.name}/result.json")
        if made and made.get("identity") != on.identity():
            raise ValueError(
                f"run {run_id} has a result on other data named {on.name}, found {made.get('identity')}, expected "
                f"{on.identity()} of {on.root}; choose the profile and data that the run belongs to"
            )
        launch.train([run.spec()], self.store, self.execution().replace(evaluate_on=(on,)))
        return run.evaluation(on.name) / "predictions.parquet"

    def with_fingerprints(self, spec: RunSpec) -> RunSpec:
        """``spec`` with this study's fingerprints where it has none."""
        missing = {name: own for name, own in self.fingerprints.items() if not getattr(spec.data, name)}
        return spec.replace(data=spec.data.replace(**missing))

    def execution(self) -> Execution:
        """With what the runs of this study are executed: the profile's settings, and this study's data."""
        settings, roots = dict(self.profile.execution), self.data.roots
        if settings["imagenet_weights"]:
            settings["imagenet_weights"] = str(Path(settings["imagenet_weights"]).resolve())
        paths = {"real_root": roots["real"], "synthetic_root": roots["synthetic"], "cache_dir": self.data.cache_dir}
        paths = {name: str(path) for name, path in paths.items()}
        return Execution(**settings, **paths, evaluate_on=self.data.evaluation_sets())
