"""Notebooks: kept clean, executed by papermill from anywhere, and by ``run_all.py``."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from synlib.profile import Profile
from synlib.runs.store import RunStore
from synlib.study import notebooks
from synlib.study.experiments import EXPERIMENTS
from synlib.study.notebooks import refuse_unknown_parameters
from synlib.study.plan import NOTEBOOKS as PLANNED
from synlib.study.plan import plan
from tests.faults.campaign import written
from tests.pages import Resources

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def settings(trained, smoke_settings, tmp_path) -> dict[str, str]:
    """Data and runs of the smoke study; figures and reports below ``tmp_path``."""
    return smoke_settings | {name: str(tmp_path / name) for name in ("figures", "reports")}


def set_options(settings: dict[str, str]) -> list[str]:
    return ["--set", *(f"{name}={value}" for name, value in settings.items())]


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_planned_notebook_is_there():
    assert [path.stem for path in NOTEBOOKS] == sorted(PLANNED)
    assert {name for names in PLANNED.values() for name in names} <= set(EXPERIMENTS)


@by_name
def test_cells_only_call_the_library(path):
    forbidden = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While, ast.Try, ast.Lambda)
    for cell in code_cells(nbformat.read(path, as_version=4)):
        found = [type(node).__name__ for node in ast.walk(ast.parse(cell.source)) if isinstance(node, forbidden)]
        assert not found, cell.source
        assert "sys.path" not in cell.source
        assert not re.search(r"""["'](/|~|[A-Z]:\\)""", cell.source), f"an absolute path: {cell.source}"


@by_name
def test_parameters_are_literals_with_a_comment_each(path):
    (cell,) = (c for c in code_cells(nbformat.read(path, as_version=4)) if "parameters" in c.metadata.get("tags", []))
    lines = [line for line in cell.source.splitlines() if not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"\w+ = .+  # \S.*", line), line
        (assignment,) = ast.parse(line).body
        ast.literal_eval(assignment.value)
    assert list(papermill.inspect_notebook(str(path))) == [line.split(" = ")[0] for line in lines]


@by_name
def test_stored_without_results_it_begins_with_prose_and_a_short_first_screen(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    first, cells = notebook.cells[0], code_cells(notebook)
    assert first.cell_type == "markdown" and first.source.startswith("# ") and "**Question.**" in first.source
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    for cell in cells[:2]:
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= 8
    assert all(len(cell.source.splitlines()) <= 3 for cell in cells[2:])


@pytest.mark.parametrize("folder", [".", "notebooks"])
def test_papermill_alone_executes_a_notebook_from_anywhere(trained, settings, tmp_path, folder):
    """Also on a synthetic tree that is taken as it is: without the raw data, there is no Figure 2."""
    own_profile, output = tmp_path / "own.yaml", tmp_path / "out.ipynb"
    tree = {"format": "cityscapes", "root": str(trained.study.data.roots["synthetic"])} if folder == "." else {}
    Profile.load("smoke").with_settings(settings | {"data.synthetic": tree}).save(own_profile)
    source = os.path.relpath(ROOT / "notebooks" / "01_harmonization.ipynb", ROOT / folder)
    command = [sys.executable, "-m", "papermill", source, str(output), "-p", "profile", str(own_profile)]
    before = written(trained.study.store.root, "*.pth")
    ended = subprocess.run(command, cwd=ROOT / folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert written(trained.study.store.root, "*.pth") == before
    notebook = nbformat.read(output, as_version=4)
    kinds = {kind for cell in code_cells(notebook) for item in cell.outputs for kind in item.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    texts = [item.get("text", "") for cell in code_cells(notebook) for item in cell.outputs]
    assert not [text for text in texts if "Warning" in text]
    pictures = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert pictures == {"glance", "sizes"} | ({"figure2"} if not tree else set())


def test_papermill_with_an_unknown_parameter_fails_before_anything_runs(tmp_path):
    folders = {"data.folder": str(tmp_path / "data"), "runs": str(tmp_path / "runs")}
    Profile.load("smoke").with_settings(folders).save(tmp_path / "own.yaml")
    given = {"profile": str(tmp_path / "own.yaml"), "profil": "smoke"}
    with pytest.raises(PapermillExecutionError, match="parameter 'profil': expected one of profile, seeds, ") as error:
        papermill.execute_notebook(str(NOTEBOOKS[0]), None, given, kernel_name="python3", progress_bar=False)
    assert error.value.ename == "ValueError"
    assert not (tmp_path / "data").exists()


def test_variables_of_a_reader_are_no_parameters(monkeypatch):
    """The first cell can be run again, after other cells have defined what they like."""
    cells = ["", 'profile = "demo"  # the size', "# Parameters\nprofile = 'smoke'\n", "x = 1"]
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(user_ns={"In": cells}))
    refuse_unknown_parameters()
    cells[2:] = ["# Parameters\nx = 1\n"]
    with pytest.raises(ValueError, match="parameter 'x': expected one of profile"):
        refuse_unknown_parameters()


def test_run_all_executes_every_notebook_and_trains_nothing_twice(trained, run_all, settings, tmp_path, capsys):
    """All runs are there: those that are not of Table 1 with the results of one that is."""
    store, of_profile = RunStore(tmp_path / "runs"), settings | {"runs": str(tmp_path / "runs")}
    for item in trained.study.planned(*EXPERIMENTS):
        own, copy = trained.study.store.run(item.spec), store.run(item.spec)
        shutil.copytree(own.path if own.has_result() else trained.run.path, copy.path, dirs_exist_ok=True)
        item.spec.save(copy.spec_path)
    before = written(store.root)
    assert run_all.main(["--profile", "smoke", "--report", *set_options(of_profile)]) == 0
    assert written(store.root).items() >= before.items()
    output = capsys.readouterr().out
    assert all(path.name in output for path in store.root.iterdir())
    for name in PLANNED:
        html = (tmp_path / f"reports/{name}.html").read_text()
        assert [item for item in Resources(html).found if not item.startswith("data:")] == []
        assert (tmp_path / f"reports/{name}.ipynb").exists()
    assert "Table 1" in (html := (tmp_path / "reports/01_harmonization.html").read_text())
    assert "data:image/png;base64" in html
    resolved = Profile.load("smoke").with_settings(of_profile)
    assert Profile.load(tmp_path / "reports/profile.yaml") == resolved


def test_a_failing_cell_is_named_and_leaves_no_report(run_all, settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "no-such-backend")
    assert run_all.main(["--profile", "smoke", "--only", "01", *set_options(settings)]) == 1
    assert re.search(r"^notebook 01_harmonization, cell \d+: ", capsys.readouterr().err, re.MULTILINE)
    assert {path.name for path in (tmp_path / "reports").glob("*.ipynb")} == {"01_harmonization.failed.ipynb"}


def test_a_killed_kernel_is_told_with_its_notebook(monkeypatch, tmp_path):
    cell = nbformat.v4.new_code_cell("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "hungry.ipynb")
    monkeypatch.setattr(notebooks, "SOURCES", tmp_path)
    with pytest.raises(RuntimeError, match=r"notebook hungry: its kernel was killed .*hungry\.failed\.ipynb"):
        notebooks.execute("hungry", {}, tmp_path / "reports")
    # A kernel of an environment that is gone.
    stale = {"argv": ["/no/python", "-m", "ipykernel_launcher"], "display_name": "", "language": "python"}
    (tmp_path / "kernels/python3").mkdir(parents=True)
    (tmp_path / "kernels/python3/kernel.json").write_text(json.dumps(stale))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"notebook hungry: .*/no/python.*; if its kernel does not start: python -m"):
        notebooks.execute("hungry", {}, tmp_path / "reports")


@by_name
def test_a_notebook_takes_the_grids_of_the_profile_that_change_its_runs(path):
    """But the summary, which shows the study of the profile as it is."""
    profile, experiments = Profile.load("paper"), PLANNED[path.stem]
    other_grids = {
        "thresholds": [0, 7], "removal": {"car": 7}, "ratios": [0, 7], "added_images": [0, 7], "epochs": [7],
        "learning_rates": {0.9: [0.07]},
    }  # fmt: skip

    def runs(grids: dict) -> set[str]:
        return {item.spec.run_id for item in plan(profile.with_settings(grids), experiments)}

    effective = {name for name, values in other_grids.items() if runs({name: values}) != runs({})}
    parameters = set(papermill.inspect_notebook(str(path)))
    common, shown = {"profile", "seeds", "jobs"}, {"removal"}  # 02 shows the chosen thresholds
    assert parameters >= common | (set() if path.stem == "05_summary" else effective)
    assert parameters - common <= effective | shown
