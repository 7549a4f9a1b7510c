"""The order of runs: what others wait for first, then the longest; checked against all orders on small plans."""

import itertools
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from synlib.runs.launch import in_order


@dataclass(frozen=True)
class Run:
    """What the order needs of a spec."""

    run_id: str
    iterations: int
    initial_run: str | None = None
    batch_size: int = 1

    @property
    def training_images(self) -> int:
        return self.iterations * self.batch_size


@st.composite
def plans(draw, most: int = 7) -> list[Run]:
    """Runs that start from nothing, or from one listed before or elsewhere."""
    runs = []
    for number in range(draw(st.integers(1, most))):
        initial = draw(st.sampled_from([None, "elsewhere", *(run.run_id for run in runs)]))
        runs.append(Run(f"run{number}", draw(st.integers(1, 20)), initial))
    return draw(st.permutations(runs))


def chain(run: Run, runs: list[Run]) -> int:
    """Iterations of the longest chain that begins with ``run``."""
    return run.iterations + max((chain(other, runs) for other in runs if other.initial_run == run.run_id), default=0)


def finish_time(order: list[Run], places: int) -> int:
    """When all runs are done, the first of ``order`` that can start being started whenever a place is free."""
    waiting, active, ended, now = list(order), [], {None, "elsewhere"}, 0
    while waiting or active:
        while len(active) < places and (free := [run for run in waiting if run.initial_run in ended]):
            waiting.remove(free[0])
            active.append((now + free[0].iterations, free[0].run_id))
        now, run_id = min(active)
        active.remove((now, run_id))
        ended.add(run_id)
    return now


@given(runs=plans(most=20), places=st.integers(1, 5))
def test_everything_is_started_once_by_the_length_of_its_chain_and_in_good_time(runs, places):
    order = in_order([*runs, *runs])
    chains = [chain(run, runs) for run in order]
    assert sorted(chains, reverse=True) == chains
    assert sorted(order, key=lambda run: run.run_id) == sorted(runs, key=lambda run: run.run_id)
    total = sum(run.iterations for run in runs)
    assert max(total / places, chains[0]) <= finish_time(order, places) <= total / places + chains[0]


@given(runs=plans(most=5))
def test_no_other_order_is_better_by_far(runs):
    """2 - 1 / places times as long as the best of all orders is what a list schedule may take (Graham 1966)."""
    best = min(finish_time(order, 2) for order in itertools.permutations(runs))
    assert finish_time(in_order(runs), 2) <= best * 1.5


def test_a_short_run_that_long_ones_wait_for_comes_first_and_a_batch_counts():
    runs = [Run("long", 50), Run("pre", 10), Run("tuned", 60, "pre"), Run("short", 5), Run("batch", 4, batch_size=8)]
    assert [run.run_id for run in in_order(runs)] == ["pre", "tuned", "long", "batch", "short"]
