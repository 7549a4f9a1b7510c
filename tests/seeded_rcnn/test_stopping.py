"""A training that is asked to stop saves where it is, in any number of processes, and ends as if nothing had been."""

import contextlib
import os
import re
import shutil
import signal

import pytest

from synlib.runs.launch import train
from synlib.runs.local import LocalExecutor, WorkerProcess
from synlib.runs.store import RunStore
from tests.workers import PATIENCE_S, real_spec, wait_for


@contextlib.contextmanager
def working(spec, store, job, iterations: int):
    """A worker that has done that many iterations."""
    worker = WorkerProcess(spec, store, job)
    try:
        wait_for(lambda: (worker.run.progress() or {"done": 0})["done"] >= iterations, worker.process)
        yield worker
    finally:
        LocalExecutor.leave([worker])


def test_an_error_in_a_loading_process_ends_the_worker(study, tmp_path):
    """Loading processes do not end when asked to: the worker must not wait for them."""
    spec = real_spec(study, iterations=20_000, warmup_iterations=0)
    root = shutil.copytree(study.data.roots["real"], tmp_path / "data")
    job = study.execution().replace(evaluate_on=(), loader_workers=2, real_root=str(root))
    store = RunStore(tmp_path / "runs")
    run = store.run(spec)
    with working(spec, store, job, 1) as worker:
        shutil.rmtree(root / "leftImg8bit")
        assert worker.process.wait(PATIENCE_S) == 1
    assert re.fullmatch(r"\[Errno 2\] No such file or directory: '\S+_leftImg8bit.png'", run.failure())


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "loader_workers"), [(1, 2), (2, 1)])
def test_asked_to_stop_it_saves_the_iteration_at_hand(study, tmp_path, processes, loader_workers):
    spec = real_spec(study, iterations=30, warmup_iterations=0)
    shape = {"processes": processes, "loader_workers": loader_workers}
    job = study.execution().replace(evaluate_on=(), checkpoint_period=1000, **shape)
    store, undisturbed = RunStore(tmp_path / "stopped"), RunStore(tmp_path / "not")
    run = store.run(spec)
    with working(spec, store, job, 3) as worker:
        os.killpg(worker.process.pid, signal.SIGTERM)
        worker.process.wait(PATIENCE_S)  # ends by itself, and its loading processes with it
    saved = [int(path.stem.split("_")[1]) + 1 for path in run.path.glob("model_0*.pth")]
    assert len(saved) == 1
    assert 3 <= saved[0] < 30
    assert run.state() == "interrupted"
    assert run.failure() is None

    train([spec], store, job)
    train([spec], undisturbed, job)
    assert f"Starting training from iteration {saved[0]}" in run.log_path.read_text()
    assert (run.path / "model_final.pth").read_bytes() == (undisturbed.run(spec).path / "model_final.pth").read_bytes()
