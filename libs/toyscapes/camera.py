"""The camera of a toy street: where points appear in the picture, and what it sees of the solid models.

Shapes: A actors; N points, L limbs, P parts of all their models together.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from toyscapes.look import Color
from toyscapes.street import Actor, Street

SHIFT = 4  # OpenCV takes coordinates as integers with this many fractional bits
ONE = 1 << SHIFT


class Shape(NamedTuple):
    polygon: np.ndarray  # fixed-point int32 (corners, 2)
    stroke_px: int  # thickness of its outline if that is all there is to it, 0 if it is filled
    color: Color
    outline: bool  # belongs to the label mask


@dataclass
class Figure:
    """What is seen of one actor, in painter's order."""

    actor: Actor
    shapes: list[Shape]
    shadow: np.ndarray  # fixed-point int32 (corners, 2)
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 around all shapes, fixed-point


class Camera:
    """Projects metres to pixels, and dims colours by the ``haze``: two thirds are lost after ``haze_m`` metres."""

    def __init__(self, street: Street, height: int, width: int, haze: Color, haze_m: float) -> None:
        self.street, self.height, self.width = street, height, width
        self.focal, self.horizon = street.focal * width, street.pitch * height
        self.haze, self.haze_m = haze, haze_m

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

    def view(self, actors: list[Actor]) -> list[Figure]:
        """One figure an actor. All at once, since one actor alone is too small to be worth a call of NumPy."""
        if not actors:
            return []
        models = [actor.model for actor in actors]
        place = np.array([(actor.x, 0.0, actor.z) for actor in actors], np.float32)
        scale = np.array([actor.scale for actor in actors], np.float32)
        turn = _turns(np.array([actor.heading for actor in actors], np.float32))
        px_per_m = np.float32(self.focal) * scale / place[:, 2]
        owner, first_points = _owners([len(model.points) for model in models])
        local = np.concatenate([model.points for model in models])
        world = np.einsum("ni,nij->nj", local, (turn * scale[:, None, None])[owner]) + place[owner]
        pixels = self.project(world)
        corners = fixed(pixels)
        owner, first_limbs = _owners([len(model.limbs) for model in models])
        joints = np.concatenate([model.limbs for model in models]) + first_points[owner]
        radii = np.concatenate([model.radii for model in models]) * px_per_m[owner]
        sticks = fixed(_sticks(pixels, joints, np.maximum(radii, np.float32(0.35)), fine=self.height > 160))
        low = _bounds(np.minimum, models, corners, first_points, sticks, owner)
        high = _bounds(np.maximum, models, corners, first_points, sticks, owner)
        shown, colors, first_parts = self._parts(actors, place, scale, turn)
        figures = []
        for a, actor in enumerate(actors):
            model, point, limb, first = models[a], first_points[a], first_limbs[a], first_parts[a]
            shapes, stroke_px = [], max(1, round(2 * model.tyre * float(px_per_m[a]))) if model.tyre else 0
            for i in shown[a]:
                part = model.parts[i]
                is_limb = part.kind == "limb"
                polygon = sticks[limb + part.limb] if is_limb else corners[point + part.start : point + part.stop]
                shapes.append(Shape(polygon, stroke_px if part.kind == "ring" else 0, colors[first + i], part.outline))
            reach = stroke_px * ONE // 2  # of strokes beyond their middle
            box = (low[a][0] - reach, low[a][1] - reach, high[a][0] + reach, high[a][1] + reach)
            figures.append(Figure(actor, shapes, corners[point + model.ground : point + len(model.points)], box))
        return figures

    def _parts(self, actors: list[Actor], place: np.ndarray, scale: np.ndarray, turn: np.ndarray) -> tuple:
        """Which parts each actor shows (lists of int), the colours of all parts, and the first part of each actor."""
        models = [actor.model for actor in actors]
        owner, first_parts = _owners([len(model.parts) for model in models])
        normals = np.concatenate([model.normals for model in models])
        eye = (np.array((0.0, self.street.eye, 0.0), np.float32) - place) / scale[:, None]
        sun = np.array((self.street.sun * 0.55, 0.6, -0.45), np.float32)
        targets = np.stack([np.einsum("aij,aj->ai", turn, eye), turn @ sun], 2)  # (A, 3, 2), in each model's frame
        towards = np.einsum("pi,pij->pj", normals, targets[owner])
        size_px = np.array([model.size[2] for model in models], np.float32) * (self.focal * scale / place[:, 2])
        shown = towards[:, 0] > np.concatenate([model.planes for model in models])
        shown &= np.concatenate([model.min_px for model in models]) <= size_px[owner]
        # Paint, lit by the sun, seen through the haze.
        _, first_roles = _owners([len(model.roles) for model in models])
        roles = np.concatenate([model.role_of for model in models]) + first_roles[owner]
        paint = np.array([actor.palette[role] for actor in actors for role in actor.model.roles], np.float32)[roles]
        bright = np.concatenate([model.ambient for model in models]) + 0.36 * np.maximum(towards[:, 1], 0.0)
        keep = np.exp(-place[owner, 2:] / np.float32(self.haze_m))
        colors = np.minimum(paint * bright[:, None], 255.0) * keep + np.array(self.haze, np.float32) * (1 - keep)
        chosen = [np.flatnonzero(part).tolist() for part in np.split(shown, first_parts[1:])]
        return chosen, colors.tolist(), first_parts


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixels -> fixed point; what is far outside the frame is cut off, since OpenCV overflows there."""
    return (np.minimum(np.maximum(points, -2e4), 2e4) * ONE).astype(np.int32)


def _owners(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Of items laid end to end, ``counts`` each: whose each item is, and the first of each owner."""
    ends = np.cumsum(counts)
    return np.repeat(np.arange(len(counts)), counts), ends - counts


def _bounds(reduce: np.ufunc, models, corners, first_points, sticks, limb_owner) -> list[list[int]]:
    """The least or greatest x and y of each actor, without its shadow."""
    edges = np.stack([first_points, first_points + [model.ground for model in models]], 1)
    bounds = reduce.reduceat(corners, edges.ravel())[::2]
    reduce.at(bounds, limb_owner, reduce.reduce(sticks, 1))
    return bounds.tolist()


def _turns(headings: np.ndarray) -> np.ndarray:
    """Headings (A,) -> (A, 3, 3): the directions u, w, h of each model's frame in the world, as rows."""
    turns = np.zeros((len(headings), 3, 3), np.float32)
    turns[:, 0, 0] = turns[:, 1, 2] = np.sin(headings)
    turns[:, 0, 2] = turns[:, 1, 0] = np.cos(headings)
    turns[:, 1, 2] *= -1
    turns[:, 2, 1] = 1
    return turns


def _half_disc(count: int) -> np.ndarray:
    arc = np.exp(1j * np.linspace(-math.pi / 2, math.pi / 2, count))
    return np.concatenate([arc, -arc]).astype(np.complex64)


_CAPS = (_half_disc(5), _half_disc(9))
"""Outline of a stick of radius 1, x + iy, around its first, then its second joint, if the first lies to the right of
the second: coarse for small images, fine for large ones."""


def _sticks(pixels: np.ndarray, joints: np.ndarray, radii: np.ndarray, fine: bool) -> np.ndarray:
    """Sticks of ``radii`` (L,) from points ``joints`` (L,) of ``pixels`` (N, 2) to the next ones -> (L, corners, 2)."""
    points, cap = pixels.view(np.complex64)[:, 0], _CAPS[fine]
    a, b = points[joints], points[joints + 1]
    along = a - b + np.complex64(1e-6j)
    along *= radii / np.abs(along)
    outlines = along[:, None] * cap
    half = len(cap) // 2
    outlines[:, :half] += a[:, None]
    outlines[:, half:] += b[:, None]
    return outlines.view(np.float32).reshape(len(a), len(cap), 2)
