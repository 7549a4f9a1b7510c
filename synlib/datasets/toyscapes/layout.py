"""What stands where in a toy street: a seeded plan in metres, before any pixel is drawn.

Frame: X to the right of the camera, Y up, Z ahead, metres. The plan depends on (seed, domain, index) alone, never on
the resolution, so that a scene looks the same at every size.
"""

import math
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from synlib.datasets.toyscapes import models
from synlib.datasets.toyscapes.look import Color, actor_colors
from synlib.labels import BICYCLE, BUS, CAR, MOTORCYCLE, PERSON, RIDER, TRAIN, TRUCK, label_id

CARAVAN, TRAILER = label_id("caravan"), label_id("trailer")


@dataclass
class Actor:
    """One thing to draw. ``follow`` is drawn over it and belongs to it: the rider on a bicycle."""

    label: int
    model: models.Model
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
    phase: float  # 0..2 pi, shapes the crown


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
        for actor in self.actors:
            if actor.model.size[0] > 6 and actor.x * x > 0 and abs(x) > abs(actor.x) + 1:
                _, z0, _, z1 = actor.footprint()
                if z0 < z < z1:
                    z = max(z, actor.z + 0.01)
        return z


@dataclass(frozen=True)
class _Kind:
    """How many of a kind an image holds on average, and how far away they are."""

    real: tuple[float, float]  # near, far
    synthetic: tuple[float, float]
    reach: tuple[float, float]  # metres, of the near ones; the far ones reach from 0.8 to 2.2 times the second


_KINDS = {  # the largest first, since they find a place least easily
    "train": _Kind((0.62, 0.1), (0.6, 0.25), (13.0, 60.0)),
    "bus": _Kind((0.58, 0.12), (0.58, 0.4), (12.0, 55.0)),
    "truck": _Kind((0.62, 0.12), (0.62, 0.45), (10.0, 50.0)),
    "motorcyclist": _Kind((0.6, 0.12), (0.75, 0.6), (4.5, 22.0)),
    "cyclist": _Kind((0.75, 0.15), (0.85, 0.8), (4.5, 22.0)),
    "car": _Kind((2.5, 0.7), (2.5, 2.6), (7.5, 42.0)),
    "motorcycle": _Kind((0.2, 0.05), (0.2, 0.1), (4.5, 20.0)),
    "bicycle": _Kind((0.45, 0.1), (0.4, 0.2), (4.5, 20.0)),
    "person": _Kind((2.9, 0.8), (3.6, 11.0), (5.0, 26.0)),
}


def plan_scene(domain: str, rng: Random) -> Plan:
    """Draw up one street and everybody in it."""
    street = _plan_street(domain, rng)
    taken: list[tuple[float, float, float, float]] = []
    actors: list[Actor] = []
    for name, kind in _KINDS.items():
        near, far = kind.real if domain == "real" else kind.synthetic
        low, high = kind.reach
        for mean, z0, z1 in ((near, low, high), (far, high * 0.8, high * 2.2)):
            for _ in range(_poisson(rng, mean)):
                actor = _place(rng, street, name, z0, z1, taken)
                if actor:
                    actors.append(actor)
    if domain == "real":
        actors += _extras(rng, street, taken)
    return Plan(street, actors)


def _poisson(rng: Random, mean: float) -> int:
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count


def _plan_street(domain: str, rng: Random) -> Street:
    real = domain == "real"
    left, right = -rng.uniform(4.8, 7.5), rng.uniform(3.0, 5.0)
    near = rng.uniform(14.0, 34.0)
    leafy = 0.45 if real else 0.25
    street = Street(
        left,
        right,
        walls=(left - rng.uniform(3.5, 6.0), right + rng.uniform(3.0, 5.5)),
        crossing=(near, near + rng.uniform(7.0, 11.0)) if rng.random() < 0.6 else None,
        tram=rng.random() < 0.5,
        parking=left < -5.6 and rng.random() < 0.4,
        grass=(rng.random() < leafy * 0.6, rng.random() < leafy * 0.6),
        sun=rng.choice((-1, 1)) * rng.uniform(0.4, 0.9),
        eye=rng.uniform(1.35, 1.75),
        pitch=rng.uniform(0.4, 0.47),
        focal=rng.uniform(0.9, 1.05),
        skyline=rng.randrange(1 << 16),
    )
    for side in (0, 1):
        _build(rng, street, side, open_share=0.25 if real else 0.12, heights=(6.0, 13.0) if real else (8.0, 22.0))
        _furnish(rng, street, side, leafy)
    return street


def _build(rng: Random, street: Street, side: int, open_share: float, heights: tuple[float, float]) -> None:
    """Line one side of the street with buildings, and with plots of trees behind a fence."""
    z = rng.uniform(-4.0, 2.0)
    while z < 80.0:
        end = z + rng.uniform(9.0, 22.0)
        is_open = rng.random() < open_share
        height = rng.uniform(0.9, 1.7) if is_open else rng.uniform(*heights)
        for z0, z1 in _cut(z, end, street.crossing):
            street.blocks.append(Block(side, z0, z1, height, rng.randrange(4), rng.random()))
        for _ in range(2 if is_open and z < 50 else 0):
            x = street.walls[side] + (-1, 1)[side] * rng.uniform(2.0, 6.0)
            tree = Tree(x, max(rng.uniform(z, end), 4.0), rng.uniform(4.0, 8.0), rng.uniform(0.0, 6.28))
            street.trees.append(tree)
        z = end + (rng.uniform(0.5, 4.0) if rng.random() < 0.25 else 0.0)


def _furnish(rng: Random, street: Street, side: int, leafy: float) -> None:
    """Trees, lamps, signs and bins along one kerb."""
    x = (street.left - 0.6, street.right + 0.6)[side]
    z = rng.uniform(5.0, 12.0)
    while z < 55.0:
        free = not street.crossing or not street.crossing[0] - 1 < z < street.crossing[1] + 1
        draw = rng.random()
        if free and draw < leafy:
            street.trees.append(Tree(x, z, rng.uniform(4.0, 7.5), rng.uniform(0.0, 6.28)))
        elif free and draw < leafy + 0.35:
            kind = rng.choice(("lamp", "lamp", "sign", "sign", "light", "bin"))
            street.posts.append(Post(x, z, kind, rng.randrange(3)))
        z += rng.uniform(4.0, 11.0)


def _cut(a: float, b: float, hole: tuple[float, float] | None) -> list[tuple[float, float]]:
    """The interval a..b without ``hole``, with room for a pavement on both sides of it."""
    if hole is None or b <= hole[0] - 3 or a >= hole[1] + 3:
        return [(a, b)]
    parts = [(a, hole[0] - 3), (hole[1] + 3, b)]
    return [(p, q) for p, q in parts if q - p > 1.0]


def _place(rng, street, kind, z0, z1, taken) -> Actor | None:
    """Try some spots for one ``kind``; None when the street is full."""
    actor = _make(rng, kind)
    for _ in range(8):
        z = z0 * (z1 / z0) ** rng.random()
        spot = _spot(rng, street, kind, z)
        if spot is None:
            continue
        actor.x, actor.z, actor.heading = spot
        x_0, z_0, x_1, z_1 = actor.footprint()
        if z_0 < 0.55 * z0 or (abs(actor.x) > 0.58 * actor.z and actor.model.size[0] < 3):
            continue
        if any(x_0 < c and x_1 > a and z_0 < d and z_1 > b for a, b, c, d in taken):
            continue
        taken.append((x_0 - 0.25, z_0 - 0.25, x_1 + 0.25, z_1 + 0.25))
        if actor.follow:
            actor.follow.x, actor.follow.z, actor.follow.heading = spot
        return actor
    return None


def _spot(rng: Random, street: Street, kind: str, z: float) -> tuple[float, float, float] | None:
    """A place and a heading that suit ``kind`` about ``z`` metres ahead."""
    wide = 0.5 * z  # half of what the camera sees
    tilt = rng.gauss(0.0, 0.05)
    across = rng.choice((-1, 1)) * math.pi / 2 + rng.gauss(0.0, 0.12)
    draw = rng.random()
    if kind == "person":
        if draw < 0.35 and street.crossing:
            z = street.crossing[0] - rng.uniform(0.8, 3.0) if z > 8 and draw < 0.2 else z
            return rng.uniform(-min(wide, 9), min(wide, 9)), z, across
        if draw < 0.22:
            return rng.uniform(street.left, street.right), z, across
        low, high = (
            (street.left, street.walls[0] + 0.4) if rng.random() < 0.5 else (street.right, street.walls[1] - 0.4)
        )
        x = rng.uniform(low, high)
        x = math.copysign(min(abs(x), wide * rng.uniform(0.8, 1.0)), x) if abs(x) > wide else x
        return x, z, rng.choice((0.0, math.pi)) + rng.gauss(0.0, 0.6)
    if kind in ("cyclist", "motorcyclist", "bicycle", "motorcycle"):
        if kind in ("bicycle", "motorcycle"):
            low, high = (
                (street.left - 2.5, street.left - 0.5)
                if rng.random() < 0.5
                else (street.right + 0.5, street.right + 2.5)
            )
            x = rng.uniform(low, high)
            return math.copysign(min(abs(x), wide), x), z, rng.choice((-1, 1)) * rng.uniform(0.6, 2.5)
        if draw < 0.55:
            return rng.uniform(-wide, wide) * 0.8, z, across
        x, heading = (street.right - 0.7, 0.0) if rng.random() < 0.5 else (street.left + 0.8, math.pi)
        return math.copysign(min(abs(x), wide * 0.9), x), z, heading + rng.choice((-1, 1)) * rng.uniform(0.15, 0.8)
    crossing_share = {"car": 0.3, "train": 0.35}.get(kind, 0.4)
    if street.crossing and draw < crossing_share:
        lane = rng.choice((0.28, 0.72))
        z = street.crossing[0] + lane * (street.crossing[1] - street.crossing[0])
        return rng.uniform(-0.55, 0.55) * z, z, math.copysign(math.pi / 2, 0.5 - lane) + tilt
    if kind == "train":
        return (-3.1 if street.tram else street.left + 1.6), z + 8.0, rng.choice((0.0, math.pi))
    half = 5.0 if kind in ("truck", "bus") else 2.2
    lanes = [(0.2, 0.0), (-3.0, math.pi)]
    if street.right > 3.6:
        lanes += [(street.right - 1.1, 0.0)] * (2 if kind == "car" else 1)
    if street.left < -5.6:
        lanes += [(street.left + 1.1, math.pi)] * (2 if kind == "car" else 1)
    x, heading = rng.choice(lanes)
    turn = rng.choice((-1, 1)) * rng.uniform(0.3, 0.9) if rng.random() < 0.18 else tilt
    return x, z + half * 0.6, heading + turn


def _make(rng: Random, kind: str) -> Actor:
    scale = rng.uniform(0.9, 1.1)
    if kind == "person":
        child = rng.random() < 0.12
        return _actor(rng, PERSON, models.person(rng.randrange(6)), scale * (0.68 if child else 1.0))
    if kind in ("cyclist", "bicycle"):
        actor = _actor(rng, BICYCLE, models.bicycle(), scale * 1.22)
    elif kind in ("motorcyclist", "motorcycle"):
        actor = _actor(rng, MOTORCYCLE, models.motorcycle(), scale * 1.2)
    else:
        label, model = {
            "car": (CAR, lambda: models.car(rng.choice(("sedan", "hatchback", "hatchback", "van")))),
            "truck": (TRUCK, lambda: models.truck(rng.choice(("box", "box", "tipper")))),
            "bus": (BUS, lambda: models.bus(rng.choice(("city", "city", "coach")))),
            "train": (TRAIN, lambda: models.train(rng.choice((2, 2, 3)))),
        }[kind]
        return _actor(rng, label, model(), scale)
    if kind in ("cyclist", "motorcyclist"):
        vehicle = "bicycle" if kind == "cyclist" else "motorcycle"
        actor.follow = _actor(rng, RIDER, models.rider(vehicle, rng.randrange(3)), actor.scale)
    actor.parked = actor.follow is None
    return actor


def _actor(rng: Random, label: int, model: models.Model, scale: float) -> Actor:
    return Actor(label, model, 0.0, 0.0, 0.0, scale, actor_colors(rng, label))


def _extras(rng: Random, street: Street, taken: list) -> list[Actor]:
    """What only the real domain has: groups that nobody told apart, and now and then a caravan or a trailer."""
    extras = []
    if rng.random() < 0.3:
        kind, count, gap = rng.choice((("person", 9, 0.5), ("person", 7, 0.45), ("bicycle", 6, 0.55), ("car", 4, 4.4)))
        z = rng.uniform(24.0, 40.0) if kind != "bicycle" else rng.uniform(9.0, 18.0)
        side = rng.choice((-1, 1))
        x = (street.left if side < 0 else street.right) + side * 1.6
        x = math.copysign(min(abs(x), 0.45 * z), x)
        if kind == "car":
            x -= side * 2.7
        for i in range(count):
            along = i * gap
            actor = _make(rng, kind)
            actor.group, actor.parked = True, False
            actor.x = x + side * (along * 0.6 if kind == "person" else 0.0) + rng.uniform(-0.1, 0.1)
            actor.z = z + (along if kind != "person" else rng.uniform(0.0, 1.5))
            actor.heading = rng.choice((0.0, math.pi)) if kind != "bicycle" else math.pi / 2 + rng.gauss(0, 0.15)
            extras.append(actor)
    if rng.random() < 0.08:
        label, model = rng.choice(((CARAVAN, models.caravan()), (TRAILER, models.trailer())))
        actor = _actor(rng, label, model, 1.0)
        actor.x, actor.z = street.right - 1.2, rng.uniform(9.0, 25.0)
        x_0, z_0, x_1, z_1 = actor.footprint()
        if not any(x_0 < c and x_1 > a and z_0 < d and z_1 > b for a, b, c, d in taken):
            extras.append(actor)
    return extras
