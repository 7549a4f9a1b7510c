"""UrbanSyn as it is distributed: a second synthetic data set, and an example of what a further one needs.

Layout (https://huggingface.co/datasets/UrbanSyn/UrbanSyn: its dataset card and list of files; more than 7,500 images of
2048x1024), NNNN = 0001, 0002, ... with four digits::

    ROOT/rgb/rgb_NNNN.png             RGB, 8 bits a channel
    ROOT/ss/ss_NNNN.png               gray, 8 bits: Cityscapes *train* ids 0..18 (road ... bicycle), others: unlabelled
    ROOT/panoptic/panoptic_NNNN.png   RGB or RGBA: a colour of its own for each instance, black elsewhere
    ROOT/bbox2d/bbox2d_NNNN.json      a list, one element an instance:
                                      {"bbox": {"xMin", "yMin", "xMax", "yMax"}, "color": [R, G, B, A],
                                       "label": "car", "occlusion_percentage": 0..100}
    ROOT/depth, ROOT/ss_color         not used here

What is taken from where: the class map from ``ss``, translated to label ids; the instance map from ``panoptic``, with
id = R + 256 G + 65536 B; the class of an instance from ``label`` of the element with its ``color``. An instance that
the list leaves out (far or small ones) has the commonest class of its pixels in ``ss``; a colour whose commonest class
has no instances, such as road, is not one. Boxes and occlusion are not used: boxes are computed from the masks, as for
every data set here.

The data set has no official split; ours is that of :mod:`scapes.numbered`.
"""

import numpy as np
from cityscapesscripts.helpers.labels import trainId2label

from scapes.labels import INSTANCE_LABEL_IDS, NAMES
from scapes.numbered import NumberedDataset


def _classes(boxes: list[dict]) -> list[tuple[int, int]]:
    return [(_color_id(box["color"]), NAMES.index(box["label"].lower())) for box in boxes]


def _label_of_train_id() -> np.ndarray:
    table = np.zeros(256, np.uint8)
    table[:19] = [trainId2label[train_id].id for train_id in range(19)]
    return table


def _complete_classes(class_map: np.ndarray, instance_map: np.ndarray, classes: dict[int, int]) -> dict[int, int]:
    """Give each instance that has no box the commonest class of its pixels, if that is a class with instances."""
    keys, px = np.unique(instance_map.astype(np.int64) * 256 + class_map, return_counts=True)
    order = np.argsort(px, kind="stable")  # ascending, so that the commonest class is the one that stays in the dict
    commonest = dict(zip((keys // 256)[order].tolist(), (keys % 256)[order].tolist(), strict=True))
    return {i: label for i, label in commonest.items() if i and label in INSTANCE_LABEL_IDS} | classes


def _color_id(color: list[int]) -> int:
    red, green, blue = color[:3]
    if not all(channel in range(256) for channel in color[:3]):
        raise ValueError(f"color {color} is not three or four numbers in 0..255")
    return red + 256 * green + 65536 * blue


DATASET = NumberedDataset(
    name="urbansyn",
    layout={
        "image_path": "{variant}/rgb_{number:04d}.png",
        "instance_path": "panoptic/panoptic_{number:04d}.png",
        "label_path": "ss/ss_{number:04d}.png",
        "meta_path": "bbox2d/bbox2d_{number:04d}.json",
    },
    classes=_classes,
    meta_form='JSON: a list of {"color": [R, G, B, A], "label": class name, ...}',
    label_of_value=_label_of_train_id(),
    color_kinds=("RGB 8", "RGBA 8"),
    complete_classes=_complete_classes,
)
read_images = DATASET.read_images
