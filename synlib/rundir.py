"""The folder of one run: what lies where, who works on it, and how far it is.

``spec.yaml`` (what), ``job.json`` (with which paths and devices), ``environment.json`` (versions), ``log.txt``,
``metrics.json`` (scalars, a line each), ``model_*.pth`` (checkpoints), ``status.json`` (progress), ``failure.json``,
``evaluations/NAME/{predictions.parquet,records.npz,result.json}``, and ``result.json``, written last: a run that has it
is done. Besides: ``config.yaml`` (Detectron2's), ``output.txt`` (what the processes printed), ``lock``.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from synlib.files import replacing
from synlib.spec import RunSpec

LAUNCHER_VARIABLE = "SYNLIB_LAUNCHER"
"""Environment variable: the process that a worker works for. A worker without it works for nobody but itself."""


class RunBusyError(RuntimeError):
    """Another live process works on this run."""


def stop_without_launcher() -> None:
    """Raise KeyboardInterrupt if this worker's launcher has died: nobody could stop the worker any more."""
    launcher = int(os.environ.get(LAUNCHER_VARIABLE, "0"))
    if launcher and not psutil.pid_exists(launcher):
        raise KeyboardInterrupt(f"the launching process {launcher} is gone")


class RunDir:
    """Paths, states and the lock of one run's folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.spec_path = self.path / "spec.yaml"
        self.log_path = self.path / "log.txt"

    def __fspath__(self) -> str:
        return str(self.path)

    def create(self, spec: RunSpec) -> None:
        """Make the folder and write the spec; a folder that holds another spec is an error, not overwritten."""
        if self.spec_path.exists():
            if (found := RunSpec.load(self.spec_path)) != spec:
                raise ValueError(
                    f"{self.spec_path}: found run {found.run_id}, expected {spec.run_id}; move the folder away"
                )
            return
        spec.save(self.spec_path)

    def spec(self) -> RunSpec:
        return RunSpec.load(self.spec_path)

    def read(self, name: str) -> dict[str, Any] | None:
        """A JSON file of this run, or None if it is not there."""
        try:
            content = json.loads((self.path / name).read_text())
            if not isinstance(content, dict):
                raise ValueError(f"found {type(content).__name__}, expected an object")
            return content
        except FileNotFoundError:
            return None
        except ValueError as error:  # not JSON, or not even text
            raise ValueError(
                f"{self.path / name}: damaged JSON ({error}); delete the file to redo this step"
            ) from error

    def write(self, name: str, content: dict[str, Any]) -> None:
        with replacing(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")

    def evaluation(self, name: str) -> Path:
        return self.path / "evaluations" / name

    def evaluation_result(self, name: str, identity: dict[str, Any]) -> dict[str, Any] | None:
        """The result on evaluation set ``name``, if made with the same ``identity`` (data, settings) and complete.

        The records that AP is computed from belong to it, except on a test split, whose labels are not public.
        """
        result = self.read(f"evaluations/{name}/result.json")
        files = ["predictions.parquet"] + ([] if identity["split"] == "test" else ["records.npz"])
        kept = all((self.evaluation(name) / file).exists() for file in files)
        return result if result and kept and result.get("identity") == identity else None

    def state(self) -> str:
        """``planned``, ``running``, ``interrupted``, ``failed`` or ``done``."""
        if self.is_locked():
            return "running"
        if (self.path / "result.json").exists():
            return "done"
        if (self.path / "failure.json").exists():
            return "failed"
        return "interrupted" if (self.path / "status.json").exists() else "planned"

    def is_locked(self) -> bool:
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def lock(self, patience_s: float = 0.5) -> Iterator[None]:
        """Hold the run for this process. The kernel releases the lock when the process dies, however it dies.

        Raises RunBusyError when another live process holds it for longer than ``patience_s``. (Whoever asks for the
        state holds it for an instant, and loading processes of a killed worker take up to 5 s to notice.)
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            deadline = time.monotonic() + patience_s
            while not _try_lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise RunBusyError(f"{self.path}: another process is working on this run; wait for it or stop it")
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def sweep(self) -> None:
        """Remove what writes that were cut off have left. Only for the holder of the lock."""
        for path in self.path.rglob(".*.tmp*"):
            path.unlink()


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
