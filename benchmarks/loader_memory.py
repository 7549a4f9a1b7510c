"""What the training set's metadata cost in memory in all loader workers together, against Detectron2's lists.

Run: ``python benchmarks/loader_memory.py``. Tables of 25,000 images with 46 instances each are made up. After each of 4
and of 8 loading processes has gone through its share of an epoch, reading every box but no file, their proportional set
sizes are added up (a page that n processes share counts 1/n in each), less those of as many processes that have no
metadata. Detectron2 v0.6 gets what its Cityscapes reader makes, with run-length masks of 100 bytes, in both ways of its
``DatasetFromList``; as plain objects, for fewer images and scaled up, since these take gigabytes.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch.utils.data
from detectron2.data import DatasetFromList
from detectron2.structures import BoxMode

from seeded_rcnn.stream import TrainingSamples, batches, give_back_memory

INSTANCES, HEIGHT, WIDTH, BATCH = 46, 1024, 2048, 8
MIB = 1 << 20
VARIANTS = {
    "synlib": "synlib",
    "Detectron2, serialised (its default)": "serialised",
    "Detectron2, plain objects": "objects",
}
GOAL_MB = 200


class Nothing(torch.utils.data.Dataset):
    """No metadata: what a loading process takes anyhow."""

    def __getitem__(self, position: int) -> int:
        return position


class Looked(torch.utils.data.Dataset):
    """Every box of a Detectron2 data set is looked at, as its mapper does."""

    def __init__(self, dataset: DatasetFromList) -> None:
        self.dataset = dataset

    def __getitem__(self, position: int) -> float:
        return sum(sum(item["bbox"]) for item in self.dataset[position % len(self.dataset)]["annotations"])


def tables(images: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Image and instance table of made-up training images."""
    rng = np.random.default_rng(0)
    ids = [f"synscapes_{number:06d}" for number in range(images)]
    place = "/data/synscapes-harmonized/{}/train/synscapes/{}_{}.png"
    frame = pd.DataFrame({"dataset": "synscapes", "image_id": ids})
    frame["image_path"] = [place.format("leftImg8bit", name, "leftImg8bit") for name in ids]
    frame["instance_path"] = [place.format("gtFine", name, "gtFine_instanceIds") for name in ids]
    rows = pd.DataFrame({"dataset": "synscapes", "image_id": np.repeat(ids, INSTANCES)})
    rows["instance_id"] = 26000 + np.tile(np.arange(INSTANCES), images)
    rows["category"] = rng.integers(0, 8, len(rows))
    corners = rng.integers(0, (WIDTH, HEIGHT), (len(rows), 2))
    rows[["x0", "y0"]], rows[["x1", "y1"]] = corners, corners + rng.integers(1, 200, (len(rows), 2))
    return frame, rows


def dictionaries(images: int) -> list[dict[str, Any]]:
    """The same as Detectron2's Cityscapes reader gives it."""
    frame, rows = tables(images)
    boxes, categories = rows[["x0", "y0", "x1", "y1"]].to_numpy(float), rows["category"].tolist()
    rng = np.random.default_rng(0)
    return [
        {
            "file_name": row.image_path, "image_id": row.image_id, "height": HEIGHT, "width": WIDTH,
            "annotations": [
                {
                    "iscrowd": False, "category_id": categories[k], "bbox": boxes[k].tolist(),
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "segmentation": {"size": [HEIGHT, WIDTH], "counts": rng.bytes(100)},
                }
                for k in range(number * INSTANCES, (number + 1) * INSTANCES)
            ],
        }
        for number, row in enumerate(frame.itertuples())
    ]  # fmt: skip


def dataset_of(variant: str, images: int) -> torch.utils.data.Dataset:
    if variant == "synlib":
        return TrainingSamples(*tables(images), lambda row: {"sum": int(row["boxes"].sum())}, seed=0)
    if variant == "nothing":
        return Nothing()
    return Looked(DatasetFromList(dictionaries(images), copy=False, serialize=variant == "serialised"))


def measure(variant: str, images: int, workers: int) -> dict[str, float]:
    """MiB of all loading processes after an epoch, and milliseconds a sample in one of them."""
    dataset = dataset_of(variant, images)
    give_back_memory()  # what the data set was made from, as a training does before it starts its processes
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_sampler=batches(0, images // BATCH, BATCH),
        num_workers=workers,
        collate_fn=list,
        persistent_workers=True,
    )
    started = time.perf_counter()
    for _ in loader:
        pass
    milliseconds = 1000 * (time.perf_counter() - started) / images
    sizes = [child.memory_full_info().pss for child in psutil.Process().children()]
    return {"mib": sum(sizes) / MIB, "ms": milliseconds, "workers": len(sizes)}


def apart(*arguments: object) -> dict[str, float]:
    """:func:`measure` in a process of its own, which holds nothing of what was measured before."""
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=25_000)
    parser.add_argument("--fewer", type=int, default=2_500, help="images as plain objects, scaled to --images")
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--measure", nargs=3, metavar=("VARIANT", "IMAGES", "WORKERS"), help="used by the script")
    options = parser.parse_args(arguments)
    if options.measure:
        variant, images, workers = options.measure
        print(json.dumps(measure(variant, int(images), int(workers))))
        return
    print(f"{options.images} images of {INSTANCES} instances; MiB of metadata in all loading processes together")
    most = 0.0
    for workers in options.workers:
        for name, variant in VARIANTS.items():
            images = options.fewer if variant == "objects" else options.images
            with_data, without = apart(variant, images, workers), apart("nothing", images, workers)
            mib = (with_data["mib"] - without["mib"]) * options.images / images
            most = max(most, mib) if variant == "synlib" else most
            scaled = f" (scaled from {images} images)" if images != options.images else ""
            print(f"{workers} processes, {name}: {mib:.0f} MiB{scaled}; {with_data['ms']:.3f} ms a sample", flush=True)
    megabytes = most * MIB / 1e6
    print(f"at most {megabytes:.0f} MB, goal {GOAL_MB} MB: {'met' if megabytes <= GOAL_MB else 'missed'}")


if __name__ == "__main__":
    main()
