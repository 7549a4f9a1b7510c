"""The folder of a run: its states, and a lock that holds exactly as long as its owner lives."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from synlib.runs.folder import RunBusyError, RunDir
from synlib.spec import DataSpec, RunSpec

SPEC = RunSpec(data=DataSpec(real=5))
OWNER = """
import sys, time
from synlib.runs.folder import RunDir
with RunDir(sys.argv[1]).lock():
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / SPEC.run_id)
    run.create(SPEC)
    return run


@pytest.fixture
def owner(run):
    """A process that holds the lock of ``run``."""
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_states_in_the_order_of_a_life(run):
    assert RunDir(run.path.parent / "elsewhere").state() == "planned"
    assert run.state() == "planned"
    with run.lock():
        assert run.state() == "running"
    run.write("status.json", {"stage": "train", "done": 1, "total": 4})
    assert run.state() == "interrupted"
    run.write("failure.json", {"reason": "no space left"})
    assert run.state() == "failed"
    run.write("result.json", {})
    assert run.state() == "done"


def test_the_lock_ends_with_its_owner_however_it_ends(run, owner):
    for _ in range(2):  # a refused lock stays with its owner
        with pytest.raises(RunBusyError, match=f"{SPEC.run_id}: another process is working on this run"), run.lock(0):
            pass
        assert run.state() == "running"
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert run.state() == "planned"
    with pytest.raises(KeyError), run.lock(0):
        assert run.state() == "running"
        raise KeyError
    assert run.state() == "planned"
    with run.lock(0):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_there_are_no_locks_runs_are_read_and_not_trained(run, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    expected = rf"{SPEC.run_id}/lock: cannot be locked \({os.strerror(number)}\), .*; keep `runs` where .*Lustre"
    with pytest.raises(OSError, match=expected), run.lock():
        pass
    assert run.state() == "planned"


def test_a_worker_that_waits_for_the_lock_ends_with_its_launcher(run, owner, monkeypatch):
    launcher = subprocess.Popen(["true"])
    monkeypatch.setenv("SYNLIB_LAUNCHER", str(launcher.pid))
    with pytest.raises(KeyboardInterrupt, match=f"the launching process {launcher.pid} is gone"), run.lock(60):
        pass
    assert launcher.wait() == 0  # until then it was dead and still in the table of processes


def test_a_failed_write_leaves_the_old_content_and_nothing_else(run):
    run.write("status.json", {"done": 3})
    before = sorted(run.path.iterdir())
    with pytest.raises(TypeError):
        run.write("status.json", {"done": object()})
    assert run.read("status.json") == {"done": 3}
    assert sorted(run.path.iterdir()) == before


def test_a_lock_removes_cut_off_writes_alone(run):
    kept = {run.path / name for name in ("result.json", "model_final.pth", "evaluations/a/result.json")}
    for path in (*kept, run.path / ".model_final.1a2b3c4d.tmp.pth", run.path / "evaluations/a/.result.0.tmp.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    with run.lock():
        assert {path for path in run.path.rglob("*") if path.is_file()} == {*kept, run.spec_path, run.path / "lock"}


def test_a_result_counts_only_for_the_data_it_was_made_on(run):
    path = run.path / "evaluations/Cityscapes/result.json"
    path.parent.mkdir(parents=True)
    identity = {"data": "1", "split": "val"}
    path.write_text(json.dumps({"identity": identity, "mean": 0.3}))
    for name in ("predictions.parquet", "records.npz"):
        assert run.evaluation_result("Cityscapes", identity) is None  # its files are not all there yet
        path.with_name(name).touch()
    assert run.evaluation_result("Cityscapes", identity)["mean"] == 0.3
    assert run.evaluation_result("Cityscapes", identity | {"data": "2"}) is None
    assert run.evaluation_result("Synscapes", identity) is None
