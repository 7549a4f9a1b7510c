"""Launching: nothing twice, in the order of need, failures with reason and log; one bar, or a line now and then."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scapes.labels import CLASSES
from synlib.runs import launch
from synlib.runs import local as processes
from synlib.runs.launch import Outcome, Progress, in_order, train
from synlib.runs.store import RunStore
from synlib.spec import RunSpec
from tests.faults.campaign import written
from tests.workers import failing, states, variant

BINARY = (".pth", ".parquet", ".npz")
SPECS = [RunSpec(data={"real": 5}, schedule={"iterations": n}, batch_size=2) for n in (10, 30)]
BY_ID = {spec.run_id: spec for spec in SPECS}
SHORT, LONG = BY_ID
DONE, FAILED = Outcome("", "done"), Outcome("", "failed")


def test_nothing_is_trained_twice(trained):
    before = written(trained.study.store.root)
    assert {path.name for path in before} >= {"model_final.pth", "result.json", "predictions.parquet"}
    specs = [item.spec for item in trained.planned]
    outcomes = train([*specs, *specs], trained.study.store, trained.study.execution(), jobs=2)
    assert written(trained.study.store.root) == before
    assert states(outcomes) == ["done", "done"]
    assert set(trained.results["state"]) == {"done"}
    assert len(trained.results) == 2 * 2 * 9  # runs, evaluation sets, classes and their mean


def test_a_run_without_all_its_evaluations_is_completed_not_retrained(store, study, spec, job):
    folder, sets = store.run(spec).path, study.data.evaluation_sets()
    train([spec], store, job.replace(loader_workers=2, evaluate_on=sets[:1]))
    before = written(folder)
    train([spec], store, job.replace(evaluate_on=sets))
    assert (folder / "evaluations" / sets[1].name / "result.json").exists()
    kept = {path: time for path, time in before.items() if path.name == "result.json" or path.suffix in BINARY}
    assert len(kept) == 6 and kept.items() <= written(folder).items()


def test_a_failed_run_says_why_stops_the_others_unless_told_to_keep_going_and_is_tried_again(store, spec, job):
    bad = spec.replace(data=spec.data.replace(real_fingerprint="0" * 16))  # for data that are not there
    good, another = variant(spec, iterations=1), spec.replace(seed=5)
    error = failing(f"^run {bad.run_id} failed: .*changed since the run was planned", [good, another, bad], store, job)
    assert len(str(error).splitlines()) == 1
    assert states(error.outcomes)[0] == "not started"
    assert store.run(good).state() == "planned"
    log = re.search(r"\(log: (.*)\)", str(error))[1]
    assert "changed since the run was planned" in Path(log).read_text()
    assert store.run(bad).state() == "failed"

    failure = store.run(bad).path / "failure.json"
    first = failure.stat().st_mtime_ns
    error = failing(bad.run_id, [bad, good], store, job, keep_going=True)
    assert states(error.outcomes) == ["failed", "trained"]
    assert store.run(good).state() == "done"
    assert store.run(bad).state() == "failed"
    assert failure.stat().st_mtime_ns > first


def test_a_criterion_that_the_tree_does_not_know_is_told_before_anything_is_trained(store, spec, job):
    occluded = RunSpec(data={"synthetic": 2, "removal": 0.5, "criterion": "occlusion"})
    with pytest.raises(ValueError, match=r"cityscapes: found 'occlusion of 0 of 0 instances', expected of all"):
        train([spec, occluded], store, job.replace(synthetic_root=job.real_root))
    assert not list(store.root.glob("*"))


def test_a_run_that_diverges_is_a_result(store, spec, job, study):
    """It stops nobody, is not tried again, and has its rows; what would start from it is not started."""
    bad, good = variant(spec, iterations=20, base_lr=1e9, clip_gradient_norm=0.0), spec
    sets = study.data.evaluation_sets()
    outcomes = train([bad, good], store, job.replace(evaluate_on=sets))
    assert states(outcomes) == ["diverged", "trained"]
    assert re.fullmatch(r"diverged at iteration \d+", outcomes[0].reason)
    assert store.run(bad).state() == "diverged"
    before = written(store.root)
    assert states(train([bad, good], store, job.replace(evaluate_on=sets))) == ["diverged", "done"]
    assert written(store.root) == before

    rows = store.frame([bad])
    assert len(rows) == len(sets) * 9
    assert set(rows["class"]) == {*CLASSES, "mean"}
    assert set(rows["evaluated on"]) == {on.name for on in sets}
    assert rows["ap"].isna().all()
    assert set(rows["state"]) == {outcomes[0].reason}
    assert store.frame([good])["ap"].notna().any()

    heir = spec.replace(init=f"run:{bad.run_id}")
    failing(f"{heir.run_id} not started: it needs run {bad.run_id}, which diverged", [heir, bad], store, job)


def test_folders_with_another_spec_or_a_damaged_result_stop_no_other_run(store, spec, job, study):
    damaged, other, short = spec.replace(seed=6), spec.replace(seed=7), variant(spec, iterations=1)
    other.save(store.run(spec).spec_path)
    sets = study.data.evaluation_sets()[:1]
    run = store.run(damaged)
    run.create(damaged)
    run.write("result.json", {})
    run.evaluation(sets[0].name).mkdir(parents=True)
    (run.evaluation(sets[0].name) / "result.json").write_text("{")
    specs, here = [spec, damaged, short], job.replace(evaluate_on=sets)
    error = failing(f"found run {other.run_id}, expected {spec.run_id}", specs, store, here, keep_going=True)
    assert re.search(r"result\.json: damaged JSON", str(error))
    assert states(error.outcomes) == ["failed", "failed", "trained"]
    assert RunSpec.load(store.run(spec).spec_path) == other
    with pytest.raises(NotADirectoryError, match="/dev/null/runs"):
        train(specs, RunStore("/dev/null/runs"), job)


def test_the_instances_are_counted_once_before_any_worker(store, spec, job, tmp_path, monkeypatch):
    tables, started = tmp_path / "tables", []

    def popen(*_, **__):
        started.append(written(tables))
        raise OSError("not started")

    monkeypatch.setattr(subprocess, "Popen", popen)
    failing("not started", [spec, spec.replace(seed=1)], store, job.replace(cache_dir=str(tables)), keep_going=True)
    assert len(started) == 2
    assert started[0] == started[1]
    assert [path.suffix for path in started[0]].count(".parquet") == 1


def test_a_run_waits_for_the_one_it_starts_from(store, spec, job):
    second = variant(spec.replace(init=f"run:{spec.run_id}"), iterations=3)
    train([second, spec], store, job, jobs=2)
    first, then = store.run(spec), store.run(second)
    ended, started = first.path / "result.json", then.path / "environment.json"
    assert ended.stat().st_mtime_ns < started.stat().st_mtime_ns
    assert then.read("job.json")["initial_weights"] == str(first.path / "model_final.pth")
    first.spec_path.unlink()
    assert states(train([spec], store, job)) == ["done"]
    assert first.spec() == spec
    orphan = spec.replace(init="run:0123456789ab")
    failing(f"run {orphan.run_id} not started: it needs run 0123456789ab", [orphan], store, job)
    assert not store.run(orphan).path.exists()
    with pytest.raises(ValueError, match="jobs: found 0"):
        train([spec], store, job, jobs=0)


def test_a_killed_worker_is_reported(store, spec, job, tmp_path, monkeypatch):
    (tmp_path / "python").write_text("#!/bin/sh\nkill -KILL $$\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(tmp_path / "python"))
    failing(r"its process was killed by signal 9 \(out of memory\?\)", [spec], store, job)


def test_a_run_that_another_process_has_is_named_and_left_alone(store, spec, job, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_S", 0.2)
    run = store.run(spec)
    run.create(spec)
    run.write("status.json", {"stage": "train", "done": 1, "total": 2})
    with run.lock():
        failing("another process is working on this run", [spec], store, job)
    assert run.read("status.json")["done"] == 1
    assert run.read("job.json") is None


@st.composite
def plans(draw) -> list[RunSpec]:
    """Runs that start from nothing, or from one listed before or elsewhere."""
    runs = []
    for number in range(draw(st.integers(1, 20))):
        init = draw(st.sampled_from(["random", "run:elsewhere", *(f"run:{run.run_id}" for run in runs)]))
        schedule = {"iterations": draw(st.integers(1, 20)), "warmup_iterations": 0}
        batch_size = draw(st.sampled_from([1, 8, 16]))
        runs.append(RunSpec(data={"real": 8}, schedule=schedule, init=init, seed=number, batch_size=batch_size))
    return draw(st.permutations(runs))


@given(runs=plans())
def test_everything_is_started_once_by_the_length_of_its_chain(runs):
    """Such an order takes at most 2 - 1 / places times as long as the best one (Graham 1966)."""

    def chain(run: RunSpec) -> int:
        """Images of the longest chain that begins with ``run``."""
        return run.training_images + max((chain(other) for other in runs if other.initial_run == run.run_id), default=0)

    order = in_order([*runs, *runs])
    assert sorted(map(chain, order), reverse=True) == list(map(chain, order))
    assert sorted(run.run_id for run in order) == sorted(run.run_id for run in runs)


@pytest.fixture
def often(monkeypatch):
    for name in ("UPDATE_SECONDS", "LINE_SECONDS"):
        monkeypatch.setattr(launch, name, 0)


def test_a_log_file_gets_a_line_now_and_then(store, capsys):
    others = {f"other {number}": SPECS[0] for number in range(4)}
    before = dict.fromkeys(others, DONE)
    shown = Progress(others | BY_ID, store, before)
    with shown.bar:
        for ended in (before, before | {SHORT: DONE}):
            for _ in range(1000):
                shown.update(ended, [], 0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "4 of 6 runs done; 0 % of the training, ? left"
    assert lines[1].startswith("5 of 6 runs done; 25 % of the training, 00:0")  # 10 x 2 of 40 x 2 images
    assert lines[2:] == lines[1:2]  # the last state stays


def test_what_was_done_before_counts_and_what_runs_do_is_said(store, capsys, often):
    run = store.run(LONG)
    run.write("status.json", {"stage": "train", "done": 15, "total": 30, "loss": 1.234})
    shown = Progress(BY_ID, store, {})
    shown.update({}, [run], 0)
    (run.path / "model_final.pth").touch()
    run.write("status.json", {"stage": "evaluate on Cityscapes", "done": 2, "total": 4})
    shown.update({}, [run], 0)
    (run.path / "status.json").write_text("{")
    shown.update({}, [run], 0)
    lines = capsys.readouterr().err.splitlines()[1:]
    doing = f"{LONG[:6]} (5 real, lr 0.01): train 15/30, loss 1.23"
    assert lines[0] == f"0 of 2 runs done; 38 % of the training, ? left, {doing}"
    assert lines[1].startswith("0 of 2 runs done; 75 % of the training, 00:0")
    assert lines[1].endswith("evaluate on Cityscapes 2/4")
    assert lines[2].endswith("starting")
    run.write("status.json", {"stage": "train", "done": 16, "total": 30, "slow": "no batch"})
    for _ in range(2):
        shown.update({}, [run], 0)
    assert capsys.readouterr().err.count(f"run {LONG}: no batch\n") == 1
    shown.update({LONG: FAILED, SHORT: DONE}, [], queued=3)  # a failed run is no work that is left
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "1 of 2 runs done, 1 failed, 3 in the queue; 100 % of the training, 00:00 left"


def test_a_terminal_gets_one_bar(store, monkeypatch, often):
    monkeypatch.setattr(sys, "stderr", terminal := io.StringIO())
    terminal.isatty = lambda: True
    shown = Progress(BY_ID, store, {})
    with shown.bar:
        shown.update({}, [store.run(SHORT)], 0)
        shown.update({SHORT: DONE}, [], 0)
    text = terminal.getvalue()
    assert f"{SHORT[:6]} (5 real, lr 0.01): starting" in text
    assert "1 of 2 runs done:  25%" in text
    assert text.count("\n") == 1
