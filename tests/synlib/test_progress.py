"""Progress of a plan: images trained on and evaluated, one moving bar or a line now and then."""

import io
import sys

import pytest

from synlib.runs import progress
from synlib.runs.progress import Progress
from synlib.runs.store import RunStore
from synlib.spec import DataSpec, RunSpec, ScheduleSpec

SPECS = [RunSpec(data=DataSpec(real=5), schedule=ScheduleSpec(iterations=n), batch_size=2) for n in (10, 30)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


@pytest.fixture
def job(study):
    """Two evaluation sets of four images."""
    return study.job()


@pytest.fixture
def often(monkeypatch):
    for name in ("UPDATE_SECONDS", "LINE_SECONDS"):
        monkeypatch.setattr(progress, name, 0)


def test_a_log_file_gets_a_line_now_and_then(store, job, capsys):
    with Progress(SPECS, store, job, before=4) as shown:
        for _ in range(1000):
            shown.update([])
        shown.end(SPECS[0].run_id, done=True)
        for _ in range(1000):
            shown.update([])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "4 of 6 runs done; 0 % of the work, ? left"
    assert lines[1].startswith("5 of 6 runs done; 29 % of the work, 00:0")  # 10 x 2 + 8 of 80 + 2 x 8 images
    assert len(lines) == 2


def test_what_was_done_before_counts_and_what_runs_do_is_said(store, job, capsys, often):
    run = store.run(SPECS[1])
    run.write("status.json", {"stage": "train", "done": 15, "total": 30})
    with Progress(SPECS, store, job) as shown:
        shown.update([run])
        (run.path / "model_final.pth").touch()
        run.write("status.json", {"stage": "evaluate on Cityscapes", "done": 2, "total": 4})
        shown.update([run])
        (run.path / "status.json").write_text("{")
        shown.update([run])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"0 of 2 runs done; 31 % of the work, ? left; {run.path.name}: train 15/30"
    assert lines[1].startswith("0 of 2 runs done; 64 % of the work, 00:0")
    assert lines[1].endswith("evaluate on Cityscapes 2/4")
    assert lines[2].endswith("starting")


def test_a_failed_run_is_no_work_that_is_left(store, job, capsys, often):
    with Progress(SPECS, store, job) as shown:
        shown.end(SPECS[1].run_id, done=False)
        shown.end(SPECS[0].run_id, done=True)
        shown.update([])
    assert capsys.readouterr().err == "1 of 2 runs done, 1 failed; 100 % of the work, 00:00 left\n"


def test_a_terminal_gets_one_bar(store, job, monkeypatch, often):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(SPECS, store, job) as shown:
        shown.update([store.run(SPECS[0])])
        shown.end(SPECS[0].run_id, done=True)
        shown.update([])
    text = sys.stderr.getvalue()
    assert f"{SPECS[0].run_id}: starting" in text
    assert "1 of 2 runs done:  29%" in text
    assert text.count("\n") == 1
