"""UrbanSyn as it is distributed: more than 7,500 images of 2048x1024, without an official split.

Layout (https://huggingface.co/datasets/UrbanSyn/UrbanSyn: dataset card and list of files), NNNN = 0001, 0002, ...::

    ROOT/rgb/rgb_NNNN.png             RGB, 8 bits a channel
    ROOT/ss/ss_NNNN.png               gray, 8 bits: Cityscapes *train* ids 0..18 (road ... bicycle), others: unlabelled
    ROOT/panoptic/panoptic_NNNN.png   RGB or RGBA: a colour of its own for each instance, black elsewhere
    ROOT/bbox2d/bbox2d_NNNN.json      a list, one element an instance:
                                      {"bbox": {"xMin", "yMin", "xMax", "yMax"}, "color": [R, G, B, A],
                                       "label": "car", "occlusion_percentage": 0..100}
    ROOT/depth, ROOT/ss_color         as boxes and occlusion, not used here

The class of an instance is the ``label`` of the element with its ``color``. An instance that the list leaves out (far
or small) has the commonest class of its pixels in ``ss``; a colour whose commonest class has no instances is not one.
"""

import functools

import numpy as np
from cityscapesscripts.helpers.labels import trainId2label

from scapes import png
from scapes.files import read_json
from scapes.labels import INSTANCE_LABEL_IDS, NAMES
from scapes.layout import NumberedDataset, checked_classes, read_instance_map

LABEL_OF_TRAIN_ID = np.array([trainId2label[i].id if i < 19 else 0 for i in range(256)], np.uint8)


def _read_class_map(path: str) -> np.ndarray:
    return LABEL_OF_TRAIN_ID[png.read(path, "gray 8")]


def _read_classes(path: str) -> dict[int, int]:
    expected = 'JSON: a list of {"color": [R, G, B, A], "label": class name, ...}'
    return read_json(path, "metadata", expected, lambda boxes: checked_classes([_class(box) for box in boxes]))


def _class(box: dict) -> tuple[int, int]:
    red, green, blue = box["color"][:3]
    if not all(channel in range(256) for channel in (red, green, blue)):
        raise ValueError(f"color {box['color']} is not three or four numbers in 0..255")
    return red + 256 * green + 65536 * blue, NAMES.index(box["label"].lower())


def _complete_classes(class_map: np.ndarray, instance_map: np.ndarray, classes: dict[int, int]) -> dict[int, int]:
    # Pixels of each pair of instance and class.
    keys, px = np.unique(instance_map.astype(np.int64) * 256 + class_map, return_counts=True)
    order = np.argsort(px, kind="stable")  # ascending, so that the commonest class is the one that stays in the dict
    commonest = dict(zip((keys // 256)[order].tolist(), (keys % 256)[order].tolist(), strict=True))
    return {i: label for i, label in commonest.items() if i and label in INSTANCE_LABEL_IDS} | classes


DATASET = NumberedDataset(
    name="urbansyn",
    files={
        "image_path": "{group}/rgb_{key}.png",
        "instance_path": "panoptic/panoptic_{key}.png",
        "label_path": "ss/ss_{key}.png",
        "meta_path": "bbox2d/bbox2d_{key}.json",
    },
    groups={"rgb": None},
    key="[0-9]{4}|[1-9][0-9]{4,}",
    example="0001",
    readers={
        "label_path": _read_class_map,
        "instance_path": functools.partial(read_instance_map, kinds=("RGB 8", "RGBA 8")),
        "meta_path": _read_classes,
    },
    complete_classes=_complete_classes,
)
read_images = DATASET.read_images
