"""Masks of instances that do not overlap, kept as one label map: what a street scene's masks are.

Detectron2's ``BitMasks`` hold a full frame an instance: 96 MB for 46 instances at 2048x1024. They are copied from the
loader to the training process and to the device, and there once for each of the 512 proposals sampled from an image. A
label map is one frame, selecting from it copies no pixels, and frames are made of the foreground proposals only.
"""

from typing import Any

import numpy as np
import torch
from detectron2.structures import BitMasks
from scipy import ndimage


class LabelMasks(BitMasks):
    """N masks, of which mask ``i`` is where ``labels`` (H, W) equals ``values[i]``; values (N,) may repeat.

    Both are of the same integer type, and values are 1 or more.
    """

    def __init__(self, labels: torch.Tensor, values: torch.Tensor) -> None:
        self.image_size = labels.shape
        self.labels, self.values = labels, values

    @property
    def tensor(self) -> torch.Tensor:
        """The masks, bool (N, H, W): new ones each time, on the device where the map is."""
        if self.device.type != "cpu":
            return self.labels == self.values[:, None, None]
        # On a CPU, comparing whole frames takes several times as long as filling the boxes of the objects.
        labels, values = self.labels.numpy(), self.values.numpy()
        masks = np.zeros((len(values), *labels.shape), bool)
        found = ndimage.find_objects(labels, max(values, default=0))
        for mask, value in zip(masks, values, strict=True):
            if box := found[value - 1]:
                np.equal(labels[box], value, out=mask[box])
        return torch.from_numpy(masks)

    @property
    def device(self) -> torch.device:
        return self.labels.device

    def to(self, *args: Any, **kwargs: Any) -> "LabelMasks":
        return LabelMasks(self.labels.to(*args, **kwargs), self.values.to(*args, **kwargs))

    def __getitem__(self, item: int | slice | torch.Tensor) -> "LabelMasks":
        return LabelMasks(self.labels, self.values[item].reshape(-1))

    def __len__(self) -> int:
        return len(self.values)

    def nonempty(self) -> torch.Tensor:
        """Which masks have a pixel, bool (N,)."""
        area_px = self.labels.flatten().bincount(minlength=torch.iinfo(self.labels.dtype).max + 1)
        return area_px[self.values.long()] > 0

    @staticmethod
    def cat(masks: list[BitMasks]) -> BitMasks:
        return BitMasks(torch.cat([part.tensor for part in masks]))
