"""Progress of a plan: images trained on and evaluated, one moving bar or a line now and then."""

import io
import sys

import pytest

from synlib.runs import launch
from synlib.runs.launch import Outcome, Progress
from synlib.spec import DataSpec, RunSpec, ScheduleSpec

SPECS = [RunSpec(data=DataSpec(real=5), schedule=ScheduleSpec(iterations=n), batch_size=2) for n in (10, 30)]
BY_ID = {spec.run_id: spec for spec in SPECS}
SHORT, LONG = BY_ID
DONE, FAILED = Outcome("", "done"), Outcome("", "failed")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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
    run.write("status.json", {"stage": "train", "done": 15, "total": 30})
    shown = Progress(BY_ID, store, {})
    shown.update({}, [run], 0)
    (run.path / "model_final.pth").touch()
    run.write("status.json", {"stage": "evaluate on Cityscapes", "done": 2, "total": 4})
    shown.update({}, [run], 0)
    (run.path / "status.json").write_text("{")
    shown.update({}, [run], 0)
    lines = capsys.readouterr().err.splitlines()[1:]
    assert lines[0] == f"0 of 2 runs done; 38 % of the training, ? left, {LONG}: train 15/30"
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
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = Progress(BY_ID, store, {})
    with shown.bar:
        shown.update({}, [store.run(SHORT)], 0)
        shown.update({SHORT: DONE}, [], 0)
    text = sys.stderr.getvalue()
    assert f"{SHORT}: starting" in text
    assert "1 of 2 runs done:  25%" in text
    assert text.count("\n") == 1
