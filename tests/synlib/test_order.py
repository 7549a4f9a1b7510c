"""The order of runs: what others wait for first, then the longest; checked against all orders on small plans."""

import itertools
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from synlib.runs.launch import longest_chains, ready


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


def finish_time(runs: list[Run], places: int, choose) -> int:
    """When all runs are done, ``choose(ready runs)`` being started whenever a place is free."""
    waiting, active, ended, now = list(runs), [], {"elsewhere"}, 0
    while waiting or active:
        while len(active) < places and (free := [r for r in waiting if r.initial_run in (None, *ended)]):
            run = choose(waiting, ended, free)
            waiting.remove(run)
            active.append((now + run.iterations, run.run_id))
        now, run_id = min(active)
        active.remove((now, run_id))
        ended.add(run_id)
    return now


@given(runs=plans(most=20))
def test_a_chain_is_a_run_and_the_longest_that_starts_from_it(runs):
    chains = longest_chains(runs)
    for run in runs:
        after = [chains[other.run_id] for other in runs if other.initial_run == run.run_id]
        assert chains[run.run_id] == run.iterations + max(after, default=0)


@given(runs=plans(most=20), places=st.integers(1, 5))
def test_everything_is_started_once_after_what_it_needs_and_in_good_time(runs, places):
    chains = longest_chains(runs)
    time = finish_time(runs, places, lambda waiting, ended, _: ready(waiting, ended, chains)[0])
    total, longest = sum(run.iterations for run in runs), max(chains.values())
    assert max(total / places, longest) <= time <= total / places + longest


@given(runs=plans(most=5))
def test_no_other_order_is_better_by_far(runs):
    """2 - 1 / places times as long as the best of all orders is what a list schedule may take (Graham 1966)."""
    chains = longest_chains(runs)
    ours = finish_time(runs, 2, lambda waiting, ended, _: ready(waiting, ended, chains)[0])
    ranks = ({run.run_id: place for place, run in enumerate(order)} for order in itertools.permutations(runs))
    best = min(finish_time(runs, 2, lambda _, __, free, r=rank: min(free, key=lambda s: r[s.run_id])) for rank in ranks)
    assert ours <= best * 1.5


def test_a_short_run_that_long_ones_wait_for_comes_first_and_a_batch_counts():
    runs = [Run("long", 50), Run("pre", 10), Run("tuned", 60, "pre"), Run("short", 5), Run("batch", 4, batch_size=8)]
    chains = longest_chains(runs)
    assert [run.run_id for run in ready(runs, set(), chains)] == ["pre", "long", "batch", "short"]
    assert [run.run_id for run in ready(runs[2:], {"pre"}, chains)] == ["tuned", "batch", "short"]
