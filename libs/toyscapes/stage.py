"""The stage of a toy street: sky, ground, road markings, buildings, trees, street furniture and the recording car."""

import functools
import math
from random import Random

import numpy as np

from scapes.labels import label_id
from toyscapes.canvas import Canvas, Layer
from toyscapes.look import LEAVES, WALLS, WINDOWS, Color
from toyscapes.street import Block, Post, Street, Tree

KERB_M = 0.08  # height of a kerb
NEAR, FAR = 1.0, 400.0  # metres between which the ground is drawn
_SIDE = 120.0  # metres to the left and right of the camera


def _quad(x0: float, x1: float, z0: float, z1: float, y: float = 0.0) -> list:
    return [(x0, y, max(z0, NEAR)), (x1, y, max(z0, NEAR)), (x1, y, z1), (x0, y, z1)]


def paint_ground(canvas: Canvas, look: dict[str, Color]) -> None:
    """Sky, backdrop, ground, carriageways and their markings. ``look``: colour of each role."""
    _paint_sky(canvas, look)
    street = canvas.street
    left, right, crossing = street.left, street.right, street.crossing
    stretches = []
    for side, (a, b) in enumerate(((street.walls[0] - 0.5, left), (right, street.walls[1] + 0.5))):
        stretches.append(("sidewalk", "sidewalk", _quad(a, b, NEAR, FAR)))
        if street.grass[side]:
            a, b = ((a, a + 1.6), (b - 1.6, b))[side]
            stretches.append(("terrain", "grass", _quad(a, b, NEAR, FAR)))
    if crossing:
        stretches.append(("sidewalk", "sidewalk", _quad(-_SIDE, _SIDE, crossing[0] - 2.5, crossing[1] + 2.5)))
        stretches.append(("road", "road", _quad(-_SIDE, _SIDE, *crossing)))
    stretches.append(("road", "road", _quad(left, right, NEAR, FAR)))
    if street.parking:
        stretches.append(("parking", "parking", _quad(left, left + 2.1, NEAR, FAR)))
    shapes = canvas.camera.project(np.array([quad for _, _, quad in stretches], np.float32))
    for (name, role, _), shape in zip(stretches, shapes, strict=True):
        canvas.background(name, shape, look[role])
    for role, quads in _markings(street).items():
        if quads:
            canvas.fill(canvas.camera.project(np.array(quads, np.float32)), look[role])


def _markings(street: Street) -> dict[str, list]:
    """What is painted on the ground without a class of its own: role -> quads."""
    crossing = street.crossing
    spans = [(NEAR, crossing[0]), (crossing[1], FAR)] if crossing else [(NEAR, FAR)]
    edges = ((street.left, -0.16), (street.right, 0.16))
    kerbs = [_quad(x, x + out, a, b, KERB_M) for x, out in edges for a, b in spans]
    dashes = [z for z in range(2, 90, 6) if not crossing or z + 3 < crossing[0] - 3 or z > crossing[1] + 3]
    lines = [_quad(-1.47, -1.33, z, z + 3.0) for z in dashes]
    if crossing:
        bars = np.arange(street.left + 0.5, street.right - 0.3, 1.1).tolist()
        lines += [_quad(x, x + 0.5, crossing[0] - 3.6, crossing[0] - 0.9) for x in bars]
    rails = [_quad(x - 0.05, x + 0.05, NEAR, FAR) for x in (-3.82, -2.38)] if street.tram else []
    return {"kerb": kerbs, "marking": lines, "rail": rails}


def _paint_sky(canvas: Canvas, look: dict[str, Color]) -> None:
    width, height, street = canvas.width, canvas.height, canvas.street
    horizon = math.ceil(canvas.camera.horizon) + 1
    ramp = np.linspace(0.0, 1.0, horizon, dtype=np.float32)[:, None]
    canvas.image[:horizon] = (np.array(look["zenith"]) * (1 - ramp) + np.array(canvas.camera.haze) * ramp)[:, None]
    canvas.image[horizon:] = look["grass"]
    for name, top, bottom in (("terrain", horizon, height - 1), ("sky", 0, horizon - 1)):
        corners = np.array([(0, top), (width - 1, top), (width - 1, bottom), (0, bottom)], np.int32)
        canvas.layers.append(Layer(label_id(name), corners))
        canvas.layer_map[top : bottom + 1] = len(canvas.layers)
    rng = Random(street.skyline)
    u, skyline = -0.05, [(-0.05, 0.0)]
    while u < 1.05:
        step, rise = rng.uniform(0.03, 0.12), rng.uniform(0.015, 0.09)
        skyline += [(u, rise), (u + step, rise * rng.uniform(0.8, 1.0))]
        u += step
    skyline += [(u, 0.0)]
    points = np.array([(x * width, canvas.camera.horizon + 0.5 - y * height) for x, y in skyline], np.float32)
    canvas.background(
        ("building", "vegetation")[street.skyline % 2], points, canvas.camera.hazed(look["backdrop"], 160.0)
    )


def paint_block(canvas: Canvas, block: Block, look: dict[str, Color]) -> None:
    """One building, or the wall or fence before an open plot: its front, and the end that faces the camera."""
    side, z0, z1, height, style, hue = block
    x = canvas.street.walls[side]
    z0, z1 = max(z0, NEAR), max(z1, NEAR + 0.1)
    out = (-14.0, 14.0)[side]
    if x / z1 > 0.55 / canvas.street.focal or x / z1 < -0.55 / canvas.street.focal:
        return  # beside the camera's view
    front = [(x, 0, z0), (x, 0, z1), (x, height, z1), (x, height, z0)]
    end = [(x, 0, z0), (x + out, 0, z0), (x + out, height, z0), (x, height, z0)]
    base = [(x, 0, z0), (x, 0, z1), (x, 0.7, z1), (x, 0.7, z0)]
    shapes = canvas.camera.project(np.array([front, end, base], np.float32))
    middle = (z0 + z1) / 2
    if height < 2:
        name, role = ("wall", "stone") if style % 2 else ("fence", "pole")
        canvas.background(name, shapes[0], canvas.camera.hazed(look[role], middle))
        return
    wall = look[f"wall{int(hue * WALLS)}"]
    light = 1.0 if canvas.street.sun * (-1 if side else 1) > 0 else 0.8
    canvas.background("building", shapes[0], canvas.camera.hazed([c * light for c in wall], middle), shapes[1])
    canvas.fill(shapes[1], canvas.camera.hazed([c * 0.86 for c in wall], z0))
    canvas.fill(shapes[2], canvas.camera.hazed([c * 0.7 for c in wall], middle))
    panes = _windows(canvas, x, z0, z1, height, style)
    if len(panes):
        canvas.fill(panes, canvas.camera.hazed(look[f"window{style % WINDOWS}"], middle))


def _windows(canvas: Canvas, x: float, z0: float, z1: float, height: float, style: int) -> np.ndarray:
    """Pixels (N, 4, 2) of the windows of a front that can be told apart."""
    floor, pitch = ((3.0, 2.6), (3.4, 3.2), (2.8, 2.2), (3.2, 2.9))[style]
    storey_px = canvas.camera.focal * floor * 2 / (z0 + z1)
    levels = 1.1 + floor * np.arange(int((height - 0.8) / floor), dtype=np.float32)
    starts = np.arange(z0 + 0.7, z1 - 0.55 * pitch, pitch, dtype=np.float32)
    if storey_px < 3 or not len(levels) or not len(starts):
        return np.empty((0, 4, 2), np.float32)
    corners = np.empty((len(levels), len(starts), 4, 3), np.float32)
    corners[..., 0] = x
    corners[..., 1] = levels[:, None, None] + np.array((0, 0, floor * 0.52, floor * 0.52), np.float32)
    corners[..., 2] = starts[None, :, None] + np.array((0, 0.55 * pitch, 0.55 * pitch, 0), np.float32)
    panes = canvas.camera.project(corners.reshape(-1, 4, 3))
    return panes[(panes[..., 0].max(1) > 0) & (panes[..., 0].min(1) < canvas.width) & (panes[..., 1].max(1) > 0)]


def paint_tree(canvas: Canvas, tree: Tree, look: dict[str, Color]) -> None:
    """A trunk and a crown of three shades."""
    x, z, height, shape = tree
    scale, hazed = canvas.camera.focal / z, canvas.camera.hazed
    foot, top = canvas.camera.project(np.array([(x, 0, z), (x, height, z)], np.float32))
    radius, trunk = height * 0.3 * scale, max(0.12 * scale, 0.5)
    center = top + (0, radius)
    crown = _crown(shape, 40 if canvas.height > 160 else 16) * radius
    stem = np.array([foot - (trunk, 0), foot + (trunk, 0), center + (0.7 * trunk, 0), center - (0.7 * trunk, 0)])
    leaf = look[f"leaf{shape % LEAVES}"]
    canvas.background("vegetation", center + crown, hazed([c * 0.78 for c in leaf], z), stem)
    stem[2:, 1] += radius * 0.85
    canvas.fill(stem, hazed(look["bark"], z))
    for share, lift, light in ((0.7, 0.16, 0.92), (0.4, 0.34, 1.06)):
        shift = np.array((canvas.street.sun * lift * 0.9, -lift)) * radius
        canvas.fill(center + shift + crown * share, hazed([min(255.0, c * light) for c in leaf], z))


@functools.cache
def _crown(shape: int, corners: int) -> np.ndarray:
    """Outline of a crown about one in radius, (corners, 2)."""
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    radius = 1.0 + 0.07 * np.sin(5 * angles + shape) + 0.06 * np.sin(9 * angles + 3 * shape)
    return np.stack([np.cos(angles), 1.08 * np.sin(angles)], 1) * radius[:, None]


def paint_post(canvas: Canvas, post: Post, look: dict[str, Color]) -> None:
    """A street lamp, traffic sign, traffic light, or bin."""
    x, z, kind, variant = post
    height = {"lamp": 6.5, "sign": 2.6, "light": 3.4, "bin": 1.0}[kind]
    scale = canvas.camera.focal / z
    foot, top = canvas.camera.project(np.array([(x, 0, z), (x, height, z)], np.float32))
    if kind == "bin":
        half = np.array((0.3 * scale, 0.0))
        corners = np.array([foot - half * 0.8, foot + half * 0.8, top + half, top - half])
        canvas.background("static", corners, canvas.camera.hazed(look["bin"], z))
        return
    half = np.array((max(0.06 * scale, 0.45), 0.0))
    pole, arm = np.array([foot - half, foot + half, top + half, top - half]), ()
    if kind == "lamp":
        reach, thick = math.copysign(1.2, -x) * scale, max(0.14 * scale, 1.0)
        arm = (top + [(0, 0), (reach, -0.1 * scale), (reach, thick - 0.1 * scale), (0, thick)],)
    canvas.background("pole", pole, canvas.camera.hazed(look["pole"], z), *arm)
    if kind == "sign":
        disc = _SIGNS[variant] * 0.38 * scale
        canvas.background("traffic sign", top + disc, canvas.camera.hazed(look[("red", "blue", "yellow")[variant]], z))
        canvas.fill(top + disc * 0.6, canvas.camera.hazed((240, 240, 240), z))
    if kind == "light":
        box = np.array([(-0.18, -0.1), (0.18, -0.1), (0.18, 0.9), (-0.18, 0.9)]) * scale
        canvas.background("traffic light", top + box, canvas.camera.hazed((40, 42, 44), z))
        lamp = _SIGNS[0] * 0.12 * scale + (0, (0.1, 0.4, 0.7)[variant] * scale)
        canvas.fill(top + lamp, canvas.camera.hazed(((230, 50, 40), (240, 180, 40), (60, 210, 110))[variant], z))


def _circle(corners: int) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


_SIGNS = (_circle(14), _circle(14), _circle(4))


def paint_void(canvas: Canvas) -> None:
    """The bonnet of the recording car and the borders that rectification leaves, which are ignored in evaluation."""
    h, w = canvas.height, canvas.width
    x = np.linspace(0, 1, 25)
    top = h * (0.985 - 0.075 * np.sin(math.pi * (0.12 + 0.76 * x)) ** 0.8)
    rim = np.stack([x * (w - 1), top], 1)
    canvas.background("ego vehicle", np.concatenate([rim, [(w - 1, h - 1), (0, h - 1)]]), (46, 48, 54))
    canvas.fill(np.concatenate([rim + (0, 0.008 * h), rim[::-1] + (0, 0.03 * h)]), (88, 94, 104))
    edge = max(1, round(h / 200)) - 1
    for name, (right, bottom), shade in (("out of roi", (w - 1, edge), 20), ("rectification border", (edge, h - 1), 8)):
        canvas.background(name, np.array([(0, 0), (right, 0), (right, bottom), (0, bottom)]), (shade, shade, shade))
