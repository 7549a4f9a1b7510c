"""scapes by itself: its command, its wheel in an environment without the compendium, and its README's examples."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import numpy as np
import pandas as pd
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scapes import png
from scapes.__main__ import main
from scapes.labels import CLASSES
from scapes.synthetic import split_images
from tests import official
from tests.cases import draw_data_set
from tests.test_layers import imported

SOURCE = Path(__file__).parents[2] / "libs/scapes"


def write_case(rng: np.random.Generator, folder: Path) -> list[str]:
    """Ground truth in ``gtFine/val`` and predictions in ``found``; official AP of classes and the mean, as printed."""
    (folder / "found").mkdir(parents=True)
    paths, predictions, _ = draw_data_set(rng, folder, 3)
    truths, texts = [], []
    for number, (path, items) in enumerate(zip(paths, predictions, strict=True)):
        image_id = f"ulm_{number:06d}_000019"
        truths.append(folder / f"gtFine/val/ulm/{image_id}_gtFine_instanceIds.png")
        png.write(truths[-1], np.kron(png.read(path, "gray 16"), np.ones((12, 12), np.uint16)))  # over 100 px each
        for index, (_, _, mask) in enumerate(items):
            png.write(folder / f"found/{image_id}_{index}.png", np.kron(mask, np.ones((12, 12), np.uint8)))
        texts.append(folder / f"found/{image_id}_pred.txt")
        texts[-1].write_text("".join(f"{image_id}_{i}.png {item[0]} {item[1]}\n" for i, item in enumerate(items)))
    found = official.evaluate_files(truths, texts, folder / "found")["averages"]
    return [f"{100 * ap:.1f}" for ap in (*(found["classes"][name]["ap"] for name in CLASSES), found["allAp"])]


def test_the_command_prints_the_official_ap(tmp_path, capsys):
    compared = 0
    for seed in range(40):
        place = tmp_path / str(seed)
        try:
            expected = write_case(np.random.default_rng(seed), place)
        except IndexError:  # the official evaluator fails where all predictions of a class are ignored
            continue
        assert main(["ap", str(place / "gtFine/val"), str(place / "found"), "--bootstrap", "2"]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
        assert [row[1].replace("-", "nan") for row in rows] == expected, seed
        compared += 1
    assert compared > 10


def test_the_wheel_is_complete_and_needs_what_it_declares(tmp_path):
    """In an environment of its own; dependencies are the present ones, and each that is imported is declared."""
    names = {name.split(".")[0] for path in SOURCE.glob("*.py") for name in imported(path)}
    distributions = importlib.metadata.packages_distributions()
    needed = {canonicalize_name(distributions[name][0]) for name in names - {"scapes", *sys.stdlib_module_names}}
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    assert needed == {Requirement(dependency).name for dependency in project["dependencies"]}
    shutil.copytree(SOURCE, tmp_path / "source")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    alone = {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"]}, "check": True, "capture_output": True, "text": True}
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, tmp_path / "source"], **alone)
    venv.create(tmp_path / "env")
    python, (wheel,) = tmp_path / "env/bin/python", tmp_path.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], **alone)
    (site,) = tmp_path.glob("env/lib/*/site-packages")
    (site / "present.pth").write_text(sysconfig.get_path("purelib"))
    expected = write_case(np.random.default_rng(1), tmp_path / "case")
    ran = subprocess.run([python, "-m", "scapes", "ap", "case/gtFine/val", "case/found"], **alone)
    assert ran.stdout.splitlines()[-1].split()[1] == expected[-1]
    said = subprocess.run([python, "-c", "import scapes, sys; print(scapes.__file__, 'torch' in sys.modules)"], **alone)
    assert said.stdout.split() == [str(site / "scapes/__init__.py"), "False"]
    splits = dict(line.split(" ", 1) for line in (site / "scapes/splits/synscapes.txt").read_text().splitlines()[1:])
    found = pd.DataFrame(split_images("root", range(1, 25_001)), columns=["split", "id"]).groupby("split")["id"]
    assert splits == {split: f"{ids.min()} {ids.max()}" for split, ids in found}
