"""Label maps as pictures: NumPy arrays in, NumPy arrays out.

Shapes: images uint8 (H, W, 3) RGB, maps integer (H, W).
"""

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import id2label
from matplotlib.colors import hsv_to_rgb

from scapes.labels import INSTANCE_BASE

GOLDEN_RATIO = 0.618033988749895


def color_classes(class_map: np.ndarray) -> np.ndarray:
    """A class map (label ids) in the Cityscapes colours."""
    palette = np.zeros((256, 3), np.uint8)
    for label in id2label.values():
        if label.id >= 0:
            palette[label.id] = label.color
    return palette[class_map]


def color_instances(instance_map: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray:
    """Every id above 0 in a colour of its own, 0 in black; neighbouring ids get colours far apart.

    ``ids``, sorted, holds all ids of several maps whose colours should agree; default: those of this map.
    """
    ids = np.unique(instance_map) if ids is None else ids
    k = np.arange(len(ids))
    hues, saturations, values = k * GOLDEN_RATIO % 1, 0.55 + 0.225 * (k % 3), 1 - 0.25 * (k % 2)
    colors = (255 * hsv_to_rgb(np.stack([hues, saturations, values], axis=1))).round().astype(np.uint8)
    colors[ids == 0] = 0
    return colors[np.searchsorted(ids, instance_map)]


def instances_only(instance_ids: np.ndarray) -> np.ndarray:
    """A Cityscapes instance map without its plain label ids: what is no instance becomes 0."""
    return np.where(instance_ids >= INSTANCE_BASE, instance_ids, 0)


def paint(image: np.ndarray, colors: np.ndarray, ids: np.ndarray, alpha: float = 0.55) -> np.ndarray:
    """``colors`` (H, W, 3) blended over ``image`` where ``ids`` (H, W) is above 0, each region outlined in white."""
    blended = image.astype(np.float32)
    inside = ids > 0
    blended[inside] = (1 - alpha) * blended[inside] + alpha * colors[inside]
    blended[outline(ids) & inside] = 255
    return blended.round().astype(np.uint8)


def outline(ids: np.ndarray) -> np.ndarray:
    """Pixels whose left or upper neighbour has another id: bool (H, W)."""
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    return edge


def fit(image: np.ndarray, width: int) -> np.ndarray:
    """An image or map at ``width`` px: maps and magnified images keep their pixels, reduced images are averaged."""
    height = round(image.shape[0] * width / image.shape[1])
    average = image.ndim == 3 and width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if average else cv2.INTER_NEAREST)


def crop_around(mask: np.ndarray, margin: float = 0.4) -> tuple[slice, slice]:
    """Rows and columns of a square window around the true pixels, as far as it fits inside the frame."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    side = round(max(np.ptp(rows) + 1, np.ptp(columns) + 1) * (1 + margin))
    side = min(side, *mask.shape)
    top, left = (
        min(max(0, (found[0] + found[-1] - side) // 2), length - side)
        for found, length in zip((rows, columns), mask.shape, strict=True)
    )
    return slice(top, top + side), slice(left, left + side)
