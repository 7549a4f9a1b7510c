"""Train runs in processes of their own: one after another or several at a time, with a progress bar, interruptible."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from synlib.job import Job
from synlib.rundir import LAUNCHER_VARIABLE, RunBusyError, RunDir
from synlib.spec import RunSpec
from synlib.study.store import RunStore

POLL_SECONDS = 0.2
STOP_SECONDS = 10
PATIENCE_S = 10
"""How long a launcher waits for a run's lock: workers notice within a second or two that their launcher has died."""


class RunFailedError(RuntimeError):
    """A run ended without a result."""


def train(specs: Sequence[RunSpec], store: RunStore, job: Job, *, jobs: int = 1, keep_going: bool = False) -> None:
    """Bring every run of ``specs`` to its result; runs that have one are not touched, equal specs are trained once.

    ``jobs``: runs at a time. A run that starts from another waits for it. An interrupt stops all processes and leaves
    resumable runs. Raises RunFailedError naming each failed run, its reason and its log; with ``keep_going`` after the
    other runs are done, otherwise at once.
    """
    if jobs < 1:
        raise ValueError(f"jobs: found {jobs}, expected at least 1")
    unique = {spec.run_id: spec for spec in specs}
    waiting = [spec for spec in unique.values() if not is_complete(store.run(spec), job)]
    if not waiting:
        return
    planned = list(waiting)
    active: dict[str, _Process] = {}
    failed: list[str] = []
    with _bar(waiting, store) as bar:
        try:
            while waiting or active:
                for spec in _ready(waiting, active, store)[: jobs - len(active)]:
                    waiting.remove(spec)
                    try:
                        active[spec.run_id] = _Process(spec, store, job)
                    except RunBusyError as error:
                        failed.append(f"run {spec.run_id} failed: {error}")
                        if not keep_going:
                            raise RunFailedError(failed[0]) from error
                time.sleep(POLL_SECONDS)
                for run_id in [key for key, process in active.items() if process.ended()]:
                    process = active.pop(run_id)
                    if not is_complete(process.run, process.job):
                        failed.append(_reason(process))
                        if not keep_going:
                            raise RunFailedError(failed[0])
                if not active and waiting and not _ready(waiting, active, store):
                    failed += [
                        f"run {s.run_id}: not started, it needs run {s.initial_run}, which has no result"
                        for s in waiting
                    ]
                    waiting = []
                _update(bar, planned, active, store)
        finally:
            for process in active.values():
                process.stop()
    if failed:
        raise RunFailedError("\n".join(failed))


def is_complete(run: RunDir, job: Job) -> bool:
    """Whether the run has its result, and one on each of the job's evaluation sets."""
    return (run.path / "result.json").exists() and all(
        run.evaluation_result(on.name, on.identity()) is not None for on in job.evaluate_on
    )


class _Process:
    """One run's worker: a Python process, or torchrun with several, in a process group of its own."""

    def __init__(self, spec: RunSpec, store: RunStore, job: Job) -> None:
        self.run, self.job = store.run(spec), job
        self.run.create(spec)
        if spec.initial_run:
            initial = store.run(spec.initial_run).path / "model_final.pth"
            job = Job.from_dict(job.to_dict() | {"initial_weights": str(initial)})
        with self.run.lock(PATIENCE_S):  # nothing of a run that another process works on is touched
            self.run.write("job.json", job.to_dict())
            for name in ("failure.json", "status.json"):
                (self.run.path / name).unlink(missing_ok=True)
        entry = ["-m", "synlib.pointrend.worker", str(self.run.path)]
        if job.processes > 1:
            entry = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.processes}", *entry]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(job.threads),
            "PYTHONUNBUFFERED": "1",
            LAUNCHER_VARIABLE: str(os.getpid()),
        }
        with open(self.run.path / "output.txt", "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *entry],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, env=environment, cwd=Path(__file__).parents[2],
            )  # fmt: skip

    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        """Ask the whole group to end, then make it."""
        for sign, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
                return


def _ready(waiting: list[RunSpec], active: dict[str, _Process], store: RunStore) -> list[RunSpec]:
    """Runs whose initial run, if any, is done; the longest first, so that the last to end is short."""
    ready = [s for s in waiting if not s.initial_run or (store.run(s.initial_run).path / "result.json").exists()]
    return sorted(ready, key=lambda spec: -spec.schedule.iterations)


def _reason(process: _Process) -> str:
    run, killed = process.run, process.process.returncode < 0
    if failure := run.read("failure.json"):
        reason = failure["reason"]
    elif killed:
        reason = "its process was killed (out of memory?)"
    else:
        reason = f"its process ended with exit code {process.process.returncode} and no result"
    return f"run {run.path.name} failed: {reason} (log: {run.path / 'output.txt'})"


def _bar(specs: list[RunSpec], store: RunStore) -> tqdm:
    total = sum(spec.schedule.iterations for spec in specs)
    begun = sum(_iterations_done(store.run(spec), spec) for spec in specs)
    return tqdm(
        total=total,
        initial=begun,
        desc=f"training {len(specs)} runs",
        unit="it",
        smoothing=0.05,
        mininterval=1,
        miniters=0,
    )


def _update(bar: tqdm, specs: list[RunSpec], active: dict[str, _Process], store: RunStore) -> None:
    """Show the iterations of all runs of this call, and how far each active run is."""
    done = sum(_iterations_done(store.run(spec), spec) for spec in specs)
    bar.set_postfix_str("; ".join(_stage(process.run) for process in active.values()), refresh=False)
    bar.update(max(0, done - bar.n))


def _iterations_done(run: RunDir, spec: RunSpec) -> int:
    if (run.path / "model_final.pth").exists():
        return spec.schedule.iterations
    status = _status(run)
    return status["done"] if status and status["stage"] == "train" else 0


def _stage(run: RunDir) -> str:
    status = _status(run)
    return f"{run.path.name}: " + (f"{status['stage']} {status['done']}/{status['total']}" if status else "starting")


def _status(run: RunDir) -> dict | None:
    """Progress for the bar; a damaged file is no reason to stop a training."""
    try:
        return run.read("status.json")
    except ValueError:
        return None
