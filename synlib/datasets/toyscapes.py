"""The embedded data set: drawn streets, written to disk exactly as Cityscapes and Synscapes are.

``write_cityscapes`` writes the "real" domain, ``write_synscapes`` the "synthetic" one; every reader and every notebook
works on either the drawn or the downloaded data. :func:`draw_scene` gives one scene in memory.

A folder is complete when ``toyscapes.json`` stands in it, which is written last and holds the parameters. Calling again
with the same parameters does nothing, after an interruption it goes on where it stopped; other parameters are an error.
"""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from synlib.datasets.toyscapes_scene import DOMAINS, Instance, Scene, check_size, draw_scene
from synlib.files import replacing
from synlib.parallel import map_items

__all__ = ["DOMAINS", "Instance", "Scene", "draw_scene", "write_cityscapes", "write_synscapes"]

GENERATOR = 1
"""Raised whenever the same parameters give other pixels or labels."""
MANIFEST = "toyscapes.json"
PARTIAL_MANIFEST = "toyscapes.partial.json"
CITIES = {
    "train": ("aachen", "bochum", "bremen", "cologne", "hamburg", "jena", "stuttgart", "zurich"),
    "val": ("frankfurt", "lindau", "munster"),
    "test": ("berlin", "bonn", "mainz"),
}
_CITY_RUN = 25  # images in a row from one city
_SPLIT_BASE = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # scene index of the first image of each split


def write_cityscapes(
    root: str | Path, *, train: int, val: int, test: int = 0, height: int, width: int, seed: int = 0,
    workers: int | None = None, gap: float = 1.0,
) -> dict:  # fmt: skip
    """Write ``train`` + ``val`` + ``test`` scenes of the real domain as a Cityscapes tree under ``root``; return its manifest.

    ``height`` x ``width``: pixels, 1:2. ``gap``: see :func:`draw_scene`. The scenes of a split are the same whatever the size
    of the splits. The labels of the test split are dummies, as in the original.

    Raises ``ValueError`` for a bad size or count, or if ``root`` holds data made with other parameters or by somebody else;
    ``OSError`` where it cannot be written.
    """
    counts = {"train": train, "val": val, "test": test}
    parameters = _parameters("cityscapes", counts, height, width, seed, gap)
    jobs = [(split, i) for split, count in counts.items() for i in range(count)]
    return _write(Path(root), parameters, jobs, _write_cityscapes_image, ("leftImg8bit", "gtFine"), workers)


def write_synscapes(
    root: str | Path, *, train: int, val: int, height: int, width: int, seed: int = 0,
    workers: int | None = None, gap: float = 1.0, rgb_2k: bool = False,
) -> dict:  # fmt: skip
    """Write ``train`` + ``val`` scenes of the synthetic domain as a Synscapes tree under ``root``; return its manifest.

    Images are numbered 1..train+val; the first ``train`` are meant for training (with ``train = 4 * val`` that is also the
    rule of :func:`synlib.datasets.synscapes.read_images`). ``rgb_2k``: write ``img/rgb-2k`` too, 2048/1440 times as large.
    ``gap`` is recorded only: the synthetic look does not depend on it.

    Raises as :func:`write_cityscapes` does.
    """
    counts = {"train": train, "val": val}
    parameters = _parameters("synscapes", counts, height, width, seed, gap) | {"rgb_2k": rgb_2k}
    return _write(Path(root), parameters, range(1, train + val + 1), _write_synscapes_image, ("img", "meta"), workers)


def _parameters(layout: str, counts: dict[str, int], height: int, width: int, seed: int, gap: float) -> dict:
    check_size(height, width)
    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"{split}={count}: the number of images must be 0 or more")
    if not sum(counts.values()):
        raise ValueError("no images asked for: every split is 0")
    return {
        "generator": GENERATOR,
        "layout": layout,
        **counts,
        "height": height,
        "width": width,
        "seed": seed,
        "gap": gap,
    }


def _write(
    root: Path, parameters: dict, jobs, write_image: Callable, folders: tuple[str, ...], workers: int | None
) -> dict:
    """Write one image a job below ``root``, framed by the partial and the final manifest."""
    for name in (MANIFEST, PARTIAL_MANIFEST):
        if (root / name).is_file():
            _check_same(root / name, parameters)
            if name == MANIFEST:
                return parameters
            break
    else:
        for folder in folders:
            if (root / folder).exists():
                raise ValueError(
                    f"{root / folder}: exists already and was not drawn by toyscapes; choose an empty folder"
                )
        _write_json(root / PARTIAL_MANIFEST, parameters)
    task = functools.partial(write_image, root, parameters)
    for _ in map_items(task, list(jobs), workers=workers, description=f"drawing {parameters['layout']}"):
        pass
    _write_json(root / MANIFEST, parameters)
    (root / PARTIAL_MANIFEST).unlink()
    return parameters


def _check_same(path: Path, parameters: dict) -> None:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); delete {path.parent} and write it again") from error
    differing = [key for key in {**parameters, **found} if parameters.get(key) != found.get(key)]
    if differing:
        pairs = ", ".join(f"{key} is {found.get(key)}, asked for {parameters.get(key)}" for key in differing)
        raise ValueError(
            f"{path.parent}: holds toy data of other parameters ({pairs}); delete it or choose another folder"
        )


def _write_json(path: Path, content: dict) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1))


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """``pixels``: (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB."""
    if pixels.ndim == 3:
        pixels = pixels[:, :, ::-1]
    _, encoded = cv2.imencode(".png", pixels)  # OpenCV's own settings are its fast ones
    path.write_bytes(encoded)


def _write_cityscapes_image(root: Path, parameters: dict, job: tuple[str, int]) -> None:
    split, i = job
    cities = CITIES[split]
    city = cities[i // _CITY_RUN % len(cities)]
    stem = f"{city}_{i // (_CITY_RUN * len(cities)):06d}_{i % _CITY_RUN:06d}"
    images, labels = root / "leftImg8bit" / split / city, root / "gtFine" / split / city
    last = labels / f"{stem}_gtFine_polygons.json"
    if last.exists():
        return
    height, width = parameters["height"], parameters["width"]
    scene = draw_scene(
        "real", _SPLIT_BASE[split] + i, height=height, width=width, seed=parameters["seed"], gap=parameters["gap"]
    )
    class_map, instance_map, polygons = scene.class_map, scene.instance_map, scene.polygons
    if split == "test":  # as in the original, whose annotations are withheld
        class_map, instance_map, polygons = np.zeros_like(class_map), np.zeros_like(instance_map), []
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    _write_png(images / f"{stem}_leftImg8bit.png", scene.image)
    _write_png(labels / f"{stem}_gtFine_labelIds.png", class_map)
    _write_png(labels / f"{stem}_gtFine_instanceIds.png", instance_map.astype(np.uint16))
    objects = [{"label": name, "polygon": polygon.tolist()} for name, polygon in polygons]
    _finish_json(last, {"imgHeight": height, "imgWidth": width, "objects": objects})


def _write_synscapes_image(root: Path, parameters: dict, number: int) -> None:
    last = root / "meta" / f"{number}.json"
    if last.exists():
        return
    scene = draw_scene(
        "synthetic", number, height=parameters["height"], width=parameters["width"], seed=parameters["seed"]
    )
    folders = {name: root / "img" / name for name in ("rgb", "class", "instance", "rgb-2k")}
    if not parameters["rgb_2k"]:
        del folders["rgb-2k"]
    for folder in (*folders.values(), last.parent):
        folder.mkdir(parents=True, exist_ok=True)
    name = f"{number}.png"
    _write_png(folders["rgb"] / name, scene.image)
    _write_png(folders["class"] / name, scene.class_map)
    ids = scene.instance_map
    _write_png(folders["instance"] / name, np.stack([ids & 255, ids >> 8 & 255, ids >> 16], 2).astype(np.uint8))
    if parameters["rgb_2k"]:
        size = (round(parameters["width"] * 2048 / 1440), round(parameters["height"] * 1024 / 720))
        _write_png(folders["rgb-2k"] / name, cv2.resize(scene.image, size, interpolation=cv2.INTER_CUBIC))
    _finish_json(last, {"camera": scene.camera, "instance": _instance_meta(scene.instances), "scene": scene.traits})


def _instance_meta(instances: list[Instance]) -> dict:
    """The ``instance`` entry of a Synscapes metadata file: dictionaries keyed by the id as a string."""
    keys = [str(instance.instance_id) for instance in instances]
    boxes = [
        dict(zip(("xmin", "ymin", "xmax", "ymax"), (round(v, 5) for v in instance.box), strict=True))
        | {"zmin": round(instance.distance_m, 5), "zmax": round(instance.distance_m, 5)}
        for instance in instances
    ]
    return {
        "bbox2d": dict(zip(keys, boxes, strict=True)),
        "bbox3d": {key: instance.box3d for key, instance in zip(keys, instances, strict=True)},
        "class": {key: instance.label_id for key, instance in zip(keys, instances, strict=True)},
        "occluded": {key: instance.occluded for key, instance in zip(keys, instances, strict=True)},
        "truncated": {key: instance.truncated for key, instance in zip(keys, instances, strict=True)},
    }


def _finish_json(path: Path, content: dict) -> None:
    """The last file of an image: its presence says that the others are complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)
