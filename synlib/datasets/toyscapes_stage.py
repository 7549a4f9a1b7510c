"""The stage of a toy street: sky, ground, road markings, buildings, trees and posts."""

import math
from random import Random

import cv2
import numpy as np

from synlib.datasets.toyscapes_draw import Canvas, Layer, fixed

FAR = 400.0  # metres: where the ground ends


def _quad(x0: float, x1: float, z0: float, z1: float, y: float = 0.0) -> np.ndarray:
    z0 = max(z0, 0.6)
    return np.array([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)], np.float32)


def paint_ground(canvas: Canvas, look: dict) -> None:
    """Sky, backdrop, ground, carriageways and their markings. ``look`` names the colours."""
    street = canvas.street
    _paint_sky(canvas, look)
    left, right = street.left, street.right
    canvas.background("terrain", [canvas.project(_quad(-200, 200, 0.6, FAR))], look["grass"])
    for side, (a, b) in enumerate(((street.walls[0] - 0.5, left), (right, street.walls[1] + 0.5))):
        canvas.background("sidewalk", [canvas.project(_quad(a, b, 0.6, FAR))], look["sidewalk"])
        if street.grass[side]:
            a, b = ((a, a + 1.6), (b - 1.6, b))[side]
            canvas.background("terrain", [canvas.project(_quad(a, b, 0.6, FAR))], look["grass"])
    if street.crossing:
        z0, z1 = street.crossing
        canvas.background("sidewalk", [canvas.project(_quad(-200, 200, z0 - 2.5, z1 + 2.5))], look["sidewalk"])
        canvas.background("road", [canvas.project(_quad(-200, 200, z0, z1))], look["road"])
    canvas.background("road", [canvas.project(_quad(left, right, 0.6, FAR))], look["road"])
    for x, out in ((left, -0.16), (right, 0.16)):
        spans = [(0.6, 120.0)]
        if street.crossing:
            spans = [(0.6, street.crossing[0]), (street.crossing[1], 120.0)]
        canvas.fill(
            [canvas.project(_quad(min(x, x + out), max(x, x + out), a, b, 0.1)) for a, b in spans], look["kerb"]
        )
    if left < -5.6 and street.sky % 2:
        canvas.background("parking", [canvas.project(_quad(left, left + 2.1, 0.6, FAR))], look["parking"])
    _paint_markings(canvas, look)


def _paint_sky(canvas: Canvas, look: dict) -> None:
    width, height, street = canvas.width, canvas.height, canvas.street
    horizon = int(canvas.horizon) + 1
    ramp = np.linspace(0.0, 1.0, horizon, dtype=np.float32)[:, None]
    sky = np.asarray(look["zenith"], np.float32) * (1 - ramp) + np.asarray(canvas.haze, np.float32) * ramp
    canvas.image[:horizon] = sky[:, None, :]
    canvas.layers.append(
        Layer(23, contour=np.array([(0, 0), (width - 1, 0), (width - 1, horizon), (0, horizon)], np.int32))
    )
    canvas.layer_map[: horizon + 1] = len(canvas.layers)
    rng = Random(street.sky)
    u, skyline = -0.05, [(-0.05, 0.0)]
    while u < 1.05:
        step, rise = rng.uniform(0.03, 0.12), rng.uniform(0.01, 0.08)
        skyline += [(u, rise), (u + step, rise * rng.uniform(0.8, 1.0))]
        u += step
    skyline += [(1.05, 0.0)]
    points = np.array([(x * width, canvas.horizon + 1 - y * height) for x, y in skyline], np.float32)
    canvas.background("vegetation" if street.sky % 3 else "building", [points], canvas.hazed(look["backdrop"], 160.0))


def _paint_markings(canvas: Canvas, look: dict) -> None:
    street = canvas.street
    center = -1.4
    dashes = []
    for i in range(14):
        z = 2.0 + 6.0 * i
        if not street.crossing or z + 3 < street.crossing[0] - 3 or z > street.crossing[1] + 3:
            dashes.append(canvas.project(_quad(center - 0.07, center + 0.07, z, z + 3.0)))
    canvas.fill(dashes, look["marking"])
    if street.tram:
        rails = [canvas.project(_quad(-3.1 + d - 0.05, -3.1 + d + 0.05, 0.6, FAR)) for d in (-0.72, 0.72)]
        canvas.fill(rails, look["rail"])
    if street.crossing:
        near = street.crossing[0]
        bars = np.arange(street.left + 0.5, street.right - 0.3, 1.1)
        canvas.fill([canvas.project(_quad(x, x + 0.5, near - 3.6, near - 0.9)) for x in bars], look["marking"])


def paint_block(canvas: Canvas, block: tuple, look: dict) -> None:
    """One building: the facade along the street, and the end that looks at the camera."""
    side, z0, z1, height, style, hue = block
    x = canvas.street.walls[side]
    z0, z1 = max(z0, 0.6), max(z1, 0.7)
    out = -14.0 if side == 0 else 14.0
    facade = np.array([(x, 0, z0), (x, 0, z1), (x, height, z1), (x, height, z0)], np.float32)
    end = np.array([(x, 0, z0), (x + out, 0, z0), (x + out, height, z0), (x, height, z0)], np.float32)
    wall = look["walls"][int(hue * len(look["walls"]))]
    sunny = canvas.street.sun * (-1 if side else 1) > 0
    for polygon, light, z in ((end, 0.86, z0), (facade, 1.0 if sunny else 0.78, (z0 + z1) / 2)):
        canvas.background("building", [canvas.project(polygon)], canvas.hazed([c * light for c in wall], z))
    middle = (z0 + z1) / 2
    glass = canvas.hazed(look["windows"][style % len(look["windows"])], middle)
    floor = (3.0, 3.4, 2.8, 3.2)[style]
    floors = int((height - 0.8) / floor)
    storey_px = canvas.focal * floor / middle
    if storey_px < 3 or floors < 1:
        return
    base = [(x, 0.0), (x, 0.7)]
    canvas.fill([canvas.project(np.array([(x, h, z) for (x, h), z in zip(base + base[::-1], (z0, z0, z1, z1), strict=True)]))],
                canvas.hazed([c * 0.7 for c in wall], middle))  # fmt: skip
    pitch = (2.6, 3.2, 2.2, 2.9)[style]
    starts = z0 + 0.7 + pitch * np.arange(max(1, int((z1 - z0 - 0.6) / pitch)))
    starts = starts[starts + 0.55 * pitch < z1]
    levels = 1.1 + floor * np.arange(floors)
    z, h = (grid.ravel() for grid in np.meshgrid(starts, levels))
    corners = np.empty((len(z), 4, 3), np.float32)
    corners[..., 0] = x
    corners[..., 1] = np.stack([h, h, h + floor * 0.52, h + floor * 0.52], 1)
    corners[..., 2] = np.stack([z, z + pitch * 0.55, z + pitch * 0.55, z], 1)
    panes = canvas.project(corners.reshape(-1, 3)).reshape(-1, 4, 2)
    inside = (panes[..., 0].max(1) > 0) & (panes[..., 0].min(1) < canvas.width) & (panes[..., 1].max(1) > 0)
    if inside.any():
        cv2.fillPoly(canvas.image, list(fixed(panes[inside])), glass, cv2.LINE_AA, 4)


def paint_tree(canvas: Canvas, tree: tuple, look: dict) -> None:
    x, z, height, seed = tree
    rng = Random(seed)
    scale = canvas.focal / z
    foot = canvas.project(np.array([(x, 0, z), (x, height, z)], np.float32))
    radius = height * 0.3 * scale
    trunk = max(0.12 * scale, 0.5)
    bark = np.array(
        [foot[0] + (-trunk, 0), foot[0] + (trunk, 0), foot[1] + (trunk, radius), foot[1] + (-trunk, radius)]
    )
    canvas.background("vegetation", [bark], canvas.hazed(look["bark"], z))
    angles = np.linspace(0, 2 * math.pi, 18, endpoint=False)
    wobble = np.array([rng.uniform(0.8, 1.12) for _ in angles])
    center = foot[1] + (0, radius)
    crown = center + radius * wobble[:, None] * np.stack([np.cos(angles), 1.08 * np.sin(angles)], 1)
    leaf = look["leaves"][rng.randrange(len(look["leaves"]))]
    canvas.background("vegetation", [crown], canvas.hazed([c * 0.8 for c in leaf], z))
    light = np.array((0.28 * canvas.street.sun, -0.2)) * radius
    canvas.fill([center + light + (crown - center) * 0.66], canvas.hazed(leaf, z))


def paint_post(canvas: Canvas, post: tuple, look: dict) -> None:
    x, z, kind = post
    height = {"lamp": 6.5, "sign": 2.6, "light": 3.4}[kind]
    scale = canvas.focal / z
    foot, top = canvas.project(np.array([(x, 0, z), (x, height, z)], np.float32))
    half = max(0.06 * scale, 0.45)
    pole = [np.array([foot + (-half, 0), foot + (half, 0), top + (half, 0), top + (-half, 0)])]
    if kind == "lamp":
        arm = math.copysign(1.2, -x) * scale
        pole.append(
            np.array(
                [
                    top,
                    top + (arm, -0.1 * scale),
                    top + (arm, -0.1 * scale + max(0.16 * scale, 1)),
                    top + (0, max(0.14 * scale, 1)),
                ]
            )
        )
    canvas.background("pole", pole, canvas.hazed(look["pole"], z))
    if kind == "sign":
        color = (look["red"], look["blue"], look["yellow"])[int(z * 7) % 3]
        angles = np.linspace(0, 2 * math.pi, (12, 12, 4)[int(z * 7) % 3], endpoint=False)
        disc = np.stack([np.cos(angles), np.sin(angles)], 1) * 0.38 * scale
        canvas.background("traffic sign", [top + disc], canvas.hazed(color, z))
        canvas.fill([top + disc * 0.6], canvas.hazed((240, 240, 240), z))
    if kind == "light":
        box = np.array([(-0.18, -0.1), (0.18, -0.1), (0.18, 0.9), (-0.18, 0.9)]) * scale
        canvas.background("traffic light", [top + box], canvas.hazed((40, 42, 44), z))
        dot = np.array([(-0.1, 0.0), (0.1, 0.0), (0.1, 0.2), (-0.1, 0.2)]) * scale
        canvas.fill(
            [top + dot + (0, (0.06, 0.34, 0.62)[int(z * 5) % 3] * scale)],
            canvas.hazed(((230, 50, 40), (240, 180, 40), (60, 210, 110))[int(z * 5) % 3], z),
        )
