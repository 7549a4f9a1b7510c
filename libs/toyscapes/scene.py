"""A finished toy scene: the plan is painted, and its layers become labels in the convention of their domain."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from cityscapesscripts.helpers.labels import id2label

from scapes.labels import INSTANCE_BASE, RIDER
from toyscapes.camera import Camera, Figure
from toyscapes.canvas import Canvas, Layer
from toyscapes.layout import plan_scene
from toyscapes.look import expose, stage_colors
from toyscapes.stage import paint_block, paint_ground, paint_post, paint_tree, paint_void
from toyscapes.street import Actor, Street

DOMAINS = ("real", "synthetic")
SYNSCAPES_BASE = 100_000
"""Synscapes numbers its instances label id * 100,000 + n, which takes 24 bits."""
_HIDDEN_M = 15.0  # metres up to which instances are listed that something covers entirely


@dataclass(frozen=True)
class Instance:
    """One instance of a scene; metres as seen from the point on the ground below the camera."""

    instance_id: int
    label_id: int
    area_px: int  # visible pixels
    occluded: float  # fraction of what is inside the frame that something nearer covers
    truncated: float  # fraction of the box that lies outside the frame
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 with all that is covered, as fractions of the image
    x_m: float  # to the right
    z_m: float  # ahead
    heading: float  # 0 drives away from the camera, pi/2 to the right
    size_m: tuple[float, float, float]  # length, width, height


@dataclass(frozen=True)
class Scene:
    """``image`` uint8 (H, W, 3) RGB; ``class_map`` uint8 (H, W), label ids; ``instance_map`` int32 (H, W).

    In the real domain ``instance_map`` holds what Cityscapes stores (label id * 1000 + n, or the plain label id). In
    the synthetic one it holds ids as Synscapes has them, 0 where there is no instance; a rider and the vehicle are one
    instance, and some near ones are listed although nothing is seen of them. ``polygons``: (name, int32 (N, 2) x, y) in
    painting order, groups under names such as ``cargroup``. ``focal_px`` and ``horizon_px`` describe the camera.
    """

    image: np.ndarray
    class_map: np.ndarray
    instance_map: np.ndarray
    instances: list[Instance]
    polygons: list[tuple[str, np.ndarray]]
    street: Street
    focal_px: float
    horizon_px: float


def draw_scene(domain: str, index: int, *, height: int, width: int, seed: int = 0, gap: float = 1.0) -> Scene:
    """Draw scene ``index`` of ``domain`` ("real" or "synthetic").

    The scene depends on (seed, domain, index) alone; ``height`` and ``width`` (twice the height, at least 64 high) set
    the amount of detail. ``gap`` scales how far the look of the real domain (palette, texture, optics, sensor) is from
    that of the synthetic one: 0 draws both alike, 2 is twice as far as usual.

    Raises ``ValueError`` for an unknown domain, or a size or gap out of range.
    """
    check_look(height, width, gap)
    if domain not in DOMAINS:
        raise ValueError(f"unknown domain {domain!r}, expected one of {', '.join(DOMAINS)}")
    real = domain == "real"
    strength = float(gap) if real else 0.0
    plan = plan_scene(domain, Random(f"toyscapes/{seed}/{domain}/{index}"))
    street, look = plan.street, stage_colors(strength)
    camera = Camera(street, height, width, look["haze"], haze_m=300.0 - 90.0 * strength)
    canvas = Canvas(camera)
    paint_ground(canvas, look)
    # From far to near. A building counts from its far end: what stands beside it in the street is nearer.
    queue = [(block.z1, paint_block, (canvas, block, look)) for block in street.blocks]
    queue += [(plan.depth(tree.x, tree.z), paint_tree, (canvas, tree, look)) for tree in street.trees]
    queue += [(plan.depth(post.x, post.z), paint_post, (canvas, post, look)) for post in street.posts]
    queue += [(plan.depth(actor.x, actor.z), canvas.paint, (figures,)) for actor, figures in _view(camera, plan.actors)]
    for _, paint, arguments in sorted(queue, key=lambda entry: -entry[0]):
        paint(*arguments)
    if real:
        paint_void(canvas)
    class_map = np.array([0] + [layer.label for layer in canvas.layers], np.uint8)[canvas.layer_map]
    image = expose(canvas.image, class_map, strength, (seed, index)) if strength else canvas.image
    instance_map, instances, polygons = _label(canvas, real)
    return Scene(image, class_map, instance_map, instances, polygons, street, camera.focal, camera.horizon)


def _view(camera: Camera, actors: list[Actor]) -> Iterator[tuple[Actor, list[Figure]]]:
    """Each actor with its figure and that of who sits on it."""
    followers = [actor.follow for actor in actors if actor.follow]
    figures = camera.view(actors + followers)
    riders = iter(figures[len(actors) :])
    for actor, figure in zip(actors, figures, strict=False):
        yield actor, [figure, next(riders)] if actor.follow else [figure]


def check_look(height: int, width: int, gap: float) -> None:
    """Raise ``ValueError`` unless the scenes are made for this size and gap."""
    if height < 64 or width != 2 * height:
        raise ValueError(
            f"image size {height} x {width} (height x width), expected a height of 64 or more and twice that as width"
        )
    if not 0.0 <= gap <= 2.0:
        raise ValueError(f"gap {gap}, expected 0 (both domains look alike) to 2")


def _label(canvas: Canvas, real: bool) -> tuple[np.ndarray, list[Instance], list[tuple[str, np.ndarray]]]:
    """Instance map, instances and polygons from the layers."""
    base = INSTANCE_BASE if real else SYNSCAPES_BASE
    seen = np.bincount(canvas.layer_map.ravel(), minlength=len(canvas.layers) + 1).tolist()
    values, polygons, found, counts = [0], [], [], Counter()
    for layer, pixels in zip(canvas.layers, seen[1:], strict=True):
        actor, name, value = layer.actor, id2label[layer.label].name, layer.label if real else 0
        if actor is None or (real and not pixels):
            pass
        elif actor.group:
            name += "group"
        elif not real and layer.label == RIDER:  # painted right after the vehicle
            value, vehicle, above = found.pop()
            found.append((value, [*vehicle, layer], above + pixels))
        elif real or not actor.parked:
            value = layer.label * base + counts[layer.label]
            counts[layer.label] += 1
            found.append((value, [layer], pixels))
        values.append(value)
        if pixels:
            polygons.append((name, layer.contour))
    near = [entry for entry in found if entry[2] or entry[1][0].actor.z < _HIDDEN_M]
    instances = [_instance(canvas, *entry) for entry in near]
    return np.array(values, np.int32)[canvas.layer_map], instances, polygons


def _instance(canvas: Canvas, value: int, layers: list[Layer], pixels: int) -> Instance:
    actor, width, height = layers[0].actor, canvas.width, canvas.height
    x0, y0 = (min(layer.box[i] for layer in layers) for i in (0, 1))
    x1, y1 = (max(layer.box[i] for layer in layers) for i in (2, 3))
    box = (max(x0, 0.0) / width, max(y0, 0.0) / height, min(x1, width) / width, min(y1, height) / height)
    inside = (box[2] - box[0]) * (box[3] - box[1]) * width * height
    full = sum(layer.full_px for layer in layers)
    size = tuple(metres * actor.scale for metres in actor.model.size)
    return Instance(
        value, layers[0].label, pixels, 1.0 - pixels / full, max(0.0, 1.0 - inside / ((x1 - x0) * (y1 - y0))), box,
        actor.x, actor.z, actor.heading, size,
    )  # fmt: skip
