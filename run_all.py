"""Run the study: plan all runs of the chosen notebooks, train what is missing, execute the notebooks, render reports.

    python run_all.py --profile demo --report
    python run_all.py --profile paper --plan
    python run_all.py --only 01 --set seeds='[0, 1, 2]' --jobs 2

Interrupted anywhere, the same command goes on where it was.
"""

import argparse
import shlex
import sys
from typing import Any

import pandas as pd

from synlib.cli import exit_code
from synlib.report import site
from synlib.report.style import figure_folder
from synlib.study import launch, notebooks
from synlib.study.plan import NOTEBOOKS, overview, unplaced
from synlib.study.profile import ROOT, Profile
from synlib.study.session import Study


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="demo", help="size of the study: a name in profiles/, or a YAML file")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="notebooks, by number (default: all)")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="notebook parameters; values are YAML"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="train everything once for each seed")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time (default: 1)")
    parser.add_argument("--plan", action="store_true", help="show the runs and their cost, and do nothing")
    parser.add_argument("--report", action="store_true", help="render the executed notebooks as HTML")
    parser.add_argument("--keep-going", action="store_true", help="go on with other runs when one fails")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    options.command = shlex.join(["python", "run_all.py", *arguments])
    return options


def main(arguments: list[str] | None = None) -> int:
    """0 when everything asked for is done; 1 with one message on standard error; 130 when interrupted."""
    options = parse(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    names = notebooks.select(options.only)
    parameters = {"profile": options.profile, **notebooks.parse_settings(options.set)}
    if options.seeds:
        parameters["seeds"] = options.seeds
    notebooks.check_parameters(names, parameters)
    experiments = list(dict.fromkeys(experiment for name in names for experiment in NOTEBOOKS[name]))

    own = {name: value for name, value in parameters.items() if name in Study.PARAMETERS}
    if options.plan:
        print(plan(own, experiments).to_string(index=False))
        return 0

    study = Study.open(**own)
    reports = ROOT / "reports" / study.profile.name
    for folder in (reports, figure_folder(parameters.get("figure_dir", ""), study.profile.name)):
        folder.mkdir(parents=True, exist_ok=True)  # before hours of training, not after
    planned = [run for experiment in experiments for run in study.planned(experiment)]
    print(overview(planned, study.profile, study.store).to_string(index=False), flush=True)
    failure = None
    try:
        launch.train(
            [p.spec for p in planned], study.store, study.job(), jobs=options.jobs, keep_going=options.keep_going
        )
    except launch.RunFailedError as error:
        if not options.keep_going:
            raise
        failure = error
    for name in names:
        print(notebooks.execute(name, parameters, reports))
    if options.report:
        name = study.profile.name
        figures = figure_folder(parameters.get("figure_dir", ""), name)
        print(site.build(reports, tuple(NOTEBOOKS), profile=name, command=options.command, figures=figures))
    if failure:
        raise failure
    return 0


def plan(parameters: dict[str, Any], experiments: list[str]) -> pd.DataFrame:
    """The table of runs; with ids and states if the data are ready, otherwise from the profile alone."""
    if study := Study.if_ready(**parameters):
        return overview([p for name in experiments for p in study.planned(name)], study.profile, study.store)
    profile = Profile.load(parameters["profile"])
    return overview(unplaced(profile, experiments, parameters.get("seeds")), profile, None)


if __name__ == "__main__":
    sys.exit(main())
