"""``run_all.py``: what it does when a run or a notebook fails, what it says at the end, and how it is interrupted."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synlib.runs.folder import RunDir
from synlib.runs.launch import Outcome, RunFailedError
from tests.workers import wait_for, workers_of

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
def attempt(run_all, monkeypatch, tmp_path, smoke_data, capsys):
    """Run ``run_all.py`` with trainings that end in given states and notebooks of which some fail."""

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


def test_all_is_done_and_reports_are_named_when_they_were_made(attempt, ids, tmp_path, monkeypatch):
    reports = tmp_path / "reports"
    code, output, errors = attempt("--only", "01", "02")
    assert code == 0
    assert "notebooks: 2 of 2 executed: 01_harmonization, 02_pruning_study" in output
    assert "evaluated now)" in output and "time: 0:00:0" in output and f"reports: {reports}\n" in output
    assert "notebook" not in errors
    monkeypatch.setattr("run_all.report", lambda profile, *_: profile.reports_dir / "index.html")
    assert f"reports: {reports / 'index.html'}\n" in attempt("--only", "01", "--report")[1]
    (reports / "index.html").touch()
    failed = Outcome(ids["both"], "failed", "no space left", "output.txt")
    assert "reports:" not in attempt("--only", "01", "--report", states={ids["both"]: failed})[1]


@pytest.mark.parametrize(
    ("options", "which", "state", "executed", "message"),
    [
        ([], "second", "diverged", 2, "  run {} diverged: no space left (log: output.txt)\n"),
        ([], "second", "failed", 0, "run {} failed: no space left (log: output.txt)\n"),
        (["--keep-going"], "second", "failed", 1, "notebook 02_pruning_study not executed: it needs run {}"),
        (["--keep-going"], "both", "failed", 0, "notebook 02_pruning_study not executed: it needs run {}"),
    ],
)
def test_a_run_ends_badly(attempt, ids, options, which, state, executed, message):
    """A diverged run is a result; a failed one ends it all, or what needs it."""
    outcome = Outcome(ids[which], state, "no space left", "output.txt")
    code, output, errors = attempt("--only", "01", "02", *options, states={ids[which]: outcome})
    assert code == (state == "failed")
    assert f"notebooks: {executed} of 2 executed" in output
    assert message.format(ids[which]) in (output if state == "diverged" else errors)
    assert ("1 diverged)" in output) == (state == "diverged")


@pytest.mark.parametrize(("options", "executed"), [([], 0), (["--keep-going"], 1)])
def test_a_failed_notebook_ends_it_unless_it_is_to_keep_going(attempt, options, executed):
    code, output, errors = attempt("--only", "01", "02", *options, failing=("01",))
    assert code == 1
    assert f"notebooks: {executed} of 2 executed" in output
    assert errors.splitlines()[-1] == "notebook 01_harmonization, cell 3: ValueError: wrong"


def test_the_plan_needs_no_data_and_takes_grids(attempt, tmp_path):
    settings = [f"data.folder={tmp_path / 'none'}", "thresholds=[0, 40]"]
    code, output, _ = attempt("--plan", "--only", "02", "--set", *settings)
    assert code == 0
    assert output.splitlines()[-1].startswith("total: 28 iterations")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--profile huge", "profile 'huge': .*known profiles: demo, paper, smoke"),
        ("--set epoch=3", "epoch.*expected.* grids"),
        ("--only 99", "notebook '99': expected the beginning of one of 01_harmonization"),
        ("--profile paper", "data.synthetic.root: found no images in '', expected the folder of the data set"),
        ("--set data.folder=/dev/null/data", "/dev/null/data"),
        ("--set figures=/dev/null/figures", "/dev/null/figures"),
        ("--plan --profile paper --set data.cityscapes=/no/such", "data.cityscapes: found no images in '/no/such'"),
        ("--plan --only 03 --set added_images=[999] data.folder=/no", "amounts: 999 added, 1 epoch: found 8 synthetic"),
    ],
)
def test_nonsense_is_refused_in_one_line_before_anything_runs(attempt, tmp_path, options, message):
    code, output, errors = attempt(*options.split())
    assert code == 1 and "executed" not in output
    assert re.search(message, errors.splitlines()[-1]) and "Traceback" not in errors
    assert not (tmp_path / "runs").exists()


def test_a_reader_that_leaves_early_is_no_error():
    script = '"$0" run_all.py --profile paper --plan | head -1'
    ended = subprocess.run(["bash", "-c", script, sys.executable], cwd=ROOT, capture_output=True, text=True)
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stderr == ""


def test_an_interrupt_while_it_is_loading_is_one_line():
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr == "interrupted; the same command goes on from here\n"


@pytest.mark.parametrize("where", ["execution.loader_workers=2", "execution.processes=2", "notebook"])
def test_an_interrupt_is_one_line_and_stops_all_processes(trained, smoke_data, tmp_path, where):
    """Of a training, or in a notebook: Ctrl-C reaches this process and the kernel, which says nothing of it."""
    text, runs = (ROOT / "profiles/smoke.yaml").read_text(), trained.study.store.root
    if where != "notebook":
        text, runs = text.replace("iterations: 4", "iterations: 10000"), tmp_path / "runs"
    (tmp_path / "mine.yaml").write_text(text)
    folders = {"data.folder": smoke_data, "runs": runs} | {name: tmp_path / name for name in ("figures", "reports")}
    command = [sys.executable, ROOT / "run_all.py", "--profile", tmp_path / "mine.yaml", "--only", "01"]
    command += ["--set", "execution.device=cpu", *(f"{name}={folder}" for name, folder in folders.items())]
    said = tmp_path / "said"
    command += [where] if where != "notebook" else []
    with said.open("w") as err, open(os.devnull, "w") as out:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=err, start_new_session=True)
    try:
        if where == "notebook":
            wait_for(lambda: "1/" in said.read_text(), process)  # the first cell is done
            os.killpg(process.pid, signal.SIGINT)
        else:
            wait_for(lambda: any(runs.glob("*/model_0*.pth")), process)
            assert len(workers_of(runs)) >= 1 + ("processes" in where)
            os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
    assert said.read_text().splitlines()[-1] == "interrupted; the same command goes on from here"
    assert "Traceback" not in said.read_text()
    if where != "notebook":
        wait_for(lambda: not workers_of(runs))
        assert {run.state() for run in map(RunDir, runs.iterdir())} <= {"interrupted", "planned"}
        assert not list(runs.glob("*/failure.json")) and not list((tmp_path / "reports").rglob("*.ipynb"))
