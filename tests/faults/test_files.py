"""Every file that the study keeps or a user writes x every damage: a sentence that names it, or it is made again."""

import contextlib
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import toyscapes
from scapes import cityscapes, exchange, files
from scapes.bootstrap import read_draws
from scapes.instances import fingerprint, instance_table
from scapes.match import match_data_set, read_records, write_records
from scapes.predictions import Detections, read_predictions, write_predictions
from seeded_rcnn import weights
from synlib.curation.harmonize import harmonize_dataset
from synlib.profile import ROOT, Profile
from synlib.runs.folder import RunDir
from synlib.spec import DataSpec, Execution, RunSpec
from tests import tiny_data
from tests.faults.campaign import BINARY, TEXT, listing, nobody, refusal

SPEC = RunSpec(data=DataSpec(real=5))
RUN = f"runs/{SPEC.run_id}/"
EVALUATION = RUN + "evaluations/Cityscapes/"
TOY = {"train": 1, "val": 1, "height": 64, "width": 128, "workers": 1}


@pytest.fixture(scope="session")
def kept(tmp_path_factory) -> Path:
    """One of each file."""
    root = tmp_path_factory.mktemp("kept")
    real = tiny_data.write_cityscapes(root / "real", train=2, val=2)
    images = cityscapes.read_images(real, "val")
    instance_table(images, root / "tables", workers=1)
    toyscapes.write_cityscapes(root / "toy", **TOY)
    harmonized(tiny_data.write_synscapes(root / "raw").parent)
    run = RunDir(root / "runs" / SPEC.run_id)
    run.create(SPEC)
    for name in ("result", "status", "failure", "slurm"):
        run.write(f"{name}.json", {"stage": "train", "done": 1, "total": 2, "reason": "no space", "job": "7"})
    run.write("job.json", Execution(real_root=str(real)).to_dict())
    ap = {"identity": {"split": "val"}, "ap": [[0.5] * 10] * 8, "mean": 0.5, "ap50": 0.5}
    run.write("evaluations/Cityscapes/result.json", ap)
    mask = np.ones((3, 4), bool)
    found = [Detections(i, (12, 16), [2], [0.5], [[0, 0, 4, 3]], [mask]) for i in images["image_id"]]
    write_predictions(root / EVALUATION / "predictions.parquet", found)
    records = match_data_set(images, root / EVALUATION / "predictions.parquet", workers=1)
    write_records(root / EVALUATION / "records.npz", records)
    read_draws(root / EVALUATION / "records.npz")
    exchange.write_submission(found, root / "out.zip", images)
    files.write_json(root / "truth.json", exchange.coco_truth(images))
    files.write_json(root / "found.json", exchange.coco_predictions(images, found))
    torch.save({"model": {"weight": torch.ones(2, 2)}, "iteration": 3}, run.path / "model_final.pth")
    (root / "R-50.pkl").write_bytes(pickle.dumps({"conv1_w": np.ones(3)}))
    shutil.copy(ROOT / "profiles/smoke.yaml", root / "mine.yaml")
    SPEC.save(root / "train.yaml")
    return root


def harmonized(root: Path) -> dict:
    return harmonize_dataset(root / "raw", root / "harmonized", images="copy", workers=1)


def table(root: Path) -> int:
    images = cityscapes.read_images(root / "real", "val")
    return len(instance_table(images, root / "tables", workers=1)), fingerprint(images, root / "tables")


def submission(path: Path) -> Any:
    images = cityscapes.read_images(path.parent / "real", "val")
    return [item.score.tolist() for item in exchange.read_submission(path, images)]


def coco(path: Path) -> Any:
    images = cityscapes.read_images(path.parent / "real", "val")
    found = exchange.read_coco(path.with_name("found.json"), images, path.with_name("truth.json"))
    return [item.score.tolist() for item in found]


def of_run(read: Callable[..., Any], *given: str) -> Callable[[Path], Any]:
    return lambda path: read(RunDir(next(folder for folder in path.parents if folder.name == SPEC.run_id)), *given)


SAME = object()
ALWAYS = dict.fromkeys([name for damages in TEXT.values() for name in damages], SAME)
REPLACED = {name: SAME for name in ALWAYS if name not in ("folder", "no permission")}
GONE = {"missing": None, "link to nothing": None}


class Reader(NamedTuple):
    """What reads a file, and the damages after which it gives something, by default what it gave before."""

    file: str  # or a pattern of its name
    read: Callable[[Path], Any]
    gives: Mapping[str, Any] = {}
    damages: dict[str, dict[str, Callable[[Path], None]]] = TEXT
    folder: bool = False  # a sentence may name its folder instead


READERS = {
    "predictions": Reader(EVALUATION + "predictions.parquet", lambda path: [*read_predictions(path)], damages=BINARY),
    "records": Reader(EVALUATION + "records.npz", read_records, damages=BINARY),
    "draws of records": Reader(EVALUATION + "records.npz", read_draws, damages=BINARY),
    "draws": Reader(
        EVALUATION + "draws.npz", lambda path: read_draws(path.with_name("records.npz")).truth, ALWAYS, BINARY
    ),
    "evaluation": Reader(
        EVALUATION + "result.json",
        of_run(lambda run: run.evaluation_result("Cityscapes", {"split": "val"})),
        GONE | {"empty object": None},
    ),
    "spec": Reader(RUN + "spec.yaml", of_run(lambda run: run.check(SPEC)), GONE | {"link to itself": None}),
    **{
        f"run's {name}": Reader(f"{RUN}{name}.json", of_run(RunDir.read, f"{name}.json"), GONE | {"empty object": {}})
        for name in ("job", "result", "slurm")
    },
    "progress": Reader(RUN + "status.json", of_run(RunDir.progress), {name: {} for name in ALWAYS}),
    "manifest": Reader("harmonized/harmonized.json", lambda path: harmonized(path.parents[1]), folder=True),
    "manifest of a tree": Reader(
        "harmonized/harmonized.json", lambda path: len(cityscapes.read_images(path.parent, "train")), {"missing": 4}
    ),
    "drawn": Reader("toy/toyscapes.json", lambda path: toyscapes.write_cityscapes(path.parent, **TOY), folder=True),
    "instance table": Reader("tables/*.parquet", lambda path: table(path.parents[1]), REPLACED, folder=True),
    "fingerprint": Reader("tables/fingerprint-*.txt", lambda path: table(path.parents[1]), REPLACED),
    "submission": Reader("out.zip", submission, damages=BINARY),
    "COCO results": Reader("found.json", coco),
    "COCO annotations": Reader("truth.json", coco),
    "final weights": Reader(RUN + "model_final.pth", weights.read_weights, damages=BINARY),
    "ImageNet weights": Reader("R-50.pkl", weights.read_weights, damages=BINARY),
    "profile": Reader("mine.yaml", Profile.load),
    "spec of a user": Reader("train.yaml", RunSpec.load),
}
CASES = [(name, kind, how) for name, reader in READERS.items() for kind, of in reader.damages.items() for how in of]


@pytest.mark.parametrize(("name", "kind", "damage"), CASES, ids=map("-".join, CASES))
def test_a_damaged_file(place, kept, name, kind, damage):
    reader = READERS[name]
    root = shutil.copytree(kept, place / "kept", symlinks=True)
    root.chmod(0o755)  # pytest's folders are of its user alone
    before = reader.read(next(root.glob(reader.file)))
    path = max(root.glob(reader.file), key=os.path.getctime)  # of fingerprints, the one that was made in this place
    reader.damages[kind][damage](path)
    there = listing(root)
    with nobody() if damage == "no permission" else contextlib.nullcontext():
        if damage in reader.gives:
            assert reader.read(path) == (before if reader.gives[damage] is SAME else reader.gives[damage])
        else:
            refusal(lambda: reader.read(path), path, *[path.parent] * reader.folder)
    if damage not in reader.gives:
        assert listing(root) == there
