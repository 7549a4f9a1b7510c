"""The run id: equal for equal specs, different for every difference that changes a result; bad specs name the field."""

import math
import random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scapes.labels import CLASSES
from synlib.spec import DataSpec, Execution, InputSpec, RunSpec, ScheduleSpec

DATA = DataSpec(real=20, synthetic=30, real_fingerprint="r", synthetic_fingerprint="s")
BASE = RunSpec(data=DATA)
CHANGES = {
    "data": {
        "real": 21, "synthetic": 31, "real_fingerprint": "x", "synthetic_fingerprint": "x", "removal": 0.1,
        "removed_as": "ignore", "emptied": "drop", "seed": 1,
    },
    "schedule": {
        "iterations": 23_999, "base_lr": 0.02, "momentum": 0.8, "weight_decay": 0.0, "policy": "cosine",
        "steps": (0.5,), "warmup_iterations": 7, "clip_gradient_norm": 1.0,
    },
    "input": {"train_short_px": (800,), "test_short_px": 800, "max_long_px": 1024},
    "spec": {
        "model": "pointrend_tiny", "init": "random", "batch_size": 4, "precision": "bf16", "seed": 1, "recipe": 99,
    },
}  # fmt: skip
SECTIONS = {"data": DataSpec, "schedule": ScheduleSpec, "input": InputSpec, "spec": RunSpec}


def changed(section: str, field: str, value) -> RunSpec:
    if section == "spec":
        return BASE.replace(**{field: value})
    if field == "removed_as":  # means nothing unless something is removed
        return BASE.replace(data=DATA.replace(removal=0.2, removed_as=value))
    return BASE.replace(**{section: getattr(BASE, section).replace(**{field: value})})


images = st.lists(st.text(), min_size=1, max_size=5, unique=True)
data = st.builds(
    DataSpec,
    real=st.integers(1, 3000) | images,
    synthetic=st.integers(0, 25_000) | st.just([]) | images,
    real_fingerprint=st.text("0123456789abcdef", max_size=8),
    removal=st.floats(0, 1) | st.dictionaries(st.sampled_from(CLASSES), st.floats(0, 1)),
    removed_as=st.sampled_from(["background", "ignore"]),
    emptied=st.sampled_from(["keep", "drop"]),
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


@given(spec=specs, shuffle=st.randoms())
def test_equal_specs_have_equal_ids(spec, shuffle: random.Random):
    def shuffled(values):
        if not isinstance(values, dict):
            return values
        return {key: shuffled(values[key]) for key in shuffle.sample(list(values), len(values))}

    text = yaml.safe_dump(shuffled(spec.to_dict()), sort_keys=False)
    again = RunSpec(**yaml.safe_load(text))
    assert (again, again.run_id, again.canonical()) == (spec, spec.run_id, spec.canonical())


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


@pytest.mark.parametrize(("used", "unused"), [("real", "synthetic"), ("synthetic", "real")])
def test_a_domain_without_images_leaves_no_trace(used, unused):
    plain = RunSpec(data=DataSpec(**{used: 5, f"{used}_fingerprint": "u"}))
    other = RunSpec(data=DataSpec(**{used: 5, f"{used}_fingerprint": "u", f"{unused}_fingerprint": "changed"}))
    assert other.run_id == plain.run_id


def test_removal_means_nothing_without_synthetic_images_and_what_removed_ones_become_nothing_without_removal():
    assert DataSpec(real=5, removal=0.3, removed_as="ignore") == DataSpec(real=5, removal=0.3) == DataSpec(real=5)
    assert DataSpec(synthetic=5, removed_as="ignore") == DataSpec(synthetic=5)
    assert DataSpec(synthetic=5, removal={"car": 0.1}, removed_as="ignore").to_dict()["removed_as"] == "ignore"


def test_ways_to_say_the_same_give_one_id():
    by_class = DataSpec(synthetic=5, removal=dict.fromkeys(CLASSES, 0.5))
    assert RunSpec(data=by_class).run_id == RunSpec(data=DataSpec(synthetic=5, removal=0.5)).run_id
    assert ScheduleSpec(momentum=0) == ScheduleSpec(momentum=0.0)
    assert ScheduleSpec(iterations=50) == ScheduleSpec(iterations=50, warmup_iterations=5)


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


def test_epochs_of_a_list_of_images_and_of_the_default_batch():
    values = {"data": {"real": ["a", "b", "c", "d"]}, "schedule": {"epochs": 10}}
    assert RunSpec(**values).schedule.iterations == 5
    assert values["schedule"] == {"epochs": 10}


BAD = {
    "data.real": ({"data": {"real": -1}}, "real: found -1"),
    "data.real of the wrong kind": ({"data": {"real": "20"}}, "real: found '20'"),
    "data.synthetic": ({"data": {"synthetic": 2.5}}, "synthetic: found 2.5"),
    "data.real boolean": ({"data": {"real": True}}, "real: found True"),
    "no images": ({"data": {}}, "at least one training image"),
    "data.removal": ({"data": {"synthetic": 5, "removal": 1.5}}, "data.removal.person: found 1.5"),
    "data.removal class": ({"data": {"synthetic": 5, "removal": {"cat": 0.1}}}, "data.removal: unknown class 'cat'"),
    "data.removal text": ({"data": {"synthetic": 5, "removal": "half"}}, "data.removal.person: found 'half'"),
    "data.emptied": ({"data": {"real": 5, "emptied": "remove"}}, "emptied: found 'remove'"),
    "data.removed_as": ({"data": {"real": 5, "removed_as": "void"}}, "removed_as: found 'void'"),
    "data.seed": ({"data": {"real": 5, "seed": -1}}, "seed: found -1"),
    "data.fingerprint": ({"data": {"real": 5, "real_fingerprint": 12}}, "real_fingerprint: found 12"),
    "data.real with another kind": ({"data": {"real": ["a", 5]}}, "real: found .*expected image ids as text"),
    "data.real twice": ({"data": {"real": ["b", "a", "b"]}}, r"real: found \['b'\], expected each image once"),
    "empty lists": ({"data": {"real": []}}, "at least one training image"),
    "data unknown": ({"data": {"reel": 5}}, "data: unknown field 'reel'; expected some of real, synthetic"),
    "data no mapping": ({"data": [1]}, r"data: found \[1\], expected a mapping"),
    "data missing": ({"model": "pointrend_tiny"}, "missing .*'data'"),
    "iterations": ({"schedule": {"iterations": 0}}, "iterations: found 0"),
    "iterations text": ({"schedule": {"iterations": "many"}}, "iterations: found 'many'"),
    "base_lr": ({"schedule": {"base_lr": 0}}, "base_lr: found 0"),
    "base_lr text": ({"schedule": {"base_lr": "1e-3"}}, "base_lr: found '1e-3', expected .* such as 0.001 or 1.0e-3"),
    "base_lr nan": ({"schedule": {"base_lr": math.nan}}, "base_lr: found nan"),
    "momentum": ({"schedule": {"momentum": 1.0}}, "momentum: found 1.0"),
    "weight_decay": ({"schedule": {"weight_decay": -1e-4}}, "weight_decay: found -0.0001"),
    "policy": ({"schedule": {"policy": "linear"}}, "policy: found 'linear'"),
    "steps order": ({"schedule": {"steps": [0.9, 0.5]}}, "steps: found"),
    "steps range": ({"schedule": {"steps": [18000]}}, "steps: found"),
    "steps no list": ({"schedule": {"steps": 0.5}}, "steps: found 0.5, expected a list"),
    "steps text": ({"schedule": {"steps": ["late"]}}, "steps: found"),
    "warmup": ({"schedule": {"warmup_iterations": -1}}, "warmup_iterations: found -1"),
    "clip": ({"schedule": {"clip_gradient_norm": "5"}}, "clip_gradient_norm: found '5'"),
    "epochs": ({"schedule": {"epochs": 0}}, "schedule.epochs: found 0"),
    "epochs text": ({"schedule": {"epochs": "5"}}, "schedule.epochs: found '5'"),
    "epochs twice": ({"schedule": {"epochs": 5, "iterations": 9}}, "schedule: found 'epochs and iterations'"),
    "epochs of a bad batch": ({"schedule": {"epochs": 5}, "batch_size": 0}, "batch_size: found 0"),
    "epochs without data": ({"schedule": {"epochs": 5}}, "missing .*'data'"),
    "schedule unknown": ({"schedule": {"lr": 1}}, "schedule: unknown field 'lr'"),
    "sizes": ({"input": {"train_short_px": [16]}}, "train_short_px: found 16"),
    "sizes no list": ({"input": {"train_short_px": 800}}, "train_short_px: found 800"),
    "sizes none": ({"input": {"train_short_px": []}}, "train_short_px: found"),
    "test size": ({"input": {"test_short_px": 1024.0}}, "test_short_px: found 1024.0"),
    "long side": ({"input": {"max_long_px": None}}, "max_long_px: found None"),
    "model": ({"model": ""}, "model: found ''"),
    "init": ({"init": "coco"}, "init: found 'coco', expected .*imagenet\\|random\\|run"),
    "init number": ({"init": 5}, "init: found 5"),
    "batch_size": ({"batch_size": 0}, "batch_size: found 0"),
    "precision": ({"precision": "float16"}, "precision: found 'float16', expected 'float32', 'tf32', 'bf16' or 'fp16'"),
    "seed": ({"seed": 2**31}, "seed: found 2147483648"),
    "recipe": ({"recipe": "new"}, "recipe: found 'new'"),
    "unknown": ({"learning_rate": 0.1}, "bad.yaml: unknown field 'learning_rate'; expected some of model, data"),
    "unknown number": ({1: 2, "x": 3}, "bad.yaml: unknown field '1'"),
}


@pytest.mark.parametrize(("values", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_spec_names_file_and_field(tmp_path, values, message):
    path = tmp_path / "bad.yaml"
    complete = values if "missing" in message else {"data": {"real": 5}, **values}
    path.write_text(yaml.safe_dump(complete))
    with pytest.raises(ValueError, match=message) as caught:
        RunSpec.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- b\n", "", "a: [1\n", "plain text"])
def test_what_is_no_mapping_is_named(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.yaml: ") as caught:
        RunSpec.load(path)
    assert "\n" not in str(caught.value)


def test_the_papers_baseline():
    """Section 3.3: 24,000 iterations of 8 images from 2,975, 0.01, a tenth after 18,000 and 22,000."""
    spec = RunSpec(data=DataSpec(real=2975))
    assert [round(step * spec.schedule.iterations) for step in spec.schedule.steps] == [18_000, 22_000]
    assert spec.epochs == pytest.approx(64.5, abs=0.05)


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
