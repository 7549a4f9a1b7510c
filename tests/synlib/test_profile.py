"""Profiles: the ones in the repository load, and a wrong one is told with its file and field."""

from pathlib import Path

import pytest
import yaml

from synlib.profile import ROOT, Profile, parse_settings

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
    assert (profile.batch_size, profile.baseline_images, profile.execution.slurm.gpus) == (8, 2975, 4)


NO_MODEL = {name: value for name, value in GOOD.items() if name != "model"}
ONE_DOMAIN = {"height": 64, "width": 128, "real": {"train": 1, "val": 1}}
BAD = {
    "unknown field": (GOOD | {"modle": 1}, "unknown field 'modle'"),
    "no data": (GOOD | {"data": None}, "data: found None"),
    "text for toyscapes": (GOOD | {"data": {"toyscapes": "big"}}, "data.toyscapes: found 'big'"),
    "one domain": (GOOD | {"data": {"toyscapes": ONE_DOMAIN}}, "data.toyscapes: missing field 'synthetic'"),
    "text for a number": (GOOD | {"baseline_images": "many"}, "baseline_images: found 'many'"),
    "another model": (GOOD | {"model": "resnet"}, "model: found 'resnet', expected one of pointrend_r50, pointrend_t"),
    "no model": (NO_MODEL, "missing field 'model'"),
    "schedule": (GOOD | {"schedule": {"iterations": 0}}, "iterations: found 0"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD)
def test_a_bad_profile_names_file_and_field(tmp_path, content, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError) as caught:
        Profile.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_settings_are_fields_of_sections_or_bare_grids():
    settings = {"thresholds": [0, 40], "execution.slurm.gpus": 4, "seeds": [0, 1], "data.folder": "/somewhere"}
    profile = Profile.load("demo").with_settings(settings)
    assert profile.grids.thresholds == (0, 40)
    assert (profile.execution.slurm.gpus, profile.seeds, profile.data.folder) == (4, (0, 1), "/somewhere")
    assert profile.execution.threads == Profile.load("demo").execution.threads
    assert Profile.load("demo").with_settings({}) == Profile.load("demo")
    # What is drawn of the other domain stays.
    data = Profile.load("demo").with_settings({"data.cityscapes": "/data/cs"}).data
    assert (bool(data.toyscapes), data.cityscapes, data.synthetic.root) == (True, "/data/cs", "")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"treshold": [0]}, "setting 'treshold': unknown; expected one of name, data.*thresholds"),
        ({"data.cityscape": "/x"}, "data: unknown field 'cityscape'; expected some of toyscapes, cityscapes"),
        ({"execution.slurm.gpu": 1}, "execution.slurm: unknown field 'gpu'; expected some of nodes"),
        ({"seeds.first": 1}, "seeds: found {'first': 1}, expected a list"),
        ({"execution.executor": "lsf"}, "execution.executor: found 'lsf', expected 'local' or 'slurm'"),
        ({"schedule.base_lr": "1e-5"}, "schedule.base_lr: found '1e-5', expected .* such as 0.001 or 1.0e-3"),
        ({"execution.processes": 0}, "execution.processes: found 0, expected auto, or a number from 1 on"),
        ({"execution.threads": 0}, "execution.threads: found 0, expected at least 1"),
        ({"execution.checkpoint_period": 0}, "execution.checkpoint_period: found 0, expected at least 1"),
        ({"execution.loader_workers": -1}, "execution.loader_workers: found -1, expected at least 0"),
        ({"execution.images_per_step": -1}, "execution.images_per_step: found -1, expected at least 0"),
        ({"execution.device": "CPU"}, "execution.device: found 'CPU', expected '', 'cpu' or 'cuda'"),
        ({"runs": "$NOTHING/runs"}, r"runs: found '\$NOTHING/runs', expected .*; \$NOTHING is not set"),
        ({"data.cityscapes": "~no_one/cs"}, "data.cityscapes: found '~no_one/cs', expected .*; ~no_one is not set"),
        ({"data.synthetic.split": {"test": [1]}}, "data.synthetic.split: found 'test', expected 'train' or 'val'"),
        ({"data.synthetic.format": "kitti"}, "data.synthetic.format: found 'kitti', expected 'synscapes', 'urbansyn'"),
    ],
)
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        Profile.load("smoke").with_settings(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["demo", "paper", "smoke"])
def test_a_saved_profile_is_read_back_equal(tmp_path, name):
    profile = Profile.load(name).with_settings({"epochs": [1, 2.5], "execution.slurm.setup": ["module load cuda"]})
    profile.save(tmp_path / "mine.yaml")
    again = Profile.load(tmp_path / "mine.yaml")
    assert again == profile
    assert [type(value) for value in again.grids.epochs] == [int, float]


def test_folders_are_the_compendiums_unless_named(tmp_path, monkeypatch):
    profile = Profile.load("smoke")
    folders = (profile.data_dir, profile.runs_dir, profile.figures_dir, profile.reports_dir)
    assert folders == (ROOT / "data/smoke", ROOT / "runs", ROOT / "figures/smoke", ROOT / "reports/smoke")
    monkeypatch.chdir(tmp_path)
    mine = profile.replace(runs="mine", reports="/reports")
    assert (mine.runs_dir, mine.reports_dir) == (tmp_path.resolve() / "mine", Path("/reports"))
    same = {"data.folder": "/data", "execution.device": "cpu", "seeds": [0], "figures": "/figures"}
    assert profile.with_settings(same).reports_dir == ROOT / "reports/smoke"
    other = profile.with_settings({"thresholds": [0, 7], "learning_rates": {0.9: [0.1]}})
    assert other.reports_dir == ROOT / "reports/smoke+thresholds=0,7+learning_rates=0.9_0.1"
    assert other.with_settings({"reports": "/mine"}).reports_dir == Path("/mine")


def test_settings_on_a_command_line_are_yaml():
    assert parse_settings(["seeds=[0, 1]", "data.cityscapes=/x=y"]) == {"seeds": [0, 1], "data.cityscapes": "/x=y"}
    with pytest.raises(ValueError, match="--set 'seeds': found 'seeds', expected NAME=VALUE"):
        parse_settings(["seeds"])
    with pytest.raises(ValueError, match=r"^--set 'thresholds=\[0': .*line 1.*$"):  # in one line
        parse_settings(["thresholds=[0"])


def test_names_of_earlier_versions_mean_what_they_meant(tmp_path):
    smoke = Profile.load("smoke")
    old = {"data.synscapes": str(tmp_path), "data.synscapes_variant": "rgb-2k", "data.policy": {"orphans": "void"}}
    new = {"root": str(tmp_path), "variant": "rgb-2k", "policy": {"orphans": "void"}}
    assert smoke.with_settings(old) == smoke.with_settings({"data.synthetic": new})
