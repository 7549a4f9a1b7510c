"""One training sample: image and instance map, augmented, as Detectron2 model input.

The instance map is transformed once per image, and stays one map until the model asks for the masks of proposals.
Everything equals Detectron2 v0.6's ``DatasetMapper`` with ``MASK_FORMAT: bitmask`` and the same augmentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.data.detection_utils import filter_empty_instances, read_image
from detectron2.layers import ROIAlign
from detectron2.structures import BitMasks, Boxes, Instances
from torch.nn import functional as F

from scapes import png
from scapes.files import BadFile

MAX_INSTANCES = 255  # in 8 bits; more take several passes: Detectron2 resizes 8-bit masks, and pixels must equal its


class LabelMasks(BitMasks):
    """N masks that do not overlap: ``i`` is where ``labels`` (H, W) equals ``values[i]``; values (N,) may repeat.

    Both are of the same integer type, and values are 1 or more. BitMasks hold, and copy, one frame per instance.
    """

    def __init__(self, labels: torch.Tensor, values: torch.Tensor) -> None:
        self.image_size = labels.shape
        self.labels, self.values = labels, values

    @property
    def tensor(self) -> torch.Tensor:
        """The masks, bool (N, H, W): new ones each time, on the device where the map is."""
        return self.labels == self.values[:, None, None]

    def to(self, *args: Any, **kwargs: Any) -> "LabelMasks":
        return LabelMasks(self.labels.to(*args, **kwargs), self.values.to(*args, **kwargs))

    def __getitem__(self, item: int | slice | torch.Tensor) -> "LabelMasks":
        return LabelMasks(self.labels, self.values[item].reshape(-1))

    def __len__(self) -> int:
        return len(self.values)

    def nonempty(self) -> torch.Tensor:
        """Which masks have a pixel, bool (N,)."""
        return self.labels.flatten().bincount(minlength=2**15)[self.values.long()] > 0

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """As of BitMasks, bool (N, mask_size, mask_size): mask ``i`` in box ``i``; a value's frame is made once."""
        values, which = self.values.unique(return_inverse=True)
        frames = (self.labels == values[:, None, None]).float()[:, None]
        return ROIAlign(mask_size, 1.0, 0)(frames, torch.cat([which[:, None], boxes], 1))[:, 0] >= 0.5

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Mask ``i`` at ``points[i]`` (N, P, 2; x, y in px), as grid_sample reads it: float32 (N, P)."""
        size = torch.stack([points.new_full((), side) for side in self.labels.shape[::-1]])  # filled there: no wait
        # From [0, 1] by [-1, 1] to pixels, whose centres are whole numbers: rounded as often as in grid_sample.
        place = torch.addcmul(points.new_full((), -0.5), points / size * 2 - 1 + 1, size / 2)
        low, padded = place.floor(), F.pad(self.labels, (2, 2, 2, 2))  # beyond the image there is no mask
        (right, below), sampled = (place - low).unbind(-1), points.new_zeros(points.shape[:2])
        x, y = torch.minimum(low.clamp(min=-2), size).nan_to_num().long().unbind(-1)  # predicted boxes lie anywhere
        for dy, height in enumerate((1 - below, below), 2):
            for dx, width in enumerate((1 - right, right), 2):
                sampled += width * height * (padded[y + dy, x + dx] == self.values[:, None])
        return sampled


@dataclass(frozen=True)
class InstanceMapper:
    """Callable: a row of the training set -> Detectron2 model input (``image``, ``instances``, ``height``, ``width``).

    A row holds ``image_path``, ``instance_path``, and per instance ``instance_id`` (N,), ``category`` (N,; -1: to be
    ignored) and ``boxes`` (N, 4; x0, y0, x1, y1 in px, half-open), as in the instance table.
    """

    augmentations: list[T.Augmentation]
    image_format: str

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        image = read_photo(row["image_path"], self.image_format)
        aug_input = T.AugInput(image)
        transforms = T.AugmentationList(self.augmentations)(aug_input)
        height, width = aug_input.image.shape[:2]
        boxes = transforms.apply_box(np.asarray(row["boxes"], np.float64)).clip(0, [width, height, width, height])
        instances = Instances((height, width), gt_boxes=Boxes(torch.as_tensor(boxes, dtype=torch.float32)))
        instances.gt_classes = torch.as_tensor(np.asarray(row["category"], np.int64))
        instance_map = read_instance_map(row["instance_path"], image.shape[:2])
        instances.gt_masks = _masks(row["instance_id"], instance_map, transforms)
        return {
            "height": image.shape[0],
            "width": image.shape[1],
            "image": torch.from_numpy(np.array(aug_input.image.transpose(2, 0, 1), order="C")),
            "instances": filter_empty_instances(instances),
        }


def _masks(ids: np.ndarray, instance_map: np.ndarray, transforms: T.TransformList) -> LabelMasks:
    """Masks of ``ids`` after the transform: the map, uint16 (H, W), is relabelled to 8 bits and transformed whole."""
    labels: Any = 0
    for start in range(0, max(len(ids), 1), MAX_INSTANCES):
        part = ids[start : start + MAX_INSTANCES]
        table = np.zeros(65536, np.uint8)
        table[part] = np.arange(1, len(part) + 1)
        mapped = transforms.apply_segmentation(table.take(instance_map))
        labels = np.where(mapped, mapped + np.int16(start), labels) if start else np.ascontiguousarray(mapped)
    labels = torch.from_numpy(labels)
    return LabelMasks(labels, torch.arange(1, len(ids) + 1, dtype=labels.dtype))


def read_photo(path: str, image_format: str) -> np.ndarray:
    """uint8 (H, W, 3), channels in the order of ``image_format``: "RGB" or "BGR". ``.npy`` files hold BGR.

    OpenCV reads PNG files of 8-bit RGB faster than Detectron2, and as BGR without a view that is slow to resize.
    """
    if path.endswith(".npy") or (path.endswith(".png") and png.read_header(path).kind == "RGB 8"):
        image = np.load(path) if path.endswith(".npy") else png.read(path, "RGB 8")
        return image if image_format == "BGR" else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return read_image(path, image_format)


def read_instance_map(path: str, size: tuple[int, int]) -> np.ndarray:
    """A Cityscapes ``instanceIds`` PNG, or its ``.npy``, as uint16 (H, W); raises BadFile when it is not one."""
    instance_map = np.load(path) if path.endswith(".npy") else png.read(path, "gray 16")
    if instance_map.shape != tuple(size):
        raise BadFile("size", path, instance_map.shape, f"{tuple(size)}, the height and width of its image in px")
    return instance_map
