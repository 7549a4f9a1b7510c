"""How a run is doing: ``status.json``, and what TensorBoard shows of it (``tensorboard --logdir runs``).

Nothing here changes a number of the training.
"""

import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from detectron2.utils import comm
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import draw_segmentation_masks

from scapes.labels import CLASSES, COLORS
from scapes.predictions import Detections, read_predictions
from seeded_rcnn.mapper import read_photo
from synlib.runs.folder import RunDir, stop_without_launcher

PICTURES = 4
"""Images of an evaluation set that are shown with their predictions."""
LONG_SIDE_PX = 768
MIN_SCORE = 0.5


class Status:
    """Keeps ``status.json`` of ``run`` up to date, at most once per second, from the main process.

    Raises KeyboardInterrupt when the process that launched this one has died.
    """

    def __init__(self, run: RunDir, stage: str, total: int, done: int = 0) -> None:
        self.run, self.stage, self.total, self.first = run, stage, total, done
        self.started = time.monotonic()
        self._write(done)

    def update(self, done: int) -> None:
        if time.monotonic() - self.written >= 1 or done == self.total:
            stop_without_launcher()
            self._write(done)

    def _write(self, done: int) -> None:
        self.written = time.monotonic()
        rate = (done - self.first) / (self.written - self.started) if done > self.first else None
        if comm.is_main_process():
            content = {"stage": self.stage, "done": done, "total": self.total, "per_second": rate}
            self.run.write("status.json", content)


def show_predictions(folder: Path, name: str, images: pd.DataFrame, predictions: Path, iteration: int) -> None:
    """Add pictures of stored ``predictions`` for some ``images`` of the evaluation set to the events in ``folder``."""
    chosen = images.iloc[np.linspace(0, len(images) - 1, min(PICTURES, len(images))).astype(int)]
    paths = dict(zip(chosen["image_id"], chosen["image_path"], strict=True))
    with SummaryWriter(str(folder)) as writer:
        for found in read_predictions(predictions, image_ids=paths):
            picture = painted(read_photo(paths[found.image_id], "RGB"), found)
            scale = min(1.0, LONG_SIDE_PX / max(found.size))
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            writer.add_image(f"{name}/{found.image_id}", picture, iteration, dataformats="HWC")


def painted(photo: np.ndarray, found: Detections) -> np.ndarray:
    """``photo``, uint8 (H, W, 3) RGB, with the masks of at least ``MIN_SCORE`` in their class's colour."""
    picture = torch.from_numpy(photo).permute(2, 0, 1)
    for i in np.argsort(found.score, kind="stable"):  # one at a time: torchvision blackens where masks overlap
        if found.score[i] >= MIN_SCORE:
            mask = torch.from_numpy(found.full_mask(i))
            picture = draw_segmentation_masks(picture, mask, 0.5, COLORS[CLASSES[found.category[i]]])
    return picture.permute(1, 2, 0).numpy()
