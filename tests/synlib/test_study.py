"""A study opened from anywhere: folders, readiness, plans, and results that are not mixed up."""

from collections import Counter

import pytest

from scapes import cityscapes, instances
from synlib.profile import ROOT, Profile
from synlib.runs.launch import train
from synlib.study.data import prepare
from synlib.study.experiments import EXPERIMENTS
from synlib.study.plan import overview
from synlib.study.study import Study


def smoke(**settings) -> Profile:
    """Profile ``smoke`` with settings whose dots are written ``__``."""
    return Profile.load("smoke").with_settings({name.replace("__", "."): str(v) for name, v in settings.items()})


def test_relative_folders_are_relative_to_the_current_one(tmp_path, monkeypatch, smoke_data):
    here = tmp_path / "else where"
    here.mkdir()
    (here / "my data").symlink_to(smoke_data)
    monkeypatch.chdir(here)
    study = Study.open(smoke(data__folder="my data", runs="my runs"))
    assert study.store.root == here / "my runs"
    execution = study.execution()
    assert execution.real_root == str(smoke_data / "cityscapes")
    assert all(on.root.startswith(str(smoke_data)) for on in execution.evaluate_on)


def test_folders_of_the_compendium_by_default(smoke_data):
    study = Study.open(smoke(data__folder=smoke_data))
    assert study.store.root == ROOT / "runs"


def test_if_ready_makes_nothing(tmp_path, smoke_data):
    assert Study.if_ready(smoke(data__folder=tmp_path / "data")) is None
    assert not (tmp_path / "data").exists()
    ready = smoke(data__folder=smoke_data)
    assert Study.if_ready(ready).fingerprints == Study.open(ready).fingerprints


@pytest.mark.parametrize("name, value", [("seeds", 3), ("seeds", [-1]), ("seeds", "0"), ("jobs", "2"), ("jobs", 0)])
def test_a_wrong_parameter_is_named(name, value):
    with pytest.raises(ValueError, match=rf"{name}.*: found {value!r}"):
        Study.open("smoke", **{name: value})


def test_what_is_empty_is_the_profiles(study):
    again = Study.open(study.profile, seeds=[], thresholds=None, removal={}, jobs=2)
    assert again.profile == study.profile


def test_the_profile_says_how_labels_are_harmonised(tmp_path):
    changed = smoke(data__folder=tmp_path / "data").with_settings({"data.policy": {"orphans": "void"}})
    assert prepare(changed).manifest()["policy"]["orphans"] == "void"
    for policy, message in (
        ({"orphan": "void"}, "data.policy.*'orphan'"),
        ({"orphans": "gone"}, "orphans: found 'gone'"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(changed.with_settings({"data.policy": policy}))


def test_more_images_than_there_are_is_told_before_any_training(smoke_data):
    study = Study.open(smoke(data__folder=smoke_data), added_images=[0, 999])
    with pytest.raises(ValueError, match=r"amounts: 999 added, 1 epochs: found 8 synthetic training .* the 999 of"):
        study.planned("amounts")
    assert study.planned("ratios")


def test_each_split_is_listed_and_fingerprinted_once(study, monkeypatch):
    """However many experiments are planned and shown."""
    calls = Counter()

    def count(module, name: str) -> None:
        original = getattr(module, name)

        def counted(*arguments, **options):
            calls[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, counted)

    count(cityscapes, "read_images")
    count(instances, "fingerprint")
    opened = Study.open(study.profile)
    opened.planned(*EXPERIMENTS)
    opened.execution()
    opened.execution()
    assert calls == {"read_images": 4, "fingerprint": 4}


def test_the_plan_knows_what_is_done(trained):
    table = overview(trained.planned, trained.study.profile, trained.study.store)
    assert table["run"].tolist() == [item.spec.run_id for item in trained.planned] + ["total"]
    assert table["state"].tolist() == ["done", "done", ""]


def test_the_plan_without_data_claims_neither_id_nor_state(trained):
    table = overview(trained.planned, trained.study.profile, None)
    assert not set(table["run"]) & {item.spec.run_id for item in trained.planned}
    assert "planned" not in table["state"].tolist()


def test_results_on_other_data_of_the_same_name_are_not_overwritten(trained):
    own = trained.study.data.evaluation_set("Cityscapes")
    before = trained.run.read("evaluations/Cityscapes/result.json")
    with pytest.raises(ValueError, match="other data named Cityscapes"):
        trained.study.predictions(trained.run.path.name, own.replace(data="0" * 16))
    assert trained.run.read("evaluations/Cityscapes/result.json") == before


def test_a_folder_is_never_evaluated_under_the_name_of_a_set(trained):
    by_name = trained.study.data.evaluation_set("Cityscapes")
    by_path = trained.study.data.evaluation_set(by_name.root)
    assert by_path.name != by_name.name
    assert by_path.identity() == by_name.identity()
    for nothing in ("", "no such folder"):
        with pytest.raises(ValueError, match="or the folder of a data set"):
            trained.study.data.evaluation_set(nothing)


def test_no_job_at_a_time_is_refused(trained):
    with pytest.raises(ValueError, match="jobs: found 0"):
        train([trained.planned[0].spec], trained.study.store, trained.study.execution(), jobs=0)
