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
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pycocotools import mask as coco_mask

from scapes import exchange, png
from scapes.__main__ import main
from scapes.cityscapes import read_images
from scapes.files import write_json
from scapes.labels import CLASSES, LABEL_IDS
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


def write_coco(folder: Path) -> None:
    """The same predictions as COCO results, with compressed and with plain run lengths, and what their ids are."""
    images = read_images(folder, "val", ["instance_path"])
    images["image_path"] = [f"val/ulm/{image_id}_leftImg8bit.png" for image_id in images["image_id"]]
    truth, plain = exchange.coco_truth(images), []
    truth["categories"] = [{"id": 8 - number, "name": name} for number, name in enumerate(CLASSES)]
    found = exchange.coco_predictions(images, exchange.read_submission(folder / "found", images))
    for item in found:
        item["category_id"] = 8 - LABEL_IDS.index(item["category_id"])
        pixels = coco_mask.decode(item["segmentation"]).ravel(order="F")
        ends = np.flatnonzero(np.diff(pixels, prepend=0, append=2))
        counts = np.diff(ends, prepend=0).tolist()
        plain.append(item | {"segmentation": item["segmentation"] | {"counts": counts}})
    for name, content in (("truth", truth), ("found", found), ("plain", plain)):
        write_json(folder / f"{name}.json", content)


def test_the_command_prints_the_official_ap(tmp_path, capsys):
    compared = 0
    for seed in range(40):
        place = tmp_path / str(seed)
        try:
            expected = write_case(np.random.default_rng(seed), place)
        except IndexError:  # the official evaluator fails where all predictions of a class are ignored
            continue
        ap = ["ap", str(place / "gtFine/val"), "--bootstrap", "2"]
        assert main([*ap, str(place / "found")]) == 0
        printed = capsys.readouterr().out
        assert [line.split()[1].replace("-", "nan") for line in printed.splitlines()[2:]] == expected, seed
        write_coco(place)
        for file in ("found.json", "plain.json"):
            assert main([*ap, str(place / file), "--annotations", str(place / "truth.json")]) == 0
            assert capsys.readouterr().out == printed, (seed, file)
        compared += 1
    assert compared > 10
    for given in (["found.json"], ["found", "--against", "found.json"]):
        with pytest.raises(SystemExit):
            main([*ap, *given])
        assert "found COCO results without --annotations, expected" in capsys.readouterr().err


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
