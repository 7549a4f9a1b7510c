"""Profiles: the ones in the repository load, and a wrong one is told with its file and field."""

import pytest
import yaml

from synlib.profile import ROOT, Execution, Profile

GOOD = yaml.safe_load((ROOT / "profiles" / "smoke.yaml").read_text())


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_of_the_repository_loads(path):
    profile = Profile.load(path.stem)
    assert profile == Profile.load(path).replace(name=path.stem)
    assert bool(profile.data.toyscapes) == (path.stem != "paper")


def test_the_paper_profile_is_the_papers_baseline():
    profile = Profile.load("paper")
    schedule = profile.schedule
    drops = [round(step * schedule.iterations) for step in schedule.steps]
    assert (schedule.iterations, schedule.base_lr, drops) == (24_000, 0.01, [18_000, 22_000])
    assert (profile.batch_size, profile.baseline_images, profile.execution.processes) == (8, 2975, 4)


def without(key: str) -> dict:
    return {name: value for name, value in GOOD.items() if name != key}


BAD = {
    "not a mapping": (["a"], "profile: found ['a']"),
    "empty": (None, "profile: found None"),
    "unknown field": (GOOD | {"modle": 1}, "unknown field 'modle'"),
    "no data": (GOOD | {"data": None}, "data: found None"),
    "text for toyscapes": (GOOD | {"data": {"toyscapes": "big"}}, "data.toyscapes: found 'big'"),
    "a domain without numbers": (
        GOOD | {"data": {"toyscapes": {"height": 64, "width": 128, "real": {"train": 1, "val": 1}}}},
        "data.toyscapes.synthetic: found None",
    ),
    "text for a number": (GOOD | {"baseline_images": "many"}, "profile.baseline_images: found 'many'"),
    "text in a section": (GOOD | {"execution": {"threads": "two"}}, "execution.threads: found 'two'"),
    "seeds": (GOOD | {"seeds": "0"}, "seeds: found '0'"),
    "no seeds": (GOOD | {"seeds": []}, "seeds: found [], expected a list of one or more integers"),
    "another model": (GOOD | {"model": "resnet"}, "model: found 'resnet', expected one of pointrend_r50, pointrend_t"),
    "no model": (without("model"), "model"),
    "schedule": (GOOD | {"schedule": {"iterations": 0}}, "iterations: found 0"),
}


@pytest.mark.parametrize(
    "name, value",
    [("processes", 0), ("threads", 0), ("checkpoint_period", 0), ("loader_workers", -1), ("images_per_step", -1)],
)
def test_an_execution_that_cannot_be_is_refused(name, value):
    with pytest.raises(ValueError, match=f"execution.{name}: found {value}, expected an integer from {value + 1} on"):
        Execution(**{name: value})


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD)
def test_a_bad_profile_names_file_and_field(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError) as caught:
        Profile.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match="demo, paper, smoke"):
        Profile.load("nope")
