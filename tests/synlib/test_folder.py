"""The folder of a run and the store of all: states, a lock that lasts as long as its owner, rows of the table."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from scapes.files import only_one, size_bytes
from synlib.runs.folder import RunBusyError, RunDir
from synlib.runs.store import RunStore, readable_size, shown
from synlib.spec import DataSpec, RunSpec, ScheduleSpec
from tests.workers import command

REMOVAL = dict.fromkeys(("car", "bus", "rider"), 0.3) | {"person": 0.6}
SPEC = RunSpec(data=DataSpec(real=20, synthetic=30, removal=REMOVAL), schedule=ScheduleSpec(iterations=400))
NAMES = ("planned", "interrupted", "failed", "diverged", "done", "damaged")
IDS = {name: SPEC.replace(seed=seed).run_id for seed, name in enumerate(NAMES)}
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
def test_where_there_are_no_locks_runs_are_read_and_not_trained(run, monkeypatch, capfd, number):
    monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(number, os.strerror(number))))
    expected = rf"{SPEC.run_id}/lock: cannot be locked \({os.strerror(number)}\), .*; keep `runs` where .*Lustre"
    with pytest.raises(OSError, match=expected), run.lock():
        pass
    assert run.state() == "planned"
    with only_one(run.path):  # data are made, one after the other
        assert capfd.readouterr().err.startswith(f"{run.path}: no locks here (")


def test_a_worker_that_waits_for_the_lock_ends_with_its_launcher(run, owner, monkeypatch):
    launcher = subprocess.Popen(["true"])
    monkeypatch.setenv("SYNLIB_LAUNCHER", str(launcher.pid))
    with pytest.raises(KeyboardInterrupt, match=f"the launching process {launcher.pid} is gone"), run.lock(60):
        pass
    assert launcher.wait() == 0  # until then it was dead and still in the table of processes


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


@pytest.fixture
def store(tmp_path):
    """A run in each state, and folders that hold none."""
    store = RunStore(tmp_path / "runs")
    folder = {name: store.run(run_id) for name, run_id in IDS.items()}
    for seed, run in enumerate(folder.values()):
        run.create(SPEC.replace(seed=seed))
    folder["interrupted"].write("status.json", {"stage": "train", "done": 100, "total": 400, "per_second": 2.0})
    folder["failed"].fail(OSError(28, "No space left on device"))
    folder["diverged"].write("failure.json", {"kind": "DivergedError", "reason": "diverged at iteration 7: not finite"})
    (folder["done"].path / "model_final.pth").write_bytes(b"0" * 5000)
    folder["done"].write("evaluations/Cityscapes/result.json", {"ap": [[0.5] * 10] * 8, "mean": 0.5, "ap50": 0.5})
    folder["done"].write("evaluations/Synscapes/result.json", {"ap": [[None] * 10] * 8, "mean": None, "ap50": None})
    folder["done"].write("result.json", {})
    folder["damaged"].spec_path.write_text("data:\n - [\n")
    (store.root / "photos").mkdir()
    SPEC.save(store.root / "copy" / "spec.yaml")
    (store.root / ".hidden").mkdir()
    (store.root / "note.txt").touch()
    return store


def test_every_folder_has_its_state(store):
    found = store.table().set_index("run")["state"]
    assert len(found) == 8
    states = {name: found[run_id] for name, run_id in IDS.items()}
    assert states["failed"].startswith("failed: no space left")
    assert states["damaged"].startswith("unreadable: ")
    assert "\n" not in states["damaged"]
    assert states["diverged"] == "diverged at iteration 7"
    assert all(states[name] == name for name in ("planned", "interrupted", "done"))
    assert found["photos"] == "no run: it has no spec.yaml"
    assert found["copy"] == f"a copy, or of another version: its spec is run {SPEC.run_id} here"


def test_progress_time_left_and_results(store):
    with store.run(IDS["interrupted"]).lock():
        table = store.table()
    frame = table.set_index("run")
    running = frame.loc[IDS["interrupted"]]
    assert (running["state"], running["iterations done"], running["iterations"]) == ("running", 100, 400)
    assert running["seconds left"] == 150
    assert running["removal"] == REMOVAL
    done = frame.loc[IDS["done"]]
    assert done["AP Cityscapes"] == 50
    assert done["AP Synscapes"] != done["AP Synscapes"]
    assert done["iterations done"] == 400
    assert size_bytes(store.run(IDS["done"]).path) > 5000
    assert frame["seconds left"].notna().sum() == 1

    lines = shown(table).splitlines()
    assert len(lines) == 9
    (line,) = (line for line in lines if line.endswith("running"))
    assert all(text in line for text in ("20 real + 30 synthetic without 30 % (person 60 %)", "100/400", " 02:30 "))


def test_on_the_command_line(store):
    head, first, *_, last = command("runs", "--runs", store.root, "--sort", "ap").splitlines()
    total = sum(size_bytes(path) for path in store.root.iterdir() if path.is_dir())
    assert (first.split()[0], last) == (IDS["done"], f"8 runs, {readable_size(total)} in {store.root}")
    assert "seed" in head and "momentum" not in head  # only what differs
    records = json.loads(command("runs", "--runs", store.root, "--json"))
    assert [record["run"] for record in records] == sorted([*IDS.values(), "copy", "photos"])
    assert json.loads(command("runs", "--runs", store.root / "none", "--json")) == []
    sizes = {0: "0.00B", 1536: "1.50kB", 5 << 20: "5.00MB", 3 << 40: "3.00TB"}
    assert {count: readable_size(count) for count in sizes} == sizes


def test_planned_runs_have_their_rows_in_their_order(store):
    planned = [SimpleNamespace(spec=SPEC.replace(seed=seed)) for seed in (9, 4, 9)]
    table = store.table(planned)
    assert table["run"].tolist() == [planned[0].spec.run_id, planned[1].spec.run_id]
    assert table["state"].tolist() == ["planned", "done"]
    assert table["seed"].tolist() == [9, 4]
    assert table["epochs"].tolist() == [SPEC.epochs] * 2
    assert table["trained on"][0] == "20 real + 30 synthetic without 30 % (person 60 %)"
    assert list(store.table([])) == list(store.table(planned))[:-2]


def test_results_have_the_states_of_the_table(store):
    specs = [SPEC.replace(seed=seed) for seed in range(7)]
    frame = store.frame([*specs, *specs])
    assert set(frame["state"]) == set(store.table(specs)["state"])
    done = frame[frame["state"] == "done"].set_index(["evaluated on", "class"])
    assert len(done) == 2 * 9
    assert done.loc[("Cityscapes", "car"), ["ap", "ap50"]].tolist() == [50, 50]
    assert done.loc["Synscapes"]["ap"].isna().all()


def test_a_file_is_read_again_only_when_it_has_changed(store, monkeypatch):
    spec = SPEC.replace(seed=4)
    read = []
    monkeypatch.setattr(RunDir, "read", lambda run, name, own=RunDir.read: read.append(name) or own(run, name))
    first = store.frame([spec])
    assert store.frame([spec]).equals(first)
    assert len(read) == len(set(read)) == 2
    result = {"ap": [[0.25] * 10] * 8, "mean": 0.25, "ap50": 0.25}
    store.run(spec).write("evaluations/Cityscapes/result.json", result)
    assert set(store.frame([spec]).query("`evaluated on` == 'Cityscapes'")["ap"]) == {25}


def test_a_run_is_found_by_the_first_characters_of_its_id(store):
    assert store.run(IDS["done"][:5]).path == store.run(IDS["done"]).path
    assert store.run("cop").path == store.run("copy").path
    assert store.run("other").path == store.root / "other"
    (store.root / "photos2").mkdir()
    assert store.run("photos").path.name == "photos"
    with pytest.raises(ValueError, match="run pho: found 2 that begin so, expected one of photos, photos2"):
        store.run("pho")
