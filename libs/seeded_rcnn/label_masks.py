"""Masks of instances that do not overlap, kept as one label map: what a street scene's masks are.

Detectron2's ``BitMasks`` hold one full frame per instance, 96 MB for 46 instances at 2048x1024, and are copied to the
device, and there once per sampled proposal. A label map is one frame, of which selecting copies no pixels.
"""

from typing import Any

import torch
from detectron2.structures import BitMasks


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
        return self.labels == self.values[:, None, None]

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
