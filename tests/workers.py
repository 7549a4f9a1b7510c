"""Runs small enough for tests, and the processes that execute them."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from synlib.job import Job
from synlib.rundir import RunDir
from synlib.spec import RunSpec

PATIENCE_S = 120


def variant(spec: RunSpec, **schedule) -> RunSpec:
    """``spec`` with another schedule."""
    return spec.replace(schedule=dataclasses.replace(spec.schedule, **schedule))


def make_run(folder: Path, spec: RunSpec, job: Job) -> RunDir:
    """A run folder that a worker can start on."""
    run = RunDir(folder)
    run.create(spec)
    run.write("job.json", job.to_dict())
    return run


def start(run: RunDir) -> subprocess.Popen:
    """A worker of ``run``, in a process group of its own."""
    output = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-m", "synlib.pointrend.worker", str(run.path)],
        stdout=output, stderr=output, start_new_session=True,
    )  # fmt: skip


def finish(run: RunDir) -> None:
    """Work on ``run`` to its end."""
    process = start(run)
    assert process.wait(PATIENCE_S) == 0, (run.path / "log.txt").read_text()


def wait_for(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Until ``condition()`` holds; an error when it takes too long or ``process`` ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        assert process is None or process.poll() is None, "the process ended too early"
        time.sleep(0.01)


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the whole group: no clean-up of any kind."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
