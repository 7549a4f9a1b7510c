"""Runs' workers on this machine: started, watched, stopped; its GPUs are shared out to them."""

import contextlib
import functools
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from scapes import cityscapes, instances
from synlib.profile import ROOT
from synlib.runs.folder import LAUNCHER_VARIABLE, RunDir
from synlib.runs.store import RunStore
from synlib.spec import Execution, RunSpec

STOP_SECONDS, DRIVER_SECONDS = 10, 60
PATIENCE_S = 10  # of a launcher for a run's lock: workers notice within a second or two that their launcher has died
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


@functools.cache
def count_instances(root: str, cache_dir: str) -> None:
    """Have the instance table of a training set ready, counted by all cores: workers only read it."""
    instances.instance_table(cityscapes.read_images(root, "train"), cache_dir=cache_dir)


@contextlib.contextmanager
def prepare(spec: RunSpec, store: RunStore, execution: Execution) -> Iterator[RunDir]:
    """A run's folder with all that a worker reads, locked. Raises RunBusyError, OSError, ValueError (another spec)."""
    run = store.run(spec)
    run.create(spec)
    for root, used in ((execution.real_root, spec.data.real), (execution.synthetic_root, spec.data.synthetic)):
        if root and used and execution.cache_dir:
            count_instances(root, execution.cache_dir)
    if spec.initial_run:
        execution = execution.replace(initial_weights=str(store.run(spec.initial_run).path / "model_final.pth"))
    with run.lock(PATIENCE_S):  # nothing of a run that another process works on is touched
        run.write("job.json", execution.to_dict())
        for name in ("failure.json", "status.json"):
            (run.path / name).unlink(missing_ok=True)
        yield run


class WorkerProcess:
    """A Python process, or torchrun with several, in a process group of its own. Raises what :func:`prepare` does."""

    phase = "runs"

    def __init__(self, spec: RunSpec, store: RunStore, execution: Execution, gpus: Sequence[str] = ()) -> None:
        self.gpus, count = gpus, execution.processes  # no gpus: it sees those that this process sees
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
        environment = {"OMP_NUM_THREADS": str(execution.threads), LAUNCHER_VARIABLE: str(os.getpid())}
        environment |= {"PYTHONUNBUFFERED": "1"} | ({GPU_VARIABLE: ",".join(gpus)} if gpus else {})
        with prepare(spec, store, execution) as self.run:
            pass  # the worker takes the lock itself
        with open(self.run.output_path, "ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *torchrun, "-m", "synlib.pointrend.worker", str(self.run.path)],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, env=os.environ | environment, cwd=ROOT,
            )  # fmt: skip

    def ended(self) -> bool:
        return self.process.poll() is not None

    def reason(self) -> str:
        """Why an ended worker has left no result."""
        if failure := self.run.failure():
            return failure
        if shutil.disk_usage(self.run.path).free < 1 << 20:
            return f"no space left on the disk of {self.run.path}"
        code = self.process.returncode
        killed = f"was killed by signal {-code}" + " (out of memory?)" * (code == -signal.SIGKILL)
        return f"its process {killed if code < 0 else f'ended with exit code {code} and no result'}"


class LocalExecutor:
    """Works on ``places`` runs at a time, each on GPUs of its own as long as there are enough; then they are shared."""

    queues = False

    def __init__(self, store: RunStore, execution: Execution, places: int = 1) -> None:
        self.store, self.execution, self.places = store, execution, places
        self.gpus = [] if execution.device == "cpu" else visible_gpus()

    def start(self, spec: RunSpec, active: Sequence[WorkerProcess]) -> WorkerProcess:
        """A worker for a run, beside those that are ``active``. Raises ValueError, and what WorkerProcess does."""
        used, count = Counter(gpu for worker in active for gpu in worker.gpus), self.execution.processes
        if count == "auto":
            most = max(1, len(self.gpus) // self.places)
            count = max(number for number in range(1, most + 1) if spec.batch_size % number == 0)
        if self.gpus and count > len(self.gpus):
            raise ValueError(f"execution.processes: found {count}, expected auto, or at most {len(self.gpus)} (GPUs)")
        gpus = sorted(self.gpus, key=lambda gpu: used[gpu])[:count]
        return WorkerProcess(spec, self.store, self.execution.replace(processes=count), gpus)

    @staticmethod
    def leave(active: Sequence[WorkerProcess]) -> None:
        """Ask the processes of workers to end; those that have not after :data:`STOP_SECONDS` are killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for worker in active:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.process.pid, number)
            for worker in active:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(STOP_SECONDS)


def visible_gpus() -> list[str]:
    """This process's GPUs, as CUDA_VISIBLE_DEVICES names them: that variable's, or all that the driver lists."""
    if GPU_VARIABLE not in os.environ:
        return list(listed_gpus())
    # CUDA sees those before the first that is none. A driver that cannot be asked knows all numbers.
    chosen = [gpu.strip() for gpu in os.environ[GPU_VARIABLE].split(",")]
    there = listed_gpus() if any(map(str.isdigit, chosen)) else {}
    known = [gpu in there or (not (there and gpu.isdigit()) and gpu[:1] not in ("", "-")) for gpu in chosen]
    return list(itertools.compress(chosen, itertools.takewhile(bool, known)))


def listed_gpus() -> dict[str, str]:
    """Number of each GPU that the driver lists -> its name; nothing without a driver. Raises OSError if it hangs."""
    line = ["nvidia-smi", "--query-gpu=index,name", "--format=csv,noheader"]
    try:
        listed = subprocess.run(line, capture_output=True, text=True, timeout=DRIVER_SECONDS)
    except FileNotFoundError:
        return {}
    except subprocess.TimeoutExpired as error:
        raise OSError(f"nvidia-smi has not answered for {DRIVER_SECONDS} s; set execution.device: cpu") from error
    return {} if listed.returncode else dict(re.findall(r"^(\d+), *(.*)$", listed.stdout, re.MULTILINE))
