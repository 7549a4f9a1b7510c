"""Draws a toy street: the image, and label maps that agree with it pixel for pixel.

Everything is painted from far to near. Each thing is painted twice, anti-aliased into the image and hard-edged into a map
of layers; the outline in the map is a single closed contour, which is also the polygon that Cityscapes would store.
"""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from synlib.datasets.toyscapes_layout import Actor, Street
from synlib.datasets.toyscapes_models import Model
from synlib.labels import label_id

_SHIFT = 4  # OpenCV takes coordinates as integers with this many fractional bits
_ONE = 1 << _SHIFT


@dataclass
class Layer:
    """One painted thing: a stretch of background, an instance, or a member of a group."""

    label: int
    actor: Actor | None = None
    contour: np.ndarray | None = None  # int32 (N, 2): x, y in pixels
    full_px: int = 0  # pixels inside the frame before anything nearer covered it
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # unclipped x0, y0, x1, y1 in pixels


@dataclass
class Canvas:
    height: int
    width: int
    street: Street
    haze: tuple[float, float, float] = (205.0, 212.0, 222.0)
    haze_m: float = 220.0
    layers: list[Layer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.image = np.zeros((self.height, self.width, 3), np.uint8)
        self.layer_map = np.zeros((self.height, self.width), np.uint16)
        self.scratch = np.zeros((self.height, self.width), np.uint8)
        self.focal = self.street.focal * self.width
        self.horizon = self.street.pitch * self.height

    def project(self, points: np.ndarray) -> np.ndarray:
        """World (N, 3) metres -> pixels (N, 2), with (0, 0) the middle of the top left pixel."""
        scale = self.focal / np.maximum(points[:, 2], 0.3)
        out = np.empty((len(points), 2), np.float32)
        out[:, 0] = self.width / 2 - 0.5 + points[:, 0] * scale
        out[:, 1] = self.horizon - 0.5 + (self.street.eye - points[:, 1]) * scale
        return out

    def hazed(self, color, z: float) -> tuple[float, float, float]:
        """``color`` as seen through ``z`` metres of air."""
        t = 1.0 - math.exp(-z / self.haze_m)
        return tuple(c + (h - c) * t for c, h in zip(color, self.haze, strict=True))

    def fill(self, polygons, color) -> None:
        """Paint ``polygons`` (a list of float (N, 2)) into the image alone."""
        cv2.fillPoly(self.image, [fixed(p) for p in polygons], color, cv2.LINE_AA, _SHIFT)

    def mark(self, layer: Layer, shapes) -> bool:
        """Enter a new layer into the map: the outer contour of the union of ``shapes``. False when none of it is in the frame.

        ``shapes`` holds fixed-point polygons, or (polygon, thickness) pairs that are stroked as well.
        """
        points = np.concatenate([s[0] if isinstance(s, tuple) else s for s in shapes])
        x0, y0 = points.min(0) / _ONE
        x1, y1 = points.max(0) / _ONE
        left, top = max(int(x0) - 3, 0), max(int(y0) - 3, 0)
        right, bottom = min(int(x1) + 4, self.width), min(int(y1) + 4, self.height)
        if left >= right or top >= bottom:
            return False
        crop = self.scratch[top:bottom, left:right]
        crop[:] = 0
        offset = np.array((left, top), np.int32) * _ONE
        for shape in shapes:
            polygon, thickness = shape if isinstance(shape, tuple) else (shape, 0)
            cv2.fillPoly(crop, [polygon - offset], 1, cv2.LINE_8, _SHIFT)
            if thickness:
                cv2.polylines(crop, [polygon - offset], True, 1, thickness, cv2.LINE_8, _SHIFT)
        contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if not contours:
            return False
        contour = max(contours, key=len)
        self.layers.append(layer)
        cv2.fillPoly(self.layer_map[top:bottom, left:right], [contour], len(self.layers))
        crop[:] = 0
        cv2.fillPoly(crop, [contour], 1)
        layer.full_px = cv2.countNonZero(crop)
        layer.contour = contour[:, 0, :] + np.array((left, top), np.int32)
        layer.box = (float(x0) + 0.5, float(y0) + 0.5, float(x1) + 0.5, float(y1) + 0.5)
        return True

    def background(self, name: str, polygons, color) -> None:
        """Paint a stretch of background: each of ``polygons`` is one annotated polygon of the class ``name``."""
        for polygon in polygons:
            if self.mark(Layer(label_id(name)), [fixed(polygon)]):
                self.fill([polygon], color)


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixels -> fixed point; far outside the frame they are cut off, since OpenCV overflows there."""
    return np.rint(np.clip(points, -8000, 12000) * _ONE).astype(np.int32)


_CAP = np.linspace(-math.pi / 2, math.pi / 2, 5)
_CAPSULE = np.concatenate(
    [np.stack([np.cos(_CAP), np.sin(_CAP)], 1), -np.stack([np.cos(_CAP), np.sin(_CAP)], 1)]
).astype(
    np.float32
)  # outline of a stick around its first (then second) joint, in a frame whose x axis runs from second to first


def _capsules(a: np.ndarray, b: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Sticks between pixels ``a`` and ``b`` (M, 2) of ``radius`` (M,) -> outlines (M, 10, 2)."""
    along = a - b
    length = np.hypot(along[:, 0], along[:, 1])
    x = np.where(length[:, None] > 1e-3, along / np.maximum(length, 1e-3)[:, None], np.array((0.0, 1.0), np.float32))
    y = np.stack([-x[:, 1], x[:, 0]], 1)
    r = radius[:, None, None]
    shape = r * (_CAPSULE[None, :, :1] * x[:, None] + _CAPSULE[None, :, 1:] * y[:, None])
    shape[:, :5] += a[:, None]
    shape[:, 5:] += b[:, None]
    return shape


def paint_actor(canvas: Canvas, actor: Actor) -> None:
    """Paint one actor and its follower, with the shadow below it."""
    _paint_shadow(canvas, actor)
    if _paint_model(canvas, actor) and actor.follow:
        _paint_model(canvas, actor.follow)


def _paint_shadow(canvas: Canvas, actor: Actor) -> None:
    length, width, _ = (s * actor.scale for s in actor.model.size)
    half_l, half_w = length * 0.5 + 0.05, max(width * 0.55, 0.22)
    corners = np.array([(-half_l, -half_w), (half_l, -half_w), (half_l, half_w), (-half_l, half_w)])
    sin, cos = math.sin(actor.heading), math.cos(actor.heading)
    ground = np.zeros((4, 3))
    ground[:, 0] = actor.x + corners[:, 0] * sin + corners[:, 1] * cos - 0.25 * canvas.street.sun
    ground[:, 2] = actor.z + corners[:, 0] * cos - corners[:, 1] * sin
    canvas.fill([canvas.project(ground)], canvas.hazed((52, 52, 58), actor.z))


def _paint_model(canvas: Canvas, actor: Actor) -> bool:
    model: Model = actor.model
    sin, cos = math.sin(actor.heading), math.cos(actor.heading)
    turn = np.array([(sin, 0, cos), (cos, 0, -sin), (0, 1, 0)], np.float32)  # (l, w, h) -> (X, Y, Z)
    world = model.points @ (turn * actor.scale)
    world += np.array((actor.x, 0.0, actor.z), np.float32)
    pixels = canvas.project(world)
    size_px = canvas.focal * model.size[2] * actor.scale / actor.z
    normals = model.normals @ turn
    starts = [part.start for part in model.parts]
    eye = np.array((0.0, canvas.street.eye, 0.0), np.float32)
    towards = np.einsum("ij,ij->i", normals, eye - world[starts])
    light = np.array((canvas.street.sun * 0.55, 0.6, -0.45), np.float32)
    bright = (0.7 + 0.36 * np.maximum(normals @ light, 0.0)).tolist()
    limbs = [i for i, part in enumerate(model.parts) if part.kind == "limb"]
    outlines = {}
    if limbs:
        rows = np.array([starts[i] for i in limbs])
        radius = np.array([model.parts[i].radius for i in limbs], np.float32) * (actor.scale * canvas.focal / actor.z)
        shapes = _capsules(pixels[rows], pixels[rows + 1], np.maximum(radius, 0.35))
        outlines = dict(zip(limbs, fixed(shapes), strict=True))
    points = fixed(pixels)
    drawn, shapes = [], []
    for i, part in enumerate(model.parts):
        if size_px < part.min_px or (part.kind == "face" and towards[i] <= 0):
            continue
        polygon = outlines[i] if part.kind == "limb" else points[part.start : part.stop]
        thickness = 0
        if part.kind == "ring":
            thickness = max(1, round(2 * part.radius * actor.scale * canvas.focal / actor.z))
        if part.outline:
            shapes.append((polygon, thickness) if thickness else polygon)
        drawn.append((polygon, thickness, part, bright[i] if part.kind == "face" else 0.95))
    if not canvas.mark(Layer(actor.label, actor), shapes):
        return False
    for polygon, thickness, part, light in drawn:
        color = canvas.hazed([min(255.0, c * light) for c in actor.palette[part.role]], actor.z)
        if thickness:
            cv2.polylines(canvas.image, [polygon], True, color, thickness, cv2.LINE_AA, _SHIFT)
        else:
            cv2.fillPoly(canvas.image, [polygon], color, cv2.LINE_AA, _SHIFT)
    return True
