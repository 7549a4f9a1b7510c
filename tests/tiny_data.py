"""Tiny raw data sets (12 x 16 px) that tests write, break and read."""

import json
from pathlib import Path

import cv2
import numpy as np

from scapes import cityscapes
from scapes.streets import VISTAS, Streets

HEIGHT, WIDTH = 12, 16
CLASSES = {7: 32, 300: 26, 2400004: 24, 99: 28}
"""Instances of each image: a motorcycle with its rider, a car, a person, and a hidden bus."""


def maps(number: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Class map uint8 and instance map int32 of image ``number``; the person is ``number`` pixels wide."""
    class_map = np.full((HEIGHT, WIDTH), 7, np.uint8)
    instance_map = np.zeros((HEIGHT, WIDTH), np.int32)
    for i, label, box in (
        (7, 25, np.s_[0:4, 0:4]),
        (7, 32, np.s_[4:6, 0:5]),
        (300, 26, np.s_[6:10, 6:14]),
        (2400004, 24, np.s_[0:5, 8 : 8 + min(number, 8)]),
        (0, 33, np.s_[10:12, 0:3]),
    ):
        class_map[box], instance_map[box] = label, i
    return class_map, instance_map


def color(instance_map: np.ndarray) -> np.ndarray:
    """Instance ids as the BGR image that holds them."""
    return np.dstack([instance_map >> 16, instance_map >> 8 & 255, instance_map & 255]).astype(np.uint8)


def photo(height: int, width: int, number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_synscapes(root: Path, images: int = 5) -> Path:
    for number in range(1, images + 1):
        class_map, instance_map = maps(number)
        save(root / f"img/rgb/{number}.png", photo(HEIGHT, WIDTH, number))
        save(root / f"img/rgb-2k/{number}.png", photo(2 * HEIGHT, 2 * WIDTH, number))
        save(root / f"img/class/{number}.png", class_map)
        save(root / f"img/instance/{number}.png", color(instance_map))
        (root / "meta").mkdir(exist_ok=True)
        meta = {"camera": {}, "instance": {"class": {str(i): label for i, label in CLASSES.items()}}}
        (root / f"meta/{number}.json").write_text(json.dumps(meta))
    return root


def write_urbansyn(root: Path, boxes: list | dict | None = None) -> Path:
    """One image: train ids of a road with a car, a far car, a motorcycle; colours (1, 2, 3), (0, 0, 9), (255, 0, 0)."""
    train_ids, colors = np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.uint8)
    train_ids[0:2, 0:3], colors[0:2, 0:3] = 13, (1, 2, 3)
    train_ids[3, 5], colors[3, 5] = 13, (0, 0, 9)
    train_ids[3, 0:2], colors[3, 0:2] = 17, (255, 0, 0)
    train_ids[0, 5], colors[0, 5] = 255, (4, 4, 4)  # unlabelled, though with a colour
    save(root / "rgb/rgb_0001.png", photo(4, 6, 1))
    save(root / "ss/ss_0001.png", train_ids)
    save(root / "panoptic/panoptic_0001.png", colors[..., ::-1])
    (root / "bbox2d").mkdir()
    boxes = [{"color": [1, 2, 3, 255], "label": "Car"}] if boxes is None else boxes
    (root / "bbox2d/bbox2d_0001.json").write_text(json.dumps(boxes))
    return root


VISTAS_NAMES = ["object--vehicle--car", "construction--flat--road", *list(VISTAS.classes)[::-1], "void--ego-vehicle"]


def write_street(root: Path, layout: Streets) -> Path:
    """One image, whose six columns are two cars, a group of persons, a bicycle, what is not evaluated, a road."""
    paths = {name: Path(path) for name, path in layout.paths(root, *layout.groups, "a_1-b").items()}
    save(paths["image_path"], photo(4, 6, 1))
    if layout is VISTAS:
        names = ("human--person--person-group", "object--vehicle--bicycle", "void--ego-vehicle")
        group, bicycle, void = (256 * VISTAS_NAMES.index(name) for name in names)
        save(paths["instance_path"], np.tile(np.array([0, 7, group, bicycle + 255, void, 256], np.uint16), (4, 1)))
        paths["meta_path"].write_text(json.dumps({"labels": [{"name": name} for name in VISTAS_NAMES]}))
    else:  # BGRA: id // 256, flags, class, id % 256
        row = [[0, 0, 3, 1], [1, 12, 3, 1], [0, 2, 1, 2], [0, 8, 8, 3], [0, 1, 4, 4], [0, 0, 0, 0]]
        save(paths["instance_path"], np.tile(np.array(row, np.uint8), (4, 1, 1)))
    return root


def write_cityscapes(root: Path, **images: int) -> Path:
    """``train=3, val=2``: that many images in each split, in two cities."""
    for split, count in images.items():
        for number in range(1, count + 1):
            city = ("ulm", "aachen")[number % 2]
            paths = cityscapes.LAYOUT.paths(root, split, f"{city}/{city}_{number:06d}_000019")
            paths = {name: Path(path) for name, path in paths.items()}
            save(paths["image_path"], photo(HEIGHT, WIDTH, number))
            if split == "test":
                continue
            instance_ids = instance_ids_of(number)
            save(paths["instance_path"], instance_ids)
            labels = np.where(instance_ids >= 1000, instance_ids // 1000, instance_ids).astype(np.uint8)
            save(paths["label_path"], labels)
            paths["polygon_path"].write_text(json.dumps({"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": []}))
    return root


def instance_ids_of(number: int) -> np.ndarray:
    """Two cars, a group of persons, a caravan, on a road; uint16."""
    instance_ids = np.full((HEIGHT, WIDTH), 7, np.uint16)
    instance_ids[2:5, 1:4], instance_ids[2:7, 6 : 6 + number] = 26000, 26001
    instance_ids[8:10, 2:9], instance_ids[10:12, 10:13] = 24, 29000
    return instance_ids
