"""The folder of one run: what lies where, who works on it, and how far it is.

``spec.yaml`` (what), ``job.json`` (with which paths and devices), ``environment.json`` (versions), ``log.txt``,
``output.txt`` (what the processes printed), ``config.yaml`` (Detectron2's), ``metrics.json`` (scalars),
``tensorboard/`` (what it shows), ``model_*.pth`` (checkpoints), ``status.json`` (progress),
``failure.json``, ``evaluations/NAME/{predictions.parquet,records.npz,draws.npz,result.json}``, ``lock``, and
``result.json``, written last: a run that has it is done.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from scapes.files import FULL, read_json, write_json
from synlib.spec import RunSpec

LAUNCHER_VARIABLE = "SYNLIB_LAUNCHER"
"""Environment variable: PID of the launching process. A worker without it goes on whatever happens to others."""
DIVERGED = "diverged at iteration"  # how the reason begins why a run has ended whose loss was no longer finite


class RunBusyError(RuntimeError):
    """Another live process works on this run."""


def stop_without_launcher() -> None:
    """Raise KeyboardInterrupt if this worker's launcher has died: nobody could stop the worker any more."""
    launcher = int(os.environ.get(LAUNCHER_VARIABLE, "0"))
    with contextlib.suppress(psutil.NoSuchProcess):
        if not launcher or psutil.Process(launcher).status() != psutil.STATUS_ZOMBIE:
            return
    raise KeyboardInterrupt(f"the launching process {launcher} is gone")


def reason_of(error: BaseException) -> str:
    """What went wrong, for a person; a full disk is recognised behind the errors that it causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL:
            return f"no space left to write to ({cause}); make room and start again, the run goes on"
        if isinstance(cause, MemoryError):
            return f"out of memory ({cause}); use fewer loader workers or runs at a time"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


class RunDir:
    """Paths, states and the lock of one run's folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = path = Path(path)
        self.spec_path, self.log_path, self.output_path = path / "spec.yaml", path / "log.txt", path / "output.txt"

    def create(self, spec: RunSpec) -> None:
        """Make the folder with its spec, if it is not there. Raises what :meth:`check` does."""
        self.check(spec)
        if not self.spec_path.exists():
            spec.save(self.spec_path)

    def check(self, spec: RunSpec) -> None:
        """Raise ValueError when the folder holds another spec, which is never overwritten."""
        if self.spec_path.exists() and (found := self.spec()) != spec:
            ids = f"found run {found.run_id}, expected {spec.run_id}"
            raise ValueError(f"{self.spec_path}: {ids}; move the folder away")

    def spec(self) -> RunSpec:
        return RunSpec.load(self.spec_path)

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON object of this run, or None if the file is not there; raises ValueError for a damaged one."""
        with contextlib.suppress(FileNotFoundError):
            expected = "a JSON object; delete the file to redo this step"
            return read_json(self.path / name, "damaged JSON", expected, lambda content: {**content})
        return None

    def write(self, name: str, content: dict[str, Any]) -> None:
        write_json(self.path / name, content)

    def evaluation(self, name: str) -> Path:
        return self.path / "evaluations" / name

    def evaluation_result(self, name: str, identity: dict[str, Any]) -> dict[str, Any] | None:
        """The result on evaluation set ``name``, if it is complete and of the same ``identity`` (data, settings)."""
        result = self.read(f"evaluations/{name}/result.json")
        # The labels of a test split are not public: without them there are no records, and no AP.
        files = ["predictions.parquet"] + ([] if identity["split"] == "test" else ["records.npz"])
        kept = all((self.evaluation(name) / file).exists() for file in files)
        return result if result and kept and result.get("identity") == identity else None

    def fail(self, error: BaseException) -> None:
        self.write("failure.json", {"reason": reason_of(error), "kind": type(error).__name__, "time": time.time()})

    def failure(self) -> str | None:
        """Why the run ended without a result, in one line: ``diverged at iteration N``, or another reason."""
        try:
            found = self.read("failure.json")
        except ValueError as error:
            return str(error)
        reason = " ".join(str(found.get("reason", "unknown")).split()) if found else None
        return reason.partition(":")[0] if reason and reason.startswith(DIVERGED) else reason

    def has_result(self) -> bool:
        return (self.path / "result.json").exists()

    def has_diverged(self) -> bool:
        """Whether the loss was no longer finite. That is a result: trained again, the run would diverge again."""
        return not self.has_result() and (self.failure() or "").startswith(DIVERGED)

    def progress(self) -> dict[str, Any]:
        """``stage``, ``done``, ``total``, ``per_second``, ``loss``, ``slow`` (what is awaited) of its work, or {}."""
        with contextlib.suppress(OSError, ValueError):  # a display is no reason to stop a training
            found = self.read("status.json") or {}
            return found if {"stage", "done", "total"} <= found.keys() else {}
        return {}

    def iterations_done(self, iterations: int) -> int:
        """How many of its ``iterations`` the run has trained."""
        if (self.path / "model_final.pth").exists():
            return iterations
        progress = self.progress()
        return min(progress["done"], iterations) if progress.get("stage") == "train" else 0

    def state(self) -> str:
        """``planned``, ``running``, ``interrupted``, ``failed``, ``diverged`` or ``done``."""
        if self.is_locked():
            return "running"
        if self.has_result():
            return "done"
        if (self.path / "failure.json").exists():
            return "diverged" if self.has_diverged() else "failed"
        return "interrupted" if (self.path / "status.json").exists() else "planned"

    def is_locked(self) -> bool:
        """Whether a live process works on the run. Needs no permission to write, and lets others ask meanwhile."""
        with contextlib.suppress(OSError), open(self.path / "lock", "rb") as file:  # no lock, nobody who works on it
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextlib.contextmanager
    def lock(self, patience_s: float = 0.5) -> Iterator[None]:
        """Hold the run for this process. The kernel releases the lock when the process dies, however it dies.

        Raises RunBusyError when another live process holds it for longer than ``patience_s``: whoever asks for the
        state does for an instant, loading processes of a killed worker for up to 5 s. Raises OSError where the
        file cannot be locked, and what :func:`stop_without_launcher` does meanwhile.
        """
        lock = FileLock(self.path / "lock", fallback_to_soft=False)
        try:
            held = lock.acquire(patience_s, cancel_check=stop_without_launcher)
        except Timeout as error:
            raise RunBusyError(f"{self.path}: another process is working on this run; wait or stop it") from error
        except OSError as error:
            lack = f"cannot be locked ({error.strerror}), and without a lock two processes could train one run"
            remedy = "keep `runs` where you may write and files can be locked (Lustre: mount -o flock; NFS: lockd)"
            raise OSError(f"{lock.lock_file}: {lack}; {remedy}") from error
        with held:
            for cut_off in self.path.rglob(".*.tmp*"):  # what writes of a process that was killed have left
                cut_off.unlink()
            yield


class Status:
    """Keeps ``status.json`` up to date, at most once per second; KeyboardInterrupt when the launcher has died."""

    def __init__(self, run: RunDir, stage: str, total: int, done: int = 0, *, main: bool) -> None:
        self.run, self.stage, self.total, self.first, self.main = run, stage, total, done, main
        self.started, self.slow, self.loss = time.monotonic(), "", None  # loss: the total one of a training
        self._write(done)

    def update(self, done: int, loss: float | None = None) -> None:
        self.loss = loss
        if time.monotonic() - self.written >= 1 or done == self.total:
            stop_without_launcher()
            self._write(done)

    def wait(self, slow: str) -> None:
        """Called while data are awaited; ``slow``: what takes long. It is logged, and the launcher tells it."""
        stop_without_launcher()
        said, self.slow = self.slow, slow
        if slow and not said:
            logging.getLogger(__name__).warning("%s", slow)
            self._write(self.done)

    def _write(self, done: int) -> None:
        self.written, self.done = time.monotonic(), done
        rate = (done - self.first) / (self.written - self.started) if done > self.first else None
        if self.main or self.slow:  # of several processes, the main one writes
            content = {"stage": self.stage, "done": done, "total": self.total, "per_second": rate}
            self.run.write("status.json", content | {"loss": self.loss, "slow": self.slow})
