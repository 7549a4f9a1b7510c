"""``run_all.py``: what it does when a run or a notebook fails, what it says at the end, and how it is interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synlib.runs.launch import Outcome, RunFailedError

ROOT = Path(__file__).parents[1]
FOLDERS = ("runs", "figures", "reports")
INTERRUPTED = """
import _thread, importlib.abc, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "pandas":
            _thread.interrupt_main()
sys.meta_path.insert(0, Finder())
import run_all
sys.exit(run_all.main(["--plan"]))
"""


@pytest.fixture
def attempt(monkeypatch, tmp_path, smoke_data, capsys):
    """Run ``run_all.py`` with trainings that end in given states and notebooks of which some fail."""
    monkeypatch.syspath_prepend(ROOT)
    import run_all

    def attempt(*options: str, states: dict[str, Outcome] | None = None, failing: tuple[str, ...] = ()):
        def train(specs, *_, **__):
            outcomes = [(states or {}).get(spec.run_id, Outcome(spec.run_id, "trained")) for spec in specs]
            if any(outcome.failed for outcome in outcomes):
                raise RunFailedError(outcomes)
            return outcomes

        def execute(name, _, folder):
            if name.startswith(failing):
                raise RuntimeError(f"notebook {name}, cell 3: ValueError: wrong")
            return folder / f"{name}.ipynb"

        monkeypatch.setattr("synlib.runs.launch.train", train)
        monkeypatch.setattr("synlib.study.notebooks.execute", execute)
        settings = [f"data.folder={smoke_data}", *(f"{name}={tmp_path / name}" for name in FOLDERS)]
        code = run_all.main(["--profile", "smoke", "--set", *settings, *options])
        return code, *capsys.readouterr()

    return attempt


@pytest.fixture
def ids(study) -> dict[str, str]:
    """A run that notebook 02 needs and 01 does not, and one that both do."""
    first = {item.spec.run_id for item in study.planned("table1")}
    second = {item.spec.run_id for item in study.planned("thresholds")}
    return {"second": min(second - first), "both": min(first & second)}


def test_all_is_done(attempt):
    code, output, errors = attempt("--only", "01", "02")
    assert code == 0
    assert "notebooks: 2 of 2 executed: 01_harmonization, 02_pruning_study" in output
    assert "trained now)" in output
    assert "time: 0:00:0" in output
    assert "notebook" not in errors


def test_a_diverged_run_is_a_result(attempt, ids):
    diverged = Outcome(ids["second"], "diverged", "diverged at iteration 3", "log.txt")
    code, output, _ = attempt("--only", "01", "02", states={ids["second"]: diverged})
    assert code == 0
    assert f"  run {ids['second']} diverged: diverged at iteration 3 (log: log.txt)" in output
    assert "1 diverged)" in output
    assert "2 of 2 executed" in output


def test_a_failed_run_ends_it(attempt, ids):
    failed = Outcome(ids["second"], "failed", "no space left", "output.txt")
    code, output, errors = attempt("--only", "01", "02", states={ids["second"]: failed})
    assert code == 1
    assert "notebooks: 0 of 2 executed" in output
    assert errors.splitlines()[-1] == f"run {ids['second']} failed: no space left (log: output.txt)"


def test_reports_are_named_when_they_were_made(attempt, ids, tmp_path, monkeypatch):
    monkeypatch.setattr("run_all.report", lambda profile, *_: profile.reports_dir / "index.html")
    reports = tmp_path / "reports"
    _, output, _ = attempt("--only", "01")
    assert f"reports: {reports}\n" in output
    _, output, _ = attempt("--only", "01", "--report")
    assert f"reports: {reports / 'index.html'}\n" in output
    (reports / "index.html").touch()
    failed = Outcome(ids["both"], "failed", "no space left", "output.txt")
    _, output, _ = attempt("--only", "01", "--report", states={ids["both"]: failed})
    assert "reports:" not in output


def test_with_keep_going_what_does_not_need_the_failed_run_is_done(attempt, ids):
    for which, executed in (("second", 1), ("both", 0)):
        failed = Outcome(ids[which], "failed", "no space left", "output.txt")
        code, output, errors = attempt("--only", "01", "02", "--keep-going", states={ids[which]: failed})
        assert code == 1
        assert f"notebooks: {executed} of 2 executed" in output
        assert f"notebook 02_pruning_study not executed: it needs run {ids[which]}" in errors


def test_a_failed_notebook_ends_it_unless_it_is_to_keep_going(attempt):
    for option, executed in ([], 0), (["--keep-going"], 1):
        code, output, errors = attempt("--only", "01", "02", *option, failing=("01",))
        assert code == 1
        assert f"notebooks: {executed} of 2 executed" in output
        assert errors.splitlines()[-1] == "notebook 01_harmonization, cell 3: ValueError: wrong"


def test_the_plan_needs_no_data_and_takes_grids(attempt, tmp_path):
    settings = [f"data.folder={tmp_path / 'none'}", "thresholds=[0, 40]"]
    code, output, _ = attempt("--plan", "--only", "02", "--set", *settings)
    assert code == 0
    assert "total" in output
    assert output.splitlines()[-1].startswith("profile smoke has thresholds: 2 of the paper's 10")
    assert not (tmp_path / "none").exists()


def test_a_reader_that_leaves_early_is_no_error():
    script = '"$0" run_all.py --profile paper --plan | head -1'
    ended = subprocess.run(["bash", "-c", script, sys.executable], cwd=ROOT, capture_output=True, text=True)
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stderr == ""


def test_an_interrupt_while_it_is_loading_is_one_line():
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr == "interrupted; the same command goes on from here\n"


def test_an_interrupt_in_a_notebook_is_one_line(trained, smoke_data, tmp_path):
    """Ctrl-C reaches this process and the kernel alike in a terminal; the kernel says nothing of it."""
    command = [sys.executable, str(ROOT / "run_all.py"), "--profile", "smoke", "--only", "01", "--set"]
    settings = trained.study.profile.execution.device, trained.study.store.root
    command += [f"execution.device={settings[0]}", f"data.folder={smoke_data}", f"runs={settings[1]}"]
    command += [f"{name}={tmp_path / name}" for name in ("figures", "reports")]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        read = b""
        while b"1/" not in read:  # the first cell is done
            read += os.read(process.stderr.fileno(), 4096) or pytest.fail(read.decode())
        os.killpg(process.pid, signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    errors = (read + rest).decode()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in errors
