"""Runs' workers on this machine: started, watched, stopped; its GPUs are shared out to them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from synlib.profile import ROOT
from synlib.runs.folder import LAUNCHER_VARIABLE, RunDir
from synlib.runs.store import RunStore
from synlib.spec import Execution, RunSpec

STOP_SECONDS = 10
PATIENCE_S = 10
"""How long a launcher waits for a run's lock: workers notice within a second or two that their launcher has died."""
FULL_BYTES = 1 << 20


GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


@contextlib.contextmanager
def prepare(spec: RunSpec, store: RunStore, job: Execution) -> Iterator[RunDir]:
    """The folder of a run with all that a worker reads, and nobody else at it while the context lasts.

    Raises RunBusyError when another process works on the run, ValueError when its folder holds another spec, OSError
    when the folder cannot be written to.
    """
    run = store.run(spec)
    run.create(spec)
    if spec.initial_run:
        initial = store.run(spec.initial_run).path / "model_final.pth"
        job = job.replace(initial_weights=str(initial))
    with run.lock(PATIENCE_S):  # nothing of a run that another process works on is touched
        run.write("job.json", job.to_dict())
        for name in ("failure.json", "status.json"):
            (run.path / name).unlink(missing_ok=True)
        yield run


class WorkerProcess:
    """A Python process, or torchrun with several, in a process group of its own.

    ``gpus``: the only ones that it sees; empty: those that this process sees. Raises what :func:`prepare` raises.
    """

    def __init__(self, spec: RunSpec, store: RunStore, job: Execution, gpus: Sequence[str] = ()) -> None:
        self.gpus = gpus
        with prepare(spec, store, job) as self.run:
            self.log = self.run.path / "output.txt"
        entry = ["-m", "synlib.pointrend.worker", str(self.run.path)]
        if job.processes > 1:
            entry = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.processes}", *entry]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(job.threads),
            "PYTHONUNBUFFERED": "1",
            LAUNCHER_VARIABLE: str(os.getpid()),
        }
        if gpus:
            environment[GPU_VARIABLE] = ",".join(gpus)
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *entry],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, env=environment, cwd=ROOT,
            )  # fmt: skip

    def queued(self) -> bool:
        return False

    def ended(self) -> bool:
        return self.process.poll() is not None

    def reason(self) -> str:
        """Why an ended worker has left no result."""
        if failure := self.run.failure():
            return failure
        if shutil.disk_usage(self.run.path).free < FULL_BYTES:
            return f"no space left on the disk of {self.run.path}"
        if self.process.returncode < 0:
            return f"its process was killed by signal {-self.process.returncode} (out of memory?)"
        return f"its process ended with exit code {self.process.returncode} and no result"

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask the whole group to end, then make it."""
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
            return
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class LocalExecutor:
    """Works on ``jobs`` runs at a time, each on GPUs of its own as long as there are enough.

    ``gpus``: this machine's (default: :func:`visible_gpus`). With more runs than they allow, the least used are shared.
    """

    queues, wait = False, True

    def __init__(self, jobs: int = 1, gpus: Sequence[str] | None = None) -> None:
        if jobs < 1:
            raise ValueError(f"jobs: found {jobs}, expected at least 1")
        self.jobs = jobs
        self.gpus = visible_gpus() if gpus is None else list(gpus)
        self.started: list[WorkerProcess] = []

    def connect(self) -> None:
        pass

    def places(self, active: int) -> int:
        return self.jobs - active

    def start(self, spec: RunSpec, store: RunStore, job: Execution) -> WorkerProcess:
        process = WorkerProcess(spec, store, job, self._least_used(job))
        self.started.append(process)
        return process

    def _least_used(self, job: Execution) -> list[str]:
        if job.device == "cpu" or not self.gpus:
            return []
        if job.processes > len(self.gpus):
            raise ValueError(f"execution.processes: found {job.processes}, expected at most {len(self.gpus)} (GPUs)")
        self.started = [process for process in self.started if not process.ended()]
        used = Counter(gpu for process in self.started for gpu in process.gpus)
        return sorted(self.gpus, key=lambda gpu: used[gpu])[: job.processes]

    def leave(self, active: Sequence[WorkerProcess]) -> None:
        """Stop the workers that are still active, all at once."""
        for process in active:
            process.ask_to_stop()
        for process in active:
            process.stop()


def visible_gpus() -> list[str]:
    """This process's GPUs, as CUDA_VISIBLE_DEVICES names them: that variable's, or all that the driver lists."""
    if GPU_VARIABLE in os.environ:
        return [gpu.strip() for gpu in os.environ[GPU_VARIABLE].split(",") if gpu.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    line = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(line, capture_output=True, text=True)
    return listed.stdout.split() if listed.returncode == 0 else []
