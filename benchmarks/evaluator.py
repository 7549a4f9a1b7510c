"""Cityscapes AP in Detectron2: its ``CityscapesInstanceEvaluator`` against the one in the README of scapes.

Run: ``python benchmarks/evaluator.py``. It generates the images and detections of ``benchmarks/ap.py``, hands both the
same outputs of a model, and times them from ``reset`` to ``evaluate``. The code is read from that README. The same
detections must give the same AP as COCO results, and how long reading these takes is printed, too. What Detectron2's
needs to run on current NumPy is said in ``tests/official.py``.
"""

import argparse
import contextlib
import io
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ap import detect, draw_truth
from detectron2.data import MetadataCatalog
from detectron2.evaluation import CityscapesInstanceEvaluator, DatasetEvaluator
from detectron2.structures import Instances

from scapes import png
from scapes.ap import average_precision, summary
from scapes.cityscapes import read_images
from scapes.exchange import coco_predictions, coco_truth, read_coco
from scapes.files import write_json
from scapes.instances import image_instances
from scapes.labels import CLASSES
from scapes.match import match_data_set
from scapes.predictions import read_predictions, write_predictions

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the official evaluator is a reference of the tests
from tests import official

README = Path(__file__).parents[1] / "libs/scapes/README.md"


def generate(root: Path, images: int, seed: int) -> list[tuple[dict, dict]]:
    """Write ground truth below ``root``; an input and an output of a model for each image."""
    rng, cases = np.random.default_rng(seed), []
    for index in range(images):
        truth = draw_truth(index, seed)
        image_id = f"ulm_{index:06d}_000019"
        png.write(root / f"gtFine/val/ulm/{image_id}_gtFine_instanceIds.png", truth)
        found = detect(truth, pd.DataFrame(image_instances(truth)), image_id, rng)
        masks = torch.as_tensor(np.stack([found.full_mask(number) for number in range(len(found))]))
        fields = {"pred_classes": torch.as_tensor(found.category).long(), "scores": torch.as_tensor(found.score)}
        output = Instances(truth.shape, pred_masks=masks, **fields)
        cases.append(({"file_name": f"leftImg8bit/val/ulm/{image_id}_leftImg8bit.png"}, {"instances": output}))
    return cases


def timed(evaluator: DatasetEvaluator, cases: list[tuple[dict, dict]]) -> tuple[float, dict[str, float]]:
    """Seconds, and what the evaluator returns."""
    start = time.perf_counter()
    evaluator.reset()
    for given, output in cases:
        evaluator.process([given], [output])
    found = evaluator.evaluate()["segm"]
    return time.perf_counter() - start, found


def through_coco(root: Path) -> tuple[float, float]:
    """Seconds of reading the same detections from COCO results, and their AP in percent."""
    images = read_images(root, "val", ["instance_path"])
    images["image_path"] = [f"ulm/{image_id}_leftImg8bit.png" for image_id in images["image_id"]]
    results = coco_predictions(images, read_predictions(root / "predictions.parquet"))
    write_json(root / "truth.json", coco_truth(images))
    write_json(root / "results.segm.json", results)
    start = time.perf_counter()
    write_predictions(root / "again.parquet", read_coco(root / "results.segm.json", images, root / "truth.json"))
    seconds = time.perf_counter() - start
    records = match_data_set(images, root / "again.parquet", progress=False)
    return seconds, 100 * summary(average_precision(records))[-1, 0]


def main(images: int, seed: int, root: Path) -> None:
    """Time both, one after the other, and print the ratio."""
    cases = generate(root, images, seed)
    examples = re.findall("```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    defined: dict = {}
    exec(next(text for text in examples if "DatasetEvaluator" in text), defined)
    MetadataCatalog.get("drawn").set(gt_dir=str(root / "gtFine/val"), thing_classes=list(CLASSES))
    with official.runnable(), contextlib.redirect_stdout(io.StringIO()):
        seconds, theirs = timed(CityscapesInstanceEvaluator("drawn"), cases)
    own_seconds, ours = timed(defined["CityscapesAP"](root, file=root / "predictions.parquet"), cases)
    ms = 1e3 / images
    print(f"{images} images, ms an image: Detectron2 {ms * seconds:.0f}, scapes {ms * own_seconds:.0f}")
    coco_seconds, again = through_coco(root)
    print(f"COCO results of as many images: read in {ms * coco_seconds:.0f} ms an image")
    np.testing.assert_allclose([ours["AP"], again], theirs["AP"], rtol=0, atol=1e-9)
    print(f"AP {ours['AP']:.2f}, |dAP| {abs(ours['AP'] - theirs['AP']):.1e}, {seconds / own_seconds:.1f} times as fast")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        main(arguments.images, arguments.seed, Path(folder))
