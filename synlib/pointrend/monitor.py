"""What TensorBoard shows of a run, ``tensorboard --logdir runs``: scalars of the training, and a few predictions.

Only looks on: nothing here changes a number of the training.
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
import torch
from detectron2.engine import HookBase
from detectron2.utils.events import TensorboardXWriter

from scapes.labels import CLASSES, COLORS
from scapes.predictions import Detections, images_by_row_group, read_predictions
from seeded_rcnn.mapper import read_photo

PICTURES = 4
"""Images of an evaluation set that are shown with their predictions."""
LONG_SIDE_PX = 768
MIN_SCORE = 0.5
GIB = 1 << 30


class MemoryHook(HookBase):
    """Scalar ``memory_gib`` every ``period`` iterations: PyTorch's peak on the GPU; on CPU, what the process holds."""

    def __init__(self, period: int) -> None:
        self.period, self.process = period, psutil.Process()

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self.period == 0:
            used = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else self.process.memory_info().rss
            self.trainer.storage.put_scalar("memory_gib", used / GIB, smoothing_hint=False)


def scalar_writer(folder: Path, start: int) -> TensorboardXWriter:
    """A writer of event files in ``folder``; what an earlier execution wrote from iteration ``start`` on is void."""
    return TensorboardXWriter(str(folder), purge_step=start)


def show_predictions(folder: Path, name: str, images: pd.DataFrame, predictions: Path, iteration: int) -> None:
    """Add pictures of stored ``predictions`` in some of the evaluation set's ``images`` to the events in ``folder``."""
    from torch.utils.tensorboard import SummaryWriter

    chosen = images.iloc[np.linspace(0, len(images) - 1, min(PICTURES, len(images))).astype(int)]
    wanted = dict(zip(chosen["image_id"], chosen["image_path"], strict=True))
    groups = [number for number, ids in enumerate(images_by_row_group(predictions)) if wanted.keys() & set(ids)]
    with SummaryWriter(str(folder)) as writer:
        for found in read_predictions(predictions, row_groups=groups):
            if found.image_id in wanted:
                photo = read_photo(wanted[found.image_id], "RGB")
                picture = _small(painted(photo, found))
                writer.add_image(f"{name}/{found.image_id}", picture, iteration, dataformats="HWC")


def painted(photo: np.ndarray, found: Detections, min_score: float = MIN_SCORE) -> np.ndarray:
    """``photo``, uint8 (H, W, 3) RGB, with the masks of at least ``min_score`` in their class's colour, outlined."""
    picture = photo.copy()
    for i in np.argsort(found.score, kind="stable"):
        if found.score[i] < min_score:
            continue
        x0, y0, x1, y1 = found.boxes[i]
        region, mask, color = picture[y0:y1, x0:x1], found.masks[i], np.array(COLORS[CLASSES[found.category[i]]])
        inside = cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1].astype(bool)
        region[mask] = (0.5 * region[mask] + 0.5 * color).astype(np.uint8)
        region[mask & ~inside] = 255
    return picture


def _small(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = min(1.0, LONG_SIDE_PX / max(height, width))
    return cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
