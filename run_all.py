"""Run the study: plan all runs of the chosen notebooks, train what is missing, execute the notebooks, render reports.

    python run_all.py --profile demo --report
    python run_all.py --profile paper --plan
    python run_all.py --only 01 --set seeds='[0, 1, 2]' --jobs 2
    python run_all.py --profile paper --executor slurm --report

Interrupted anywhere, the same command goes on where it was.
"""

import argparse
import shlex
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synlib.cli import exit_code

if TYPE_CHECKING:  # what takes seconds is imported where it is used: interrupted then, the script ends in one line, too
    from synlib.profile import Profile
    from synlib.runs.launch import Outcome
    from synlib.runs.store import RunStore
    from synlib.study.plan import Planned
    from synlib.study.study import Study

ROOT = Path(__file__).resolve().parent


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="demo", help="size of the study: a name in profiles/, or a YAML file")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="notebooks, by number (default: all)")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="notebook parameters; values are YAML",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="train everything once for each seed")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time on this machine (default: 1)")
    parser.add_argument("--executor", choices=("local", "slurm"), help="train here (default) or on a Slurm cluster")
    parser.add_argument("--no-wait", action="store_true", help="only submit what is missing to the cluster, and end")
    parser.add_argument("--plan", action="store_true", help="show the runs and their cost, and do nothing")
    parser.add_argument("--report", action="store_true", help="render the executed notebooks as HTML")
    parser.add_argument("--keep-going", action="store_true", help="go on with other runs and notebooks when one fails")
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(arguments)
    options.command = shlex.join(["python", "run_all.py", *arguments])
    return options


def main(arguments: list[str] | None = None) -> int:
    """0 when everything asked for is done, a diverged run too; 1, and why on standard error; 130 when interrupted."""
    options = parse(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    from synlib.profile import parse_settings
    from synlib.report.style import figure_folder
    from synlib.study import notebooks
    from synlib.study.plan import NOTEBOOKS
    from synlib.study.study import Study

    started = time.monotonic()
    names = notebooks.select(options.only)
    parameters = {"profile": options.profile, **parse_settings(options.set)}
    if "jobs" in parameters:  # the notebooks have it, for readers who train in them
        raise ValueError(f"--set jobs={parameters['jobs']}: expected --jobs {parameters['jobs']}")
    if options.seeds:
        parameters["seeds"] = options.seeds
    notebooks.check_parameters(names, parameters)
    if options.executor:  # only for this script: a notebook that it executes has nothing left to train
        parameters = {**parameters, "executor": options.executor}
    if options.no_wait and parameters.get("executor") != "slurm":
        raise ValueError("--no-wait: expected together with --executor slurm")
    own = {name: value for name, value in parameters.items() if name in Study.PARAMETERS}
    if options.plan:
        experiments = dict.fromkeys(experiment for name in names for experiment in NOTEBOOKS[name])
        print(plan(own, list(experiments)))
        return 0

    study = Study.open(**own)
    reports = ROOT / "reports" / study.profile.name
    figures = figure_folder(parameters.get("figure_dir", ""), study.profile.name)
    for folder in (reports, figures):
        folder.mkdir(parents=True, exist_ok=True)  # before hours of training, not after
    planned = {name: [run for experiment in NOTEBOOKS[name] for run in study.planned(experiment)] for name in names}
    everything = [run for runs in planned.values() for run in runs]
    print(shown(everything, study.profile, study.store), flush=True)

    outcomes = train(study, everything, options)
    problems = [str(outcome) for outcome in outcomes if outcome.failed and outcome.reason]
    executed = []
    queued = any(outcome.state == "queued" for outcome in outcomes)
    if not queued and (options.keep_going or not problems):
        failed = {outcome.run for outcome in outcomes if outcome.failed}
        lacking = {name: failed & {item.spec.run_id for item in runs} for name, runs in planned.items()}
        executed, more = execute(lacking, parameters, reports, options.keep_going)
        problems += more
    made = reports if executed else None
    if options.report and executed:
        report(study.profile.name, reports, figures, options.command, [path.stem for path in executed])
        made = reports / "index.html"
    print(summary(outcomes, [path.stem for path in executed], len(names), made, time.monotonic() - started))
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
    return int(bool(problems))


def plan(parameters: dict[str, Any], experiments: list[str]) -> str:
    """The table of runs; with ids and states if the data are ready, otherwise from the profile alone."""
    from synlib.profile import Profile
    from synlib.study.plan import unplaced
    from synlib.study.study import Study

    if study := Study.if_ready(**parameters):
        return shown([p for name in experiments for p in study.planned(name)], study.profile, study.store)
    grids = {name: value for name, value in parameters.items() if name in Study.GRIDS}
    profile = Profile.load(parameters["profile"]).with_settings(grids)
    return shown(unplaced(profile, experiments, parameters.get("seeds")), profile, None)


def shown(planned: list["Planned"], profile: "Profile", store: "RunStore | None") -> str:
    """The table of runs, and what the profile leaves out of the paper's study."""
    from synlib.study.plan import overview, reductions, seconds_per_iteration

    lines = [overview(planned, profile, store).to_string(index=False)]
    seconds, runs = seconds_per_iteration([item.spec for item in planned], profile, store)
    lines.append(
        f"hours: {seconds:.3g} s an iteration, {f'measured in {runs} runs' if runs else 'as the profile says'}"
    )
    if left_out := reductions(profile):
        lines.append(f"profile {profile.name} has {'; '.join(left_out)}")
    return "\n".join(lines)


def train(study: "Study", planned: list["Planned"], options: argparse.Namespace) -> list["Outcome"]:
    """Train what is missing; how every run of the plan stands afterwards."""
    from synlib.runs import launch

    specs = [item.spec for item in planned]
    executor = study.executor(options.jobs, wait=not options.no_wait)
    try:
        return launch.train(specs, study.store, study.job(), keep_going=options.keep_going, executor=executor)
    except launch.RunFailedError as error:
        return error.outcomes


def execute(
    lacking: dict[str, set[str]], parameters: dict[str, Any], folder: Path, keep_going: bool
) -> tuple[list[Path], list[str]]:
    """Execute the notebooks that have no ``lacking`` runs; returns the executed copies, and what went wrong."""
    from synlib.study import notebooks

    executed, problems = [], []
    for name, runs in lacking.items():
        if problems and not keep_going:
            break
        if runs:
            problems.append(f"notebook {name} not executed: it needs run {min(runs)}, which has no result")
            continue
        try:
            executed.append(notebooks.execute(name, parameters, folder))
        except RuntimeError as error:
            problems.append(str(error))
    return executed, problems


def report(profile: str, folder: Path, figures: Path, command: str, executed: list[str]) -> None:
    from synlib.report import site
    from synlib.study.plan import NOTEBOOKS

    site.build(folder, tuple(NOTEBOOKS), profile=profile, command=command, figures=figures, now=executed)


def summary(outcomes: list["Outcome"], executed: list[str], notebooks: int, made: Path | None, seconds: float) -> str:
    """What is done, in a few lines; what is not is said on standard error. ``made``: the reports, if now any were."""
    words = {"done": "done before", "trained": "trained now", "diverged": "diverged", "failed": "failed",
             "not started": "not started", "stopped": "stopped", "queued": "in the queue"}  # fmt: skip
    counts = Counter(outcome.state for outcome in outcomes)
    runs = ", ".join(f"{counts[state]} {text}" for state, text in words.items() if counts[state])
    lines = [f"runs: {len(outcomes)} ({runs})"]
    lines += [f"  {outcome}" for outcome in outcomes if outcome.state == "diverged"]
    lines += [f"notebooks: {len(executed)} of {notebooks} executed{': ' if executed else ''}{', '.join(executed)}"]
    lines += [f"reports: {made}"] if made else []
    lines += [f"time: {timedelta(seconds=round(seconds))}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
