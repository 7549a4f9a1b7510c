"""From image files to cropped masks: Detectron2's way, this package's ``predict``, and the network alone.

Run: ``python benchmarks/inference.py`` on a machine with a GPU, or ``--scale tiny`` on any. At scale ``paper`` it draws
images of 2048x1024 and runs the paper's PointRend R50-FPN at its test size; at scale ``tiny`` the miniature model on
192x96. The weights are random, damped in the last layers of the box head, so that every image has 100 detections of
all scores: the work is that of a trained model on a busy street. One image at a time, as evaluation does:

- Detectron2: its reader, ``ResizeShortestEdge``, ``model([...])`` with masks pasted into full frames, to the CPU;
- ours: ``synlib.pointrend.predict.predict``, whose detections equal Detectron2's pixel by pixel;
- the network alone: ``model.inference(..., do_postprocess=False)`` on images that are in memory already.

Prints ms an image, medians of ``--rounds``; the last line has both ratios. ``--json FILE`` keeps the numbers.
"""

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from detectron2.config import CfgNode
from detectron2.data.detection_utils import build_augmentation, read_image
from detectron2.modeling import build_model
from instance_table import write_tree
from torch import nn

from scapes import cityscapes
from seeded_rcnn import numerics
from synlib.pointrend.config import detectron2_config
from synlib.pointrend.predict import predict
from synlib.spec import DataSpec, InputSpec, RunSpec
from toyscapes import write_cityscapes


def built_model(scale: str) -> tuple[nn.Module, CfgNode]:
    tiny = scale == "tiny"
    sizes = InputSpec(train_short_px=(96,), test_short_px=96, max_long_px=192) if tiny else InputSpec()
    spec = RunSpec(model="pointrend_tiny" if tiny else "pointrend_r50", data=DataSpec(real=1), input=sizes)
    cfg = detectron2_config(spec).clone()
    cfg.defrost()
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():  # random features are large: without damping one class would win everywhere
        for layer in (model.roi_heads.box_predictor.cls_score, model.roi_heads.box_predictor.bbox_pred):
            layer.weight.mul_(0.01)
    return model, cfg


def resized(cfg: CfgNode, path: str) -> tuple[np.ndarray, tuple[int, int]]:
    (resize,) = build_augmentation(cfg, is_train=False)
    photo = read_image(path, cfg.INPUT.FORMAT)
    return np.ascontiguousarray(resize.get_transform(photo).apply_image(photo).transpose(2, 0, 1)), photo.shape[:2]


@torch.inference_mode()
def theirs(model: nn.Module, cfg: CfgNode, images: pd.DataFrame) -> int:
    """Detectron2's ``DefaultPredictor`` for each image, its instances taken to the CPU; returns the detections."""
    found = 0
    for path in images["image_path"]:
        image, (height, width) = resized(cfg, path)
        (output,) = model([{"image": torch.as_tensor(image), "height": height, "width": width}])
        found += len(output["instances"].to("cpu"))
    return found


def ours(model: nn.Module, cfg: CfgNode, images: pd.DataFrame, loader_workers: int) -> int:
    return sum(len(detections.score) for detections in predict(model, cfg, images, loader_workers))


@torch.inference_mode()
def network(model: nn.Module, inputs: list[torch.Tensor]) -> int:
    return sum(len(model.inference([{"image": image}], do_postprocess=False)[0]) for image in inputs)


def timed(function: Callable[[], int], images: int, rounds: int) -> tuple[float, int]:
    """Median ms an image (of CPU time without a GPU), and the number of detections; the first round is not timed."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    found, ms = function(), []
    for _ in range(rounds):
        started = clock()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        ms.append(1000 * (clock() - started) / images)
    return float(np.median(ms)), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=("paper", "tiny"), default="paper")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loader-workers", type=int, default=4 if torch.cuda.is_available() else 0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "cityscapes"
        if options.scale == "tiny":
            write_cityscapes(root, train=options.images, val=0, height=96, width=192)
        else:
            write_tree(root, options.images, min(options.images, 8))
        images = cityscapes.read_images(root, "train")
        plain, cfg = built_model(options.scale)
        model = copy.deepcopy(plain)
        numerics.prepare(model, "float32")
        inputs = [torch.as_tensor(resized(cfg, path)[0]) for path in images["image_path"]]
        ways = {
            "Detectron2": lambda: theirs(plain, cfg, images),
            "ours": lambda: ours(model, cfg, images, options.loader_workers),
            "network alone": lambda: network(model, inputs),
        }
        results = {name: timed(way, len(images), options.rounds) for name, way in ways.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, 1 thread"
    print(f"{options.scale}: {len(images)} images, {results['ours'][1] / len(images):.0f} detections each, on {device}")
    for name, (ms, found) in results.items():
        print(f"{name}: {ms:.1f} ms an image, {found} detections")
    (theirs_ms, _), (ours_ms, _), (network_ms, _) = results.values()
    ratios = {"over Detectron2": theirs_ms / ours_ms, "over the network alone": ours_ms / network_ms}
    if options.json:
        content = {"device": device, "ms": {name: ms for name, (ms, _) in results.items()}} | ratios
        options.json.write_text(json.dumps(content, indent=1))
    over, alone = ratios.values()
    print(f"speedup {over:.1f}x over Detectron2; {alone:.2f}x the time of the network alone")


if __name__ == "__main__":
    main()
