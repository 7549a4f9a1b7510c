"""Everything that moves in a toy street, as solid models: vehicles, two-wheelers and people."""

import functools
import math

from toyscapes.solid import Builder, Model

# Lower body and cabin as (u, h) from the rear, over the top, to the front.
_CARS = {
    "sedan": ([(-2.25, 0.24), (-2.25, 0.84), (-2.1, 0.98), (0.95, 0.96), (2.05, 0.82), (2.25, 0.62), (2.25, 0.24)],
              [(-1.95, 0.96), (-1.3, 1.46), (0.1, 1.48), (1.0, 0.95)]),
    "hatchback": ([(-1.95, 0.24), (-1.98, 0.85), (-1.9, 1.0), (0.95, 0.98), (1.8, 0.84), (2.0, 0.62), (2.0, 0.24)],
                  [(-1.93, 0.98), (-1.62, 1.5), (0.05, 1.54), (1.0, 0.97)]),
    "van": ([(-2.3, 0.26), (-2.32, 0.95), (-2.25, 1.08), (1.3, 1.08), (2.15, 0.98), (2.35, 0.7), (2.35, 0.26)],
            [(-2.28, 1.06), (-2.12, 1.92), (0.75, 1.95), (1.5, 1.07)]),
}  # fmt: skip


@functools.cache
def car(kind: str) -> Model:
    """``kind``: sedan, hatchback or van."""
    body, cabin = _CARS[kind]
    rear, front = body[0][0], body[-1][0]
    add = Builder()
    add.across(body, 0.88, "body")
    add.sides(body, 0.88, "body", outline=True)
    add.across(cabin[:2], 0.74, "glass")
    add.across(cabin[1:3], 0.72, "body")
    add.across(cabin[2:], 0.74, "glass")
    add.sides(cabin, 0.78, "body", outline=True)
    (u0, h0), (u1, h1), (u2, h2), (u3, h3) = cabin
    pane = [(u0 + 0.28, h0 + 0.04), (u1 + 0.08, h1 - 0.1), (u2 - 0.02, h2 - 0.1), (u3 - 0.2, h3 + 0.04)]
    add.sides(pane, 0.79, "glass")
    pillar = -0.45
    add.sides([(pillar, h0), (pillar, h1), (pillar + 0.1, h1), (pillar + 0.1, h0)], 0.795, "body", 20.0)
    add.sides([(rear, 0.24), (front, 0.24), (front, 0.36), (rear, 0.36)], 0.885, "trim", 14.0)
    add.wheels((rear + 0.78, front - 0.82), 0.33, 0.9)
    for u, lamp in ((front, "lamp"), (rear, "tail")):
        add.end(u, 0.52, 0.84, 0.56, 0.72, lamp, 7.0, mirrored=True)
        add.end(u, -0.24, 0.24, 0.4, 0.52, "plate", 18.0)
        add.end(u, -0.85, 0.85, 0.24, 0.36, "trim", 12.0)
    add.end(front, -0.46, 0.46, 0.55, 0.68, "trim", 16.0)
    return add.build()


def _box(add, u0, u1, h0, h1, half_width, role) -> None:
    add.across([(u0, h0), (u0, h1), (u1, h1), (u1, h0)], half_width, role)
    add.sides([(u0, h0), (u0, h1), (u1, h1), (u1, h0)], half_width, role, outline=True)


@functools.cache
def truck(kind: str) -> Model:
    """``kind``: box (closed cargo) or tipper (low, open load bed)."""
    add = Builder()
    _box(add, -4.0, 4.0, 0.5, 0.95, 1.0, "trim")
    top = 3.45 if kind == "box" else 2.1
    _box(add, -4.1, 1.75, 0.95, top, 1.22, "cargo")
    for share in (0.25, 0.5, 0.75):
        u = -4.1 + share * 5.85
        add.sides([(u, 1.0), (u + 0.08, 1.0), (u + 0.08, top), (u, top)], 1.225, "seam", 22.0)
    add.sides([(-4.1, 1.7), (1.75, 1.7), (1.75, 2.0), (-4.1, 2.0)], 1.225, "accent", 9.0)
    add.end(-4.1, -0.03, 0.03, 0.95, top, "seam", 16.0)
    add.end(-4.1, 0.8, 1.15, 0.62, 0.85, "tail", 8.0, mirrored=True)
    cab = [(1.95, 0.45), (1.95, 2.75), (3.75, 2.75), (4.1, 1.7), (4.1, 0.45)]
    add.across(cab, 1.15, "body")
    add.sides(cab, 1.15, "body", outline=True)
    add.sides([(2.75, 1.65), (2.75, 2.45), (3.6, 2.45), (3.85, 1.65)], 1.155, "glass")
    add.face([(4.05, -1.0, 1.75), (4.05, 1.0, 1.75), (3.82, 1.0, 2.5), (3.82, -1.0, 2.5)], "glass")
    add.end(4.11, -0.8, 0.8, 0.95, 1.4, "trim", 10.0)
    add.end(4.11, 0.72, 1.08, 0.62, 0.85, "lamp", 8.0, mirrored=True)
    add.wheels((-3.0, -1.85, 3.0), 0.5, 1.2)
    return add.build()


@functools.cache
def bus(kind: str) -> Model:
    """``kind``: city or coach (higher floor, raked front)."""
    rake, sill = (0.1, 1.3) if kind == "city" else (0.5, 1.6)
    add = Builder()
    shell = [(-5.8, 0.32), (-5.8, 3.0), (-5.6, 3.12), (5.7 - rake, 3.12), (5.8 - rake / 2, 1.8), (5.8, 0.32)]
    add.across(shell, 1.25, "body")
    add.sides(shell, 1.25, "body", outline=True)
    add.sides([(-5.8, 0.32), (-5.8, 0.75), (5.8, 0.75), (5.8, 0.32)], 1.252, "accent", 8.0)
    add.windows(-5.5, 5.4 - rake, sill, 2.55, 1.255, 8, 0.14, 11.0)
    for u in (4.3, -0.6):  # doors, on the kerb side only
        add.face([(u, 1.258, 0.4), (u + 1.0, 1.258, 0.4), (u + 1.0, 1.258, 2.55), (u, 1.258, 2.55)], "glass", 14.0)
    add.wheels((-3.5, 3.3), 0.5, 1.26)
    front = 5.82
    add.face([(front, -1.1, 1.15), (front, 1.1, 1.15), (front - rake, 1.1, 2.6), (front - rake, -1.1, 2.6)], "glass")
    add.face(
        [(front - rake, -0.8, 2.68), (front - rake, 0.8, 2.68), (front - rake, 0.8, 2.98), (front - rake, -0.8, 2.98)],
        "display", 9.0,
    )  # fmt: skip
    add.end(front, 0.75, 1.12, 0.55, 0.8, "lamp", 8.0, mirrored=True)
    add.end(-5.81, -0.95, 0.95, 1.6, 2.55, "glass")
    add.end(-5.81, 0.9, 1.2, 0.7, 1.3, "tail", 8.0, mirrored=True)
    return add.build()


@functools.cache
def train(sections: int) -> Model:
    """A tram of 2 or 3 sections: no wheels in sight, nosed ends, gear and a pantograph on the roof."""
    half = 5.2 * sections
    add = Builder()
    shell = [(-half, 0.4), (-half, 1.2), (-half + 0.9, 3.3), (half - 0.9, 3.3), (half, 1.2), (half, 0.4)]
    add.across(shell, 1.2, "body")
    add.sides(shell, 1.2, "body", outline=True)
    _box(add, -half + 0.7, half - 0.7, 0.12, 0.5, 1.1, "trim")
    add.sides([(-half, 0.75), (-half, 1.15), (half, 1.15), (half, 0.75)], 1.205, "accent")
    add.windows(-half + 1.1, half - 1.1, 1.5, 2.65, 1.208, 6 * sections, 0.2, 14.0)
    for i in range(1, sections):
        u = -half + i * 2 * half / sections
        add.sides([(u - 0.22, 0.4), (u + 0.22, 0.4), (u + 0.22, 3.3), (u - 0.22, 3.3)], 1.21, "trim", 8.0)
    _box(add, -half * 0.55, half * 0.55, 3.3, 3.62, 0.8, "roof")
    add.limb((0.0, 0.0, 3.6), (0.9, 0.0, 4.2), 0.05, "trim", 20.0)
    add.limb((0.9, 0.0, 4.2), (0.2, 0.0, 4.7), 0.05, "trim", 20.0)
    for sign in (1, -1):
        u, back = sign * (half + 0.01), -sign * 0.65
        add.face([(u, -0.95, 1.4), (u, 0.95, 1.4), (u + back, 0.9, 2.85), (u + back, -0.9, 2.85)], "glass")
        add.end(u, -1.2, 1.2, 0.75, 1.15, "accent")
        add.end(u, 0.6, 0.95, 0.8, 1.05, "lamp" if sign > 0 else "tail", 8.0, mirrored=True)
    return add.build()


@functools.cache
def caravan() -> Model:
    add = Builder()
    shell = [(-2.4, 0.45), (-2.5, 1.5), (-2.2, 2.55), (2.0, 2.55), (2.5, 1.6), (2.4, 0.45)]
    add.across(shell, 1.1, "body")
    add.sides(shell, 1.1, "body", outline=True)
    add.sides([(-1.5, 1.3), (-1.5, 1.95), (1.2, 1.95), (1.2, 1.3)], 1.105, "glass")
    add.sides([(-2.4, 0.8), (2.4, 0.8), (2.4, 1.0), (-2.4, 1.0)], 1.105, "accent", 8.0)
    add.wheels((-0.2,), 0.36, 1.05)
    return add.build()


@functools.cache
def trailer() -> Model:
    add = Builder()
    _box(add, -1.5, 1.5, 0.55, 1.15, 0.85, "cargo")
    add.limb((1.5, 0.0, 0.5), (2.4, 0.0, 0.5), 0.06, "trim")
    add.wheels((-0.1,), 0.32, 0.9)
    return add.build()


@functools.cache
def bicycle() -> Model:
    add = Builder()
    for u in (-0.56, 0.56):
        add.ring(u, 0.36, 0.36, 0.035, "tyre")
    crank, saddle, head = (-0.06, 0.0, 0.34), (-0.24, 0.0, 0.95), (0.4, 0.0, 0.92)
    for a, b in (((-0.56, 0.0, 0.36), crank), ((-0.56, 0.0, 0.36), saddle), (crank, saddle), (crank, head),
                 ((-0.22, 0.0, 0.85), (0.38, 0.0, 0.86)), (head, (0.56, 0.0, 0.36))):  # fmt: skip
        add.limb(a, b, 0.035, "frame")
    add.limb((-0.36, 0.0, 0.98), (-0.12, 0.0, 0.97), 0.06, "trim")
    add.limb((0.38, -0.28, 1.08), (0.38, 0.28, 1.08), 0.035, "trim")
    add.limb(head, (0.38, 0.0, 1.08), 0.035, "frame")
    return add.build()


@functools.cache
def motorcycle() -> Model:
    add = Builder()
    for u in (-0.72, 0.74):
        add.limb((u, 0.0, 0.33), (u, 0.0, 0.33), 0.33, "tyre")
        add.limb((u, 0.0, 0.33), (u, 0.0, 0.33), 0.17, "hub", 12.0)
    add.limb((-0.3, 0.0, 0.45), (0.3, 0.0, 0.45), 0.2, "engine")
    add.limb((-0.75, 0.0, 0.3), (-0.1, 0.0, 0.3), 0.07, "pipe", 12.0)
    add.limb((0.72, 0.0, 0.35), (0.48, 0.0, 0.95), 0.06, "pipe")
    add.limb((-0.85, 0.0, 0.86), (-0.1, 0.0, 0.8), 0.11, "trim")
    add.limb((-0.05, 0.0, 0.82), (0.42, 0.0, 0.86), 0.17, "body")
    add.limb((0.45, 0.0, 0.75), (0.58, 0.0, 0.95), 0.14, "body")
    add.limb((0.42, -0.36, 1.05), (0.42, 0.36, 1.05), 0.045, "trim")
    add.limb((0.62, 0.0, 0.88), (0.62, 0.0, 0.88), 0.09, "lamp", 10.0, False)
    add.limb((-0.95, 0.0, 0.84), (-0.95, 0.0, 0.84), 0.06, "tail", 10.0)
    return add.build()


@functools.cache
def person(pose: int) -> Model:
    """``pose`` 0..5: phases of walking; even poses carry a bag, pose 5 stands."""
    stride = (0.28, 0.2, 0.1, -0.12, -0.26, 0.03)[pose]
    add = Builder()
    for sign in (-1, 1):
        knee = (sign * stride * 0.45 + 0.04, sign * 0.1, 0.48)
        add.limb((0.0, sign * 0.09, 0.88), knee, 0.095, "trousers")
        add.limb(knee, (sign * stride, sign * 0.1, 0.08), 0.075, "trousers")
        add.limb(
            (sign * stride - 0.02, sign * 0.1, 0.05), (sign * stride + 0.14, sign * 0.1, 0.05), 0.055, "shoes", 9.0
        )
    add.limb((-stride * 0.9, -0.27, 0.95), (0.0, -0.22, 1.36), 0.06, "top", 7.0)
    if pose % 2 == 0:
        add.limb((-0.18, 0.0, 1.05), (-0.18, 0.0, 1.32), 0.14, "bag", 7.0)
    add.limb((0.0, 0.0, 0.92), (0.0, 0.0, 1.28), 0.19, "top")
    add.limb((0.0, -0.14, 1.34), (0.0, 0.14, 1.34), 0.1, "top")
    add.limb((stride * 0.9, 0.27, 0.95), (0.0, 0.22, 1.36), 0.06, "top", 7.0)
    for sign in (-1, 1):
        hand = (sign * stride * 0.95, sign * 0.27, 0.9)
        add.limb(hand, hand, 0.05, "skin", 14.0)
    _head(add, 0.0, 1.62, "hair")
    return add.build()


def _head(add, u, h, cover) -> None:
    add.limb((u, 0.0, h - 0.18), (u, 0.0, h - 0.05), 0.06, "skin")
    add.limb((u, 0.0, h + 0.04), (u, 0.0, h + 0.04), 0.125, cover)
    add.limb((u + 0.03, 0.0, h - 0.04), (u + 0.03, 0.0, h), 0.1, "skin", 7.0)


@functools.cache
def rider(vehicle: str, pose: int) -> Model:
    """Someone on a ``vehicle`` (bicycle or motorcycle); ``pose`` 0..2 turns the pedals."""
    low = vehicle == "motorcycle"
    hip, shoulder = ((-0.28, 0.95), (0.02, 1.42)) if low else ((-0.22, 1.08), (0.1, 1.55))
    add = Builder()
    for sign in (-1, 1):
        turn = 2.1 * pose + (math.pi if sign > 0 else 0.0)
        foot = (0.05, 0.3) if low else (-0.04 + 0.17 * math.cos(turn), 0.32 + 0.17 * math.sin(turn))
        knee = ((hip[0] + foot[0]) / 2 + 0.26, (hip[1] + foot[1]) / 2 + 0.12)
        w = sign * (0.24 if low else 0.12)
        add.limb((hip[0], sign * 0.1, hip[1]), (knee[0], w, knee[1]), 0.1, "trousers")
        add.limb((knee[0], w, knee[1]), (foot[0], w, foot[1]), 0.075, "trousers")
        add.limb((foot[0], w, foot[1]), (foot[0] + 0.14, w, foot[1] - 0.02), 0.055, "shoes", 9.0)
    add.limb((hip[0], 0.0, hip[1]), (shoulder[0], 0.0, shoulder[1]), 0.19, "top")
    add.limb((shoulder[0], -0.14, shoulder[1]), (shoulder[0], 0.14, shoulder[1]), 0.11, "top")
    for sign in (-1, 1):
        elbow, hand = (shoulder[0] + 0.2, sign * 0.3, shoulder[1] - 0.28), (0.38, sign * 0.28, 1.1)
        add.limb((shoulder[0], sign * 0.2, shoulder[1]), elbow, 0.065, "top")
        add.limb(elbow, hand, 0.055, "top")
    _head(add, shoulder[0] + 0.08, shoulder[1] + 0.28, "helmet")
    return add.build()
