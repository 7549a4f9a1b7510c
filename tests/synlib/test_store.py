"""The store of runs: every folder has its row in the table, whatever it holds; results are read once."""

import json
import os
from types import SimpleNamespace

import pytest

from synlib.__main__ import main
from synlib.runs.folder import RunDir
from synlib.runs.store import RunStore, readable_size, shown, size_bytes
from synlib.spec import DataSpec, RunSpec, ScheduleSpec

REMOVAL = dict.fromkeys(("car", "bus", "rider"), 0.3) | {"person": 0.6}
SPEC = RunSpec(data=DataSpec(real=20, synthetic=30, removal=REMOVAL), schedule=ScheduleSpec(iterations=400))


@pytest.fixture
def store(tmp_path):
    """A run in each state, and folders that hold none."""
    store = RunStore(tmp_path / "runs")
    for seed, name in enumerate(("planned", "interrupted", "failed", "diverged", "done", "damaged")):
        run = store.run(SPEC.replace(seed=seed))
        run.create(SPEC.replace(seed=seed))
        (tmp_path / name).symlink_to(run.path)
    folder = {name: store.run(os.readlink(tmp_path / name)) for name in ("failed", "diverged", "interrupted", "done")}
    folder["interrupted"].write("status.json", {"stage": "train", "done": 100, "total": 400, "per_second": 2.0})
    folder["failed"].fail(OSError(28, "No space left on device"))
    folder["diverged"].write("failure.json", {"kind": "DivergedError", "reason": "diverged at iteration 7: not finite"})
    (folder["done"].path / "model_final.pth").write_bytes(b"0" * 5000)
    folder["done"].write("evaluations/Cityscapes/result.json", {"ap": [[0.5] * 10] * 8, "mean": 0.5, "ap50": 0.5})
    folder["done"].write("evaluations/Synscapes/result.json", {"ap": [[None] * 10] * 8, "mean": None, "ap50": None})
    folder["done"].write("result.json", {})
    (tmp_path / "damaged" / "spec.yaml").write_text("data:\n - [\n")
    (store.root / "photos").mkdir()
    SPEC.save(store.root / "copy" / "spec.yaml")
    (store.root / ".hidden").mkdir()
    (store.root / "note.txt").touch()
    return store


def states(store) -> dict[str, str]:
    frame = store.table()
    return dict(zip(frame["run"], frame["state"], strict=True))


def test_every_folder_has_its_state(store, tmp_path):
    found = states(store)
    assert len(found) == 8
    by_name = {
        name: found[os.path.basename(os.readlink(tmp_path / name))] for name in os.listdir(tmp_path) if name != "runs"
    }
    assert by_name["planned"] == "planned"
    assert by_name["interrupted"] == "interrupted"
    assert by_name["failed"].startswith("failed: no space left")
    assert by_name["diverged"] == "diverged at iteration 7"
    assert by_name["done"] == "done"
    assert by_name["damaged"].startswith("unreadable: ")
    assert "\n" not in by_name["damaged"]
    assert found["photos"] == "no run: it has no spec.yaml"
    assert found["copy"] == f"of another version: its spec is run {SPEC.run_id} here"


def test_progress_time_left_and_results(store, tmp_path):
    run = store.run(os.readlink(tmp_path / "interrupted"))
    with run.lock():
        frame = store.table().set_index("run")
    running = frame.loc[run.path.name]
    assert (running["state"], running["iterations done"], running["iterations"]) == ("running", 100, 400)
    assert running["seconds left"] == 150
    assert running["removal"] == REMOVAL
    done = frame[frame["state"] == "done"].iloc[0]
    assert done["AP Cityscapes"] == 50
    assert done["AP Synscapes"] != done["AP Synscapes"]
    assert done["iterations done"] == 400
    assert size_bytes(store.run(done.name).path) > 5000
    assert frame["seconds left"].notna().sum() == 1


def test_in_columns_for_a_terminal(store, tmp_path):
    with store.run(os.readlink(tmp_path / "interrupted")).lock():
        lines = shown(store.table()).splitlines()
    assert len(lines) == 9
    (running,) = (line for line in lines if line.endswith("running"))
    assert "20 real + 30 synthetic without 30 % (person 60 %)" in running
    assert "100/400" in running
    assert " 02:30 " in running


def test_on_the_command_line(store, capsys):
    assert main(["runs", "--runs", str(store.root)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    total = sum(size_bytes(path) for path in store.root.iterdir() if path.is_dir())
    assert last == f"8 runs, {readable_size(total)} in {store.root}"
    assert main(["runs", "--runs", str(store.root), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["run"] for record in records] == sorted(
        path.name for path in store.root.iterdir() if path.is_dir() and path.name != ".hidden"
    )
    assert main(["runs", "--runs", str(store.root / "none"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_planned_runs_have_their_rows_in_their_order(store, tmp_path):
    planned = [SimpleNamespace(spec=SPEC.replace(seed=seed)) for seed in (9, 4, 9)]
    table = store.table(planned)
    assert table["run"].tolist() == [planned[0].spec.run_id, planned[1].spec.run_id]
    assert table["state"].tolist() == ["planned", "done"]
    assert table["seed"].tolist() == [9, 4]
    assert table["epochs"].tolist() == [SPEC.epochs] * 2
    assert table["trained on"][0] == "20 real + 30 synthetic without 30 % (person 60 %)"
    assert list(store.table([])) == list(store.table(planned))[:-2]


def test_results_have_the_states_of_the_table(store, tmp_path):
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


def test_sizes():
    sizes = {0: "0.00B", 1536: "1.50kB", 5 << 20: "5.00MB", 3 << 40: "3.00TB"}
    assert {count: readable_size(count) for count in sizes} == sizes
