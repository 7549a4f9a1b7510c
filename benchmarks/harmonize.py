"""Harmonising 1440x720 images with about 46 instances, against nothing but the PNG work that it cannot do without.

Run: ``python benchmarks/harmonize.py``. Both sides work in one process on the same files, alternating image by image:

- PNG work alone: decode class map and instance map, parse the metadata, encode two maps of the same size and content as
  the result, write them;
- synlib: what ``harmonize_dataset`` does for an image, from the files to complete files, checked and linked.

``--memory`` harmonises and counts 200 and 2,000 images in processes of their own instead, and prints the peak memory of
each.
"""

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from scapes import cityscapes, png
from scapes.instances import image_digest, instance_table
from scapes.synthetic import SYNSCAPES
from synlib.curation.harmonize import harmonize_dataset, harmonize_one
from synlib.curation.rider_rule import DEFAULT_POLICY
from toyscapes import draw_scene

HEIGHT, WIDTH = 720, 1440


def write_source(root: Path, images: int, distinct: int, height: int = HEIGHT, width: int = WIDTH) -> float:
    """Synscapes tree of busy images, four streets each, linked again after ``distinct``; returns instances an image."""
    for folder in ("img/rgb", "img/class", "img/instance", "meta"):
        (root / folder).mkdir(parents=True)
    total = 0
    for number in range(1, distinct + 1):
        photo = np.zeros((height, width, 3), np.uint8)
        class_map, instance_map, classes = np.zeros((height, width), np.uint8), np.zeros((height, width), np.int32), {}
        for part in range(4):
            scene = draw_scene("synthetic", 4 * number + part, height=height // 2, width=width // 2)
            box = np.s_[height // 2 * (part // 2) :, width // 2 * (part % 2) :]
            box = tuple(slice(s.start, s.start + n) for s, n in zip(box, scene.class_map.shape, strict=True))
            photo[box], class_map[box] = scene.image, scene.class_map
            instance_map[box] = np.where(scene.instance_map, scene.instance_map + 1000 * part, 0)
            classes |= {str(i.instance_id + 1000 * part): i.label_id for i in scene.instances}
        total += len(np.unique(instance_map)) - 1
        channels = [instance_map >> 16, instance_map >> 8 & 255, instance_map & 255]
        for folder, image in (
            ("rgb", photo[..., ::-1]),
            ("class", class_map),
            ("instance", np.dstack(channels).astype(np.uint8)),
        ):
            cv2.imwrite(str(root / f"img/{folder}/{number}.png"), image)
        (root / f"meta/{number}.json").write_text(json.dumps({"instance": {"class": classes}}))
    for number in range(distinct + 1, images + 1):
        for path in map(Path, SYNSCAPES.paths(root, "rgb", str(number)).values()):
            path.symlink_to(path.name.replace(str(number), str(1 + number % distinct)))
    return total / distinct


def png_work(image: dict, results: list[np.ndarray], folder: Path) -> None:
    png.read(image["label_path"], "gray 8")
    png.read(image["instance_path"], "RGB 8")
    json.loads(Path(image["meta_path"]).read_bytes())
    for number, result in enumerate(results):
        png.write(folder / f"{number}.png", result, sync=False)


def compare(images: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        busy = write_source(root / "raw", images, images)
        rows = SYNSCAPES.read_images(root / "raw", splits={"train": range(1, images + 1)}).to_dict("records")
        work = functools.partial(harmonize_one, policy=DEFAULT_POLICY, mode="link", variant="rgb")
        seconds = {"synlib": [], "PNG work alone": []}
        for attempt in range(rounds):
            target = root / f"out{attempt}"
            for image in rows:
                key = f"synscapes/synscapes_{int(image['image_id']):06d}_000000"
                paths = cityscapes.LAYOUT.paths(target, "train", key)
                start = time.perf_counter()
                work(image | {"placed": paths}, image_digest(image))
                seconds["synlib"].append(time.perf_counter() - start)
                results = [png.read(paths["instance_path"], "gray 16"), png.read(paths["label_path"], "gray 8")]
                start = time.perf_counter()
                png_work(image, results, root)
                seconds["PNG work alone"].append(time.perf_counter() - start)
    print(f"{WIDTH}x{HEIGHT}, {busy:.0f} instances an image, {images} images, {rounds} rounds, one process")
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {1000 * median:.1f} ms an image (median), {1 / median:.1f} images/s")
    cores = os.cpu_count() or 1
    print(f"25,000 images on the {cores} cores of this machine: {25_000 * medians['synlib'] / cores / 3600:.2f} h")
    print(f"{medians['synlib'] / medians['PNG work alone']:.2f}x of PNG work alone")


def measure_memory(images: int) -> None:
    """In a process of its own: harmonise and count ``images`` images of 720x360, print the peak memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_source(root / "raw", images, 20, 360, 720)
        harmonize_dataset(root / "raw", root / "out", workers=1, splits={"train": range(1, images + 1)})
        rows = len(instance_table(cityscapes.read_images(root / "out", "train"), workers=1, progress=False))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{images} images, {rows} instances: peak {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", nargs="*", type=int, metavar="IMAGES", help="default: 200 2000")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.memory is None:
        compare(options.images, options.rounds)
    elif len(options.memory) == 1:
        measure_memory(options.memory[0])
    else:
        for images in options.memory or [200, 2000]:
            subprocess.run([sys.executable, __file__, "--memory", str(images)], check=True)


if __name__ == "__main__":
    main()
