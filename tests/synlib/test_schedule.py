"""The simulated schedule of a plan: known cases, and never shorter than any schedule can be."""

import runpy
from types import SimpleNamespace

import pytest

from synlib.profile import ROOT, Profile
from synlib.spec import DataSpec, RunSpec, ScheduleSpec
from synlib.study.experiments import EXPERIMENTS
from synlib.study.plan import plan


@pytest.fixture(scope="module")
def schedule():
    return SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "schedule.py")))


def run(iterations: int, seed: int = 0, init: str = "imagenet") -> RunSpec:
    return RunSpec(data=DataSpec(real=8), schedule=ScheduleSpec(iterations=iterations), seed=seed, init=init)


def lengths(specs) -> dict[str, float]:
    return {spec.run_id: float(spec.schedule.iterations) for spec in specs}


def test_a_run_waits_for_the_one_it_starts_from_and_its_chain_begins_first(schedule):
    first = run(4)
    specs = [run(5, seed=1), run(5, seed=2), run(3, init=f"run:{first.run_id}"), first]
    assert schedule.makespan(specs, lengths(specs), 1) == 17
    assert schedule.critical_path(specs[2], lengths(specs), specs) == 7
    assert schedule.makespan(specs, lengths(specs), 2) == 9
    assert schedule.makespan(specs, lengths(specs), 3) == 7


def test_the_papers_plan_keeps_eight_nodes_busy(schedule):
    specs = list({p.spec.run_id: p.spec for p in plan(Profile.load("paper"), list(EXPERIMENTS))}.values())
    hours = lengths(specs)
    chain = max(schedule.critical_path(spec, hours, specs) for spec in specs)
    for nodes in schedule.NODES:
        took, bound = schedule.makespan(specs, hours, nodes), max(chain, sum(hours.values()) / nodes)
        assert bound <= took * (1 + 1e-12)
        assert took <= 1.1 * bound
