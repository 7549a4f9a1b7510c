"""Cityscapes AP: scapes against the official evaluator, on the same predictions and the same ground truth, in one run.

Run: ``python benchmarks/ap.py``. It generates 2048x1024 ground truth (four drawn streets per image) with 15-80
detections per image, and times both from the masks in memory to the final numbers, each as it is meant to be used, both
in one process and reading the ground truth from the same PNG files:

- official: write one PNG per mask and one text per image (as Detectron2's ``CityscapesInstanceEvaluator`` does), then
  ``evaluateImgLists``, run by ``tests.official``, which says what it has to replace for it to run;
- scapes: ``match_image``, then ``pool`` and ``average_precision``. Then the same for boundary AP, with bands of 0.5 %
  and 2 % of the diagonal.
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from scapes import png
from scapes.ap import average_precision
from scapes.instances import image_instances
from scapes.labels import INSTANCE_BASE, LABEL_IDS
from scapes.match import BAND, Records, match_image, pool
from scapes.predictions import Detections, from_masks
from toyscapes import draw_scene

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the official evaluator is a reference of the tests
from tests import official

HEIGHT, WIDTH = 1024, 2048


def draw_truth(index: int, seed: int) -> np.ndarray:
    """Four streets of half the size in one map, uint16 ``(1024, 2048)``: a busy Cityscapes image."""
    frame = np.zeros((HEIGHT, WIDTH), np.uint16)
    for part in range(4):
        scene = draw_scene("real", 4 * index + part, height=HEIGHT // 2, width=WIDTH // 2, seed=seed)
        ids = np.maximum(scene.instance_map, 0)
        y, x = HEIGHT // 2 * (part // 2), WIDTH // 2 * (part % 2)
        frame[y : y + HEIGHT // 2, x : x + WIDTH // 2] = np.where(ids < INSTANCE_BASE, ids, ids + 200 * part)
    return frame


def detect(truth: np.ndarray, instances: pd.DataFrame, image_id: str, rng: np.random.Generator) -> Detections:
    """15-80 detections: instances shifted by some pixels, a tenth of them of a wrong class, scored at random."""
    rows = instances.iloc[rng.integers(0, len(instances), rng.integers(15, 81))]
    masks = (np.roll(truth == row, rng.integers(-6, 7, 2), (0, 1)) for row in rows["instance_id"])
    category = rows["category"].to_numpy().copy()
    wrong = rng.random(len(category)) < 0.1
    category[wrong] = rng.integers(0, len(LABEL_IDS), wrong.sum())
    return from_masks(image_id, truth.shape, category, rng.random(len(category)), masks)


def write_official(masks: list[np.ndarray], detections: Detections, folder: Path) -> Path:
    """One image's full-frame uint8 masks as the official evaluator wants them; returns the text file."""
    lines = []
    for index, mask in enumerate(masks):
        name = f"{detections.image_id}_{index}.png"
        Image.fromarray(mask).save(folder / name)
        lines.append(f"{name} {LABEL_IDS[detections.category[index]]} {float(detections.score[index])}\n")
    path = folder / f"{detections.image_id}.txt"
    path.write_text("".join(lines))
    return path


def timed(function: Callable, repeats: int) -> tuple[float, object]:
    """Seconds of the fastest of ``repeats`` calls, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def copies(records: list[Records], count: int) -> list[Records]:
    """``count`` records with ids of their own."""
    return [dataclasses.replace(records[i % len(records)], image_id=np.array([f"{i:06d}"])) for i in range(count)]


def generate(images: int, seed: int, folder: Path) -> tuple[list[Path], list[int], list[Detections]]:
    """Written ground truth, its numbers of instances, and detections of ``images`` images."""
    rng = np.random.default_rng(seed)
    paths, truths, detections = [], [], []
    for index in range(images):
        truth = draw_truth(index, seed)
        paths.append(folder / f"truth_{index:03d}.png")
        png.write(paths[-1], truth)
        instances = pd.DataFrame(image_instances(truth))
        truths.append(len(instances))
        detections.append(detect(truth, instances, f"{index:03d}", rng))
    return paths, truths, detections


def time_official(paths: list[Path], detections: list[Detections], repeats: int, folder: Path):
    """Seconds of writing all masks, seconds of evaluating them, AP ``(8, 10)``."""
    texts, written = [], 0.0
    for item in detections:
        masks = [item.full_mask(index) * np.uint8(255) for index in range(len(item))]
        seconds, text = timed(lambda masks=masks, item=item: write_official(masks, item, folder), repeats)
        written += seconds
        texts.append(text)
    evaluated, result = timed(lambda: official.evaluate_files(paths, texts, folder), repeats)
    return written, evaluated, np.array(result["resultApMatrix"])[0]


def run(images: int, seed: int, repeats: int, folder: Path) -> None:
    """Time both and print what each step takes."""
    paths, truths, detections = generate(images, seed, folder)
    truths, found = sum(truths) / images, sum(map(len, detections)) / images
    print(f"{images} images of {WIDTH}x{HEIGHT}, {truths:.0f} ground truths and {found:.0f} detections per image")
    written, evaluated, expected = time_official(paths, detections, repeats, folder)
    peer = written + evaluated
    ms = 1e3 / images
    print(f"official: {peer * ms:.0f} ms per image ({written * ms:.0f} writing masks, {evaluated * ms:.0f} evaluating)")

    def match_all(band):
        return [
            match_image(png.read(path, "gray 16"), item, band=band)
            for path, item in zip(paths, detections, strict=True)
        ]

    matched, records = timed(lambda: match_all(0), 5 * repeats)
    of_bands = {band: timed(lambda band=band: match_all(band), 5 * repeats)[0] for band in (0.005, BAND)}
    pooled, result = timed(lambda: average_precision(pool(records)), 5 * repeats)
    decoded, _ = timed(lambda: [png.read(path, "gray 16") for path in paths], 5 * repeats)
    ours = matched + pooled
    print(f"scapes: {ours * ms:.1f} ms per image, {decoded / ours:.0%} of it decoding the ground truth's PNG")
    for band, seconds in of_bands.items():
        print(f"boundary AP, bands of {band:.1%}: {(seconds + pooled) * ms:.1f} ms per image")
    for count in (500, 5000):
        seconds, _ = timed(lambda count=count: average_precision(pool(copies(records, count))), 1)
        print(
            f"{count} images: {matched / images * count + seconds:.1f} s in one process, {seconds:.2f} s of it pooling"
        )
    print(f"with the official one's masks already on disk: {evaluated / ours:.0f}x")
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    print(f"speedup {peer / ours:.0f}x, max |dAP| {np.nanmax(np.abs(result - expected)):.1e}")


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2, help="take the fastest of so many (ours: 5x)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options.images, options.seed, options.repeats, Path(folder))


if __name__ == "__main__":
    main()
