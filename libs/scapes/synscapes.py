"""Synscapes as it is distributed: image table, label maps and metadata.

Layout (https://synscapes.on.liu.se/features.html), N = 1..25000 without leading zeros::

    ROOT/img/rgb/N.png          RGB, 1440x720
    ROOT/img/rgb-2k/N.png       the same scenes, upscaled to 2048x1024 before the sensor was simulated
    ROOT/img/class/N.png        gray, 8 bits: Cityscapes label ids, 1440x720
    ROOT/img/instance/N.png     RGB, 8 bits a channel: id = R + 256 G + 65536 B, 0 where there is no instance, 1440x720
    ROOT/meta/N.json            {"instance": {"class": {"ID": label id, ...}, "bbox2d": ...,
                                 "occluded": {"ID": fraction, ...}, "truncated": {"ID": fraction, ...}}, ...}

The data set has no official split; ours is that of :mod:`scapes.numbered`. The scenes were generated
independently of each other, so images with consecutive numbers are not related.
"""

import operator

from scapes.numbered import NumberedDataset


def _classes(meta: dict) -> list[tuple[int, int]]:
    return [(int(key), operator.index(label)) for key, label in meta["instance"]["class"].items()]


DATASET = NumberedDataset(
    name="synscapes",
    layout={
        "image_path": "img/{variant}/{number}.png",
        "instance_path": "img/instance/{number}.png",
        "label_path": "img/class/{number}.png",
        "meta_path": "meta/{number}.json",
    },
    classes=_classes,
    meta_form='JSON with {"instance": {"class": {"ID": label id, ...}}}',
    variants=("rgb", "rgb-2k"),
    official_count=25_000,
)
read_images = DATASET.read_images
