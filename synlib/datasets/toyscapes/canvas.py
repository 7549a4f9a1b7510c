"""Paints the things in a toy street: into an image, and into a map of layers that agrees with it pixel for pixel.

Everything is painted from far to near, and twice: anti-aliased into the image, hard-edged into the map. What a thing
covers of the map is a single closed contour, which is also the polygon that Cityscapes would store.
"""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from synlib.datasets.toyscapes.layout import Actor, Street
from synlib.datasets.toyscapes.look import Color
from synlib.labels import label_id

SHIFT = 4  # OpenCV takes coordinates as integers with this many fractional bits
_ONE = 1 << SHIFT
_SHADOW = (54, 54, 60)


@dataclass
class Layer:
    """One painted thing: a stretch of background, an instance, or a member of a group."""

    label: int
    contour: np.ndarray  # int32 (N, 2): x, y in pixels
    actor: Actor | None = None
    full_px: int = 0  # of an actor: pixels inside the frame, before anything but its own rider covered it
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # of an actor: x0, y0, x1, y1 in pixels, unclipped


@dataclass
class Canvas:
    """``image`` uint8 (H, W, 3) RGB; ``layer_map`` uint16 (H, W): 1 + the index in ``layers`` of what is seen there."""

    height: int
    width: int
    street: Street
    haze: Color
    haze_m: float  # distance at which two thirds of a colour are lost in the haze
    layers: list[Layer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.image = np.zeros((self.height, self.width, 3), np.uint8)
        self.layer_map = np.zeros((self.height, self.width), np.uint16)
        self._scratch = np.zeros((self.height, self.width), np.uint8)
        self.focal = self.street.focal * self.width
        self.horizon = self.street.pitch * self.height
        self._cap = _CAPS[self.height > 160]

    def project(self, points: np.ndarray) -> np.ndarray:
        """World (..., 3) metres -> pixels (..., 2) float32, with (0, 0) the middle of the top left pixel."""
        scale = self.focal / points[..., 2]
        out = np.empty((*points.shape[:-1], 2), np.float32)
        np.multiply(points[..., 0], scale, out=out[..., 0])
        np.multiply(self.street.eye - points[..., 1], scale, out=out[..., 1])
        out += (self.width / 2 - 0.5, self.horizon - 0.5)
        return out

    def hazed(self, color: Color, z: float) -> Color:
        """``color`` as seen through ``z`` metres of air."""
        keep = math.exp(-z / self.haze_m)
        (r, g, b), (hr, hg, hb) = color, self.haze
        return hr + (r - hr) * keep, hg + (g - hg) * keep, hb + (b - hb) * keep

    def fill(self, polygons: np.ndarray, color) -> None:
        """Paint ``polygons``, pixels (M, N, 2) or (N, 2), into the image alone; they must not overlap."""
        points = fixed(polygons)
        cv2.fillPoly(self.image, list(points) if points.ndim == 3 else [points], color, cv2.LINE_AA, SHIFT)

    def background(self, name: str, polygon: np.ndarray, color, *more: np.ndarray) -> None:
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

    def paint(self, actor: Actor) -> None:
        """Paint one actor with the shadow below, and who sits on it."""
        layer = self._paint_model(actor, shadow=True)
        if layer and actor.follow and self._paint_model(actor.follow, shadow=False):
            layer.full_px = self._count(layer, len(self.layers) - 1)

    def _paint_model(self, actor: Actor, shadow: bool) -> Layer | None:
        """Paint the model of one actor; None if nothing of it is in the frame."""
        model, px_per_m = actor.model, self.focal * actor.scale / actor.z
        sin, cos = math.sin(actor.heading), math.cos(actor.heading)
        turn = np.array([(sin, 0.0, cos), (cos, 0.0, -sin), (0.0, 1.0, 0.0)], np.float32)  # rows: u, w, h in the world
        eye = (-actor.x / actor.scale, self.street.eye / actor.scale, -actor.z / actor.scale)
        towards = model.normals @ (turn @ np.array((eye, (self.street.sun * 0.55, 0.6, -0.45)), np.float32).T)
        shown = np.flatnonzero((towards[:, 0] > model.planes) & (model.min_px <= px_per_m * model.size[2]))
        world = model.points @ (turn * np.float32(actor.scale))
        world += np.array((actor.x, 0.0, actor.z), np.float32)
        pixels = self.project(world)
        points, outlines = fixed(pixels), None
        if shadow:
            cv2.fillPoly(self.image, [points[model.ground :]], self.hazed(_SHADOW, actor.z), cv2.LINE_AA, SHIFT)
        hull = points[: model.ground]
        if len(model.limbs):
            radii = np.maximum(model.radii * np.float32(px_per_m), np.float32(0.35))
            outlines = fixed(_sticks(self._cap, pixels, model.joints, radii))
            hull = np.concatenate([hull, outlines.reshape(-1, 2)])
        drawn, stroke = [], 0
        for i, color in zip(shown.tolist(), self._shade(actor, shown, towards[:, 1]), strict=True):
            part, thickness = model.parts[i], 0
            polygon = points[part.start : part.stop] if part.kind != "limb" else outlines[part.limb]
            if part.kind == "ring":
                thickness = stroke = max(1, round(2 * part.radius * px_per_m))
            drawn.append((part, polygon, thickness, color))
        edge = stroke * _ONE // 2  # how far strokes reach beyond the hull
        box = (*(np.minimum.reduce(hull) - edge).tolist(), *(np.maximum.reduce(hull) + edge).tolist())
        layer = self.mark(actor.label, [(polygon, width) for part, polygon, width, _ in drawn if part.outline], box)
        if layer is None:
            return None
        layer.actor, layer.box = actor, tuple(value / _ONE + 0.5 for value in box)
        layer.full_px = self._count(layer, len(self.layers))
        for _, polygon, thickness, color in drawn:
            if thickness:
                cv2.polylines(self.image, [polygon], True, color, thickness, cv2.LINE_AA, SHIFT)
            else:
                cv2.fillPoly(self.image, [polygon], color, cv2.LINE_AA, SHIFT)
        return layer

    def _shade(self, actor: Actor, shown: np.ndarray, sunny: np.ndarray) -> list[list[float]]:
        """The colour of each part that is shown: its paint, lit by the sun, seen through the haze."""
        model, keep = actor.model, math.exp(-actor.z / self.haze_m)
        bright = model.ambient + np.float32(0.36) * np.maximum(sunny, np.float32(0.0))
        paint = np.array([actor.palette[role] for role in model.roles], np.float32)[model.role_of[shown]]
        paint *= bright[shown, None]
        paint = np.minimum(paint, np.float32(255.0)) * np.float32(keep)
        paint += np.array(self.haze, np.float32) * np.float32(1 - keep)
        return paint.tolist()

    def _count(self, layer: Layer, number: int) -> int:
        """How many pixels show the layer of this ``number`` now."""
        x0, y0, x1, y1 = (int(value) for value in layer.box)
        crop = self.layer_map[max(y0 - 2, 0) : max(y1 + 3, 0), max(x0 - 2, 0) : max(x1 + 3, 0)]
        return cv2.countNonZero(cv2.compare(crop, number, cv2.CMP_EQ))


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixels -> fixed point; what is far outside the frame is cut off, since OpenCV overflows there."""
    return (np.minimum(np.maximum(points, -2e4), 2e4) * _ONE).astype(np.int32)


def _half_disc(count: int) -> np.ndarray:
    arc = np.exp(1j * np.linspace(-math.pi / 2, math.pi / 2, count))
    return np.concatenate([arc, -arc]).astype(np.complex64)


_CAPS = (_half_disc(5), _half_disc(9))
"""Outline of a stick of radius 1, x + iy, around its first, then its second joint, if the first lies to the right of
the second: coarse for small images, fine for large ones."""


def _sticks(cap: np.ndarray, pixels: np.ndarray, joints: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Sticks of ``radii`` (M,) from the points ``joints`` (M,) of ``pixels`` to the next ones -> (M, len(cap), 2)."""
    corners = pixels.view(np.complex64)[:, 0]
    a, b = corners[joints], corners[joints + 1]
    along = a - b + np.complex64(1e-6j)
    along *= radii / np.abs(along)
    shape = along[:, None] * cap
    half = len(cap) // 2
    shape[:, :half] += a[:, None]
    shape[:, half:] += b[:, None]
    return shape.view(np.float32).reshape(len(a), len(cap), 2)
