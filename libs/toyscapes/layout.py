"""What stands where in a toy street: a seeded plan in metres, before any pixel is drawn.

Frame: X to the right of the camera, Y up, Z ahead, metres. The plan depends on (seed, domain, index) alone, never on
the resolution, so that a scene looks the same at every size.
"""

import math
from dataclasses import dataclass
from random import Random

from scapes.labels import BICYCLE, BUS, CAR, MOTORCYCLE, PERSON, RIDER, TRAIN, TRUCK, label_id
from toyscapes import models
from toyscapes.look import actor_colors
from toyscapes.solid import Model
from toyscapes.street import Actor, Block, Plan, Post, Street, Tree

CARAVAN, TRAILER = label_id("caravan"), label_id("trailer")


@dataclass(frozen=True)
class _Kind:
    """How many of a kind an image holds on average, and how far away they are."""

    real: tuple[float, float]  # near, far
    synthetic: tuple[float, float]
    reach: tuple[float, float]  # metres, of the near ones; the far ones reach from 0.8 to 2.2 times the second


_KINDS = {  # the largest first, since they find a place least easily
    "train": _Kind((0.6, 0.25), (0.6, 0.3), (13.0, 60.0)),
    "bus": _Kind((0.66, 0.18), (0.58, 0.4), (12.0, 55.0)),
    "truck": _Kind((0.62, 0.18), (0.62, 0.45), (10.0, 50.0)),
    "motorcyclist": _Kind((0.6, 0.12), (0.75, 0.6), (4.5, 22.0)),
    "cyclist": _Kind((0.75, 0.15), (0.85, 0.8), (4.5, 22.0)),
    "car": _Kind((2.8, 0.8), (2.9, 2.8), (7.5, 42.0)),
    "motorcycle": _Kind((0.2, 0.05), (0.2, 0.1), (4.5, 20.0)),
    "bicycle": _Kind((0.45, 0.1), (0.4, 0.2), (4.5, 20.0)),
    "person": _Kind((3.2, 0.9), (3.8, 11.0), (5.0, 26.0)),
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
    if domain == "real" and rng.random() < 0.3:
        actors += _group(rng, street)
    if domain == "real" and rng.random() < 0.08:
        other = _ignored(rng, street)
        actors += [other] if _claim(other, taken) else []
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
            tree = Tree(x, max(rng.uniform(z, end), 4.0), rng.uniform(4.0, 8.0), rng.randrange(12))
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
            street.trees.append(Tree(x, z, rng.uniform(4.0, 7.5), rng.randrange(12)))
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


def _place(rng: Random, street: Street, kind: str, z0: float, z1: float, taken: list) -> Actor | None:
    """Try some spots for one ``kind`` between ``z0`` and ``z1``; None when there is no room."""
    actor = _make(rng, kind)
    for _ in range(8):
        z = z0 * (z1 / z0) ** rng.random()
        actor.x, actor.z, actor.heading = _SPOTS.get(kind, _spot_vehicle)(rng, street, kind, z)
        out_of_sight = actor.model.size[0] < 3 and abs(actor.x) > 0.58 * actor.z
        if out_of_sight or actor.footprint()[1] < 0.55 * z0 or not _claim(actor, taken):
            continue
        if actor.follow:
            actor.follow.x, actor.follow.z, actor.follow.heading = actor.x, actor.z, actor.heading
        return actor
    return None


def _claim(actor: Actor, taken: list) -> bool:
    """Add the footprint to ``taken`` unless it overlaps one of them."""
    x0, z0, x1, z1 = actor.footprint()
    if any(x0 < right and x1 > left and z0 < far and z1 > near for left, near, right, far in taken):
        return False
    taken.append((x0 - 0.25, z0 - 0.25, x1 + 0.25, z1 + 0.25))
    return True


# Where each kind likes to be about ``z`` metres ahead: x, z, heading. The camera sees half of z to either side.


def _spot_person(rng: Random, street: Street, kind: str, z: float) -> tuple[float, float, float]:
    """On a pavement, at the crossing, or on the carriageway."""
    draw, across = rng.random(), _across(rng)
    if street.crossing and draw < 0.35:
        if draw < 0.2 and z > 8:
            z = street.crossing[0] - rng.uniform(0.8, 3.0)
        reach = min(0.5 * z, 9.0)
        return rng.uniform(-reach, reach), z, across
    if draw < 0.22:
        return rng.uniform(street.left, street.right), z, across
    edges = rng.choice(((street.left, street.walls[0] + 0.4), (street.right, street.walls[1] - 0.4)))
    return _limit(rng.uniform(*edges), rng.uniform(0.4, 0.5) * z), z, rng.choice((0.0, math.pi)) + rng.gauss(0.0, 0.6)


def _spot_parked(rng: Random, street: Street, kind: str, z: float) -> tuple[float, float, float]:
    """A two-wheeler that leans at the kerb."""
    x = rng.choice((street.left - 0.5, street.right + 2.5)) - rng.uniform(0.0, 2.0)
    return _limit(x, 0.5 * z), z, rng.choice((-1, 1)) * rng.uniform(0.6, 2.5)


def _spot_rider(rng: Random, street: Street, kind: str, z: float) -> tuple[float, float, float]:
    """Crossing the street, or riding along its edge."""
    if rng.random() < 0.55:
        return rng.uniform(-0.4, 0.4) * z, z, _across(rng)
    x, heading = rng.choice(((street.right - 0.7, 0.0), (street.left + 0.8, math.pi)))
    return _limit(x, 0.45 * z), z, heading + rng.choice((-1, 1)) * rng.uniform(0.15, 0.8)


def _spot_vehicle(rng: Random, street: Street, kind: str, z: float) -> tuple[float, float, float]:
    """In the side street, in a lane, on the tram's track, or parked."""
    tilt = rng.gauss(0.0, 0.05)
    if street.crossing and rng.random() < (0.3 if kind == "car" else 0.37):
        lane, heading = rng.choice(((0.28, math.pi / 2), (0.72, -math.pi / 2)))
        z = street.crossing[0] + lane * (street.crossing[1] - street.crossing[0])
        return rng.uniform(-0.55, 0.55) * z, z, heading + tilt
    if kind == "train":
        return (-3.1 if street.tram else street.left + 1.6), z + 8.0, rng.choice((0.0, math.pi))
    lanes = [(0.2, 0.0), (-3.0, math.pi)]
    parked = 2 if kind == "car" else 1
    if street.right > 3.6:
        lanes += [(street.right - 1.1, 0.0)] * parked
    if street.left < -5.6:
        lanes += [(street.left + 1.1, math.pi)] * parked
    x, heading = rng.choice(lanes)
    turn = rng.choice((-1, 1)) * rng.uniform(0.3, 0.9) if rng.random() < 0.18 else tilt
    return x, z + (1.3 if kind == "car" else 3.0), heading + turn


_SPOTS = {
    "person": _spot_person,
    "cyclist": _spot_rider,
    "motorcyclist": _spot_rider,
    "bicycle": _spot_parked,
    "motorcycle": _spot_parked,
}


def _across(rng: Random) -> float:
    """A heading to the left or to the right."""
    return rng.choice((-1, 1)) * math.pi / 2 + rng.gauss(0.0, 0.12)


def _limit(x: float, reach: float) -> float:
    return min(max(x, -reach), reach)


def _make(rng: Random, kind: str) -> Actor:
    """One of ``kind``, with a shape and colours of its own, not placed yet."""
    scale = rng.uniform(0.9, 1.1)
    if kind == "person":
        child = 0.68 if rng.random() < 0.12 else 1.0
        return _actor(rng, PERSON, models.person(rng.randrange(6)), scale * child)
    if kind in _SHAPES:
        label, shape, variants = _SHAPES[kind]
        return _actor(rng, label, shape(rng.choice(variants)), scale)
    scale *= 1.2  # two-wheelers are larger than life, or nobody would find them in a small image
    if kind in ("cyclist", "bicycle"):
        actor, vehicle = _actor(rng, BICYCLE, models.bicycle(), scale), "bicycle"
    else:
        actor, vehicle = _actor(rng, MOTORCYCLE, models.motorcycle(), scale), "motorcycle"
    actor.parked = kind == vehicle
    if not actor.parked:
        actor.follow = _actor(rng, RIDER, models.rider(vehicle, rng.randrange(3)), scale)
    return actor


_SHAPES = {
    "car": (CAR, models.car, ("sedan", "hatchback", "hatchback", "van")),
    "truck": (TRUCK, models.truck, ("box", "box", "tipper")),
    "bus": (BUS, models.bus, ("city", "city", "coach")),
    "train": (TRAIN, models.train, (2, 2, 3)),
}


def _actor(rng: Random, label: int, model: Model, scale: float) -> Actor:
    return Actor(label, model, 0.0, 0.0, 0.0, scale, actor_colors(rng, label))


def _group(rng: Random, street: Street) -> list[Actor]:
    """A crowd, a rack of bicycles or a row of parked cars that nobody has told apart."""
    kind, count = rng.choice((("person", 9), ("person", 7), ("bicycle", 6), ("car", 4)))
    z = rng.uniform(9.0, 18.0) if kind == "bicycle" else rng.uniform(24.0, 40.0)
    side, edge = rng.choice(((-1, street.left), (1, street.right)))
    x = _limit(edge + side * (-1.1 if kind == "car" else 1.6), 0.45 * z)
    members = [_make(rng, kind) for _ in range(count)]
    for i, actor in enumerate(members):
        actor.group, actor.parked = True, False
        actor.x, actor.z = x + rng.uniform(-0.1, 0.1), z + i * (4.4 if kind == "car" else 0.55)
        actor.heading = math.pi / 2 + rng.gauss(0.0, 0.15) if kind == "bicycle" else rng.choice((0.0, math.pi))
        if kind == "person":
            actor.x, actor.z = actor.x + side * 0.3 * i, z + rng.uniform(0.0, 1.5)
    return members


def _ignored(rng: Random, street: Street) -> Actor:
    """A caravan or a trailer at the kerb, which evaluation ignores."""
    label, model = rng.choice(((CARAVAN, models.caravan()), (TRAILER, models.trailer())))
    actor = _actor(rng, label, model, 1.0)
    actor.x, actor.z = street.right - 1.2, rng.uniform(9.0, 25.0)
    return actor
