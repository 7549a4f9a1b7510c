"""Building the instance table of 2048x1024 maps, against Detectron2 v0.6's reader on the same files.

Run: ``python benchmarks/instance_table.py``. It draws busy images (four drawn streets each) and reads their instance
maps with both, in one process, image by image in turn, from the files to areas and boxes of all instances:

- Detectron2: ``_cityscapes_files_to_dict(from_json=False, to_polygons=False)``, which also encodes each mask;
- synlib: what ``instance_table`` does for an image.

Then it times ``instance_table`` with a warm cache for 2,975 images, the fingerprint of their files included.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from detectron2.data.datasets.cityscapes import _cityscapes_files_to_dict

from scapes import cityscapes, png
from scapes.instances import image_instances, instance_table
from toyscapes import draw_scene

HEIGHT, WIDTH = 1024, 2048


def write_tree(root: Path, images: int, distinct: int) -> None:
    """Cityscapes tree; images after ``distinct`` are links to the first ones."""
    for number in range(images):
        paths = cityscapes.LAYOUT.paths(root, "train", f"ulm/ulm_{number:06d}_000019")
        first = cityscapes.LAYOUT.paths(root, "train", f"ulm/ulm_{number % distinct:06d}_000019")
        for name, path in paths.items():
            path = Path(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            if number >= distinct:
                path.symlink_to(first[name])
        if number >= distinct:
            continue
        photo, instance_ids = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint16)
        for part in range(4):
            scene = draw_scene("real", 4 * number + part, height=HEIGHT // 2, width=WIDTH // 2)
            y, x = HEIGHT // 2 * (part // 2), WIDTH // 2 * (part % 2)
            box = np.s_[y : y + HEIGHT // 2, x : x + WIDTH // 2]
            ids = np.maximum(scene.instance_map, 0)
            photo[box], instance_ids[box] = scene.image, np.where(ids < 1000, ids, ids + 200 * part)
        png.write(paths["image_path"], photo)
        png.write(paths["instance_path"], instance_ids)
        png.write(
            paths["label_path"], np.where(instance_ids < 1000, instance_ids, instance_ids // 1000).astype(np.uint8)
        )
        Path(paths["polygon_path"]).write_text("{}")


def time_reading(root: Path, images: int, rounds: int) -> dict[str, float]:
    """Median seconds an image of both readers, and of decoding alone; also checks that they find the same."""
    seconds: dict[str, list[float]] = {"Detectron2": [], "synlib": [], "decoding alone": []}
    for image in list(cityscapes.read_images(root, "train").itertuples())[:images] * rounds:
        start = time.perf_counter()
        theirs = _cityscapes_files_to_dict((image.image_path, image.instance_path, "", ""), False, False)
        seconds["Detectron2"].append(time.perf_counter() - start)
        start = time.perf_counter()
        ours = pd.DataFrame(image_instances(png.read(image.instance_path, "gray 16")))
        seconds["synlib"].append(time.perf_counter() - start)
        start = time.perf_counter()
        png.read(image.instance_path, "gray 16")
        seconds["decoding alone"].append(time.perf_counter() - start)
        # Detectron2 leaves out what is one pixel wide or high.
        large = ours[(ours["x1"] - ours["x0"] > 1) & (ours["y1"] - ours["y0"] > 1)]
        boxes = [tuple(map(int, annotation["bbox"])) for annotation in theirs["annotations"]]
        if boxes != list(zip(large["x0"], large["y0"], large["x1"] - 1, large["y1"] - 1, strict=True)):
            raise RuntimeError(f"{image.instance_path}: the two readers disagree")
    print(f"{WIDTH}x{HEIGHT}, {len(ours)} instances in the last image, {images} images, {rounds} rounds, one process")
    return {name: float(np.median(values)) for name, values in seconds.items()}


def time_warm_load(root: Path) -> None:
    images = cityscapes.read_images(root, "train")
    with tempfile.TemporaryDirectory() as cache:
        instance_table(images, cache, progress=False)
        start = time.perf_counter()
        rows = len(instance_table(images, cache, progress=False))
        print(f"warm table of {len(images)} images, {rows} rows: {time.perf_counter() - start:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=2975, help="images of the warm table; 0: leave it out")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_tree(Path(folder), max(options.images, options.warm), options.images)
        medians = time_reading(Path(folder), options.images, options.rounds)
        for name, median in medians.items():
            print(f"{name}: {1000 * median:.1f} ms an image (median)")
        if options.warm:
            time_warm_load(Path(folder))
    print(f"{medians['Detectron2'] / medians['synlib']:.1f}x faster")


if __name__ == "__main__":
    main()
