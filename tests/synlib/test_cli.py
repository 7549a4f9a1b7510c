"""``python -m synlib``: every command on the smoke data, and one message where something is wrong."""

import json
import re
import subprocess
import sys
import zipfile

import pytest
from pycocotools.coco import COCO

from synlib.__main__ import main
from synlib.spec import RunSpec


@pytest.fixture
def smoke(smoke_data) -> list[str]:
    return ["--profile", "smoke", "--set", f"data.folder={smoke_data}"]


@pytest.fixture
def folders(trained, smoke) -> list[str]:
    return [*smoke, "--runs", str(trained.study.store.root)]


def test_help_names_every_command_and_its_options(capsys):
    ended = subprocess.run([sys.executable, "-m", "synlib", "--help"], capture_output=True, text=True)
    assert ended.returncode == 0
    for command in ("toyscapes", "verify", "harmonize", "train", "evaluate", "coco", "submit", "runs", "cancel"):
        assert re.search(rf"^  {command}\b", ended.stdout, re.MULTILINE)
    assert main(["evaluate", "--help"]) == 0
    assert "--set NAME=VALUE" in capsys.readouterr().out


def test_toyscapes_says_where_the_data_are(smoke, smoke_data, capsys):
    before = {path: path.stat().st_mtime_ns for path in smoke_data.rglob("*.png")}
    assert main(["toyscapes", *smoke]) == 0
    said = capsys.readouterr().out
    assert f"real: {smoke_data / 'cityscapes'}" in said and f"Vistas: {smoke_data / 'vistas-harmonized'}" in said
    assert {path: path.stat().st_mtime_ns for path in smoke_data.rglob("*.png")} == before


@pytest.mark.parametrize("tree", ["cityscapes", "synscapes", "synscapes-harmonized"])
def test_verify_finds_nothing_wrong_with_what_we_draw_and_that_something_is_missing(smoke_data, capsys, tree):
    assert main(["verify", str(smoke_data / tree), "--workers", "1", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert not [item for item in findings if item["severity"] == "error"]
    assert main(["verify", str(smoke_data / tree / "missing"), "--json"]) == 1
    assert str(smoke_data / tree / "missing") in capsys.readouterr().out


def test_harmonize_writes_the_splits_asked_for(tmp_path, smoke_data, capsys):
    splits = ["--split", "train=[1, 2]", "--split", "val=[7]"]
    assert main(["harmonize", str(smoke_data / "synscapes"), str(tmp_path / "mine"), "--workers", "1", *splits]) == 0
    assert "rider" in capsys.readouterr().out
    assert len(list(tmp_path.glob("mine/gtFine/train/*/*_instanceIds.png"))) == 2


def test_train_runs_a_spec_from_a_file_once_and_what_it_leaves_out_is_the_profiles(tmp_path, smoke, capsys):
    (tmp_path / "mine.yaml").write_text("data: {real: 4}\nschedule: {iterations: 1, warmup_iterations: 0}\n")
    command = ["train", str(tmp_path / "mine.yaml"), *smoke, "--runs", str(tmp_path / "runs")]
    command += ["--set", "execution.device=cpu", "--set", "init=random"]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "Cityscapes" in first and "done" in first and "total: 1 iterations, " in first
    (run,) = map(RunSpec.load, tmp_path.glob("runs/*/spec.yaml"))
    assert (run.model, run.init, run.batch_size, run.input.test_short_px) == ("pointrend_tiny", "random", 2, 64)
    assert run.data.real_fingerprint
    (weights,) = (tmp_path / "runs").glob("*/model_final.pth")
    before = weights.stat().st_mtime_ns
    assert main(command) == 0
    assert weights.stat().st_mtime_ns == before
    assert capsys.readouterr().out.splitlines()[-1] == first.splitlines()[-1]


def test_a_run_is_evaluated_submitted_and_exported(tmp_path, trained, folders, capsys):
    run = trained.run.path.name
    assert main(["evaluate", run, *folders]) == 0
    mean = trained.run.read("evaluations/Cityscapes/result.json")["mean"]
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["mean"]]
    assert f"{100 * mean:.1f}" in rows[0]
    assert main(["submit", run, str(tmp_path / "out.zip"), "--split", "val", *folders]) == 0
    assert len([name for name in zipfile.ZipFile(tmp_path / "out.zip").namelist() if name.endswith(".txt")]) == 4
    assert main(["coco", run, str(tmp_path), *folders]) == 0
    assert "ap75" in capsys.readouterr().out
    truth = COCO(tmp_path / "truth.json")
    assert len(truth.getImgIds()) == 4 and len(truth.getAnnIds(iscrowd=False)) > 0
    assert isinstance(json.loads((tmp_path / "predictions.json").read_text()), list)


def test_two_runs_are_compared_by_class_and_by_what_differs(trained, folders, capsys):
    first, second = sorted(item.spec.run_id for item in trained.planned)
    assert main(["compare", first[:6], second[:6], *folders]) == 0
    said = capsys.readouterr().out
    means = [line.split()[-6:] for line in said.splitlines() if " mean " in line]
    store = trained.study.store
    for on, (_, *numbers) in zip(("Cityscapes", "BDD100K", "Synscapes", "Vistas"), means, strict=True):
        a, b = (100 * store.draws(run, on).value[-1] for run in (first, second))
        assert numbers[:3] == [f"{value:.1f}" for value in (a, b, b - a)]
    assert re.search(r"^data.real +(4 +0|0 +4)|^data.real +(8 +0|0 +8)$", said, re.MULTILINE)
    assert "schedule" not in said
    assert main(["compare", first, "0123456789ab", *folders]) == 1
    said = capsys.readouterr().err
    assert (
        f"runs {first} and 0123456789ab: found [['BDD100K', 'Cityscapes', 'Synscapes', 'Vistas'], []], expected a"
        in said
    )


def test_the_runs_of_an_experiment_are_listed_with_their_names_in_it(trained, folders, capsys):
    command = ["runs", *folders, "--set", "seeds=[0, 1]", "--json", "--experiment"]
    assert main([*command, "table1"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [key for key in rows[0] if key.startswith("AP ")][:2] == ["AP Cityscapes", "AP BDD100K"]  # by which it sorts
    found = [[row[key] for key in ("run", "name", "seed", "state")] for row in rows]
    assert found[:2] == [[item.spec.run_id, item.name, 0, "done"] for item in trained.planned]
    assert [row[1:] for row in found[2:]] == [["Synscapes", 1, "planned"], ["Cityscapes", 1, "planned"]]
    same = ["--set", "tuned_momentum=0.9", "--set", "tuned_learning_rate=0.01"]
    assert main([*command[:-2], *same, "--experiment", "steps"]) == 0
    assert "fine-tuned, optimized" in capsys.readouterr().out  # one run with two names


NEW = ("--profile", "smoke", "--set", "data.folder=TMP/new")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toyscapes", "--profile", "huge"], "profile 'huge'"),
        (["harmonize", "/no/such/folder", "TMP/out"], "/no/such/folder"),
        (["train", "TMP/none.yaml"], "none.yaml"),
        (["train", "TMP/bad.yaml"], "bad.yaml: unknown field 'reel'"),
        (["evaluate", "0123456789ab", "FOLDERS"], "0123456789ab"),
        (["evaluate", "RUN", "--on", "KITTI", "FOLDERS"], "KITTI"),
        (["evaluate", "RUN", "--split", "test"], "--split: found 'test', expected train or val: test has no"),
        (["coco", "RUN", "TMP/coco", "--split", "test"], "test has no public labels, use `submit`"),
        (["verify", "$NOTHING/data"], "found '$NOTHING/data', expected a path of which all is known; $NOTHING"),
        (["evaluate", "RUN", "--on", "~no_one/data"], "~no_one is not set"),
        (["train", "TMP/sha.yaml", *NEW, "--initial-weights", "TMP/none.pth"], "none.pth"),
        (["train", "TMP/good.yaml", *NEW, "--initial-weights", "TMP/bad.yaml"], "found 'imagenet'"),
        (["runs", *NEW, "--experiment", "table1"], "smoke: found no data of both domains yet, and ids of runs depend"),
        (["runs", *NEW, "--experiment", "table9"], "experiment 'table9': expected one of table1, thresholds, "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, trained, folders, capsys, arguments, message):
    (tmp_path / "bad.yaml").write_text("reel: 5\n")
    (tmp_path / "good.yaml").write_text("data: {real: 5}\n")
    (tmp_path / "sha.yaml").write_text("data: {real: 5}\ninit: sha256:" + 64 * "0")
    arguments = [item.replace("TMP", str(tmp_path)).replace("RUN", trained.run.path.name) for item in arguments]
    if "FOLDERS" in arguments:
        arguments = [*arguments[:-1], *folders]
    capsys.readouterr()
    assert main(arguments) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("\r") and "it/s" not in line]
    assert message in errors[-1]
    assert not any("Traceback" in line for line in errors)
    assert not (tmp_path / "new").exists()  # nothing was drawn before


USAGE = {
    "trian": "No such command",
    "train": "Missing argument",
    "harmonize a b --orphans lost": "'lost' is not one of",
    "verify . --workers -1": "-1 is not in the range x>=1",
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.items(), ids=USAGE)
def test_wrong_usage(arguments, message, capsys):
    assert main(arguments.split()) == 2
    errors = capsys.readouterr().err
    assert "Usage: python -m synlib" in errors
    assert message in errors
