"""A finished toy scene: plan, paint, camera, and the labels in the convention of its domain."""

import functools
import math
from dataclasses import dataclass, field
from random import Random

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import id2label

from synlib.datasets.toyscapes_draw import Canvas, Layer
from synlib.datasets.toyscapes_layout import Plan, plan_scene
from synlib.datasets.toyscapes_stage import paint_block, paint_ground, paint_post, paint_tree, paint_void
from synlib.labels import INSTANCE_BASE, LABEL_IDS, RIDER, label_id

DOMAINS = ("real", "synthetic")
SYNSCAPES_ID_BASE = 100_000
"""Synscapes counts instances as label id * 100,000 + n, which needs 24 bits."""

_WITH_INSTANCES = (*LABEL_IDS, label_id("caravan"), label_id("trailer"))


@dataclass(frozen=True)
class Instance:
    """One instance of a scene. ``occluded`` and ``truncated`` are fractions, ``box`` is x0, y0, x1, y1 as fractions of the image."""

    instance_id: int
    label_id: int
    area_px: int  # visible pixels
    occluded: float
    truncated: float
    box: tuple[float, float, float, float]
    distance_m: float
    box3d: dict = field(compare=False)  # origin and the vectors x, y, z, metres, x ahead, y left, z up


@dataclass(frozen=True)
class Scene:
    """``image`` uint8 (H, W, 3) RGB; ``class_map`` uint8 (H, W), label ids; ``instance_map`` int32 (H, W).

    In the real domain ``instance_map`` holds what Cityscapes stores (label id * 1000 + n, or the plain label id); in the
    synthetic one the id of the instance as Synscapes numbers it, 0 where there is none. ``polygons`` are
    (name, int32 (N, 2) x, y) in painting order, groups under names such as ``cargroup``.
    """

    image: np.ndarray
    class_map: np.ndarray
    instance_map: np.ndarray
    instances: list[Instance]
    polygons: list[tuple[str, np.ndarray]]
    camera: dict
    traits: dict


def draw_scene(domain: str, index: int, *, height: int, width: int, seed: int = 0, gap: float = 1.0) -> Scene:
    """Draw scene ``index`` of ``domain`` ("real" or "synthetic").

    The scene depends on (seed, domain, index) alone; ``height`` and ``width`` (twice the height, at least 64 high) set the
    amount of detail. ``gap`` scales how far the look of the real domain (palette, texture, optics, sensor) is from that of
    the synthetic one: 0 draws both alike.
    """
    check_size(height, width)
    if domain not in DOMAINS:
        raise ValueError(f"unknown domain {domain!r}, expected one of {', '.join(DOMAINS)}")
    if not 0.0 <= gap <= 3.0:
        raise ValueError(f"gap {gap}, expected 0 (domains look alike) to 3")
    plan = plan_scene(domain, Random(f"toyscapes/{seed}/{domain}/{index}"))
    strength = gap if domain == "real" else 0.0
    canvas = Canvas(
        height, width, plan.street, haze=_mix((196, 216, 240), (214, 214, 210), strength), haze_m=300 - 90 * strength
    )
    _paint(canvas, plan, _look(strength, plan.street.sky))
    if domain == "real":
        paint_void(canvas)
    class_map = _class_of(canvas)[canvas.layer_map]
    image = _expose(canvas.image, class_map, strength, (seed, index)) if strength else canvas.image
    if domain == "real":
        return _label_real(canvas, image, class_map, plan)
    return _label_synthetic(canvas, image, class_map, plan)


def check_size(height: int, width: int) -> None:
    """Raise ``ValueError`` unless the size is one that the scenes are made for."""
    if height < 64 or width != 2 * height:
        raise ValueError(
            f"image size {height} x {width} (height x width), expected a height of 64 or more and twice that as width"
        )


def _paint(canvas: Canvas, plan: Plan, look: dict) -> None:
    """Everything, from far to near. A building ends at its far edge: nothing in the street behind that is hidden by it."""
    paint_ground(canvas, look)
    street = plan.street
    queue = [(block[2], lambda block=block: paint_block(canvas, block, look)) for block in street.blocks]
    queue += [(plan.depth(*tree[:2]), lambda tree=tree: paint_tree(canvas, tree, look)) for tree in street.trees]
    queue += [(plan.depth(*post[:2]), lambda post=post: paint_post(canvas, post, look)) for post in street.posts]
    queue += [(plan.depth(actor.x, actor.z), lambda actor=actor: canvas.paint(actor)) for actor in plan.actors]
    for _, paint in sorted(queue, key=lambda entry: -entry[0]):
        paint()


def _class_of(canvas: Canvas) -> np.ndarray:
    """uint8 look-up table: layer number -> label id."""
    return np.array([0] + [layer.label for layer in canvas.layers], np.uint8)


def _label_real(canvas: Canvas, image, class_map, plan: Plan) -> Scene:
    values, polygons, chosen = [0], [], []
    counts = dict.fromkeys(_WITH_INSTANCES, 0)
    seen = np.bincount(canvas.layer_map.ravel(), minlength=len(canvas.layers) + 1).tolist()
    for number, layer in enumerate(canvas.layers, 1):
        value, name = layer.label, id2label[layer.label].name
        if seen[number] == 0:
            values.append(value)
            continue
        if layer.actor is not None:
            if layer.actor.group:
                name += "group"
            else:
                value = layer.label * INSTANCE_BASE + counts[layer.label]
                counts[layer.label] += 1
                chosen.append((value, layer, seen[number], layer.full_px))
        values.append(value)
        polygons.append((name, layer.contour))
    instance_map = np.array(values, np.int32)[canvas.layer_map]
    return _finish(canvas, image, class_map, instance_map, chosen, polygons, plan)


def _label_synthetic(canvas: Canvas, image, class_map, plan: Plan) -> Scene:
    values, polygons, chosen = [0], [], []
    seen = np.bincount(canvas.layer_map.ravel(), minlength=len(canvas.layers) + 1).tolist()
    ids: dict[int, int] = {}
    for number, layer in enumerate(canvas.layers, 1):
        actor, value = layer.actor, 0
        polygons.append((id2label[layer.label].name, layer.contour))
        if actor is not None and layer.label == RIDER:  # painted right after its vehicle: one instance with it
            value, vehicle, pixels, full = chosen[-1]
            chosen[-1] = (value, vehicle, pixels + seen[number], full + layer.full_px)
        elif actor is not None and not actor.parked:
            n = ids[layer.label] = ids.get(layer.label, -1) + 1
            value = layer.label * SYNSCAPES_ID_BASE + n
            chosen.append((value, layer, seen[number], layer.full_px))
        values.append(value)
    instance_map = np.array(values, np.int32)[canvas.layer_map]
    return _finish(canvas, image, class_map, instance_map, chosen, polygons, plan)


def _finish(canvas: Canvas, image, class_map, instance_map, chosen, polygons, plan: Plan) -> Scene:
    instances = []
    for value, layer, pixels, full in chosen:
        instances.append(_instance(canvas, value, layer, pixels, full))
    street = plan.street
    camera = {
        "extrinsic": {"pitch": 0.0, "roll": 0.0, "x": 0.0, "y": 0.0, "yaw": 0.0, "z": round(street.eye, 4)},
        "intrinsic": {"fx": round(canvas.focal, 4), "fy": round(canvas.focal, 4), "resx": canvas.width, "resy": canvas.height,
                      "u0": canvas.width / 2, "v0": round(canvas.horizon, 4)},
    }  # fmt: skip
    traits = {
        "num_cars": sum(i.label_id == 26 for i in instances), "num_pedestrians": sum(i.label_id == 24 for i in instances),
        "num_trucks": sum(i.label_id == 27 for i in instances), "num_buses": sum(i.label_id == 28 for i in instances),
        "num_trains": sum(i.label_id == 31 for i in instances), "num_motorcyclists": sum(i.label_id == 32 for i in instances),
        "num_bicyclists": sum(i.label_id == 33 for i in instances), "sidewalk_width": round(street.walls[1] - street.right, 4),
        "rel_dist_to_isect": round(street.crossing[0], 4) if street.crossing else None, "sun_side": round(street.sun, 4),
    }  # fmt: skip
    return Scene(image, class_map, instance_map, instances, polygons, camera, traits)


def _instance(canvas: Canvas, value: int, layer: Layer, pixels: int, full: int) -> Instance:
    actor, (x0, y0, x1, y1) = layer.actor, layer.box
    w, h = canvas.width, canvas.height
    box = (max(x0, 0.0) / w, max(y0, 0.0) / h, min(x1, w) / w, min(y1, h) / h)
    inside = max(box[2] - box[0], 0.0) * w * max(box[3] - box[1], 0.0) * h
    truncated = 1.0 - inside / max((x1 - x0) * (y1 - y0), 1e-6)
    length, width, height = (s * actor.scale for s in actor.model.size)
    sin, cos = math.sin(actor.heading), math.cos(actor.heading)
    ahead, left = (cos, -sin, 0.0), (sin, cos, 0.0)
    center = (actor.z, -actor.x, 0.0)
    box3d = {
        "origin": [round(c - a * length / 2 - b * width / 2, 4) for c, a, b in zip(center, ahead, left, strict=True)],
        "x": [round(a * length, 4) for a in ahead], "y": [round(b * width, 4) for b in left], "z": [0.0, 0.0, round(height, 4)],
    }  # fmt: skip
    occluded = 1.0 - pixels / max(full, pixels, 1)
    return Instance(value, layer.label, pixels, round(occluded, 5), round(truncated, 5), box, actor.z, box3d)


# --- the two looks -------------------------------------------------------------------------------------------------


def _mix(a, b, t: float):
    return tuple(p + (q - p) * t for p, q in zip(a, b, strict=True))


_LOOKS = {  # role: (synthetic, real)
    "zenith": ((92, 152, 226), (168, 180, 194)), "grass": ((104, 172, 74), (112, 118, 74)), "road": ((112, 114, 122), (98, 96, 98)),
    "sidewalk": ((186, 182, 190), (146, 140, 138)), "kerb": ((214, 212, 214), (170, 166, 160)), "parking": ((134, 128, 136), (116, 108, 104)),
    "marking": ((246, 246, 240), (204, 202, 194)), "rail": ((168, 172, 180), (140, 136, 132)), "backdrop": ((96, 142, 96), (104, 110, 96)),
    "bark": ((122, 84, 52), (74, 64, 56)), "pole": ((140, 144, 152), (110, 112, 112)), "red": ((224, 36, 40), (176, 48, 46)),
    "bin": ((84, 108, 92), (70, 76, 72)), "stone": ((196, 188, 176), (134, 128, 122)),
    "blue": ((32, 92, 214), (44, 84, 150)), "yellow": ((248, 208, 40), (206, 176, 70)),
}  # fmt: skip
_WALLS = (
    ((236, 196, 140), (176, 150, 120)), ((216, 128, 104), (146, 104, 88)), ((240, 226, 190), (188, 178, 158)),
    ((168, 190, 214), (140, 140, 142)), ((232, 166, 146), (160, 128, 112)), ((206, 210, 206), (152, 152, 148)),
)  # fmt: skip
_WINDOWS = (
    ((86, 120, 168), (72, 78, 86)),
    ((62, 88, 128), (58, 60, 66)),
    ((120, 164, 204), (104, 112, 120)),
    ((74, 104, 140), (84, 84, 84)),
)
_LEAVES = (
    ((72, 168, 70), (70, 86, 48)),
    ((112, 190, 74), (92, 100, 58)),
    ((52, 146, 88), (60, 78, 52)),
    ((150, 196, 70), (110, 104, 58)),
)


def _look(strength: float, variant: int) -> dict:
    """Colours of the stage, between the synthetic (0) and the real (1) look."""
    look = {role: _mix(*pair, strength) for role, pair in _LOOKS.items()}
    for role, table in (("walls", _WALLS), ("windows", _WINDOWS), ("leaves", _LEAVES)):
        look[role] = [_mix(*pair, strength) for pair in table]
    return look


_GRAIN = {"road": 6, "sidewalk": 8, "building": 10, "vegetation": 16, "terrain": 12, "sky": 4, "parking": 7}


def _expose(image: np.ndarray, class_map: np.ndarray, strength: float, key: tuple) -> np.ndarray:
    """What a camera adds to a clean drawing: texture of surfaces, grading, blur, vignette, noise. uint8 in, uint8 out."""
    height, width = class_map.shape
    rng = np.random.default_rng((*key, 0))
    cast = 1.0 + strength * 0.05 * rng.standard_normal(3)
    exposure = math.exp(strength * (0.08 + 0.15 * rng.standard_normal()))
    texture = np.zeros((height, width), np.float32)
    for rows, share in _OCTAVES:
        if rows <= height:
            cells = rng.standard_normal((rows, 2 * rows), np.float32)
            texture += cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(share)
    out = image.astype(np.float32)
    out += (texture * (strength * _grain())[class_map])[:, :, None]
    out = cv2.transform(out, _grade(strength, cast * exposure))
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    out *= (1.0 - np.float32(0.1 * strength) * ((x * x)[None, :] + (y * y)[:, None]))[:, :, None]
    out = cv2.GaussianBlur(out, (0, 0), 0.5 * strength * math.sqrt(height / 96))
    noise = np.random.default_rng((*key, 1)).standard_normal(out.shape, np.float32)
    out += noise * np.float32(4.0 * strength)
    return np.clip(out, 0, 255).astype(np.uint8)


_OCTAVES = ((12, 0.6), (48, 0.8), (96, 0.6), (256, 0.6), (512, 0.7), (1024, 0.7))  # rows of cells, share of the texture


@functools.cache
def _grain() -> np.ndarray:
    """Look-up table, float32 (256,): label id -> contrast of its texture in the real look, gray levels."""
    grain = np.full(256, 4.0, np.float32)
    for name, contrast in _GRAIN.items():
        grain[label_id(name)] = contrast
    return grain


def _grade(strength: float, gain: np.ndarray) -> np.ndarray:
    """3x3 colour matrix: part of the saturation is taken away, then each channel gets its own gain."""
    luma = np.array((0.3, 0.59, 0.11))
    keep = 1.0 - 0.35 * min(strength, 2.0)
    return (gain[:, None] * (keep * np.eye(3) + (1 - keep) * luma[None, :])).astype(np.float32)
