"""What a notebook works with: the profile, its data, and the runs."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pandas as pd

from scapes.files import replacing
from synlib.profile import Profile
from synlib.runs import launch
from synlib.runs.store import RunStore
from synlib.section import check, plain
from synlib.spec import EvaluationSet, Execution, RunSpec
from synlib.study import plan
from synlib.study.data import DOMAINS, FIELDS, NAMES, StudyData
from synlib.study.experiments import COMMON, EXPERIMENTS
from synlib.study.notebooks import refuse_unknown_parameters, show_sharply


class Study:
    """One study: planned from a profile, trained into a run store, read back as tidy DataFrames."""

    def __init__(self, profile: Profile, jobs: int = 1) -> None:
        self.profile, self.jobs = profile, jobs
        self.sources = StudyData(profile)  # nothing of it is made yet
        self.store = RunStore(profile.runs_dir)

    @functools.cached_property
    def data(self) -> StudyData:
        """The data; those that are drawn or harmonised are made when first asked for."""
        self.sources.make()
        return self.sources

    @functools.cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of the training splits, by field of :class:`synlib.spec.DataSpec`."""
        there = [domain for domain in self.sources.roots if self.sources.counts(domain).get("train")]
        return {f"{domain}_fingerprint": self.data.fingerprint(domain, "train") for domain in there}

    @classmethod
    def open(
        cls, profile: str | Path | Profile = "demo", *, seeds: Sequence[int] | None = None, jobs: int = 1, **grids: Any
    ) -> Self:
        """Load a profile, by its name in ``profiles/`` or the path of a YAML file, and check that its data are there.

        ``jobs``: trainings at a time on this machine. Seeds and ``grids`` (fields of :class:`synlib.profile.Grids`)
        that are None or empty are the profile's.

        Raises FileNotFoundError or ValueError for an unknown profile, a missing data set, or a wrong parameter, be it
        one of papermill's that the notebook does not have.
        """
        refuse_unknown_parameters()
        show_sharply()
        jobs = plain(jobs)
        check(type(jobs) is int and jobs > 0, jobs, "an integer from 1 on", "jobs")
        given = {name: own for name, own in plain({"seeds": seeds, **grids}).items() if own not in (None, [], {})}
        loaded = profile if isinstance(profile, Profile) else Profile.load(profile)
        study = cls(loaded.with_settings(given), jobs)
        study.sources.check()
        if loaded.data.synthetic.format != "synscapes":
            print(f"called Synscapes in tables and figures: {study.sources.raw.get('synthetic', 'nothing')}")
        return study

    def planned(self, *experiments: str, make: bool = True) -> list[plan.Planned]:
        """The runs of experiments. ValueError: an unknown one, too few images, or data to be made, if not ``make``."""
        # First, so that what the plan lacks is told before any data are made
        drafted = plan.plan(self.profile, experiments)
        if not make and not self.sources.ready:
            found = f"{self.profile.label}: found no data of both domains yet, and ids of runs depend on them"
            raise ValueError(f"{found}; run_all.py makes those that the profile names or draws")
        self.check_images({f"{item.experiment}: {item.name}": item.spec for item in drafted})
        return plan.plan(self.profile, experiments, self.fingerprints)

    def check_images(self, specs: Mapping[str, RunSpec]) -> None:
        """Raise ValueError, naming it by its key, for a run that wants more training images than there are."""
        for domain in DOMAINS:
            there, folder = self.sources.counts(domain).get("train", 0), str(self.sources.raw.get(domain, ""))
            for name, spec in specs.items():
                if (wanted := getattr(spec.data, f"{domain}_images")) > there:
                    found = f"found {there} {domain} training images in {folder!r}"
                    remedy = f"plan with fewer, or name the whole data set as {FIELDS[domain]}"
                    raise ValueError(f"{name}: {found}, expected at least {wanted}; {remedy}")

    def run(self, experiment: str) -> pd.DataFrame:
        """Train what has no result yet of an experiment, and return its :meth:`results`."""
        return self.run_all([experiment])[experiment]

    def run_all(self, experiments: Iterable[str] = EXPERIMENTS, *also: str) -> dict[str, pd.DataFrame]:
        """:meth:`run` for experiments together: experiment -> results; ``also`` as of :meth:`results`."""
        planned = {name: self.planned(name) for name in experiments}
        specs = [item.spec for items in planned.values() for item in items]
        try:
            launch.train(specs, self.store, self.execution(), jobs=self.jobs)
        except KeyboardInterrupt as interrupt:  # of which IPython shows what this function returns
            interrupt._render_traceback_ = lambda: ["interrupted; run the cell again: it goes on from here"]
            raise
        return {name: self.results(items, *also) for name, items in planned.items()}

    def results(self, planned: Sequence[plan.Planned], *also: str) -> pd.DataFrame:
        """Results as :mod:`synlib.report.frames` describes them, on both domains and the evaluation sets ``also``."""
        rows = [{"experiment": p.experiment, "trained on": p.name, "run": p.spec.run_id} | p.factors for p in planned]
        frame = self.store.frame(item.spec for item in planned)
        own = frame["evaluated on"].isin([*NAMES.values(), *also]) | frame["evaluated on"].isna()
        return pd.DataFrame(rows).merge(frame[own], on="run")

    def save(self, shown: Any) -> Any:
        """Write what :func:`synlib.report.style.named` gave to the profile's figures, and return it for display."""
        folder = self.profile.figures_dir  # results in it keep their column ``run``: which runs a figure shows
        for stem, table in shown.tables.items():
            with replacing(folder / f"{stem}.csv") as temporary:
                table.to_csv(temporary, index=False)
            if hasattr(shown, "to_latex"):  # a table, not the many rows behind a figure
                with replacing(folder / f"{stem}.tex") as temporary:
                    printed = table.infer_objects().drop(columns=["because", "runs"], errors="ignore")  # too wide
                    printed.to_latex(temporary, index=False, escape=True, na_rep="–", float_format="%.1f")
        if hasattr(shown, "savefig"):
            for suffix, options in ((".png", {"dpi": 150}), (".pdf", {})):
                with replacing(folder / f"{shown.name}{suffix}") as temporary:
                    shown.savefig(temporary, **options)
                shown.set_layout_engine("none")  # what is laid out stays: that takes most of the time
        return shown

    def predictions(self, run_id: str, on: EvaluationSet) -> Path:
        """The file of a finished run's predictions on ``on``, which are made if they are not there.

        Raises FileNotFoundError for an unknown run, ValueError if it has results on other data of that name, or if its
        folder is another run's: that one would be trained, perhaps for days.
        """
        run = self.store.run(run_id)
        if not run.has_result():
            raise FileNotFoundError(f"{run.path}: no finished run; `python -m synlib runs` lists those that are there")
        if (spec := run.spec()).run_id != run.path.name:
            found = f"found a copy, or a run of another version: its spec is run {spec.run_id} here"
            raise ValueError(f"{run.path}: {found}; name that one, or use the version that trained this one")
        found = (run.read(f"evaluations/{on.name}/result.json") or {"identity": on.identity()}).get("identity")
        expected = f"{on.identity()} of {on.root}; choose the profile and data that the run belongs to"
        check(found == on.identity(), found, expected, f"run {run_id} has a result on other data named {on.name}")
        launch.train([spec], self.store, self.execution().replace(evaluate_on=(on,)))
        return run.evaluation(on.name) / "predictions.parquet"

    def load(self, path: str | Path, initial_weights: Path | None = None) -> RunSpec:
        """The spec of a YAML file; baseline and fingerprints are this study's where it has none. Raises ValueError."""
        spec = RunSpec.load(path, **{name: getattr(self.profile, name) for name in COMMON})
        if initial_weights:  # looked at before any data are made
            check(spec.init.startswith("sha256:"), spec.init, "sha256:... with --initial-weights", f"{path}: init")
            initial_weights.open("rb").close()  # FileNotFoundError
        self.check_images({str(path): spec})
        missing = {name: own for name, own in self.fingerprints.items() if not getattr(spec.data, name)}
        return spec.replace(data=spec.data.replace(**missing))

    def execution(self) -> Execution:
        """With what the runs of this study are executed: the profile's settings, and this study's data."""
        settings, paths = dict(self.profile.execution), {"cache_dir": str(self.data.cache_dir)}
        paths |= {f"{domain}_root": str(root) for domain, root in self.data.roots.items()}
        return Execution(**settings, **paths, evaluate_on=self.data.evaluation_sets())
