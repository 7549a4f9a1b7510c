"""How fast toy streets are drawn and written, against the encoding of their PNG files alone.

Run: ``python benchmarks/draw_toyscapes.py [--pairs 30] [--rounds 5] [--height 96]``. A pair is one real and one
synthetic image with all their files: two images, two label maps of each, polygons, metadata. Everything runs in one
process and one thread. What counts is the CPU time of the best round, since other programs on the machine can only add
to it. The peer encodes the same six pixel arrays of each pair with OpenCV, as the writers do, and writes nothing.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2

from toyscapes import write_cityscapes, write_synscapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--height", type=int, default=96, help="pixels; the width is twice that")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    size = {"height": options.height, "width": 2 * options.height}
    writing_s, encoding_s = [], []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        write_pairs(Path(folder) / "warm-up", 2, 0, size)
        for seed in range(options.rounds):
            root = Path(folder) / str(seed)
            writing_s.append(timed(lambda root=root, seed=seed: write_pairs(root, options.pairs, seed, size)))
            images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in root.rglob("*.png")]
            encoding_s.append(timed(lambda images=images: [cv2.imencode(".png", pixels) for pixels in images]))
    writing_s, encoding_s = min(writing_s) / options.pairs, min(encoding_s) / options.pairs
    print(f"drawing and writing everything: {1e3 * writing_s:.1f} ms a pair")
    print(f"encoding the PNG files alone:   {1e3 * encoding_s:.1f} ms a pair")
    print(
        f"{1 / writing_s:.1f} pairs/s at {options.height}x{2 * options.height} on one core, "
        f"{writing_s / encoding_s:.1f}x of PNG encoding alone"
    )


def write_pairs(root: Path, count: int, seed: int, size: dict[str, int]) -> None:
    write_cityscapes(root / "real", train=count, val=0, seed=seed, workers=1, **size)
    write_synscapes(root / "synthetic", train=count, val=0, seed=seed, workers=1, **size)


def timed(function) -> float:
    """Seconds of CPU time."""
    start = time.process_time()
    function()
    return time.process_time() - start


if __name__ == "__main__":
    main()
