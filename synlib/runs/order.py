"""In which order runs are started: pure functions of their specs, whatever then executes them."""

from collections.abc import Collection, Sequence

from synlib.spec import RunSpec


def training_images(spec: RunSpec) -> int:
    """How many images a run's training processes, each epoch counted: the measure of its length."""
    return spec.schedule.iterations * spec.batch_size


def longest_chains(specs: Sequence[RunSpec]) -> dict[str, int]:
    """Run id -> training images of the longest chain of ``specs`` that begins with it: itself, one started from it, ...

    Raises ValueError when runs start from each other.
    """
    by_id = {spec.run_id: spec for spec in specs}
    longest: dict[str, int] = {}
    for last in specs:
        spec, images, chain = last, 0, []
        while spec is not None:
            if spec.run_id in chain:
                raise ValueError(f"runs {' and '.join(chain)} start from each other; none of them can be first")
            chain.append(spec.run_id)
            images += training_images(spec)
            longest[spec.run_id] = max(images, longest.get(spec.run_id, 0))
            spec = by_id.get(spec.initial_run)
    return longest


def ready(waiting: Sequence[RunSpec], ended: Collection[str], chains: dict[str, int]) -> list[RunSpec]:
    """Those of ``waiting`` whose initial run, if any, is among ``ended`` (run ids), in the order to start them in.

    The beginning of the longest chain comes first: it decides when everything is done, and what is left for the end is
    short. ``chains``: :func:`longest_chains` of all runs.
    """
    free = [spec for spec in waiting if spec.initial_run is None or spec.initial_run in ended]
    return sorted(free, key=lambda spec: -chains[spec.run_id])
