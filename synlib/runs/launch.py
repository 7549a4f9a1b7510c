"""Bring runs to their results: what others wait for first, several at a time, with a progress bar, interruptible."""

import contextlib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from scapes import cityscapes, instances
from synlib.runs.folder import RunBusyError, reason_of
from synlib.runs.local import LocalExecutor, WorkerProcess
from synlib.runs.progress import Progress
from synlib.runs.slurm import SlurmError, SlurmExecutor, SlurmJob
from synlib.runs.store import RunStore
from synlib.spec import Execution, RunSpec

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Outcome:
    """How a run stands after :func:`train`.

    ``state``: ``done`` (it was before), ``trained`` (now), ``diverged``, ``failed``, ``not started``, ``queued`` (on a
    cluster, where it goes on by itself), or ``stopped`` (it goes on from its checkpoint).
    """

    run: str
    state: str
    reason: str = ""  # why it has no result
    log: str = ""  # the file to look into

    @property
    def failed(self) -> bool:
        return self.state in ("failed", "not started", "stopped")

    def __str__(self) -> str:
        where = f" (log: {self.log})" if self.log else ""
        verb = "not started," if self.state == "not started" else f"{self.state}:"
        return f"run {self.run} {verb} {self.reason}{where}" if self.reason else f"run {self.run} {self.state}"


class RunFailedError(RuntimeError):
    """Runs ended without a result."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("\n".join(str(item) for item in outcomes if item.failed and item.reason))
        self.outcomes = list(outcomes)  # of all runs of the call


def train(
    specs: Sequence[RunSpec],
    store: RunStore,
    execution: Execution,
    *,
    jobs: int = 1,
    keep_going: bool = False,
    wait: bool = True,
) -> list[Outcome]:
    """Bring every run of ``specs`` to its result; runs that have one, or have diverged, are not touched.

    A run that starts from another waits for it. On this machine, ``jobs`` runs go at a time, and an interrupt stops
    them, to be resumed. On a Slurm cluster all are submitted at once, ``wait=False`` returns then, and an interrupt
    leaves them running. Raises SlurmError when no cluster can be reached, and RunFailedError naming each failed run,
    its reason and its log: with ``keep_going`` after the other runs are done, otherwise at once.
    """
    if jobs < 1:
        raise ValueError(f"jobs: found {jobs}, expected at least 1")
    slurm = execution.executor == "slurm"
    launch = _Launch(specs, store, execution, keep_going or slurm)  # what is in a queue goes on anyway
    if launch.goes_on():
        launch.work(SlurmExecutor(store, execution) if slurm else LocalExecutor(store, execution, jobs), wait)
    outcomes = launch.ended()
    if any(outcome.failed for outcome in outcomes):
        raise RunFailedError(outcomes)
    return outcomes


def longest_chains(specs: Iterable[RunSpec]) -> dict[str, int]:
    """Run id -> training images of the longest chain that begins with it: itself, one started from it ..."""
    by_id = {spec.run_id: spec for spec in specs}
    longest = dict.fromkeys(by_id, 0)
    for spec in by_id.values():
        images = 0
        while spec is not None:  # this has an end: a run's id depends on the id of the run that it starts from
            images += spec.training_images
            longest[spec.run_id] = max(images, longest[spec.run_id])
            spec = by_id.get(spec.initial_run)
    return longest


def ready(waiting: Sequence[RunSpec], ended: Collection[str], chains: dict[str, int]) -> list[RunSpec]:
    """Those of ``waiting`` whose initial run, if any, is among ``ended``; longest chain first: it decides the end."""
    free = [spec for spec in waiting if spec.initial_run is None or spec.initial_run in ended]
    return sorted(free, key=lambda spec: -chains[spec.run_id])


class _Launch:
    """One call of :func:`train`: how runs ended (``outcomes``), which are worked on (``active``); the others wait."""

    def __init__(self, specs: Sequence[RunSpec], store: RunStore, execution: Execution, keep_going: bool) -> None:
        self.specs = {spec.run_id: spec for spec in specs}
        self.chains = longest_chains(specs)
        self.store, self.execution, self.keep_going = store, execution, keep_going
        self.active: dict[str, WorkerProcess | SlurmJob] = {}
        before = [self._result(spec, "done") for spec in self.specs.values()]
        self.outcomes = {outcome.run: outcome for outcome in before if outcome}

    def _result(self, spec: RunSpec, state: str) -> Outcome | None:
        """``state`` if it has all its results, ``diverged``, ``failed`` (damaged or another run's files) or None."""
        run, sets = self.store.run(spec), self.execution.evaluate_on
        try:
            run.check(spec)
            if run.has_result() and all(run.evaluation_result(on.name, on.identity()) is not None for on in sets):
                run.create(spec)  # restores a deleted spec.yaml
                return Outcome(spec.run_id, state)
        except (OSError, ValueError) as error:
            return Outcome(spec.run_id, "failed", str(error))
        return Outcome(spec.run_id, "diverged", run.failure(), str(run.log_path)) if run.has_diverged() else None

    @property
    def waiting(self) -> list[RunSpec]:
        return [spec for run_id, spec in self.specs.items() if run_id not in self.outcomes.keys() | self.active.keys()]

    def goes_on(self) -> bool:
        """Whether there is work left; without ``keep_going`` only until one run has failed."""
        failed = any(outcome.failed for outcome in self.outcomes.values())
        return len(self.outcomes) < len(self.specs) and (self.keep_going or not failed)

    def work(self, executor: LocalExecutor | SlurmExecutor, wait: bool) -> None:
        """Until no run waits or is worked on, one fails, or, without ``wait``, all are in the queue."""
        self._count_instances()
        progress = Progress(self.specs, self.store, self.outcomes)
        with progress.bar:
            try:
                while self.goes_on():
                    self._start(executor)
                    if executor.queues and not wait:
                        break
                    self._collect()
                    running = [training.run for training in self.active.values() if not training.queued]
                    progress.update(self.outcomes, running, queued=len(self.active) - len(running))
                    time.sleep(POLL_SECONDS)
            finally:
                executor.leave(list(self.active.values()))

    def ended(self) -> list[Outcome]:
        """The outcomes of all runs, in the order of the specs."""
        left = "queued" if self.execution.executor == "slurm" else "stopped"
        rest = dict.fromkeys(self.specs, "not started") | dict.fromkeys(self.active, left)
        return [self.outcomes.get(run_id) or Outcome(run_id, state) for run_id, state in rest.items()]

    def _count_instances(self) -> None:
        """Have the instance tables of the training data ready, counted by all cores: workers only read them."""
        execution, cache_dir = self.execution, self.execution.cache_dir
        untrained = [s.data for s in self.waiting if not (self.store.run(s).path / "model_final.pth").exists()]
        roots = [execution.real_root] * any(data.real for data in untrained)
        roots += [execution.synthetic_root] * any(data.synthetic for data in untrained)
        ignored = (OSError, ValueError) if self.keep_going else ()  # each run that needs damaged data says so itself
        for root in filter(None, roots if cache_dir else []):
            with contextlib.suppress(*ignored):
                instances.instance_table(cityscapes.read_images(root, "train"), cache_dir=cache_dir)

    def _start(self, executor: LocalExecutor | SlurmExecutor) -> None:
        """Start as many runs as there are places for; give up those that wait for what will never be."""
        while self.goes_on() and (free := self._ready(executor)):
            spec = free[0]
            try:
                self.active[spec.run_id] = executor.start(spec, list(self.active.values()))
            except (RunBusyError, SlurmError, OSError, ValueError) as error:
                self.outcomes[spec.run_id] = Outcome(spec.run_id, "failed", reason_of(error))
        if self.goes_on() and not self.active:
            self.outcomes |= {spec.run_id: self._not_started(spec) for spec in self.waiting}

    def _ready(self, executor: LocalExecutor | SlurmExecutor) -> list[RunSpec]:
        """What can be started now: after runs that have a result, and in a queue after those that are in it."""
        initial = {spec.initial_run for spec in self.waiting if spec.initial_run}
        there = {run_id for run_id in initial if self.store.run(run_id).has_result()}
        there |= self.active.keys() if executor.queues else set()
        return ready(self.waiting, there, self.chains)[: executor.places - len(self.active)]

    def _collect(self) -> None:
        for run_id in [key for key, training in self.active.items() if training.ended()]:
            training, spec = self.active.pop(run_id), self.specs[run_id]
            outcome = self._result(spec, "trained")
            if not outcome and spec.initial_run and not self.store.run(spec.initial_run).has_result():
                outcome = self._not_started(spec)  # the queue has dropped it with its beginning
            log = str(training.run.output_path)
            self.outcomes[run_id] = outcome or Outcome(run_id, "failed", training.reason(), log)

    def _not_started(self, spec: RunSpec) -> Outcome:
        lack = "diverged" if self.store.run(spec.initial_run).has_diverged() else "has no result"
        return Outcome(spec.run_id, "not started", f"it needs run {spec.initial_run}, which {lack}")
