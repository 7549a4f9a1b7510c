"""How long a plan takes on a cluster: its runs, started in the order of ``runs/launch.py``, on 1 to 32 nodes.

    python benchmarks/schedule.py --profile paper --seconds-per-iteration 0.35

A simulation: every node has the profile's number of GPUs, trains one run at a time, and takes the next one as soon as
it is free; a run that starts from another waits for it. No schedule can be shorter than the longest chain of such runs,
or than all work divided by the nodes: that is the bound.
"""

import argparse
import heapq
from collections.abc import Sequence

from synlib.profile import Profile
from synlib.runs import launch
from synlib.spec import RunSpec
from synlib.study.experiments import EXPERIMENTS
from synlib.study.plan import gpus_of, plan

NODES = (1, 2, 4, 8, 16, 32)


def makespan(specs: Sequence[RunSpec], hours: dict[str, float], nodes: int) -> float:
    """Hours from the first start to the last end. ``hours``: of each run, by run id."""
    waiting, ended = launch.in_order(specs), {None}
    running: list[tuple[float, str]] = []
    now = 0.0
    while waiting or running:
        for spec in [spec for spec in waiting if spec.initial_run in ended][: nodes - len(running)]:
            waiting.remove(spec)
            heapq.heappush(running, (now + hours[spec.run_id], spec.run_id))
        now, run_id = heapq.heappop(running)
        ended.add(run_id)
    return now


def critical_path(spec: RunSpec, hours: dict[str, float], specs: Sequence[RunSpec]) -> float:
    """Hours of a run and of all those before it that it starts from."""
    before = [other for other in specs if other.run_id == spec.initial_run]
    return hours[spec.run_id] + sum(critical_path(other, hours, specs) for other in before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--seconds-per-iteration", type=float, help="as measured (default: the profile's estimate)")
    parser.add_argument("--evaluation-minutes", type=float, default=10, help="of a run on all its evaluation sets")
    options = parser.parse_args()
    profile = Profile.load(options.profile)
    seconds = options.seconds_per_iteration or profile.execution.seconds_per_iteration
    gpus = profile.execution.slurm.gpus or gpus_of(profile.execution)

    specs = list({item.spec.run_id: item.spec for item in plan(profile, list(EXPERIMENTS))}.values())
    hours = {spec.run_id: spec.schedule.iterations * seconds / 3600 + options.evaluation_minutes / 60 for spec in specs}
    work = sum(hours.values())
    chain = max(critical_path(spec, hours, specs) for spec in specs)
    iterations = sum(spec.schedule.iterations for spec in specs)
    print(f"{len(specs)} runs, {iterations:,} iterations at {seconds:g} s: {work:.0f} h on one node of {gpus} GPUs, "
          f"{work * gpus:.0f} GPU hours; longest chain {chain:.1f} h")  # fmt: skip
    print(f"{'nodes':>5} {'GPUs':>5} {'hours':>7} {'bound':>7} {'of bound':>9} {'efficiency':>11}")
    efficiencies = {}
    for nodes in NODES:
        took = makespan(specs, hours, nodes)
        bound, efficiencies[nodes] = max(chain, work / nodes), work / nodes / took
        print(f"{nodes:5} {nodes * gpus:5} {took:7.1f} {bound:7.1f} {took / bound:8.2f}x {efficiencies[nodes]:11.2f}")
    print(f"least efficiency up to 8 nodes: {min(efficiencies[nodes] for nodes in NODES if nodes <= 8):.2f}")


if __name__ == "__main__":
    main()
