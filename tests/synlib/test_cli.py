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
from tests.faults.campaign import written
from tests.workers import command

NEW = ("--profile", "smoke", "--set", "data.folder=TMP/new")


@pytest.fixture
def smoke(smoke_data) -> list[str]:
    return ["--profile", "smoke", "--set", f"data.folder={smoke_data}"]


@pytest.fixture
def folders(trained, smoke) -> list[str]:
    return [*smoke, "--runs", str(trained.study.store.root)]


def test_help_names_every_command_and_its_options():
    ended = subprocess.run([sys.executable, "-m", "synlib", "--help"], capture_output=True, text=True)
    assert ended.returncode == 0
    for name in ("toyscapes", "verify", "harmonize", "train", "evaluate", "coco", "submit", "runs", "cancel"):
        assert re.search(rf"^  {name}\b", ended.stdout, re.MULTILINE)
    assert "--set NAME=VALUE" in command("evaluate", "--help")


def test_toyscapes_says_where_the_data_are(smoke, smoke_data):
    before = written(smoke_data)
    said = command("toyscapes", *smoke)
    assert f"real: {smoke_data / 'cityscapes'}" in said and f"Vistas: {smoke_data / 'vistas-harmonized'}" in said
    assert written(smoke_data) == before


@pytest.mark.parametrize("tree", ["cityscapes", "synscapes", "synscapes-harmonized"])
def test_verify_finds_nothing_wrong_with_what_we_draw_and_that_something_is_missing(smoke_data, capsys, tree):
    findings = json.loads(command("verify", smoke_data / tree, "--workers", "1", "--json"))
    assert not [item for item in findings if item["severity"] == "error"]
    assert main(["verify", str(smoke_data / tree / "missing"), "--json"]) == 1
    assert str(smoke_data / tree / "missing") in capsys.readouterr().out


def test_harmonize_writes_the_splits_asked_for(tmp_path, smoke_data):
    options = ["--workers", "1", "--split", "train=[1, 2]", "--split", "val=[7]"]
    assert "rider" in command("harmonize", smoke_data / "synscapes", tmp_path / "mine", *options)
    assert len(list(tmp_path.glob("mine/gtFine/train/*/*_instanceIds.png"))) == 2


def test_train_runs_a_spec_from_a_file_once_and_what_it_leaves_out_is_the_profiles(tmp_path, smoke):
    (tmp_path / "mine.yaml").write_text("data: {real: 4}\nschedule: {iterations: 1, warmup_iterations: 0}\n")
    settings = ["--set", "execution.device=cpu", "--set", "init=random"]
    train = ["train", tmp_path / "mine.yaml", *smoke, "--runs", tmp_path / "runs", *settings]
    first = command(*train)
    assert "Cityscapes" in first and "done" in first and "total: 1 iterations, " in first
    (run,) = map(RunSpec.load, tmp_path.glob("runs/*/spec.yaml"))
    assert (run.model, run.init, run.batch_size, run.input.test_short_px) == ("pointrend_tiny", "random", 2, 64)
    assert run.data.real_fingerprint
    assert len(before := written(tmp_path, "model_final.pth")) == 1
    assert command(*train).splitlines()[-1] == first.splitlines()[-1]
    assert written(tmp_path, "model_final.pth") == before


def test_a_run_is_evaluated_submitted_and_exported(tmp_path, trained, folders):
    run = trained.run.path.name
    mean = trained.run.read("evaluations/Cityscapes/result.json")["mean"]
    rows = [line.split() for line in command("evaluate", run, *folders).splitlines() if line.split()[:1] == ["mean"]]
    assert f"{100 * mean:.1f}" in rows[0]
    command("submit", run, tmp_path / "out.zip", "--split", "val", *folders)
    assert len([name for name in zipfile.ZipFile(tmp_path / "out.zip").namelist() if name.endswith(".txt")]) == 4
    assert "ap75" in command("coco", run, tmp_path, *folders)
    truth = COCO(tmp_path / "truth.json")
    assert len(truth.getImgIds()) == 4 and len(truth.getAnnIds(iscrowd=False)) > 0
    assert isinstance(json.loads((tmp_path / "predictions.json").read_text()), list)


def test_two_runs_are_compared_by_class_and_by_what_differs(trained, folders):
    first, second = sorted(item.spec.run_id for item in trained.planned)
    said = command("compare", first[:6], second[:6], *folders)
    means = [line.split()[-6:] for line in said.splitlines() if " mean " in line]
    store = trained.study.store
    for on, (_, *numbers) in zip(("Cityscapes", "BDD100K", "Synscapes", "Vistas"), means, strict=True):
        a, b = (100 * store.draws(run, on).value[-1] for run in (first, second))
        assert numbers[:3] == [f"{value:.1f}" for value in (a, b, b - a)]
    assert re.search(r"^data.real +(4 +0|0 +4)|^data.real +(8 +0|0 +8)$", said, re.MULTILINE)
    assert "schedule" not in said
    sets = r"\[\['BDD100K', 'Cityscapes', 'Synscapes', 'Vistas'\], \[\]\]"
    with pytest.raises(ValueError, match=rf"^ValueError: runs {first} and 0123456789ab: found {sets}, expected a"):
        command("compare", first, "0123456789ab", *folders)


def test_the_runs_of_an_experiment_are_listed_with_their_names_in_it(trained, folders):
    rows = json.loads(command("runs", *folders, "--set", "seeds=[0, 1]", "--json", "--experiment", "table1"))
    assert [key for key in rows[0] if key.startswith("AP ")][:2] == ["AP Cityscapes", "AP BDD100K"]  # by which it sorts
    found = [[row[key] for key in ("run", "name", "seed", "state")] for row in rows]
    assert found[:2] == [[item.spec.run_id, item.name, 0, "done"] for item in trained.planned]
    assert [row[1:] for row in found[2:]] == [["Synscapes", 1, "planned"], ["Cityscapes", 1, "planned"]]
    same = ["--set", "tuned_momentum=0.9", "--set", "tuned_learning_rate=0.01"]
    listed = command("runs", *folders, "--set", "seeds=[0, 1]", *same, "--experiment", "steps")
    assert "fine-tuned, optimized" in listed  # one run with two names


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
        (["compare", "RUN", "", "FOLDERS"], "run: found '', expected the first characters of an id"),
        (["compare", "RUN", "RUN", "FOLDERS"], "'], expected two runs; `runs` lists them"),
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
