"""Bring runs to their results: in the order of need, several at a time, with a progress bar, interruptible.

Where runs are executed, on this machine or a cluster, is the executor's affair (``process.py``, ``slurm.py``).
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from scapes import cityscapes, instances
from synlib.runs import order
from synlib.runs.cluster import SlurmError
from synlib.runs.folder import RunBusyError, RunDir, reason_of
from synlib.runs.local import LocalExecutor, WorkerProcess
from synlib.runs.progress import Progress
from synlib.runs.slurm import SlurmExecutor, SlurmJob
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
    job: Execution,
    *,
    jobs: int = 1,
    keep_going: bool = False,
    executor: LocalExecutor | SlurmExecutor | None = None,
) -> list[Outcome]:
    """Bring every run of ``specs`` to its result; runs that have one are not touched, equal specs are trained once.

    ``executor``: where they are executed (default: on this machine, ``jobs`` runs at a time). A run that starts from
    another waits for it. A run that has diverged is not tried again; one that has failed otherwise is. An interrupt
    stops all processes and leaves resumable runs; on a cluster it leaves them running.

    Raises RunFailedError naming each failed run, its reason and its log; with ``keep_going`` after the other runs are
    done, otherwise at once. Raises ValueError when runs start from each other, SlurmError when no cluster
    can be reached.
    """
    launch = _Launch(specs, store, job, executor or LocalExecutor(jobs))
    if launch.waiting:
        launch.work(keep_going or launch.executor.queues)  # what is in a queue goes on anyway
    outcomes = [launch.outcomes[run_id] for run_id in launch.specs]
    if any(outcome.failed for outcome in outcomes):
        raise RunFailedError(outcomes)
    return outcomes


def is_complete(run: RunDir, job: Execution) -> bool:
    """Whether the run has its result, and one on each of the job's evaluation sets."""
    return (run.path / "result.json").exists() and all(
        run.evaluation_result(on.name, on.identity()) is not None for on in job.evaluate_on
    )


class _Launch:
    """One call of :func:`train`: which runs wait, which are being worked on, how the others ended."""

    def __init__(
        self, specs: Sequence[RunSpec], store: RunStore, job: Execution, executor: LocalExecutor | SlurmExecutor
    ) -> None:
        self.specs = {spec.run_id: spec for spec in specs}
        self.chains = order.longest_chains(list(self.specs.values()))
        self.store, self.job, self.executor = store, job, executor
        self.active: dict[str, WorkerProcess | SlurmJob] = {}
        before = (self._ended_before(spec) for spec in self.specs.values())
        self.outcomes = {outcome.run: outcome for outcome in before if outcome}
        self.waiting = [spec for run_id, spec in self.specs.items() if run_id not in self.outcomes]

    def _ended_before(self, spec: RunSpec) -> Outcome | None:
        run = self.store.run(spec)
        try:
            run.check(spec)
            if is_complete(run, self.job):
                run.create(spec)  # should it be lost: whoever reads the results asks for it
                return Outcome(spec.run_id, "done")
            return self._diverged(run)
        except (OSError, ValueError) as error:  # damaged files, or another run's: told, and left alone
            return Outcome(spec.run_id, "failed", str(error))

    def work(self, keep_going: bool) -> None:
        """Until no run waits or is worked on; without ``keep_going`` until one fails."""

        def goes_on() -> bool:
            failed = any(outcome.failed for outcome in self.outcomes.values())
            return bool(self.waiting or self.active) and (keep_going or not failed)

        if goes_on():
            self.executor.connect()
            self._count_instances(keep_going)
        before = sum(not outcome.failed for outcome in self.outcomes.values())
        with Progress(self.waiting, self.store, self.job, before) as self.progress:
            try:
                while goes_on():
                    self._start()
                    if not self.executor.wait:
                        break
                    self._collect()
                    running = [process.run for process in self.active.values() if not process.queued()]
                    self.progress.update(running, queued=len(self.active) - len(running))
                    time.sleep(POLL_SECONDS)
            finally:
                self.executor.leave(list(self.active.values()))
        left = "queued" if self.executor.queues else "stopped"
        self.outcomes |= {run_id: Outcome(run_id, left) for run_id in self.active}
        self.outcomes |= {spec.run_id: Outcome(spec.run_id, "not started") for spec in self.waiting}

    def _count_instances(self, keep_going: bool) -> None:
        """Have the instance tables of the training data ready, counted by all cores: workers only read them."""
        untrained = [s.data for s in self.waiting if not (self.store.run(s).path / "model_final.pth").exists()]
        needed = [
            root
            for root, images in (
                (self.job.real_root, any(data.real for data in untrained)),
                (self.job.synthetic_root, any(data.synthetic for data in untrained)),
            )
            if root and images and self.job.cache_dir
        ]
        for root in needed:
            # With other runs to go on with, each run that needs damaged data says so itself.
            with contextlib.suppress(OSError, ValueError) if keep_going else contextlib.nullcontext():
                instances.instance_table(cityscapes.read_images(root, "train"), cache_dir=self.job.cache_dir)

    def _start(self) -> None:
        """Start as many runs as there are places for; give up those that wait for what will never be."""
        while ready := order.ready(self.waiting, self._beginnings(), self.chains):
            for spec in ready[: self.executor.places(len(self.active))]:
                self.waiting.remove(spec)
                try:
                    self.active[spec.run_id] = self.executor.start(spec, self.store, self.job)
                except (RunBusyError, SlurmError, OSError, ValueError) as error:
                    self._end(Outcome(spec.run_id, "failed", reason_of(error)))
            if not self.executor.queues:
                return
        if not self.active:
            for spec in self.waiting:
                self._end(self._not_started(spec))
            self.waiting = []

    def _beginnings(self) -> set[str]:
        """What runs may start from: those that are trained, and where there is a queue those that are in it."""
        trained = {spec.initial_run for spec in self.waiting if self._is_trained(spec.initial_run)}
        return trained | set(self.active) if self.executor.queues else trained

    def _collect(self) -> None:
        """Note how the processes that have ended since did."""
        for run_id in [key for key, process in self.active.items() if process.ended()]:
            process = self.active.pop(run_id)
            try:
                trained = is_complete(process.run, self.job)
                outcome = Outcome(run_id, "trained") if trained else self._diverged(process.run)
            except (OSError, ValueError) as error:
                outcome = Outcome(run_id, "failed", str(error), str(process.log))
            if not outcome and self.specs[run_id].initial_run and not self._is_trained(self.specs[run_id].initial_run):
                outcome = self._not_started(self.specs[run_id])  # the queue has dropped it with its beginning
            self._end(outcome or Outcome(run_id, "failed", process.reason(), str(process.log)))

    def _end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.run] = outcome
        self.progress.end(outcome.run, done=not outcome.failed)

    def _diverged(self, run: RunDir) -> Outcome | None:
        return Outcome(run.path.name, "diverged", run.failure(), str(run.log_path)) if run.has_diverged() else None

    def _is_trained(self, run_id: str | None) -> bool:
        return run_id is not None and (self.store.run(run_id).path / "result.json").exists()

    def _not_started(self, spec: RunSpec) -> Outcome:
        lack = "diverged" if self._diverged(self.store.run(spec.initial_run)) else "has no result"
        return Outcome(spec.run_id, "not started", f"it needs run {spec.initial_run}, which {lack}")
