"""Run the study: plan all runs of the chosen notebooks, train what is missing, execute the notebooks, render reports.

    python run_all.py --profile demo --report
    python run_all.py --profile paper --plan
    python run_all.py --only 01 --set seeds='[0, 1, 2]' --jobs 2
    python run_all.py --profile paper --set data.cityscapes=~/cs data.synthetic.root=~/synscapes --report

Interrupted anywhere, the same command goes on where it was.
"""

import argparse
import shlex
import sys
import time
from collections import Counter
from datetime import timedelta

from synlib.cli import exit_code

WORDS = {"done": "done before", "trained": "trained or evaluated now", "diverged": "diverged", "failed": "failed",
         "not started": "not started", "stopped": "stopped", "queued": "in the queue", "held": "held"}  # fmt: skip


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="demo", help="size of the study: a name in profiles/, or a YAML file")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="notebooks, by number (default: all)")
    settings = "fields of the profile (data.cityscapes, data.synthetic.root, thresholds ...); values are YAML"
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=settings)
    parser.add_argument("--seeds", nargs="+", type=int, default=[], help="train everything once for each seed")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time on this machine (default: 1)")
    parser.add_argument("--executor", choices=("local", "slurm"), help="train here (default) or on a Slurm cluster")
    parser.add_argument("--no-wait", action="store_true", help="only submit what is missing to the cluster, and end")
    parser.add_argument("--plan", action="store_true", help="show the runs and their cost, and do nothing")
    parser.add_argument("--report", action="store_true", help="render the executed notebooks as HTML")
    parser.add_argument("--keep-going", action="store_true", help="go on with other runs and notebooks when one fails")
    options = parser.parse_args(arguments)
    options.command = shlex.join(["python", "run_all.py", *arguments])
    return options


def main(arguments: list[str] | None = None) -> int:
    """0 when everything asked for is done, a diverged run too; 1, and why on standard error; 130 when interrupted."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> int:
    # What takes seconds to import is imported here: interrupted before, the script ends in one line, too.
    from synlib.profile import Profile, parse_settings
    from synlib.study import notebooks, plan
    from synlib.study.study import Study

    started, names = time.monotonic(), notebooks.select(options.only)
    given = {"seeds": options.seeds, "execution.executor": options.executor}
    settings = parse_settings(options.set) | {name: value for name, value in given.items() if value}
    profile = Profile.load(options.profile).with_settings(settings)
    if options.no_wait and profile.execution.executor != "slurm":
        raise ValueError("--no-wait: expected together with --executor slurm")
    experiments = list(dict.fromkeys(experiment for name in names for experiment in plan.NOTEBOOKS[name]))
    if options.plan:
        study = Study(profile)
        if study.sources.raw:  # a folder that is named has to be there, also for a plan
            study.sources.check()
        planned = study.planned(*experiments) if study.sources.ready else plan.plan(profile, experiments)
        if len(study.sources.raw) == 2:  # and both have to be enough
            study.check_images({f"{item.experiment}: {item.name}": item.spec for item in planned})
        print(plan.text(planned, profile, study.store if study.sources.ready else None))
        return 0

    for folder in (profile.reports_dir, profile.figures_dir):
        folder.mkdir(parents=True, exist_ok=True)  # before hours of training, not after
    study = Study.open(profile, jobs=options.jobs)
    planned = study.planned(*experiments)
    print(plan.text(planned, profile, study.store), flush=True)
    outcomes, executed = train(study, planned, options), []
    problems = [str(outcome) for outcome in outcomes if outcome.failed and outcome.reason]
    if not any(outcome.state == "queued" for outcome in outcomes) and (options.keep_going or not problems):
        lacking = {outcome.run for outcome in outcomes if outcome.failed}
        executed, more = notebooks.execute_all(study, names, lacking, keep_going=options.keep_going)
        problems += more
    lines = summary(outcomes)
    lines += [f"notebooks: {len(executed)} of {len(names)} executed{': ' if executed else ''}{', '.join(executed)}"]
    if executed:
        made = report(profile, executed, options.command) if options.report else profile.reports_dir
        lines += [f"reports: {made}"]
    print(*lines, f"time: {timedelta(seconds=round(time.monotonic() - started))}", sep="\n")
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return int(bool(problems))


def train(study, planned: list, options: argparse.Namespace) -> list:
    """Train what is missing; how every run of the plan stands afterwards."""
    from synlib.runs import launch

    specs, flags = [item.spec for item in planned], {"keep_going": options.keep_going, "wait": not options.no_wait}
    try:
        return launch.train(specs, study.store, study.execution(), jobs=options.jobs, **flags)
    except launch.RunFailedError as error:
        return error.outcomes


def report(profile, executed: list[str], command: str):
    from synlib.report import site
    from synlib.study.plan import NOTEBOOKS

    options = {"profile": profile.label, "command": command, "figures": profile.figures_dir, "now": executed}
    return site.build(profile.reports_dir, tuple(NOTEBOOKS), **options)


def summary(outcomes: list) -> list[str]:
    """How the runs stand; what is not done is said on standard error."""
    counts = Counter(outcome.state for outcome in outcomes)
    runs = ", ".join(f"{counts[state]} {text}" for state, text in WORDS.items() if counts[state])
    return [f"runs: {len(outcomes)} ({runs})", *(f"  {item}" for item in outcomes if item.state == "diverged")]


if __name__ == "__main__":
    sys.exit(main())
