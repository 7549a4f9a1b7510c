"""What a toy street is made of, in metres: actors, buildings, trees, posts, and their plan.

Frame: X to the right of the camera, Y up, Z ahead.
"""

import functools
import math
from dataclasses import dataclass, field
from typing import NamedTuple

from toyscapes.look import Color
from toyscapes.solid import Model


@dataclass
class Actor:
    """One thing to draw. ``follow`` is drawn over it and belongs to it: the rider on a bicycle."""

    label: int
    model: Model
    x: float
    z: float
    heading: float  # 0 drives away from the camera, pi towards it, pi/2 to the right
    scale: float
    palette: dict[str, Color]
    follow: "Actor | None" = None
    group: bool = False  # one of a crowd that nobody has told apart
    parked: bool = False

    def footprint(self) -> tuple[float, float, float, float]:
        """Half-open box on the ground, metres: x0, z0, x1, z1."""
        length, width = self.model.size[0] * self.scale, self.model.size[1] * self.scale
        sin, cos = abs(math.sin(self.heading)), abs(math.cos(self.heading))
        half_x, half_z = (length * sin + width * cos) / 2, (length * cos + width * sin) / 2
        return self.x - half_x, self.z - half_z, self.x + half_x, self.z + half_z


class Block(NamedTuple):
    """A building along the street; lower than 2 m, the wall or fence of an open plot."""

    side: int  # 0 left, 1 right
    z0: float
    z1: float
    height: float
    style: int  # 0..3
    hue: float  # 0..1


class Tree(NamedTuple):
    x: float
    z: float
    height: float
    shape: int  # 0..11


class Post(NamedTuple):
    x: float
    z: float
    kind: str
    variant: int  # 0..2


@dataclass
class Street:
    """The stage. ``left`` and ``right`` are the edges of the carriageway, ``walls`` the building lines."""

    left: float
    right: float
    walls: tuple[float, float]
    crossing: tuple[float, float] | None  # Z range of a side street
    tram: bool
    parking: bool  # a strip of its own for parked cars, on the left
    grass: tuple[bool, bool]  # a strip of it on either pavement
    sun: float  # -1 from the left .. 1 from the right
    eye: float  # height of the camera
    pitch: float  # horizon, as a fraction of the image height
    focal: float  # focal length, in image widths
    skyline: int  # seed
    blocks: list[Block] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)


@dataclass
class Plan:
    street: Street
    actors: list[Actor]

    def depth(self, x: float, z: float) -> float:
        """Painting order of what stands at (x, z): by distance, but before a long vehicle that hides it."""
        for near, far, beside, middle in self._long_vehicles:
            if near < z < far and x * beside > 0 and abs(x) > abs(beside) + 1:
                z = max(z, middle + 0.01)
        return z

    @functools.cached_property
    def _long_vehicles(self) -> list[tuple[float, float, float, float]]:
        """Near end, far end, x and middle of each actor longer than 6 m."""
        long = [(actor, actor.footprint()) for actor in self.actors if actor.model.size[0] > 6]
        return [(z0, z1, actor.x, actor.z) for actor, (_, z0, _, z1) in long]
