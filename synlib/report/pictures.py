"""Label maps as pictures: NumPy arrays in, NumPy arrays out.

Shapes: images uint8 (H, W, 3) RGB, maps integer (H, W).
"""

import colorsys

import numpy as np
from cityscapesscripts.helpers.labels import id2label

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
    colors = np.array([_distinct_color(k) for k in range(len(ids))], np.uint8)
    colors[ids == 0] = 0
    return colors[np.searchsorted(ids, instance_map)]


def instances_only(instance_ids: np.ndarray) -> np.ndarray:
    """A Cityscapes instance map without its plain label ids: what is no instance becomes 0."""
    return np.where(instance_ids >= INSTANCE_BASE, instance_ids, 0)


def overlay(
    image: np.ndarray, colors: np.ndarray, mask: np.ndarray, alpha: float = 0.55, ids: np.ndarray | None = None
) -> np.ndarray:
    """``colors`` blended over ``image`` where ``mask`` (bool) holds, with ``mask``'s regions outlined in white.

    ``ids`` (H, W): what tells regions apart; default: their colours.
    """
    blended = image.astype(np.float32)
    blended[mask] = (1 - alpha) * blended[mask] + alpha * colors[mask]
    ids = colors.astype(np.int32) @ np.array([1, 256, 65536]) if ids is None else ids
    blended[outline(ids * mask) & mask] = 255
    return blended.round().astype(np.uint8)


def outline(ids: np.ndarray) -> np.ndarray:
    """Pixels whose left or upper neighbour has another id: bool (H, W)."""
    edge = np.zeros(ids.shape, bool)
    edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
    edge[1:] |= ids[1:] != ids[:-1]
    return edge


def crop_around(mask: np.ndarray, margin: float = 0.4, aspect: float = 1.0) -> tuple[slice, slice]:
    """Rows and columns of a window around the true pixels, with ``aspect`` = width / height, inside the frame."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    size = max(rows[-1] - rows[0] + 1, (columns[-1] - columns[0] + 1) / aspect) * (1 + margin)
    tall = min(height, round(size))
    wide = min(width, round(tall * aspect))
    top = min(max(0, (rows[0] + rows[-1] - tall) // 2), height - tall)
    left = min(max(0, (columns[0] + columns[-1] - wide) // 2), width - wide)
    return slice(top, top + tall), slice(left, left + wide)


def _distinct_color(k: int) -> tuple[int, int, int]:
    """The k-th of a sequence of bright colours, hues spread by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb(k * GOLDEN_RATIO % 1, 0.55 + 0.45 * (k % 3) / 2, 1.0 - 0.25 * (k % 2))
    return round(255 * red), round(255 * green), round(255 * blue)
