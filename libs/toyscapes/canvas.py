"""Paints the things in a toy street: into an image, and into a map of layers that agrees with it pixel for pixel.

Everything is painted from far to near, and twice: anti-aliased into the image, hard-edged into the map. What a thing
covers of the map is a single closed contour, which is also the polygon that Cityscapes would store.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from scapes.labels import label_id
from toyscapes.camera import ONE, SHIFT, Camera, Figure, fixed
from toyscapes.look import Color
from toyscapes.street import Actor

_SHADOW = (54, 54, 60)


@dataclass
class Layer:
    """One painted thing: a stretch of background, an instance, or a member of a group."""

    label: int
    contour: np.ndarray  # int32 (N, 2): x, y in pixels
    actor: Actor | None = None
    full_px: int = 0  # of an actor: pixels inside the frame, before anything but its own rider covered it
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # of an actor: x0, y0, x1, y1 in pixels, unclipped


class Canvas:
    """``image`` uint8 (H, W, 3) RGB; ``layer_map`` uint16 (H, W): 1 + the index in ``layers`` of what is seen there."""

    def __init__(self, camera: Camera) -> None:
        self.camera, self.street, self.height, self.width = camera, camera.street, camera.height, camera.width
        self.layers: list[Layer] = []
        self.image = np.zeros((self.height, self.width, 3), np.uint8)
        self.layer_map = np.zeros((self.height, self.width), np.uint16)
        self._scratch = np.zeros((self.height, self.width), np.uint8)

    def fill(self, polygons: np.ndarray, color: Color) -> None:
        """Paint ``polygons``, pixels (M, N, 2) or (N, 2), into the image alone; they must not overlap."""
        points = fixed(polygons)
        cv2.fillPoly(self.image, list(points) if points.ndim == 3 else [points], color, cv2.LINE_AA, SHIFT)

    def background(self, name: str, polygon: np.ndarray, color: Color, *more: np.ndarray) -> None:
        """Paint one stretch of background of the class ``name``: pixels (N, 2), joined with ``more`` that touch it."""
        shapes = [fixed(p) for p in (polygon, *more)]
        points = np.concatenate(shapes) if more else shapes[0]
        box = (*np.minimum.reduce(points).tolist(), *np.maximum.reduce(points).tolist())
        if self.mark(label_id(name), [(shape, 0) for shape in shapes], box):
            for shape in shapes:
                cv2.fillPoly(self.image, [shape], color, cv2.LINE_AA, SHIFT)

    def mark(self, label: int, shapes, box: tuple[int, int, int, int]) -> Layer | None:
        """Enter a new layer into the map: the outer contour of the union of ``shapes``. None if it is not in the frame.

        ``shapes``: (fixed-point polygon, thickness in pixels of its outline or 0); ``box``: x0, y0, x1, y1 around them,
        fixed-point too.
        """
        left, top = max((box[0] >> SHIFT) - 2, 0), max((box[1] >> SHIFT) - 2, 0)
        right, bottom = min((box[2] >> SHIFT) + 3, self.width), min((box[3] >> SHIFT) + 3, self.height)
        if left >= right or top >= bottom:
            return None
        for polygon, thickness in shapes:
            cv2.fillPoly(self._scratch, [polygon], 1, cv2.LINE_8, SHIFT)
            if thickness:
                cv2.polylines(self._scratch, [polygon], True, 1, thickness, cv2.LINE_8, SHIFT)
        crop = self._scratch[top:bottom, left:right]
        contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
        crop.fill(0)
        if not contours:
            return None
        contour = max(contours, key=len) if len(contours) > 1 else contours[0]
        layer = Layer(label, contour[:, 0])
        self.layers.append(layer)
        cv2.fillPoly(self.layer_map, [contour], len(self.layers))
        return layer

    def paint(self, figures: list[Figure]) -> None:
        """Paint an actor with the shadow below, and then who sits on it."""
        shadow = self.camera.hazed(_SHADOW, figures[0].actor.z)
        cv2.fillPoly(self.image, [figures[0].shadow], shadow, cv2.LINE_AA, SHIFT)
        layers = [self._paint_figure(figure) for figure in figures]
        if len(figures) > 1 and all(layers):
            layers[0].full_px = self._count(layers[0], len(self.layers) - 1)

    def _paint_figure(self, figure: Figure) -> Layer | None:
        """Paint one figure; None if nothing of it is in the frame."""
        outline = [(shape.polygon, shape.stroke_px) for shape in figure.shapes if shape.outline]
        layer = self.mark(figure.actor.label, outline, figure.box)
        if layer is None:
            return None
        layer.actor, layer.box = figure.actor, tuple(value / ONE + 0.5 for value in figure.box)
        layer.full_px = self._count(layer, len(self.layers))
        for polygon, stroke_px, color, _ in figure.shapes:
            if stroke_px:
                cv2.polylines(self.image, [polygon], True, color, stroke_px, cv2.LINE_AA, SHIFT)
            else:
                cv2.fillPoly(self.image, [polygon], color, cv2.LINE_AA, SHIFT)
        return layer

    def _count(self, layer: Layer, number: int) -> int:
        """How many pixels show the layer of this ``number`` now."""
        x0, y0, x1, y1 = (int(value) for value in layer.box)
        crop = self.layer_map[max(y0 - 2, 0) : max(y1 + 3, 0), max(x0 - 2, 0) : max(x1 + 3, 0)]
        return cv2.countNonZero(cv2.compare(crop, number, cv2.CMP_EQ))
