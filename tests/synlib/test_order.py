"""The order of runs: what others wait for first, then the longest."""

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
def plans(draw) -> list[Run]:
    """Runs that start from nothing, or from one listed before or elsewhere."""
    runs = []
    for number in range(draw(st.integers(1, 20))):
        initial = draw(st.sampled_from([None, "elsewhere", *(run.run_id for run in runs)]))
        runs.append(Run(f"run{number}", draw(st.integers(1, 20)), initial))
    return draw(st.permutations(runs))


def chain(run: Run, runs: list[Run]) -> int:
    """Iterations of the longest chain that begins with ``run``."""
    return run.iterations + max((chain(other, runs) for other in runs if other.initial_run == run.run_id), default=0)


@given(runs=plans())
def test_everything_is_started_once_by_the_length_of_its_chain(runs):
    """Such an order takes at most 2 - 1 / places times as long as the best one (Graham 1966)."""
    order = in_order([*runs, *runs])
    chains = [chain(run, runs) for run in order]
    assert sorted(chains, reverse=True) == chains
    assert sorted(order, key=lambda run: run.run_id) == sorted(runs, key=lambda run: run.run_id)


def test_a_short_run_that_long_ones_wait_for_comes_first_and_a_batch_counts():
    runs = [Run("long", 50), Run("pre", 10), Run("tuned", 60, "pre"), Run("short", 5), Run("batch", 4, batch_size=8)]
    assert [run.run_id for run in in_order(runs)] == ["pre", "tuned", "long", "batch", "short"]
