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

import json
import operator
from pathlib import Path

from scapes.files import BadFile
from scapes.numbered import NumberedDataset, checked_classes


def read_meta(path: str | Path) -> dict[int, int]:
    """``{instance id: label id}`` of ``meta/N.json``; raises ``BadFile`` saying what is wrong in it."""
    try:
        classes = json.loads(Path(path).read_bytes(), object_pairs_hook=_unique)["instance"]["class"]
        return checked_classes((int(key), operator.index(label)) for key, label in classes.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise BadFile("metadata", path, found, 'JSON with {"instance": {"class": {"ID": label id, ...}}}') from error


def read_visibility(path: str | Path) -> dict[str, dict[int, float]]:
    """``{"occluded": {instance id: fraction}, "truncated": ...}`` of ``meta/N.json``.

    ``occluded``: how much of the instance other objects hide; ``truncated``: how much is outside the image; in [0, 1].
    Raises ``BadFile`` saying what is wrong.
    """
    try:
        tables = json.loads(Path(path).read_bytes(), object_pairs_hook=_unique)["instance"]
        found = {name: {int(i): float(x) for i, x in tables[name].items()} for name in ("occluded", "truncated")}
        every = [(name, *item) for name, values in found.items() for item in values.items()]
        wrong = [f"{name} of {i} is {x}" for name, i, x in every if not -0.01 <= x <= 1.01]  # percent, for example
        if wrong:
            raise ValueError(wrong[0])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        expected = 'JSON with {"instance": {"occluded": {"ID": fraction in [0, 1], ...}, "truncated": ...}}'
        raise BadFile("metadata", path, f"{type(error).__name__}: {error}", expected) from error
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object; unlike the default, a key that stands twice is an error instead of a choice."""
    unique = dict(pairs)
    if len(unique) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"key {twice!r} stands twice")
    return unique


DATASET = NumberedDataset(
    name="synscapes",
    layout={
        "image_path": "img/{variant}/{number}.png",
        "instance_path": "img/instance/{number}.png",
        "label_path": "img/class/{number}.png",
        "meta_path": "meta/{number}.json",
    },
    read_meta=read_meta,
    variants=("rgb", "rgb-2k"),
    official_count=25_000,
)
read_images = DATASET.read_images
