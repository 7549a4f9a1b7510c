"""Solid models made of a few flat and round parts, from which everything that moves in a toy street is built.

A model lives in its own frame, in metres: ``u`` forward, ``w`` to the right, ``h`` up, with the origin on the ground in
the middle. It is a list of parts in painter's order:

- ``face``: a flat polygon, drawn when its outer side looks at the camera;
- ``limb``: a stick of some radius between two joints (a circle where they coincide), the same from every side;
- ``ring``: a circle that one can look through, such as a bicycle's tyre.

Parts below ``min_px`` (height of the whole model on screen) are left out, so that detail appears with resolution.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    kind: str  # face, limb or ring
    start: int  # rows of Model.points
    stop: int
    role: str  # looked up in the palette of the actor
    min_px: float  # smallest height of the model, in pixels, at which the part is drawn
    outline: bool  # belongs to the label mask
    radius: float  # of a limb or of the tyre of a ring, metres
    limb: int  # its number among the limbs


class Model(NamedTuple):
    """N points, P parts, of which L are limbs, painted in R roles."""

    parts: tuple[Part, ...]
    points: np.ndarray  # float32 (N, 3): u, w, h
    ground: int  # rows of points from here on are the outline of the shadow
    normals: np.ndarray  # float32 (P, 3), outward; zero for limbs and rings
    planes: np.ndarray  # float32 (P,): a face is seen from points p with normal @ p > plane; -inf for limbs and rings
    ambient: np.ndarray  # float32 (P,): brightness away from the sun
    min_px: np.ndarray  # float32 (P,)
    limbs: np.ndarray  # intp (L,): the first rows in points of those parts that are limbs
    radii: np.ndarray  # float32 (L,): theirs, metres
    tyre: float  # radius of the tyres of rings, metres; 0 if there is none
    roles: tuple[str, ...]
    role_of: np.ndarray  # intp (P,): index into roles
    size: tuple[float, float, float]  # length, width, height


class Builder:
    """Collects the parts of a model, in painter's order."""

    def __init__(self) -> None:
        self.points, self.parts = [], []

    def _add(self, kind, points, role, min_px, outline, radius=0.0) -> None:
        start = len(self.points)
        self.points += points
        limb = sum(part.kind == "limb" for part in self.parts)
        self.parts.append(Part(kind, start, len(self.points), role, min_px, outline, radius, limb))

    def face(self, points, role, min_px=0.0, outline=False) -> None:
        self._add("face", list(points), role, min_px, outline)

    def limb(self, a, b, radius, role, min_px=0.0, outline=True) -> None:
        self._add("limb", [a, b], role, min_px, outline, radius)

    def ring(self, u, h, radius, tyre, role) -> None:
        self._add("ring", circle(u, 0.0, h, radius, 18), role, 0.0, True, tyre)

    def sides(self, profile, half_width, role, min_px=0.0, outline=False) -> None:
        """The polygon ``profile`` of (u, h) on both flanks."""
        for w in (-half_width, half_width):
            self.face([(u, w, h) for u, h in profile], role, min_px, outline)

    def across(self, edges, half_width, role) -> None:
        """Quads that join both flanks along the consecutive (u, h) in ``edges``."""
        for (u0, h0), (u1, h1) in itertools.pairwise(edges):
            quad = [(u0, -half_width, h0), (u0, half_width, h0), (u1, half_width, h1), (u1, -half_width, h1)]
            self.face(quad, role, outline=True)

    def end(self, u, w0, w1, h0, h1, role, min_px=0.0, mirrored=False) -> None:
        """A rectangle on the front or rear end; ``mirrored`` draws its twin on the other side too."""
        for sign in (1, -1) if mirrored else (1,):
            self.face([(u, sign * w0, h0), (u, sign * w1, h0), (u, sign * w1, h1), (u, sign * w0, h1)], role, min_px)

    def wheels(self, places, radius, half_width) -> None:
        for u in places:
            for w in (-half_width, half_width):
                self.face(circle(u, w, radius, radius, 14), "tyre", 0.0, True)
                self.face(circle(u, w, radius, radius * 0.55, 10), "hub", 14.0)

    def windows(self, u0, u1, h0, h1, half_width, count, gap, min_px) -> None:
        """One band of glass from afar, ``count`` panes from near: the band first, then the pillars between panes."""
        self.sides([(u0, h0), (u1, h0), (u1, h1), (u0, h1)], half_width, "glass")
        step = (u1 - u0) / count
        for i in range(1, count):
            u = u0 + i * step
            self.sides([(u, h0), (u + gap, h0), (u + gap, h1), (u, h1)], half_width, "body", min_px)

    def build(self) -> Model:
        points, parts = np.array(self.points, np.float32), tuple(self.parts)
        low, high = points.min(0), points.max(0)
        normals = np.zeros((len(parts), 3), np.float32)
        planes = np.full(len(parts), -np.inf, np.float32)
        for i, part in enumerate(parts):
            if part.kind == "face":
                corners = points[part.start : part.stop]
                normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
                normal /= np.linalg.norm(normal)
                outward = normal @ (corners.mean(0) - (low + high) / 2) > 0
                normals[i] = normal if outward else -normal
                planes[i] = normals[i] @ corners[0]
        sticks = [part for part in parts if part.kind == "limb"]
        limbs = np.array([part.start for part in sticks], np.intp)
        radii = np.array([part.radius for part in sticks], np.float32)
        tyre = max((part.radius for part in parts if part.kind == "ring"), default=0.0)
        min_px = np.array([part.min_px for part in parts], np.float32)
        roles = tuple(dict.fromkeys(part.role for part in parts))
        role_of = np.array([roles.index(part.role) for part in parts], np.intp)
        size = (float(high[0] - low[0]), float(high[1] - low[1]), float(high[2]))
        ambient = np.where(np.isfinite(planes), 0.7, 0.95).astype(np.float32)
        corners = _shadow(size)
        return Model(
            parts, np.concatenate([points, corners]), len(points), normals, planes, ambient, min_px,
            limbs, radii, tyre, roles, role_of, size,
        )  # fmt: skip


def _shadow(size: tuple[float, float, float]) -> np.ndarray:
    """Float32 (M, 3) on the ground: a slab below a vehicle, a blob below anybody else."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    if size[0] < 3:
        corners = [(math.cos(0.2 * math.pi * i), math.sin(0.2 * math.pi * i)) for i in range(10)]
    length, width = size[0] * 0.5 + 0.08, max(size[1] * 0.55, 0.28)
    return np.array([(u * length, w * width, 0.0) for u, w in corners], np.float32)


def circle(u: float, w: float, h: float, radius: float, count: int) -> list:
    """``count`` corners of an upright circle around (u, w, h)."""
    angles = [2 * math.pi * (i + 0.5) / count for i in range(count)]
    return [(u + radius * math.cos(a), w, h + radius * math.sin(a)) for a in angles]
