"""Every option that takes a path x every way to write one: it means that folder, and one without rights is told."""

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pandas as pd
import pytest

from scapes import cityscapes
from scapes.instances import fingerprint, instance_table
from scapes.staging import staged
from seeded_rcnn.mapper import InstanceMapper
from seeded_rcnn.stream import TrainingSamples
from synlib.profile import Profile
from synlib.runs.store import RunStore
from synlib.spec import DataSpec, RunSpec
from synlib.study import notebooks
from synlib.study.study import Study
from tests import tiny_data
from tests.faults.campaign import nobody, refusal
from tests.workers import command

WAYS = {
    "plain": ("{place}/x", "x"),
    "blank": ("{place}/my data", "my data"),
    "letters": ("{place}/Zürich-データ", "Zürich-データ"),
    "signs": ("{place}/it's (a) 100%", "it's (a) 100%"),
    "home": ("~/x", "x"),
    "variable": ("$PLACE/x", "x"),
    "relative": ("x", "x"),
    "link": ("{place}/link", "x"),
    "read-only": ("{place}/x", "x"),
}
"""Way -> how a path is written, and the name in the test's folder that it means."""
SPEC = RunSpec(data=DataSpec(real=5))
TOY = "data: {toyscapes: {height: 64, width: 128, real: {train: 1, val: 1}, synthetic: {train: 1, val: 1}}}\n"
real_data, raw = functools.partial(tiny_data.write_cityscapes, train=2, val=1), tiny_data.write_synscapes
PROFILE = f"model: pointrend_tiny\nbaseline_images: 1\n{TOY}"


def smoke(place: Path, **settings: object) -> Profile:
    given = {"data.folder": place / "derived", "runs": place / "runs"} | settings
    return Profile.load("smoke").with_settings({name: str(value) for name, value in given.items()})


def of_study(place: Path, **settings: str) -> Study:
    """Of 3 real and 5 synthetic images."""
    domains = {"data.cityscapes": real_data(place / "real"), "data.synthetic.root": raw(place / "raw")}
    return Study.open(smoke(place, **domains | settings))


def setting(name: str, use: Callable[[Study], Path | None]) -> Callable[[Path, str], Path | None]:
    return lambda place, value: use(of_study(place, **{name: value}))


def stage(place: Path, value: str) -> Path:
    root = tiny_data.write_cityscapes(place / "real", train=1)
    images = cityscapes.read_images(root, "train")
    return Path(staged(images, root, value, fingerprint(images))["image_path"][0]).parents[4]


def save(place: Path, value: str) -> None:
    shown = SimpleNamespace(tables={"figure": pd.DataFrame({"x": [1]})})
    Study.save(SimpleNamespace(profile=smoke(place, figures=value)), shown)


def report(place: Path, value: str) -> None:
    notebooks.execute_all(SimpleNamespace(profile=smoke(place, reports=value)), [], set(), keep_going=False)


def draw(place: Path, value: str) -> None:
    (place / "mine.yaml").write_text(PROFILE)
    command("toyscapes", "--profile", place / "mine.yaml", "--set", f"data.folder={value}")


class Option(NamedTuple):
    """``use(place, value)`` uses the option; what it is given is made by ``make``, and what it writes is ``left``.

    Without ``left``, it gives the path that it has used, or nothing if it fails where there is another one.
    """

    use: Callable[[Path, str], Path | str | None]
    make: Callable[[Path], object] = Path.mkdir
    left: str = ""


def runs(place: Path, value: str) -> None:
    RunStore(smoke(place, runs=value).runs_dir).run(SPEC).create(SPEC)


def listed(place: Path, value: str) -> None:
    assert SPEC.run_id in command("runs", "--runs", value)


def sample(study: Study) -> None:
    images = study.sources.images("real", "train")
    table = instance_table(images, workers=1)
    assert TrainingSamples(images, table, InstanceMapper([], "BGR"), 0)[0]["instances"]


OPTIONS = {
    "data.cityscapes": Option(setting("data.cityscapes", lambda study: study.sources.roots["real"]), real_data),
    "training on data.cityscapes": Option(setting("data.cityscapes", sample), real_data),
    "data.synthetic.root": Option(setting("data.synthetic.root", lambda study: study.sources.raw["synthetic"]), raw),
    "execution.imagenet_weights": Option(
        setting("execution.imagenet_weights", lambda study: Path(study.execution().imagenet_weights)), Path.touch
    ),
    "--on": Option(lambda place, value: Path(of_study(place).sources.evaluation_set(value).root), real_data),
    "verify ROOT": Option(lambda place, value: command("verify", value), real_data),
    "harmonize SOURCE": Option(lambda place, value: command("harmonize", value, place / "out", "--workers", "1"), raw),
    "--profile": Option(
        lambda place, value: command("toyscapes", "--profile", f"{value}/m.yaml", "--set", f"data.folder={place}/toy"),
        lambda path: (path.mkdir(), (path / "m.yaml").write_text(PROFILE)),
    ),
    "--runs": Option(listed, lambda path: RunStore(path).run(SPEC).create(SPEC)),
    "harmonize TARGET": Option(
        lambda place, value: command("harmonize", raw(place / "raw"), value, "--workers", "1"),
        left="harmonized.json",
    ),
    "--set data.folder": Option(draw, left="cityscapes/toyscapes.json"),
    "runs": Option(runs, left=f"{SPEC.run_id}/spec.yaml"),
    "figures": Option(save, left="figure.csv"),
    "reports": Option(report, left="profile.yaml"),
    "execution.stage_dir": Option(stage, left="*/leftImg8bit/train/*/*.png"),
}
CASES = [(option, way) for option in OPTIONS for way in WAYS]


@pytest.mark.parametrize(("name", "way"), CASES, ids=map("-".join, CASES))
def test_a_path_means_what_it_says(place, monkeypatch, name, way):
    option, (written, meant) = OPTIONS[name], WAYS[way]
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("PLACE", str(place))
    monkeypatch.chdir(place)
    folder, value = place / meant, written.format(place=place)
    option.make(folder)
    (place / "link").symlink_to(meant)
    readonly = way == "read-only"
    folder.chmod(0o555 if readonly else 0o777)
    with nobody() if readonly else contextlib.nullcontext():
        if (readonly and option.left) or (name, way) == ("execution.stage_dir", "relative"):
            refusal(lambda: option.use(place, value), folder, f"found {value}")
        else:
            used = option.use(place, value)
            assert not isinstance(used, Path) or os.path.samefile(used, folder)
            assert not option.left or list(folder.glob(option.left))
    assert not {"~", "$PLACE"} & {path.name for path in place.iterdir()}
