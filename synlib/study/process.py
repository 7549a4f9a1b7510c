"""One run's worker on this machine: started, watched, stopped."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from synlib.job import Job
from synlib.rundir import LAUNCHER_VARIABLE
from synlib.spec import RunSpec
from synlib.study.store import RunStore

STOP_SECONDS = 10
PATIENCE_S = 10
"""How long a launcher waits for a run's lock: workers notice within a second or two that their launcher has died."""
FULL_BYTES = 1 << 20


class WorkerProcess:
    """A Python process, or torchrun with several, in a process group of its own.

    Raises RunBusyError when another process works on the run, ValueError when its folder holds another spec, OSError
    when the folder cannot be written to.
    """

    def __init__(self, spec: RunSpec, store: RunStore, job: Job) -> None:
        self.run = store.run(spec)
        self.run.create(spec)
        if spec.initial_run:
            initial = store.run(spec.initial_run).path / "model_final.pth"
            job = Job.from_dict(job.to_dict() | {"initial_weights": str(initial)})
        self.log = self.run.path / "output.txt"
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
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *entry],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, env=environment, cwd=Path(__file__).parents[2],
            )  # fmt: skip

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
