"""Runs small enough for tests, the processes that execute them, and the command line."""

import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from synlib.__main__ import main
from synlib.runs.folder import RunDir
from synlib.runs.launch import RunFailedError, train
from synlib.spec import Execution, RunSpec

PATIENCE_S = 120


def variant(spec: RunSpec, **schedule) -> RunSpec:
    """``spec`` with another schedule."""
    return spec.replace(schedule=spec.schedule.replace(**schedule))


def real_spec(study, **schedule) -> RunSpec:
    """The run of Table 1 on real images, with another schedule."""
    (real,) = (item.spec for item in study.planned("table1") if item.name == "Cityscapes")
    return variant(real, **schedule)


def make_run(folder: Path, spec: RunSpec, job: Execution) -> RunDir:
    """A run folder that a worker can start on."""
    run = RunDir(folder)
    run.create(spec)
    run.write("job.json", job.to_dict())
    return run


def finish(run: RunDir) -> None:
    """Work on ``run`` to its end, in a process of its own."""
    command = [sys.executable, "-m", "synlib.pointrend.worker", str(run.path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def wait_for(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Until ``condition()`` holds; an error when it takes too long or ``process`` ends before."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        assert process is None or process.poll() is None, "the process ended too early"
        time.sleep(0.01)


def workers_of(folder: Path) -> list[psutil.Process]:
    """Live processes, wherever they hang in the tree, whose command line names a run below ``folder``."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if "pointrend.worker" in line and str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def states(outcomes) -> list[str]:
    return [outcome.state for outcome in outcomes]


def failing(match: str, *arguments, **options) -> RunFailedError:
    """The error that :func:`train` with these arguments ends in."""
    with pytest.raises(RunFailedError, match=match) as caught:
        train(*arguments, **options)
    return caught.value


def command(*arguments: object) -> str:
    """What ``python -m synlib`` prints; where it ends with code 1, an error with what it says on standard error."""
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        code = main([str(argument) for argument in arguments])
    if code == 1:
        raise ValueError(told.getvalue() or f"on standard output: {said.getvalue()}")
    assert code == 0, told.getvalue()
    return said.getvalue()
