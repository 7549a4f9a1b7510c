"""Bring runs to their results: what others wait for first, several at a time, with a progress bar, interruptible."""

import contextlib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from scapes import cityscapes, instances
from synlib.runs.folder import RunBusyError, RunDir, reason_of
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
    cluster, where it goes on by itself), or ``stopped`` (it goes on from its checkpoint). ``reason`` says why it has no
    result, ``log`` is the file to look into.
    """

    run: str
    state: str
    reason: str = ""
    log: str = ""

    @property
    def failed(self) -> bool:
        return self.state in ("failed", "not started", "stopped")

    def __str__(self) -> str:
        where = f" (log: {self.log})" if self.log else ""
        verb = "not started," if self.state == "not started" else f"{self.state}:"
        return f"run {self.run} {verb} {self.reason}{where}" if self.reason else f"run {self.run} {self.state}"


class RunFailedError(RuntimeError):
    """Runs ended without a result. ``outcomes``: of all runs of the call."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("\n".join(str(item) for item in outcomes if item.failed and item.reason))
        self.outcomes = list(outcomes)


def train(
    specs: Sequence[RunSpec],
    store: RunStore,
    execution: Execution,
    *,
    jobs: int = 1,
    keep_going: bool = False,
    wait: bool = True,
) -> list[Outcome]:
    """Bring every run of ``specs`` to its result; runs that have one are not touched, equal specs are trained once.

    ``execution.executor`` says where: on this machine, ``jobs`` runs at a time, or on a Slurm cluster, where all runs
    are submitted at once and ``wait=False`` returns after that. A run that starts from another waits for it. A run that
    has diverged is not tried again; one that has failed otherwise is. An interrupt stops all processes and leaves
    resumable runs; on a cluster it leaves them running.

    Raises RunFailedError naming each failed run, its reason and its log; with ``keep_going`` after the other runs are
    done, otherwise at once. Raises SlurmError when no cluster can be reached.
    """
    if jobs < 1:
        raise ValueError(f"jobs: found {jobs}, expected at least 1")
    launch = _Launch(specs, store, execution)
    slurm = execution.executor == "slurm"
    keep_going = keep_going or slurm  # what is in a queue goes on anyway
    if launch.goes_on(keep_going):
        executor = SlurmExecutor(store, execution) if slurm else LocalExecutor(store, execution, jobs)
        launch.work(executor, keep_going, wait or not slurm)
    outcomes = launch.ended()
    if any(outcome.failed for outcome in outcomes):
        raise RunFailedError(outcomes)
    return outcomes


def longest_chains(specs: Sequence[RunSpec]) -> dict[str, int]:
    """Run id -> training images of the longest chain of ``specs`` that begins with it: itself, one started from it, ...

    A chain has an end: a run's id depends on the id of the run that it starts from.
    """
    by_id = {spec.run_id: spec for spec in specs}
    longest = dict.fromkeys(by_id, 0)
    for last in specs:
        spec, images = last, 0
        while spec is not None:
            images += spec.training_images
            longest[spec.run_id] = max(images, longest[spec.run_id])
            spec = by_id.get(spec.initial_run)
    return longest


def ready(waiting: Sequence[RunSpec], ended: Collection[str], chains: dict[str, int]) -> list[RunSpec]:
    """Those of ``waiting`` whose initial run, if any, is among ``ended`` (run ids), in the order to start them in.

    The beginning of the longest chain comes first: it decides when everything is done. ``chains``:
    :func:`longest_chains` of all runs.
    """
    free = [spec for spec in waiting if spec.initial_run is None or spec.initial_run in ended]
    return sorted(free, key=lambda spec: -chains[spec.run_id])


class _Launch:
    """One call of :func:`train`: which runs wait, which are being worked on, how the others ended."""

    def __init__(self, specs: Sequence[RunSpec], store: RunStore, execution: Execution) -> None:
        self.specs = {spec.run_id: spec for spec in specs}
        self.chains = longest_chains(list(self.specs.values()))
        self.store, self.execution = store, execution
        self.active: dict[str, WorkerProcess | SlurmJob] = {}
        before = (self._ended_before(spec) for spec in self.specs.values())
        self.outcomes = {outcome.run: outcome for outcome in before if outcome}
        self.waiting = [spec for run_id, spec in self.specs.items() if run_id not in self.outcomes]

    def _ended_before(self, spec: RunSpec) -> Outcome | None:
        run = self.store.run(spec)
        try:
            run.check(spec)
            outcome = self._result(run, "done")
            if outcome and outcome.state == "done":
                run.create(spec)  # restores a deleted spec.yaml
            return outcome
        except (OSError, ValueError) as error:  # damaged files, or another run's: reported, and left alone
            return Outcome(spec.run_id, "failed", str(error))

    def _result(self, run: RunDir, state: str) -> Outcome | None:
        """``state`` if the run has its result and one on each evaluation set, ``diverged`` if it has, otherwise None.

        Raises OSError and ValueError for damaged files.
        """
        sets = self.execution.evaluate_on
        if run.has_result() and all(run.evaluation_result(on.name, on.identity()) is not None for on in sets):
            return Outcome(run.path.name, state)
        return Outcome(run.path.name, "diverged", run.failure(), str(run.log_path)) if run.has_diverged() else None

    def goes_on(self, keep_going: bool) -> bool:
        """Whether there is work left; without ``keep_going`` only until one run has failed."""
        failed = any(outcome.failed for outcome in self.outcomes.values())
        return bool(self.waiting or self.active) and (keep_going or not failed)

    def work(self, executor: LocalExecutor | SlurmExecutor, keep_going: bool, wait: bool) -> None:
        """Until no run waits or is worked on, one fails, or, without ``wait``, all are in the queue."""
        self._count_instances(keep_going)
        self.progress = Progress(self.waiting, self.store, sum(not item.failed for item in self.outcomes.values()))
        with self.progress.bar:
            try:
                while self.goes_on(keep_going):
                    self._start(executor)
                    if not wait:
                        break
                    self._collect()
                    running = [process.run for process in self.active.values() if not process.queued]
                    self.progress.update(running, queued=len(self.active) - len(running))
                    time.sleep(POLL_SECONDS)
            finally:
                executor.leave(list(self.active.values()))

    def ended(self) -> list[Outcome]:
        """The outcomes of all runs, in the order of the specs."""
        left = "queued" if self.execution.executor == "slurm" else "stopped"
        rest = {spec.run_id: "not started" for spec in self.waiting} | dict.fromkeys(self.active, left)
        return [self.outcomes.get(run_id) or Outcome(run_id, rest[run_id]) for run_id in self.specs]

    def _count_instances(self, keep_going: bool) -> None:
        """Have the instance tables of the training data ready, counted by all cores: workers only read them."""
        data = [s.data for s in self.waiting if not (self.store.run(s).path / "model_final.pth").exists()]
        for root, needed in (
            (self.execution.real_root, any(of.real for of in data)),
            (self.execution.synthetic_root, any(of.synthetic for of in data)),
        ):
            if root and needed and self.execution.cache_dir:
                # With other runs to go on with, each run that needs damaged data says so itself.
                with contextlib.suppress(OSError, ValueError) if keep_going else contextlib.nullcontext():
                    images = cityscapes.read_images(root, "train")
                    instances.instance_table(images, cache_dir=self.execution.cache_dir)

    def _start(self, executor: LocalExecutor | SlurmExecutor) -> None:
        """Start as many runs as there are places for; give up those that wait for what will never be."""
        while free := ready(self.waiting, self._beginnings(executor.queues), self.chains):
            for spec in free[: executor.places - len(self.active)]:
                self.waiting.remove(spec)
                try:
                    self.active[spec.run_id] = executor.start(spec, list(self.active.values()))
                except (RunBusyError, SlurmError, OSError, ValueError) as error:
                    self._end(Outcome(spec.run_id, "failed", reason_of(error)))
            if not executor.queues:
                return
        if not self.active:
            for spec in self.waiting:
                self._end(self._not_started(spec))
            self.waiting = []

    def _beginnings(self, queues: bool) -> set[str]:
        """What runs may start from: those that have a result, and where there is a queue those that are in it."""
        initial = {spec.initial_run for spec in self.waiting if spec.initial_run}
        trained = {run_id for run_id in initial if self.store.run(run_id).has_result()}
        return trained | set(self.active) if queues else trained

    def _collect(self) -> None:
        """Note how the processes that have ended since did."""
        for run_id in [key for key, process in self.active.items() if process.ended()]:
            process, initial = self.active.pop(run_id), self.specs[run_id].initial_run
            try:
                outcome = self._result(process.run, "trained")
            except (OSError, ValueError) as error:
                outcome = Outcome(run_id, "failed", str(error), str(process.run.output_path))
            if not outcome and initial and not self.store.run(initial).has_result():
                outcome = self._not_started(self.specs[run_id])  # the queue has dropped it with its beginning
            self._end(outcome or Outcome(run_id, "failed", process.reason(), str(process.run.output_path)))

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.run] = outcome
        self.progress.end(outcome.run, failed=outcome.failed)

    def _not_started(self, spec: RunSpec) -> Outcome:
        lack = "diverged" if self.store.run(spec.initial_run).has_diverged() else "has no result"
        return Outcome(spec.run_id, "not started", f"it needs run {spec.initial_run}, which {lack}")
