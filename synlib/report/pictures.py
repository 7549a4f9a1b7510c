"""Label maps as pictures. Images are uint8 (H, W, 3) RGB arrays, maps integer arrays (H, W)."""

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import id2label
from matplotlib.colors import hsv_to_rgb


def color_classes(class_map: np.ndarray) -> np.ndarray:
    """A class map (label ids) in the Cityscapes colours."""
    palette = np.zeros((256, 3), np.uint8)
    palette[list(id2label)] = [label.color for label in id2label.values()]  # -1, the licence plate, is 255 in a map
    return palette[class_map]


def color_instances(instance_maps: np.ndarray) -> np.ndarray:
    """Every id of one map, or of several (N, H, W), in a colour of its own; neighbouring ids get colours far apart."""
    ids, numbers = np.unique(instance_maps, return_inverse=True)
    k = np.arange(len(ids))
    # Steps of the golden ratio keep the hues apart, however many there are
    hues, saturations, values = k * 0.618033988749895 % 1, 0.55 + 0.225 * (k % 3), 1 - 0.25 * (k % 2)
    colors = (255 * hsv_to_rgb(np.stack([hues, saturations, values], axis=1))).round().astype(np.uint8)
    return colors[numbers.reshape(instance_maps.shape)]


def paint(image: np.ndarray, colors: np.ndarray, ids: np.ndarray, alpha: float = 0.55) -> np.ndarray:
    """``colors`` (H, W, 3) blended over ``image`` where ``ids`` (H, W) is above 0, each region outlined in white."""
    blended = (1 - alpha) * image.astype(np.float32) + alpha * colors
    blended[outline(ids)] = 255
    return np.where(ids[..., None] > 0, blended.round(), image).astype(np.uint8)


def outline(ids: np.ndarray) -> np.ndarray:
    """Pixels whose left or upper neighbour has another id: bool (H, W)."""
    return (np.diff(ids, axis=1, prepend=ids[:, :1]) != 0) | (np.diff(ids, axis=0, prepend=ids[:1]) != 0)


def fit(image: np.ndarray, width: int) -> np.ndarray:
    """An image or map at ``width`` px: maps and magnified images keep their pixels, reduced images are averaged."""
    height = round(image.shape[0] * width / image.shape[1])
    average = image.ndim == 3 and width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if average else cv2.INTER_NEAREST)


def crop_around(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a square window around the true pixels, with a margin, as far as it fits in the frame."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    side = min(round(1.4 * max(width, height)), *mask.shape)
    middles = np.array([y + height // 2, x + width // 2])
    return tuple(slice(start, start + side) for start in np.clip(middles - side // 2, 0, np.array(mask.shape) - side))
