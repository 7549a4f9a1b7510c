"""Writes toy streets to disk, exactly as Cityscapes, Synscapes, UrbanSyn, BDD100K and Mapillary Vistas are.

A folder is complete when ``toyscapes.json`` stands in it, which is written last and holds the parameters. Writing again
with the same parameters does nothing, after an interruption it goes on where it stopped; other parameters are an error.
Of two processes that write the same folder, the second waits for the first.
"""

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import id2label

from scapes import labels, png
from scapes.files import fill, replacing
from scapes.labels import BICYCLE, BUS, CAR, INSTANCE_LABEL_IDS, MOTORCYCLE, NAMES, PERSON, RIDER, TRAIN, TRUCK
from scapes.parallel import map_items
from scapes.streets import STREETS, VISTAS
from toyscapes.scene import Instance, Scene, check_look, draw_scene
from toyscapes.stage import KERB_M

GENERATOR = 5
"""Raised whenever the same parameters give other pixels or labels."""
MANIFEST = "toyscapes.json"
PARTIAL_MANIFEST = "toyscapes.partial.json"
CITIES = {
    "train": ("aachen", "bochum", "bremen", "cologne", "hamburg", "jena", "stuttgart", "zurich"),
    "val": ("frankfurt", "lindau", "munster"),
    "test": ("berlin", "bonn", "mainz"),
}
_CITY_RUN = 25  # images in a row from one city
_FIRST = {"train": 0, "val": 1_000_000, "test": 2_000_000, "urbansyn": 3_000_000, "bdd100k": 4_000_000,
          "vistas": 5_000_000}  # scene index of the first image  # fmt: skip
VISTAS_NAMES = ("animal--bird", "construction--structure--building", *VISTAS.classes, "void--unlabeled")
"""Some of the classes of Mapillary Vistas, and all that :mod:`scapes.streets` knows; the place is the number."""


def write_cityscapes(
    root: str | Path,
    *,
    train: int,
    val: int,
    test: int = 0,
    height: int,
    width: int,
    seed: int = 0,
    workers: int | None = None,
    gap: float = 1.0,
) -> dict:
    """Write ``train`` + ``val`` + ``test`` scenes of the real domain as a Cityscapes tree; return its manifest.

    ``height`` x ``width``: pixels, 1:2; ``gap``: see :func:`draw_scene`; ``workers``: processes (default: all cores).
    The n-th image of a split is the same whatever the size of the splits. The labels of the test split are dummies, as
    in the original.

    Raises ``ValueError`` for a bad size or count, ``FileExistsError`` if ``root`` holds data of other parameters or
    from elsewhere, another ``OSError`` where it cannot be written.
    """
    counts = {"train": train, "val": val, "test": test}
    parameters = _parameters("cityscapes", counts, height, width, seed, gap)
    jobs = [(split, i) for split, count in counts.items() for i in range(count)]
    return _write(Path(root), parameters, jobs, _write_cityscapes_image, workers)


def write_synscapes(
    root: str | Path,
    *,
    train: int,
    val: int,
    height: int,
    width: int,
    seed: int = 0,
    workers: int | None = None,
    rgb_2k: bool = False,
) -> dict:
    """Write ``train`` + ``val`` scenes of the synthetic domain as a Synscapes tree; return its manifest.

    Images are numbered 1..train+val, the first ``train`` of them meant for training; with ``train = 4 * val`` that is
    the split of :mod:`scapes.synthetic` too. ``rgb_2k``: write ``img/rgb-2k`` as well, 2048/1440
    times as large. Arguments and errors otherwise as of :func:`write_cityscapes`.
    """
    counts = {"train": train, "val": val}
    parameters = _parameters("synscapes", counts, height, width, seed, 0.0) | {"rgb_2k": rgb_2k}
    jobs = range(1, train + val + 1)
    return _write(Path(root), parameters, jobs, _write_synscapes_image, workers)


def write_urbansyn(
    root: str | Path, *, train: int, val: int, height: int, width: int, seed: int = 0, workers: int | None = None
) -> dict:
    """Write ``train`` + ``val`` further scenes of the synthetic domain as an UrbanSyn tree; return its manifest.

    Images are numbered as those of :func:`write_synscapes`; arguments and errors as there. The layout is that of
    :mod:`scapes.synthetic`: a rider and the vehicle are two instances, and small ones have no box.
    """
    parameters = _parameters("urbansyn", {"train": train, "val": val}, height, width, seed, 0.0)
    jobs = range(1, train + val + 1)
    return _write(Path(root), parameters, jobs, _write_urbansyn_image, workers)


def write_streets(
    root: str | Path, layout: str, *, val: int, height: int, width: int, seed: int = 0, workers: int | None = None,
    gap: float = 1.0,
) -> dict:  # fmt: skip
    """Write ``val`` further scenes of the real domain as the validation images of ``bdd100k`` or ``vistas``.

    The layouts are those of :mod:`scapes.streets`; arguments and errors otherwise as of :func:`write_cityscapes`.
    """
    parameters = _parameters(layout, {"val": val}, height, width, seed, gap)
    return _write(Path(root), parameters, range(1, val + 1), _write_street_image, workers)


def _parameters(layout: str, counts: dict[str, int], height: int, width: int, seed: int, gap: float) -> dict:
    check_look(height, width, gap)
    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"{split}={count}: the number of images must be 0 or more")
    if not sum(counts.values()):
        raise ValueError("no images asked for: every split is 0")
    look = {"height": height, "width": width, "seed": seed, "gap": gap}
    return {"generator": GENERATOR, "layout": layout, **counts, **look}


def _write(root: Path, parameters: dict, jobs: Sequence, write_image: Callable, workers: int | None) -> dict:
    """Call ``write_image(root, parameters, job)`` for each job, unless all is there."""

    def draw() -> dict:
        task = functools.partial(write_image, root, parameters)
        for _ in map_items(task, jobs, workers=workers, description=f"drawing {parameters['layout']}"):
            pass
        return {}

    return fill(root, parameters, draw, manifest=MANIFEST, partial=PARTIAL_MANIFEST)


def _write_cityscapes_image(root: Path, parameters: dict, job: tuple[str, int]) -> None:
    split, i = job
    cities = CITIES[split]
    city = cities[i // _CITY_RUN % len(cities)]
    stem = f"{city}_{i // (_CITY_RUN * len(cities)):06d}_{i % _CITY_RUN:06d}"
    images, labels = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
    last = labels / f"{stem}_gtFine_polygons.json"
    if last.exists():
        return
    scene = _draw("real", _FIRST[split] + i, parameters)
    class_map, instance_map, polygons = scene.class_map, scene.instance_map, scene.polygons
    if split == "test":  # the annotations of the original are withheld
        class_map, instance_map, polygons = np.zeros_like(class_map), np.zeros_like(instance_map), []
    _write_png(images / f"{stem}_leftImg8bit.png", scene.image)
    _write_png(labels / f"{stem}_gtFine_labelIds.png", class_map)
    _write_png(labels / f"{stem}_gtFine_instanceIds.png", instance_map.astype(np.uint16))
    height, width = class_map.shape
    objects = [{"label": name, "polygon": _closed(polygon)} for name, polygon in polygons]
    _write_json(last, {"imgHeight": height, "imgWidth": width, "objects": objects})


def _closed(polygon: np.ndarray) -> list[list[int]]:
    """At least three corners, as polygons must have: those of a single pixel are repeated."""
    return np.resize(polygon, (max(len(polygon), 3), 2)).tolist()


def _write_synscapes_image(root: Path, parameters: dict, number: int) -> None:
    last = root / "meta" / f"{number}.json"
    if last.exists():
        return
    scene = _draw("synthetic", number, parameters)
    _write_png(root / "img" / "rgb" / f"{number}.png", scene.image)
    _write_png(root / "img" / "class" / f"{number}.png", scene.class_map)
    _write_png(root / "img" / "instance" / f"{number}.png", _as_color(scene.instance_map))
    if parameters["rgb_2k"]:
        height, width = scene.class_map.shape
        size = (round(width * 2048 / 1440), round(height * 2048 / 1440))
        _write_png(
            root / "img" / "rgb-2k" / f"{number}.png", cv2.resize(scene.image, size, interpolation=cv2.INTER_CUBIC)
        )
    _write_json(last, _synscapes_meta(scene))


def _synscapes_meta(scene: Scene) -> dict:
    """The metadata of one image; dictionaries of instances are keyed by the id as a string."""
    (height, width), focal = scene.class_map.shape, round(scene.focal_px, 4)
    extrinsic = {"pitch": 0.0, "roll": 0.0, "x": 0.0, "y": 0.0, "yaw": 0.0, "z": round(scene.street.eye, 4)}
    center = {"u0": width / 2, "v0": round(scene.horizon_px, 4)}
    found = {str(instance.instance_id): instance for instance in scene.instances}
    return {
        "camera": {
            "extrinsic": extrinsic,
            "intrinsic": {"fx": focal, "fy": focal, "resx": width, "resy": height, **center},
        },
        "scene": _traits(scene),
        "instance": {
            "bbox2d": {key: _box_2d(instance) for key, instance in found.items()},
            "bbox3d": {key: _box_3d(instance) for key, instance in found.items()},
            "class": {key: instance.label_id for key, instance in found.items()},
            "occluded": {key: round(instance.occluded, 5) for key, instance in found.items()},
            "truncated": {key: round(instance.truncated, 5) for key, instance in found.items()},
        },
    }


def _traits(scene: Scene) -> dict[str, float]:
    """Those entries of a Synscapes ``scene`` that a toy street has."""
    count, street = Counter(instance.label_id for instance in scene.instances), scene.street
    return {
        **{f"num_{name}": count[label] for name, label in _COUNTED.items()},
        "curb_height": KERB_M,
        "parking_presence": float(street.parking),
        "sidewalk_width": round(street.walls[1] - street.right, 4),
    }


_COUNTED = {
    "pedestrians": PERSON, "cars": CAR, "trucks": TRUCK, "buses": BUS, "trains": TRAIN, "motorcyclists": MOTORCYCLE,
    "bicyclists": BICYCLE,
}  # fmt: skip


def _box_2d(instance: Instance) -> dict[str, float]:
    """Fractions of the image, and the range of depths in metres."""
    xmin, ymin, xmax, ymax = (round(value, 5) for value in instance.box)
    sin, cos = abs(math.sin(instance.heading)), abs(math.cos(instance.heading))
    half = (instance.size_m[0] * cos + instance.size_m[1] * sin) / 2
    depths = {"zmin": round(instance.z_m - half, 5), "zmax": round(instance.z_m + half, 5)}
    return {"xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax, **depths}


def _box_3d(instance: Instance) -> dict[str, list[float]]:
    """A corner and the three edges that leave it, in metres: x ahead, y to the left, z up, as seen from the vehicle."""
    length, width, height = instance.size_m
    sin, cos = math.sin(instance.heading), math.cos(instance.heading)
    along, across = (cos * length, -sin * length), (sin * width, cos * width)
    origin = (instance.z_m - (along[0] + across[0]) / 2, -instance.x_m - (along[1] + across[1]) / 2)
    edges = {"origin": (*origin, 0.0), "x": (*along, 0.0), "y": (*across, 0.0), "z": (0.0, 0.0, height)}
    return {name: [round(value, 5) for value in edge] for name, edge in edges.items()}


def _write_urbansyn_image(root: Path, parameters: dict, number: int) -> None:
    last = root / "bbox2d" / f"bbox2d_{number:04d}.json"
    if last.exists():
        return
    scene = _draw("synthetic", _FIRST["urbansyn"] + number, parameters)
    train_ids = np.array([min(id2label[label].trainId, 19) for label in range(34)], np.uint8)[scene.class_map]
    on_vehicle = (scene.class_map == RIDER) & (scene.instance_map > 0)
    # Any colours will do that tell the instances apart: rider and vehicle get odd and even ones.
    numbers = np.unique(scene.instance_map, return_inverse=True)[1].reshape(scene.instance_map.shape)
    panoptic = (numbers * 2 + on_vehicle) * np.where(numbers > 0, 7919, 0)
    _write_png(root / "rgb" / f"rgb_{number:04d}.png", scene.image)
    _write_png(root / "ss" / f"ss_{number:04d}.png", train_ids)
    _write_png(root / "panoptic" / f"panoptic_{number:04d}.png", _as_color(panoptic))
    _write_json(last, _urbansyn_boxes(scene, panoptic))


def _urbansyn_boxes(scene: Scene, panoptic: np.ndarray) -> list[dict]:
    """Boxes of the instances that are not too small: 150 px of 2048 x 1024 in the original, in proportion here."""
    occluded = {instance.instance_id: instance.occluded for instance in scene.instances}
    boxes = []
    for color in np.unique(panoptic[panoptic > 0]).tolist():
        y, x = np.nonzero(panoptic == color)
        if len(x) * 2048 * 1024 < 150 * panoptic.size:
            continue
        box = {"xMin": int(x.min()), "yMin": int(y.min()), "xMax": int(x.max()), "yMax": int(y.max())}
        boxes.append(
            {
                "bbox": box,
                "color": [color & 255, color >> 8 & 255, color >> 16, 255],
                "label": id2label[int(scene.class_map[y[0], x[0]])].name,
                "occlusion_percentage": round(100 * occluded[int(scene.instance_map[y[0], x[0]])], 2),
            }
        )
    return boxes


def _write_street_image(root: Path, parameters: dict, number: int) -> None:
    layout = STREETS[parameters["layout"]]
    paths = layout.paths(root, *layout.groups, f"_{number:05d}-toyscapes_street")
    last = Path(paths["instance_path"])
    if last.exists():
        return
    scene = _draw("real", _FIRST[layout.name] + number, parameters)
    _write_bytes(Path(paths["image_path"]), cv2.imencode(".jpg", scene.image[..., ::-1])[1])
    label, single = labels.label_of_instance(scene.instance_map), scene.instance_map >= labels.INSTANCE_BASE
    if layout is VISTAS:
        _write_json(Path(paths["meta_path"]), {"labels": [{"name": name} for name in VISTAS_NAMES]})
        number = scene.instance_map % labels.INSTANCE_BASE * single
        pixels = (256 * _vistas_classes()[single.astype(int), label] + number).astype(np.uint16)
    else:
        numbers = np.unique(scene.instance_map, return_inverse=True)[1].reshape(label.shape)
        category = labels.CATEGORY_OF_LABEL[label]
        ignored = np.isin(label, INSTANCE_LABEL_IDS) & (category < 0)  # caravans, as cars
        class_ = np.where(ignored, labels.CATEGORY_OF_LABEL[CAR], category) + 1
        flags = (class_ > 0) * (ignored + 2 * ~single)
        pixels = np.stack([numbers >> 8, flags, class_, numbers & 255], 2).astype(np.uint8)  # BGRA
    png.write(last, pixels, sync=False)


def _vistas_classes() -> np.ndarray:
    """Number of Vistas' class for each label id, (2, 34): in a group or without instances, and as one instance."""
    ours = [VISTAS.classes.get(name) for name in VISTAS_NAMES]
    classes = np.full((2, len(NAMES)), VISTAS_NAMES.index("construction--structure--building"))
    classes[:, labels.VOID_IDS] = VISTAS_NAMES.index("void--unlabeled")
    classes[0, INSTANCE_LABEL_IDS] = VISTAS_NAMES.index("object--vehicle--vehicle-group")
    classes[0, PERSON] = ours.index("persongroup")
    classes[1, INSTANCE_LABEL_IDS] = [ours.index(NAMES[label]) for label in INSTANCE_LABEL_IDS]
    return classes


def _draw(domain: str, index: int, parameters: dict) -> Scene:
    size = {"height": parameters["height"], "width": parameters["width"]}
    return draw_scene(domain, index, seed=parameters["seed"], gap=parameters["gap"], **size)


def _as_color(ids: np.ndarray) -> np.ndarray:
    """int (H, W) -> uint8 (H, W, 3) RGB with id = R + 256 G + 65536 B."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], 2).astype(np.uint8)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """``pixels``: (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB. OpenCV's own settings are its fast ones."""
    _, encoded = cv2.imencode(".png", pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    _write_bytes(path, encoded)


def _write_json(path: Path, content: dict | list) -> None:
    """Compact JSON. As the last file of an image, ``path`` says that the others are complete."""
    _write_bytes(path, json.dumps(content, separators=(",", ":")).encode())


def _write_bytes(path: Path, content: bytes | np.ndarray) -> None:
    with replacing(path, sync=False) as temporary:  # waiting for the disk would take longer than drawing the image
        temporary.write_bytes(content)
