"""How a toy street looks: the colours of the synthetic and the real domain, and the camera of the real one."""

import colorsys
import functools
import math
from random import Random

import cv2
import numpy as np

from scapes.labels import BICYCLE, BUS, CAR, MOTORCYCLE, PERSON, RIDER, TRAIN, TRUCK, label_id

Color = tuple[float, float, float]
"""RGB, 0..255."""

_STAGE = {  # role: (synthetic, real)
    "zenith": ((92, 152, 226), (160, 176, 196)),
    "haze": ((196, 216, 240), (216, 216, 212)),
    "backdrop": ((96, 142, 96), (104, 110, 96)),
    "grass": ((104, 172, 74), (112, 118, 74)),
    "road": ((112, 114, 122), (96, 95, 98)),
    "sidewalk": ((186, 182, 190), (150, 144, 142)),
    "parking": ((134, 128, 136), (116, 108, 104)),
    "kerb": ((214, 212, 214), (172, 168, 162)),
    "marking": ((246, 246, 240), (206, 204, 196)),
    "rail": ((168, 172, 180), (140, 136, 132)),
    "stone": ((196, 188, 176), (134, 128, 122)),
    "bark": ((122, 84, 52), (74, 64, 56)),
    "pole": ((140, 144, 152), (110, 112, 112)),
    "bin": ((84, 108, 92), (70, 76, 72)),
    "red": ((224, 36, 40), (176, 48, 46)),
    "blue": ((32, 92, 214), (44, 84, 150)),
    "yellow": ((248, 208, 40), (206, 176, 70)),
    "wall0": ((236, 196, 140), (178, 152, 122)),
    "wall1": ((216, 128, 104), (146, 104, 88)),
    "wall2": ((240, 226, 190), (190, 180, 160)),
    "wall3": ((168, 190, 214), (142, 142, 146)),
    "wall4": ((232, 166, 146), (160, 128, 112)),
    "wall5": ((206, 210, 206), (156, 156, 152)),
    "window0": ((86, 120, 168), (72, 78, 86)),
    "window1": ((62, 88, 128), (58, 60, 66)),
    "window2": ((120, 164, 204), (104, 112, 120)),
    "window3": ((74, 104, 140), (84, 84, 84)),
    "leaf0": ((72, 168, 70), (74, 92, 50)),
    "leaf1": ((112, 190, 74), (96, 106, 58)),
    "leaf2": ((52, 146, 88), (62, 82, 54)),
    "leaf3": ((150, 196, 70), (114, 110, 60)),
}
WALLS, WINDOWS, LEAVES = 6, 4, 4

# Hue, saturation, value of the paint. Loosely tied to the class, as on real streets.
_PAINTS = {
    CAR: ((0.0, 0.0, 0.93), (0.6, 0.06, 0.68), (0.6, 0.15, 0.2), (0.0, 0.85, 0.78), (0.6, 0.8, 0.72), (0.58, 0.5, 0.5)),
    TRUCK: ((0.08, 0.85, 0.9), (0.02, 0.75, 0.7), (0.33, 0.55, 0.5), (0.0, 0.0, 0.9)),
    BUS: ((0.13, 0.85, 0.95), (0.15, 0.8, 0.88), (0.1, 0.75, 0.92)),
    TRAIN: ((0.47, 0.7, 0.6), (0.5, 0.65, 0.68), (0.44, 0.6, 0.62)),
    MOTORCYCLE: ((0.0, 0.8, 0.65), (0.33, 0.7, 0.5), (0.62, 0.7, 0.55), (0.07, 0.8, 0.7)),
    BICYCLE: ((0.9, 0.75, 0.8), (0.55, 0.75, 0.85), (0.3, 0.7, 0.75), (0.02, 0.8, 0.8)),
    PERSON: ((0.0, 0.7, 0.7), (0.08, 0.6, 0.75), (0.6, 0.5, 0.5), (0.75, 0.4, 0.55), (0.35, 0.4, 0.45), (0, 0, 0.25)),
    RIDER: ((0.2, 0.85, 0.9), (0.08, 0.9, 0.95), (0.25, 0.75, 0.8), (0.93, 0.7, 0.85)),
}
_WHITE = ((0.1, 0.04, 0.92),)  # caravans and trailers
_FIXED = {
    "glass": (52, 68, 84), "tyre": (30, 30, 34), "hub": (150, 152, 156), "lamp": (250, 244, 205), "tail": (200, 34, 30),
    "plate": (235, 235, 225), "trim": (58, 60, 66), "seam": (120, 120, 120), "roof": (105, 108, 112),
    "display": (250, 170, 40), "engine": (82, 84, 92), "pipe": (150, 150, 158), "shoes": (48, 42, 40),
    "bag": (96, 66, 42), "hair": (62, 44, 32),
}  # fmt: skip
_SKIN = ((233, 188, 158), (214, 164, 128), (160, 112, 80), (108, 74, 54))
_TROUSERS = ((52, 62, 92), (60, 56, 56), (96, 88, 78), (36, 38, 46))
_CARGO = ((226, 226, 222), (196, 200, 206), (206, 190, 150), (120, 150, 180))
_HELMETS = ((225, 225, 230), (200, 40, 40), (40, 44, 54), (230, 200, 60))

# Contrast of the texture of a class in the real look, gray levels; 4 for every other class.
_GRAIN = {"road": 6, "sidewalk": 8, "parking": 7, "building": 10, "vegetation": 16, "terrain": 12, "sky": 5, "wall": 10}
_OCTAVES = ((12, 0.6), (48, 0.8), (96, 0.6), (256, 0.6), (512, 0.7), (1024, 0.7))  # rows of cells, share of the texture


def actor_colors(rng: Random, label: int) -> dict[str, Color]:
    """Role -> colour for one actor of the class ``label``."""
    hue, saturation, value = rng.choice(_PAINTS.get(label, _WHITE))
    hue, saturation, value = (
        hue + rng.gauss(0, 0.02),
        saturation * rng.uniform(0.85, 1.1),
        value * rng.uniform(0.9, 1.08),
    )
    paint = _rgb(hue, saturation, value)
    accent = _rgb(hue, saturation * 0.2, 0.95) if label in (TRAIN, BUS) else _rgb(hue + 0.5, 0.5, 0.6)
    colors = _FIXED | {"body": paint, "top": paint, "frame": paint, "accent": accent}
    choices = {"skin": _SKIN, "trousers": _TROUSERS, "cargo": _CARGO, "helmet": _HELMETS}
    return colors | {role: rng.choice(options) for role, options in choices.items()}


def _rgb(hue: float, saturation: float, value: float) -> Color:
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, min(saturation, 1.0), min(value, 1.0))
    return 255 * r, 255 * g, 255 * b


@functools.lru_cache(maxsize=16)
def stage_colors(strength: float) -> dict[str, Color]:
    """Role -> colour of the stage, between the synthetic (0) and the real look (1)."""
    return {
        role: tuple(min(max(s + (r - s) * strength, 0.0), 255.0) for s, r in zip(*pair, strict=True))
        for role, pair in _STAGE.items()
    }


def expose(image: np.ndarray, class_map: np.ndarray, strength: float, key: tuple[int, ...]) -> np.ndarray:
    """What a camera adds to a clean drawing: texture of surfaces, grading, vignette, blur, noise.

    ``image`` uint8 (H, W, 3) RGB, ``class_map`` uint8 (H, W), ``strength`` 1 for the real look, ``key`` seeds -> uint8
    (H, W, 3). All but the noise is the same whatever the resolution.
    """
    height, width = class_map.shape
    rng = np.random.default_rng((*key, 0))
    cast = 1.0 + strength * 0.05 * rng.standard_normal(3)
    exposure = math.exp(strength * (0.06 + 0.15 * rng.standard_normal()))
    texture = np.zeros((height, width), np.float32)
    for rows, share in _OCTAVES:
        if rows <= height:
            cells = _noise(rng, (rows, 2 * rows))
            texture += cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(share)
    texture *= cv2.LUT(class_map, _grain()) * np.float32(strength)
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    vignette = 1.0 - np.float32(0.1 * strength) * ((x * x)[None, :] + (y * y)[:, None])
    out = cv2.add(image.astype(np.float32), cv2.merge([texture] * 3))
    out = cv2.multiply(cv2.transform(out, _grade(strength, cast * exposure)), cv2.merge([vignette] * 3))
    out = cv2.GaussianBlur(out, (0, 0), 0.5 * strength * math.sqrt(height / 96))
    out += _noise(np.random.default_rng((*key, 1)), out.shape) * np.float32(4.0 * strength)
    return np.clip(out, 0, 255, out=out).astype(np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 noise of mean 0 and variance 1: the sum of two random bytes, which is much faster than a normal one."""
    pair = np.frombuffer(rng.bytes(2 * math.prod(shape)), np.uint8).reshape(2, *shape)
    return (cv2.add(pair[0], pair[1], dtype=cv2.CV_32F) - np.float32(255)) / np.float32(104.5)


@functools.cache
def _grain() -> np.ndarray:
    """Look-up table, float32 (256,): label id -> contrast of the texture."""
    grain = np.full(256, 4.0, np.float32)
    for name, contrast in _GRAIN.items():
        grain[label_id(name)] = contrast
    return grain


def _grade(strength: float, gain: np.ndarray) -> np.ndarray:
    """3x3 colour matrix: a part of the saturation is taken away, then each channel gets its own gain."""
    luma = np.array((0.3, 0.59, 0.11))
    keep = 1.0 - 0.35 * strength
    return (gain[:, None] * (keep * np.eye(3) + (1 - keep) * luma[None, :])).astype(np.float32)
