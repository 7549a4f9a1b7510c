"""Synscapes as it is distributed: scenes generated independently of each other, without an official split.

Layout (https://synscapes.on.liu.se/features.html), N = 1..25000 without leading zeros::

    ROOT/img/rgb/N.png          RGB, 1440x720
    ROOT/img/rgb-2k/N.png       the same scenes, upscaled to 2048x1024 before the sensor was simulated
    ROOT/img/class/N.png        gray, 8 bits: Cityscapes label ids, 1440x720
    ROOT/img/instance/N.png     RGB, 8 bits a channel: id = R + 256 G + 65536 B, 0 where there is no instance, 1440x720
    ROOT/meta/N.json            {"instance": {"class": {"ID": label id, ...}, "bbox2d": ...,
                                 "occluded": {"ID": fraction, ...}, "truncated": {"ID": fraction, ...}}, ...}
"""

import operator

from scapes.files import read_json
from scapes.labels import read_label_ids
from scapes.layout import NumberedDataset, checked_classes, read_instance_map


def _read_classes(path: str) -> dict[int, int]:
    return read_json(path, "metadata", 'JSON with {"instance": {"class": {"ID": label id, ...}}}', _classes)


def _classes(meta: dict) -> dict[int, int]:
    return checked_classes([(int(i), operator.index(label)) for i, label in meta["instance"]["class"].items()])


DATASET = NumberedDataset(
    name="synscapes",
    files={
        "image_path": "img/{group}/{key}.png",
        "instance_path": "img/instance/{key}.png",
        "label_path": "img/class/{key}.png",
        "meta_path": "meta/{key}.json",
    },
    groups={"rgb": 25_000, "rgb-2k": 25_000},
    key="[0-9]|[1-9][0-9]+",
    example="1",
    readers={"label_path": read_label_ids, "instance_path": read_instance_map, "meta_path": _read_classes},
    large=("rgb-2k",),
)
read_images = DATASET.read_images
