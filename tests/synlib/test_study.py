"""A study opened from anywhere: folders, readiness, plans, and results that are not mixed up."""

import shutil
from unittest import mock

import pytest
import yaml

from scapes import cityscapes, instances
from synlib.profile import Profile
from synlib.study.experiments import EXPERIMENTS
from synlib.study.plan import text
from synlib.study.study import Study
from tests import tiny_data
from tests.faults.campaign import numbered

OTHER = {"format": "urbansyn", "split": {"train": [2, 9], "val": [1, 11, 12]}, "policy": {"orphans": "void"}}
REAL = {"data.toyscapes": None, "data.cityscapes": "DATA/cityscapes"}
HARMONIZED = {"root": "DATA/synscapes-harmonized", "format": "cityscapes"}


def opened(smoke_data, tmp_path, settings: dict, **grids) -> Study:
    given = yaml.safe_load(yaml.safe_dump(settings).replace("DATA", str(smoke_data)))
    folders = {"data.folder": str(tmp_path / "data"), "runs": str(tmp_path / "runs"), "execution.device": "cpu"}
    return Study.open(Profile.load("smoke").with_settings(folders | given), **grids)


@pytest.mark.parametrize(("settings", "percent"), [({"data.synthetic": OTHER}, 50), (REAL, 100)])
def test_other_synthetic_data_or_none_are_studied_to_the_end(smoke_data, tmp_path, settings, percent):
    study = opened(smoke_data, tmp_path, settings, ratios=[percent])
    results = study.run("ratios")
    assert results["state"].eq("done").all()
    if percent == 100:
        assert set(results["evaluated on"]) == {"Cityscapes"}
        with pytest.raises(ValueError, match=r"found 0 synthetic training images in '', .* as data\.synthetic"):
            study.planned("table1")
    else:
        assert set(results["evaluated on"]) == {"Cityscapes", "Synscapes"}
        assert [len(study.data.images("synthetic", split)) for split in ("train", "val")] == [8, 3]
        manifest = cityscapes.read_manifest(study.data.roots["synthetic"])
        assert (manifest["dataset"], manifest["policy"]["orphans"]) == ("urbansyn", "void")


@pytest.mark.parametrize("settings", [{"data.cityscapes": "DATA/cityscapes"}, REAL | {"data.synthetic": HARMONIZED}])
def test_the_same_data_from_elsewhere_give_the_same_runs(smoke_data, study, tmp_path, settings):
    """Real data beside drawn ones, and a tree that was harmonised before and is taken as it is."""
    again = opened(smoke_data, tmp_path, settings)
    assert again.planned("ratios") == study.planned("ratios")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "amounts: 999 added, 1 epoch: found 8 synthetic training .* expected at least 999"),
        ({"data.cityscapes": "DATA/none"}, "data.cityscapes: found no images in '.*none', expected the folder of"),
        ({"data.cityscapes": "DATA"}, "data.cityscapes: found no images in '.*', .*; did you mean .*/cityscapes?"),
        ({"data.synthetic.root": "DATA/none"}, "none/img/rgb: no such folder"),
        ({"data.toyscapes": None}, "data.synthetic.root: found no images in ''"),
        ({"data.also_evaluate_on": {"Own": "DATA/bdd100k"}}, "on.Own: found no images of val in '.*', expected a tree"),
        ({"data.synthetic.policy": {"orphans": "gone"}}, "data.synthetic.policy.orphans: found 'gone'"),
        ({"data.synthetic.split": {"train": [1, 4], "val": [5, 8]}}, "found 4 synthetic training images"),
        ({"data.synthetic.format": "cityscapes"}, "data.synthetic.format: found 'cityscapes', expected it with a root"),
    ],
)
def test_what_the_data_lack_is_told_before_any_are_made(smoke_data, tmp_path, settings, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        opened(smoke_data, tmp_path, settings, added_images=[0, 999]).planned("ratios", "amounts")
    for folder, ready in ((tmp_path / "data", False), (smoke_data, True)):
        assert Study(Profile.load("smoke").with_settings({"data.folder": str(folder)})).sources.ready == ready
    assert not (tmp_path / "data").exists()


def test_other_streets_that_are_named_are_taken_and_none_are_drawn(smoke_data, study, tmp_path):
    named = opened(smoke_data, tmp_path, {"data.also_evaluate_on": {"Mine": "DATA/vistas-harmonized"}})
    drawn, own = study.data.evaluation_sets(), named.data.evaluation_sets()
    assert [on.name for on in drawn] == ["Synscapes", "Cityscapes", "BDD100K", "Vistas"]
    assert [(on.name, on.identity()) for on in own[2:]] == [("Mine", drawn[3].identity())]
    assert not list((tmp_path / "data").glob("vistas*"))
    (part := tmp_path / "part").mkdir()
    for name in ("cityscapes", "synscapes", "synscapes-harmonized"):  # of an earlier version, which had no others
        (part / name).symlink_to(smoke_data / name)
    assert Study(Profile.load("smoke").with_settings({"data.folder": str(part)})).sources.ready


def test_an_evaluation_set_in_another_numbering_is_told_before_any_training(tmp_path):
    real = tiny_data.write_cityscapes(tmp_path / "real", train=2, val=2)
    for path in real.glob("gtFine/val/*/*instanceIds.png"):
        numbered(256)(path)
    found = opened(tmp_path, tmp_path, {"data.toyscapes": None, "data.cityscapes": str(real)})
    with pytest.raises(ValueError, match=r"val/.*instanceIds.png: value: found .*, expected label ids"):
        found.execution()


def test_each_split_is_listed_and_fingerprinted_once(study):
    """However many experiments are planned and shown."""
    listed = mock.patch.object(cityscapes, "read_images", wraps=cityscapes.read_images)
    hashed = mock.patch.object(instances, "fingerprint", wraps=instances.fingerprint)
    with listed as read, hashed as fingerprint:
        opened = Study.open(study.profile)
        opened.planned(*EXPERIMENTS)
        opened.execution()
        opened.execution()
    assert (read.call_count, fingerprint.call_count) == (6, 6)


def test_the_plan_knows_what_is_done(trained):
    _, *runs, _ = text(trained.planned, trained.study.profile, trained.study.store).splitlines()
    planned = [item.spec.run_id for item in trained.planned]
    assert [run.split()[0] for run in runs] == planned and all(run.endswith(" done") for run in runs)
    _, *runs, _ = text(trained.planned, trained.study.profile, None).splitlines()  # without data, neither id nor state
    assert [run.split()[0] for run in runs if run.endswith(" no data yet")] == ["?", "?"]


def test_no_folder_and_no_other_data_are_evaluated_under_the_name_of_a_set_and_no_copy_under_its_own(trained, tmp_path):
    by_name = trained.study.data.evaluation_set("Cityscapes")
    by_path = trained.study.data.evaluation_set(by_name.root)
    assert by_path.name != by_name.name
    assert by_path.identity() == by_name.identity()
    for nothing in ("", "no such folder"):
        with pytest.raises(ValueError, match="or the folder of a data set"):
            trained.study.data.evaluation_set(nothing)
    before = trained.run.read("evaluations/Cityscapes/result.json")
    with pytest.raises(ValueError, match="other data named Cityscapes"):
        trained.study.predictions(trained.run.path.name, by_name.replace(data="0" * 16))
    assert trained.run.read("evaluations/Cityscapes/result.json") == before
    shutil.copytree(trained.run.path, tmp_path / "best")
    copied = Study(trained.study.profile.replace(runs=str(tmp_path)))
    with pytest.raises(ValueError, match=rf"best: found a copy, .* its spec is run {trained.run.path.name} here; name"):
        copied.predictions("best", by_name)
    assert not (tmp_path / trained.run.path.name).exists()  # nothing was trained
