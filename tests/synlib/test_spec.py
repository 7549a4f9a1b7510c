"""Specs and their ids, and profiles: equal for equal ones; a bad one is told with its file and field."""

import math
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scapes.labels import CLASSES
from synlib.profile import ROOT, Profile, parse_settings
from synlib.spec import DataSpec, Execution, InputSpec, RunSpec, ScheduleSpec

DATA = DataSpec(real=20, synthetic=30, real_fingerprint="r", synthetic_fingerprint="s")
BASE = RunSpec(data=DATA)
CHANGES = {
    "data": {
        "real": 21, "synthetic": 31, "real_fingerprint": "x", "synthetic_fingerprint": "x", "removal": 0.1,
        "removed_as": "ignore", "emptied": "drop", "seed": 1, "criterion": "random", "sampling": "balanced",
    },
    "schedule": {
        "iterations": 23_999, "base_lr": 0.02, "momentum": 0.8, "weight_decay": 0.0, "policy": "cosine",
        "steps": (0.5,), "warmup_iterations": 7, "clip_gradient_norm": 1.0,
    },
    "input": {"train_short_px": (800,), "test_short_px": 800, "max_long_px": 1024},
    "spec": {"model": "pointrend_tiny", "init": "random", "batch_size": 4, "precision": "bf16", "seed": 1, "recipe": 9},
}  # fmt: skip
SECTIONS = {"data": DataSpec, "schedule": ScheduleSpec, "input": InputSpec, "spec": RunSpec}

images = st.lists(st.text(), min_size=1, max_size=5, unique=True)
data = st.builds(
    DataSpec,
    real=st.integers(1, 3000) | images,
    synthetic=st.integers(0, 25_000) | st.just([]) | images,
    real_fingerprint=st.text("0123456789abcdef", max_size=8),
    removal=st.floats(0, 1) | st.dictionaries(st.sampled_from(CLASSES), st.floats(0, 1)),
    removed_as=st.sampled_from(["background", "ignore"]),
    emptied=st.sampled_from(["keep", "drop"]),
    criterion=st.sampled_from(["size", "random"]),
    sampling=st.sampled_from(["shuffled", "balanced"]),
)
schedules = st.builds(
    ScheduleSpec,
    iterations=st.integers(1, 10**6),
    base_lr=st.floats(1e-12, 10) | st.integers(1, 3),
    momentum=st.floats(0, 0.999),
    weight_decay=st.floats(0, 1),
    steps=st.lists(st.floats(0.001, 1), max_size=4).map(sorted),
)
inits = st.sampled_from(["imagenet", "random", "run:0123456789ab", "sha256:" + "0" * 64])
specs = st.builds(RunSpec, data=data, schedule=schedules, init=inits, seed=st.integers(0, 2**31 - 1))


def changed(section: str, field: str, value) -> RunSpec:
    if section == "spec":
        return BASE.replace(**{field: value})
    if field in ("removed_as", "criterion"):  # means nothing unless something is removed
        return BASE.replace(data=DATA.replace(removal=0.2, **{field: value}))
    return BASE.replace(**{section: getattr(BASE, section).replace(**{field: value})})


@given(spec=specs, shuffle=st.randoms())
def test_equal_specs_have_equal_ids(spec, shuffle: random.Random):
    def shuffled(values):
        if not isinstance(values, dict):
            return values
        return {key: shuffled(values[key]) for key in shuffle.sample(list(values), len(values))}

    text = yaml.safe_dump(shuffled(spec.to_dict()), sort_keys=False)
    again = RunSpec(**yaml.safe_load(text))
    assert (again, again.run_id) == (spec, spec.run_id)


def test_a_file_gives_the_spec_back_and_its_id_never_changes(tmp_path):
    """A frozen value: where it changes, every finished run is trained again. Change it knowingly only."""
    BASE.replace(recipe=1).save(tmp_path / "spec.yaml")
    assert RunSpec.load(tmp_path / "spec.yaml") == BASE.replace(recipe=1)
    assert RunSpec.load(tmp_path / "spec.yaml").run_id == "8275099b4f75"


def test_every_field_changes_the_id():
    for name, section in SECTIONS.items():
        assert set(section.model_fields) - set(SECTIONS) == set(CHANGES[name])
    variants = [changed(section, *item) for section, fields in CHANGES.items() for item in fields.items()]
    assert len({spec.run_id for spec in (BASE, *variants)}) == 1 + len(variants)


def test_ways_to_say_the_same_give_one_id():
    """Removal means nothing without synthetic images, and what removed ones become nothing without removal."""
    assert DataSpec(real=5, removal=0.3, removed_as="ignore") == DataSpec(real=5, removal=0.3) == DataSpec(real=5)
    assert DataSpec(synthetic=5, removed_as="ignore") == DataSpec(synthetic=5)
    for used, unused in (("real", "synthetic"), ("synthetic", "real")):  # without images, a fingerprint means nothing
        assert DataSpec(**{used: 5, f"{unused}_fingerprint": "x"}) == DataSpec(**{used: 5})
    assert DataSpec(synthetic=5, removal={"car": 0.1}, removed_as="ignore").to_dict()["removed_as"] == "ignore"
    by_class = DataSpec(synthetic=5, removal=dict.fromkeys(CLASSES, 0.5))
    assert RunSpec(data=by_class).run_id == RunSpec(data=DataSpec(synthetic=5, removal=0.5)).run_id
    assert DataSpec(synthetic=["a"], removal=0.5, seed=3, criterion="random").seed == 3  # which instances are removed
    assert DataSpec(real=5, removal=0.3, criterion="random", sampling="balanced") == DataSpec(real=5)
    assert ScheduleSpec(momentum=0) == ScheduleSpec(momentum=0.0)
    assert ScheduleSpec(iterations=50) == ScheduleSpec(iterations=50, warmup_iterations=5)
    assert RunSpec(data={"real": ["a", "b", "c", "d"]}, schedule={"epochs": 10}).schedule.iterations == 5


def test_a_list_of_images_is_a_set_and_nothing_is_drawn():
    listed = DataSpec(real=["b", "a", "c"], synthetic=[], seed=3)
    assert listed == DataSpec(real=("c", "b", "a"), seed=5)
    assert (listed.real, listed.synthetic, listed.images, listed.seed) == (("a", "b", "c"), 0, 3, 0)
    assert DataSpec(real=["a"], synthetic=2, seed=3).seed == 3
    assert RunSpec(data=listed).run_id != RunSpec(data=DataSpec(real=3)).run_id
    assert RunSpec(data=listed).run_id != RunSpec(data=DataSpec(real=["a", "b", "d"])).run_id


@given(epochs=st.floats(0.1, 100) | st.integers(1, 100), images=st.integers(1, 30_000), batch_size=st.integers(1, 64))
def test_epochs_are_iterations_that_show_every_image_often_enough_and_no_more(epochs, images, batch_size):
    def spec(**length):
        return RunSpec(data={"real": images}, batch_size=batch_size, schedule={"base_lr": 0.02, **length})

    iterations = spec(epochs=epochs).schedule.iterations
    assert spec(epochs=epochs) == spec(iterations=iterations)
    assert iterations * batch_size >= epochs * images * (1 - 1e-12)
    assert iterations == 1 or (iterations - 1) * batch_size < epochs * images


WRONG = {
    "data": {
        "real": [-1, "20", True, ["a", 5]], "synthetic": [2.5], "emptied": ["remove"], "removed_as": ["void"],
        "seed": [-1], "real_fingerprint": [12], "criterion": ["area"], "sampling": [0.5],
    },
    "schedule": {
        "iterations": [0, "many"], "base_lr": [0, "1e-3", math.nan], "momentum": [1.0], "weight_decay": [-1e-4],
        "policy": ["linear"], "steps": [0.5, [0.9, 0.5], [18000], ["late"]], "warmup_iterations": [-1],
        "clip_gradient_norm": ["5"], "epochs": [0, "5"],
    },
    "input": {"train_short_px": [[16], 800, []], "test_short_px": [1024.0], "max_long_px": [None]},
    "spec": {
        "model": ["", "resnet"], "init": ["coco", 5], "batch_size": [0], "precision": ["float16"], "seed": [2**31],
        "recipe": ["new"], "data": [[1]],
    },
}  # fmt: skip


def refusal(path, values) -> str:
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ValueError) as caught:
        RunSpec.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("section", WRONG)
def test_a_wrong_value_is_named_with_its_field(tmp_path, section):
    for field, value in [(field, value) for field, values in WRONG[section].items() for value in values]:
        values = {"data": {"real": 5}, "schedule": {}, "input": {}}
        (values if section == "spec" else values[section])[field] = value
        said = refusal(tmp_path / "bad.yaml", values)
        assert (field if section == "spec" else f"{section}.{field}") in said and ", expected " in said
        assert f"found {value!r}" in said or isinstance(value, list)  # of a list, one of its values


BAD = [
    ({"data": {}}, "at least one training image"),
    ({"data": {"real": []}}, "at least one training image"),
    ({"data": {"real": ["b", "a", "b"]}}, "real: found ['b'], expected each image once"),
    ({"data": {"synthetic": 5, "removal": 1.5}}, "data.removal.person: found 1.5"),
    ({"data": {"synthetic": 5, "removal": {"car": -0.1}}}, "data.removal.car: found -0.1"),
    ({"data": {"synthetic": 5, "removal": "half"}}, "data.removal.person: found 'half'"),
    ({"data": {"synthetic": 5, "removal": {"cat": 0.1}}}, "data.removal: found 'cat', expected 'person', 'rider'"),
    ({"model": "pointrend_tiny"}, "missing field 'data'"),
    ({"data": {"real": 5}, "schedule": {"epochs": 5, "iterations": 9}}, "schedule: found 'epochs and iterations'"),
    ({"data": {"real": 5}, "schedule": {"epochs": 5}, "batch_size": 0}, "batch_size: found 0"),
    ({"schedule": {"epochs": 5}}, "missing field 'data'"),
    ({"data": {"reel": 5}}, "data: unknown field 'reel'; expected some of real, synthetic"),
    ({"data": {"real": 5}, "lr": 0.1}, "bad.yaml: unknown field 'lr'; expected some of model, data"),
    ({"data": {"real": 5}, 1: 2, "x": 3}, "bad.yaml: unknown field '1'"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_a_bad_spec_is_told(tmp_path, values, message):
    assert message in refusal(tmp_path / "bad.yaml", values)


def test_the_execution_of_an_older_run_is_still_read():
    """``job.json`` as it was before executions knew their executor."""
    on = {"name": "Cityscapes", "root": "/cs", "data": "f" * 16, "split": "val", "min_area_px": 100}
    old = {
        "real_root": "/cs", "synthetic_root": "", "cache_dir": "", "evaluate_on": [on], "initial_weights": "",
        "imagenet_weights": "", "device": "", "processes": 2, "loader_workers": 0, "threads": 1,
        "checkpoint_period": 100, "images_per_step": 0, "deterministic": True, "stage_dir": "",
    }  # fmt: skip
    execution = Execution(**old)
    assert (execution.processes, execution.executor, execution.evaluate_on[0].to_dict()) == (2, "local", on)
    assert Execution(**execution.to_dict()) == execution
    assert list(old) == [name for name in old if name in execution.to_dict()]


def test_the_paper_profile_is_the_papers_baseline():
    profile = Profile.load("paper")
    schedule = profile.schedule
    drops = [round(step * schedule.iterations) for step in schedule.steps]
    assert (schedule.iterations, schedule.base_lr, drops) == (24_000, 0.01, [18_000, 22_000])
    assert (profile.batch_size, profile.baseline_images, profile.execution.slurm.gpus) == (8, 2975, 4)


def test_settings_are_fields_of_sections_or_bare_grids_with_each_value_once():
    settings = {"thresholds": [0, 40, 0], "execution.slurm.gpus": 4, "seeds": [1, 0, 1], "data.folder": "/somewhere"}
    profile = Profile.load("demo").with_settings(settings)
    assert profile.grids.thresholds == (0, 40)
    assert (profile.execution.slurm.gpus, profile.seeds, profile.data.folder) == (4, (1, 0), "/somewhere")
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
        ({"execution.device": "CPU"}, "execution.device: found 'CPU', expected '', 'cpu' or 'cuda'"),
        ({"execution.stage_as": "arrays"}, "execution.*stage_as: found .arrays., expected a stage_dir to keep them in"),
        ({"runs": "$NOTHING/runs"}, r"runs: found '\$NOTHING/runs', expected .*; \$NOTHING is not set"),
        ({"data.cityscapes": "~no_one/cs"}, "data.cityscapes: found '~no_one/cs', expected .*; ~no_one is not set"),
        ({"data.synthetic.split": {"test": [1]}}, "data.synthetic.split: found 'test', expected 'train' or 'val'"),
        ({"data.synthetic.policy": {"orphan": "void"}}, "data.synthetic.policy: unknown field 'orphan'; expected"),
        ({"data.synthetic.format": "kitti"}, "data.synthetic.format: found 'kitti', expected 'synscapes', 'urbansyn'"),
        *(({"data.also_evaluate_on": {name: "/x"}}, f"also_evaluate_on: found '{name}', expected a name for tables and")
          for name in ("Cityscapes", "synscapes", "real", "a/b", "..")),
        ({"data": None}, "data: found None, expected a mapping of fields"),
        ({"data.toyscapes": {"height": 64, "width": 128}}, "data.toyscapes: missing field 'real'"),
        *(({f"data.{name}": value}, f"data.{name}: found {value}, expected {more}") for name, value, more in (
            ("toyscapes.height", 50, "at least 64"), ("toyscapes.width", 64, "128, twice"), ("min_area_px", -5, ""),
            ("toyscapes.real.train", -5, ""), ("toyscapes.synthetic.val", -1, ""), ("toyscapes.gap", 2.5, "at most 2"),
        )),
        ({"removal": {"tram": 30}}, "grids.removal: found 'tram', expected 'person', 'rider'"),
        ({"learning_rates": {"0.9": [0.1], 0.9: [0.2]}}, "learning_rates: found .*, expected each momentum once"),
        ({"fine_tuning_schedule": {"warmup_iterations": "1"}}, "grids.fine_tuning_schedule.warmup_iter.*: found '1'"),
        ({"fine_tuning_schedule": {"base_lr": 1}}, "fine_tuning_schedule: found 'base_lr', expected 'iterations'"),
        *(({name: value}, f"grids.{name}: found {value!r}, expected ") for name, value in (
            ("mixed_images", 0), ("pretraining_images", 1.5), ("mixed_epochs", 0), ("pretraining_epochs", "many"),
            ("tuned_learning_rate", 0), ("tuned_momentum", 1), ("tuned_momentum", -0.1),
        )),
    ],
)  # fmt: skip
def test_a_bad_setting_is_named(settings, message):
    """More wrong values are in faults/test_parameters.py, files of other content in faults/test_files.py."""
    with pytest.raises(ValueError, match=message) as caught:
        Profile.load("smoke").with_settings(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_of_the_repository_loads_and_is_read_back_equal(tmp_path, path):
    assert Profile.load(path.stem) == Profile.load(path).replace(name=path.stem)
    assert bool(Profile.load(path).data.toyscapes) == (path.stem != "paper")
    profile = Profile.load(path).with_settings({"epochs": [1, 2.5], "execution.slurm.setup": ["module load cuda"]})
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
    # Long ones that differ in their last value alone, on top of another long one
    removals = [dict.fromkeys(CLASSES, 10) | {"bicycle": last} for last in (10, 20)]
    names = {other.with_settings({"epochs": list(range(1, 99)), "removal": on}).reports_dir.name for on in removals}
    assert len(names) == 2 and max(map(len, names)) <= 255 - len(".tmp")


def test_settings_on_a_command_line_are_yaml():
    assert parse_settings(["seeds=[0, 1]", "data.cityscapes=/x=y"]) == {"seeds": [0, 1], "data.cityscapes": "/x=y"}
    with pytest.raises(ValueError, match="--set 'seeds': found 'seeds', expected NAME=VALUE"):
        parse_settings(["seeds"])
    with pytest.raises(ValueError, match=r"^--set 'thresholds=\[0': .*line 1.*$"):  # in one line
        parse_settings(["thresholds=[0"])
