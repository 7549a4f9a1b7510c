"""Bring runs to their results: what others wait for first, several at a time, with a progress bar, interruptible."""

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from tqdm.auto import tqdm
from tqdm.notebook import tqdm as notebook_bar

from synlib.curation.harmonize import check_details
from synlib.runs.folder import RunBusyError, RunDir, reason_of
from synlib.runs.local import LocalExecutor, WorkerProcess
from synlib.runs.slurm import SlurmError, SlurmExecutor, SlurmJob
from synlib.runs.store import RunStore, trained_on
from synlib.section import check
from synlib.spec import Execution, RunSpec

POLL_SECONDS = 0.2
UPDATE_SECONDS, LINE_SECONDS = 1, 60  # between two updates of a bar; between two lines where standard error is a file
LINE = "{desc}; {percentage:.0f} % of the training, {remaining} left{postfix}"


class Outcome(NamedTuple):
    """How a run stands after :func:`train`."""

    run: str
    # done (it was before), trained (now), diverged, failed, not started, stopped (it goes on from its checkpoint), or
    # on a cluster queued (it goes on by itself), held (a person has to act)
    state: str
    reason: str = ""  # why it has no result
    log: str = ""  # the file to look into

    failed = property(lambda self: self.state in ("failed", "held", "not started", "stopped"))

    def __str__(self) -> str:
        where = f" (log: {self.log})" if self.log else ""
        return f"run {self.run} {self.state}{f': {self.reason}' if self.reason else ''}{where}"


class RunFailedError(RuntimeError):
    """Runs ended without a result."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("\n".join(str(item) for item in outcomes if item.failed and item.reason))
        self.outcomes = list(outcomes)  # of all runs of the call


def train(
    specs: Sequence[RunSpec], store: RunStore, execution: Execution, *, jobs: int = 1, keep_going: bool = False,
    wait: bool = True,
) -> list[Outcome]:  # fmt: skip
    """Bring every run of ``specs`` to its result; runs that have one, or have diverged, are not touched.

    A run that starts from another waits for it. On this machine, ``jobs`` runs go at a time, and an interrupt stops
    them, to be resumed. On a Slurm cluster all are submitted at once, ``wait=False`` returns then, and an interrupt
    leaves them running. Raises SlurmError when no cluster can be reached, and RunFailedError naming each failed run,
    its reason and its log: with ``keep_going`` after the other runs are done, otherwise at once.
    """
    check(jobs >= 1, jobs, "at least 1", "jobs")
    slurm = execution.executor == "slurm"
    launch = _Launch(specs, store, execution, keep_going or slurm)  # what is in a queue goes on anyway
    for criterion in {spec.data.criterion for spec in launch.waiting} - {"size", "random"}:
        check_details(execution.synthetic_root, criterion)
    if launch.goes_on():
        launch.work(SlurmExecutor(store, execution) if slurm else LocalExecutor(store, execution, jobs), wait)
    outcomes = launch.ended()
    if any(outcome.failed for outcome in outcomes):
        raise RunFailedError(outcomes)
    return outcomes


def in_order(specs: Iterable[RunSpec]) -> list[RunSpec]:
    """Distinct runs in the order to start them: the one with the longest chain of runs that start from it first."""
    by_id = {spec.run_id: spec for spec in specs}
    heirs = {run_id: [spec for spec in by_id.values() if spec.initial_run == run_id] for run_id in by_id}

    def chain(spec: RunSpec) -> int:
        return spec.training_images + max(map(chain, heirs[spec.run_id]), default=0)

    return sorted(by_id.values(), key=chain, reverse=True)


class Progress:
    """A bar over the images of those of ``specs`` that had not ended before. ``ended``: run id -> its outcome."""

    def __init__(self, specs: Mapping[str, RunSpec], store: RunStore, ended: Mapping[str, Outcome]) -> None:
        self.specs = {run_id: spec for run_id, spec in specs.items() if run_id not in ended}
        self.store, self.runs = store, len(specs)
        live = sys.stderr.isatty() or issubclass(tqdm, notebook_bar)
        self.period_s = UPDATE_SECONDS if live else LINE_SECONDS
        # In a file, each state of the bar is a line of its own.
        lines = SimpleNamespace(write=lambda text: text.strip() and print(text.strip(), file=sys.stderr, flush=True))
        form = {"dynamic_ncols": True} if live else {"file": lines, "bar_format": LINE}
        form |= {"desc": self._counts(ended), "unit": "image", "unit_scale": True, "smoothing": 0}
        done, total = self._images(ended)
        self.bar = tqdm(total=total, initial=done, **form)
        self.shown, self.ended, self.told = time.monotonic(), len(ended), set[str]()

    def update(self, ended: Mapping[str, Outcome], running: Collection[RunDir], queued: int) -> None:
        """Show how far all runs are, when one has ended or it is time to; ``queued``: in a cluster's queue."""
        if len(ended) == self.ended and time.monotonic() - self.shown < self.period_s:
            return
        self.shown, self.ended = time.monotonic(), len(ended)
        self.bar.n, self.bar.total = self._images(ended)
        self.bar.set_description_str(self._counts(ended, queued), refresh=False)
        at_hand = {run.path.name: run.progress() for run in running}
        for name in {name for name, at in at_hand.items() if at.get("slow")} - self.told:
            self.bar.write(f"run {name}: {at_hand[name]['slow']}", file=sys.stderr)
            self.told.add(name)
        self.bar.set_postfix_str("; ".join(self._shown(name, at) for name, at in at_hand.items()))

    def _shown(self, run_id: str, at_hand: dict[str, Any]) -> str:
        """``a1b2c3 (300 real + 600 synthetic, lr 0.04): train 120/600, loss 1.23``."""
        spec = self.specs[run_id]
        name = f"{run_id[:6]} ({trained_on(spec.data)}, lr {spec.schedule.base_lr:g})"
        loss = "" if at_hand.get("loss") is None else f", loss {at_hand['loss']:.2f}"
        return f"{name}: " + ("{stage} {done}/{total}".format(**at_hand) + loss if at_hand else "starting")

    def _images(self, ended: Mapping[str, Outcome]) -> tuple[int, int]:
        """Images trained on, and of all: what a failed run has not done is not work that is left."""
        done = total = 0
        for run_id, spec in self.specs.items():
            trained = self.store.run(run_id).iterations_done(spec.schedule.iterations) * spec.batch_size
            failed = run_id in ended and ended[run_id].failed
            done += spec.training_images if run_id in ended and not failed else trained
            total += trained if failed else spec.training_images
        return done, total

    def _counts(self, ended: Mapping[str, Outcome], queued: int = 0) -> str:
        lacking = Counter(outcome.state for outcome in ended.values() if outcome.failed)
        more = "".join(f", {count} {what}" for what, count in (lacking | Counter({"in the queue": queued})).items())
        return f"{len(ended) - lacking.total()} of {self.runs} runs done{more}"


class _Launch:
    """One call of :func:`train`: how runs ended (``outcomes``), which are worked on (``active``); the others wait."""

    def __init__(self, specs: Sequence[RunSpec], store: RunStore, execution: Execution, keep_going: bool) -> None:
        self.specs, self.order = {spec.run_id: spec for spec in specs}, in_order(specs)
        self.store, self.execution, self.keep_going = store, execution, keep_going
        self.active: dict[str, WorkerProcess | SlurmJob] = {}
        self.outcomes = {key: found for key, spec in self.specs.items() if (found := self._result(spec, "done"))}

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
        return [spec for spec in self.order if spec.run_id not in self.outcomes.keys() | self.active.keys()]

    def goes_on(self) -> bool:
        """Whether there is work left; without ``keep_going`` only until one run has failed."""
        failed = any(outcome.failed for outcome in self.outcomes.values())
        return len(self.outcomes) < len(self.specs) and (self.keep_going or not failed)

    def work(self, executor: LocalExecutor | SlurmExecutor, wait: bool) -> None:
        """Until no run waits or is worked on, one fails, or, without ``wait``, all are in the queue."""
        progress = Progress(self.specs, self.store, self.outcomes)
        with progress.bar:
            try:
                while self.goes_on():
                    self._start(executor)
                    if executor.queues and not wait:
                        break
                    self._collect()
                    running = [training.run for training in self.active.values() if training.phase == "runs"]
                    progress.update(self.outcomes, running, queued=len(self.active) - len(running))
                    time.sleep(POLL_SECONDS)
            finally:
                executor.leave(list(self.active.values()))

    def ended(self) -> list[Outcome]:
        """The outcomes of all runs, in the order of the specs."""
        left = "queued" if self.execution.executor == "slurm" else "stopped"
        rest = dict.fromkeys(self.specs, "not started") | dict.fromkeys(self.active, left)
        return [self.outcomes.get(run_id) or Outcome(run_id, state) for run_id, state in rest.items()]

    def _start(self, executor: LocalExecutor | SlurmExecutor) -> None:
        """Start as many runs as there are places for; give up those that wait for what will never be."""
        for spec in self.waiting:
            initial, there = spec.initial_run, self.active if executor.queues else ()
            if len(self.active) == executor.places or not self.goes_on():
                return
            if initial and initial not in there and not self.store.run(initial).has_result():
                continue
            try:
                self.active[spec.run_id] = executor.start(spec, list(self.active.values()))
            except (RunBusyError, SlurmError, OSError, ValueError) as error:
                self.outcomes[spec.run_id] = Outcome(spec.run_id, "failed", reason_of(error))
        if self.goes_on() and not self.active:
            self.outcomes |= {spec.run_id: self._not_started(spec) for spec in self.waiting}

    def _collect(self) -> None:
        held = {run_id for run_id, outcome in self.outcomes.items() if outcome.state == "held"}
        for run_id in [key for key, job in self.active.items() if self.specs[key].initial_run in held or job.ended()]:
            training, spec = self.active.pop(run_id), self.specs[run_id]
            outcome = self._result(spec, "trained")
            if not outcome and training.phase not in ("runs", "over"):
                outcome = Outcome(run_id, "held", training.reason())
            elif not outcome and spec.initial_run and not self.store.run(spec.initial_run).has_result():
                outcome = self._not_started(spec)  # the queue has dropped it with its beginning
            outcome = outcome or Outcome(run_id, "failed", training.reason(), str(training.run.output_path))
            if outcome.failed and self.active:
                tqdm.write(str(outcome), file=sys.stderr)  # hours may pass until the others have ended
            self.outcomes[run_id] = outcome

    def _not_started(self, spec: RunSpec) -> Outcome:
        lack = "diverged" if self.store.run(spec.initial_run).has_diverged() else "has no result"
        return Outcome(spec.run_id, "not started", f"it needs run {spec.initial_run}, which {lack}")
