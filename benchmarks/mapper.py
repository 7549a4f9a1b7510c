"""From files to model input: ``InstanceMapper`` against Detectron2 v0.6's ``DatasetMapper``, on the same draws.

Run: ``python benchmarks/mapper.py``. It draws busy images of 2048x1024 (four drawn streets each; those with 40 to 52
instances are used) and maps them with both, in one process and one thread, image by image in turn, with the paper's
augmentation (short side 800 to 1024 px in steps of 32, long side at most 2048 px, flip) and the same random numbers.
Detectron2 gets what its Cityscapes reader makes: a box and a run-length mask an instance, ``MASK_FORMAT: bitmask``.

``InstanceMapper`` leaves the masks of all instances in one label map, of which the model makes full frames where it
needs them, on its device. The last line is about what the two mappers return; a line before it adds the time to make
all full frames on the CPU. Two lines are about a model's targets of 128 foreground proposals an image, drawn around the
instances: from label maps, and from full frames as Detectron2 makes them; that both are equal is checked.
"""

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.projects.point_rend.point_features import sample_point_labels
from detectron2.structures import BitMasks, BoxMode, Instances
from instance_table import HEIGHT, WIDTH, write_tree
from pycocotools import mask as coco_mask

from scapes import cityscapes, png
from scapes.instances import fingerprint, image_instances
from scapes.staging import staged
from seeded_rcnn.mapper import InstanceMapper, read_instance_map, read_photo


def samples_of(root: Path, fewest: int, most: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Images of that many instances, each as a dictionary of Detectron2's data set, and as a row of ours."""
    samples = []
    for image in cityscapes.read_images(root, "train").itertuples():
        instance_map = png.read(image.instance_path, "gray 16")
        table = pd.DataFrame(image_instances(instance_map))
        table = table[~table["crowd"]]
        if fewest <= len(table) <= most:
            samples.append((_annotated(image.image_path, instance_map, table), _row(image, table)))
    return samples


def _annotated(path: str, instance_map: np.ndarray, table: pd.DataFrame) -> dict[str, Any]:
    annotations = [
        {
            "bbox": [float(row.x0), float(row.y0), float(row.x1), float(row.y1)],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": int(row.category),
            "segmentation": coco_mask.encode(np.asfortranarray((instance_map == row.instance_id).astype(np.uint8))),
        }
        for row in table.itertuples()
    ]
    height, width = instance_map.shape
    return {"file_name": path, "height": height, "width": width, "annotations": annotations}


def _row(image: Any, table: pd.DataFrame) -> dict[str, Any]:
    return {
        "image_path": image.image_path,
        "instance_path": image.instance_path,
        "instance_id": table["instance_id"].to_numpy(np.int32),
        "category": table["category"].to_numpy(np.int8),
        "boxes": table[["x0", "y0", "x1", "y1"]].to_numpy(np.int32),
    }


def digest(sample: dict[str, Any]) -> list[tuple]:
    """Type, shape and content of what the model gets, without keeping its memory: fresh pages would cost the other."""
    found = sample["instances"]
    tensors = sample["image"], found.gt_boxes.tensor, found.gt_classes, found.gt_masks.tensor
    return [(x.dtype, x.shape, hashlib.sha256(x.contiguous().numpy()).digest()) for x in tensors]


def timed(seconds: list[float], function: Any, *arguments: Any) -> Any:
    start = time.perf_counter()
    result = function(*arguments)
    seconds.append(time.perf_counter() - start)
    return result


TARGETS = (
    "labels at 196 points a proposal, from label maps", "from full frames",
    "masks of 28x28 px a proposal, from label maps", "from full frames, one a proposal",
)  # fmt: skip


def targets(seconds: dict[str, list[float]], found: Instances) -> bool:
    """Time the making of all targets of PointRend's point loss and of Mask R-CNN's mask loss; are they equal?"""
    choice = torch.randint(len(found), (128,))
    masks, boxes = found.gt_masks[choice], found.gt_boxes[choice].clone()
    boxes.tensor += torch.randn(128, 4)
    boxes.clip(found.image_size)
    low, high = boxes.tensor[:, None].split(2, 2)
    points = low + torch.rand(128, 196, 2) * (high - low)
    results = [
        timed(seconds[TARGETS[0]], masks.at, points),
        timed(seconds[TARGETS[1]], sample_point_labels, [Instances(found.image_size, gt_masks=masks)], points),
        timed(seconds[TARGETS[2]], masks.crop_and_resize, boxes.tensor, 28),
        timed(seconds[TARGETS[3]], lambda: BitMasks(masks.tensor).crop_and_resize(boxes.tensor, 28)),
    ]
    return torch.equal(*results[:2]) and torch.equal(*results[2:])


def decode(row: dict[str, Any]) -> None:
    read_photo(row["image_path"], "BGR")
    read_instance_map(row["instance_path"], (HEIGHT, WIDTH))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10, help="drawn")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    augmentations = [T.ResizeShortestEdge(tuple(range(800, 1025, 32)), 2048, "choice"), T.RandomFlip()]
    mapper = InstanceMapper(augmentations, "BGR")
    peer = DatasetMapper(
        True, augmentations=augmentations, image_format="BGR", use_instance_mask=True, instance_mask_format="bitmask"
    )
    names = (
        "Detectron2", "synlib", "synlib and all masks expanded", "decoding the two PNG files alone",
        "synlib, from staged arrays (execution.stage_as)",
    )  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in (*names, *TARGETS)}
    same = True
    with tempfile.TemporaryDirectory() as folder:
        write_tree(Path(folder), options.images, options.images)
        samples = samples_of(Path(folder), 40, 52)
        if not samples:
            raise ValueError(f"--images {options.images}: none of them has 40 to 52 instances; draw more")
        images = cityscapes.read_images(folder, "train")
        copies = staged(images, folder, f"{folder}/staged", fingerprint(images), arrays=True)
        columns = ["image_path", "instance_path"]
        copy_of = dict(zip(images[columns].to_numpy().flat, copies[columns].to_numpy().flat, strict=True))
        for number, (annotated, row) in enumerate(samples * options.rounds):
            np.random.seed(number)
            theirs = digest(timed(seconds[names[0]], peer, annotated))
            np.random.seed(number)
            ours = timed(seconds[names[1]], mapper, row)
            timed(seconds[names[2]], lambda ours=ours: ours["instances"].gt_masks.tensor)
            seconds[names[2]][-1] += seconds[names[1]][-1]
            timed(seconds[names[3]], decode, row)
            np.random.seed(number)
            from_arrays = timed(seconds[names[4]], mapper, row | {name: copy_of[row[name]] for name in columns})
            same = same and digest(ours) == theirs == digest(from_arrays)
            same = same and targets(seconds, ours["instances"])
    count = np.mean([len(row["instance_id"]) for _, row in samples])
    print(f"{WIDTH}x{HEIGHT}, {len(samples)} images of {count:.0f} instances on average, {options.rounds} rounds")
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {1000 * median:.1f} ms an image (median)")
    speedups = [medians[names[0]] / medians[name] for name in names]
    print(f"speedup with the masks expanded on the CPU {speedups[2]:.1f}x")
    print(f"from staged arrays: {1 / medians[names[4]]:.0f} images/s a loading process")
    print(f"speedup {speedups[1]:.1f}x, identical {same}")


if __name__ == "__main__":
    main()
