"""Raw synthetic data sets, of numbered images without an official split; to add one: here and in ``layouts.yaml``.

Split: with M the largest number in the folder, images up to ``ceil(0.8 M)`` are ``train``, the rest ``val``: 20,000 +
5,000 of Synscapes. It does not depend on a missing file. Lists of numbers override it.
"""

import operator
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from cityscapesscripts.helpers.labels import trainId2label

from scapes import png
from scapes.cityscapes import Layout
from scapes.files import read_json
from scapes.labels import INSTANCE_LABEL_IDS, NAMES, read_label_ids

LABEL_OF_TRAIN_ID = np.array([trainId2label[i].id if i < 19 else 0 for i in range(256)], np.uint8)


class NumberedDataset(Layout):
    """A layout whose keys are numbers; the column ``meta_path`` is read as {instance id: label id}."""

    def read_images(
        self, root: str | Path, variant: str = "rgb", splits: Mapping[str, Iterable[int | str]] | None = None
    ) -> pd.DataFrame:
        """Image table of the raw data set: one row per image, sorted by split and number. No file is opened.

        ``splits``: numbers of the images of ``train`` and ``val``, of which a range need not all be there; default: the
        rule above. Columns: ``dataset``, ``split``, ``image_id`` (text), and the paths of ``files``.

        Raises ``FileNotFoundError`` for a missing folder, file or number and a split without images; ``ValueError`` for
        an unknown split or variant, a number that stands twice, or as :meth:`keys`.
        """
        if variant not in self.groups:
            raise ValueError(f"unknown variant {variant!r}, expected one of {', '.join(self.groups)}")
        keys = {int(key): key for key in self.keys(root, variant)}
        table = pd.DataFrame(split_images(root, keys, splits), columns=["split", "image_id"])
        paths = self.table(root, variant, table["image_id"].map(keys).tolist(), self.files)
        return table.astype({"image_id": str}).assign(dataset=self.name)[["dataset", "split", "image_id"]].join(paths)


def split_images(
    root: str | Path, there: Collection[int], splits: Mapping[str, Iterable[int | str]] | None = None
) -> list[tuple[str, int]]:
    """(Split, number) of the images in ``there``, as :meth:`NumberedDataset.read_images` says."""
    last_train = (4 * max(there) + 4) // 5
    default = {"train": range(last_train + 1), "val": range(last_train + 1, max(there) + 1)}
    images = []
    for split, wanted in (splits or {split: numbers for split, numbers in default.items() if numbers}).items():
        if split not in default:
            raise ValueError(f"unknown split {split!r}, expected train or val")
        numbers = sorted(n for n in there if n in wanted) if isinstance(wanted, range) else sorted(map(int, wanted))
        if not numbers:
            first, cut, last = (sorted(there)[i] for i in (0, 4 * len(there) // 5 - 1, -1))
            some = f"some of {min(wanted)}..{max(wanted)}" if wanted else "some"
            found = f"split {split} is empty: found images {first}..{last}, expected {some}"
            other = f"split: {{train: [{first}, {cut}], val: [{cut + 1}, {last}]}}"
            raise FileNotFoundError(f"{root}: {found}; choose others, for example {other}")
        images += [(split, number) for number in numbers]
    counts = Counter(number for _, number in images)
    if twice := [number for number, count in counts.items() if count > 1]:
        raise ValueError(f"split: found {len(twice)} images twice, the first is {twice[0]}, expected each once")
    if missing := sorted(counts.keys() - set(there)):
        raise FileNotFoundError(f"{root}: {len(missing)} of the listed images do not exist, the first is {missing[0]}")
    return images


def read_instance_map(path: str, kind: str = "RGB 8", *others: str) -> np.ndarray:
    """Instance ids R + 256 G + 65536 B, int32 (H, W), 0 where there is no instance; raises ``BadFile``."""
    image = png.read(path, kind, *others)
    # In one pass: the four bytes R, G, B, A of a pixel, seen as one little-endian integer.
    order = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cv2.cvtColor(image, order).view("<i4")[..., 0] & 0xFFFFFF


def checked_classes(pairs: Collection[tuple[int, int]]) -> dict[int, int]:
    """{instance id: label id}; ``ValueError`` for an id not in 1..2^24-1 or twice, or a class without instances."""
    for i, label in pairs:
        if not 0 < i < 1 << 24:
            raise ValueError(f"instance id {i} is not in 1..16777215")
        if label not in INSTANCE_LABEL_IDS:
            raise ValueError(f"instance {i} has class {label}, which is not one of {INSTANCE_LABEL_IDS}")
    if len(classes := dict(pairs)) < len(pairs):
        raise ValueError(f"{len(pairs) - len(classes)} instance ids stand twice")
    return classes


def _read_synscapes_meta(path: str) -> dict[int, int]:
    def parse(meta: dict) -> dict[int, int]:
        return checked_classes([(int(i), operator.index(label)) for i, label in meta["instance"]["class"].items()])

    return read_json(path, "metadata", 'JSON with {"instance": {"class": {"ID": label id, ...}}}', parse)


def _synscapes_details(meta: dict) -> dict[str, dict[str, float]]:
    occluded, boxes = (meta["instance"].get(name, {}) for name in ("occluded", "bbox2d"))
    return {"occlusion": occluded, "distance": {i: box["zmin"] for i, box in boxes.items() if "zmin" in box}}


def _read_boxes(path: str) -> dict[int, int]:
    expected = 'JSON: a list of {"color": [R, G, B, A], "label": class name, ...}'
    return read_json(path, "metadata", expected, lambda boxes: checked_classes([_class(box) for box in boxes]))


def _urbansyn_details(boxes: list[dict]) -> dict[str, dict[str, float]]:
    known = [box for box in boxes if "occlusion_percentage" in box]
    return {"occlusion": {str(_class(box)[0]): box["occlusion_percentage"] / 100 for box in known}}


def _class(box: dict) -> tuple[int, int]:
    red, green, blue = box["color"][:3]
    if not all(channel in range(256) for channel in (red, green, blue)):
        raise ValueError(f"color {box['color']} is not three or four numbers in 0..255")
    return red + 256 * green + 65536 * blue, NAMES.index(box["label"].lower())


class _UrbanSyn(NumberedDataset):
    def read_labels(self, image: dict) -> tuple:
        """Instances that the boxes leave out have the commonest class of their pixels."""
        class_map, instance_map, classes = super().read_labels(image)
        # Pixels of each pair of instance and class.
        keys, px = np.unique(instance_map.astype(np.int64) * 256 + class_map, return_counts=True)
        order = np.argsort(px, kind="stable")  # ascending: the commonest class is the one that stays in the dict
        commonest = dict(zip((keys // 256)[order].tolist(), (keys % 256)[order].tolist(), strict=True))
        return class_map, instance_map, {i: c for i, c in commonest.items() if i and c in INSTANCE_LABEL_IDS} | classes


SYNSCAPES = NumberedDataset(
    "synscapes", label_path=read_label_ids, instance_path=read_instance_map, meta_path=_read_synscapes_meta
)
URBANSYN = _UrbanSyn(
    "urbansyn",
    label_path=lambda path: LABEL_OF_TRAIN_ID[png.read(path, "gray 8")],
    instance_path=lambda path: read_instance_map(path, "RGB 8", "RGBA 8"),
    meta_path=_read_boxes,
)
SYNTHETIC = {dataset.name: dataset for dataset in (SYNSCAPES, URBANSYN)}  # what can be harmonised
DETAILS = {"synscapes": _synscapes_details, "urbansyn": _urbansyn_details}  # metadata -> criterion -> id -> value


def split_ids(splits: Mapping[str, Sequence[int | str]]) -> dict[str, Sequence[int]]:
    """``{"train": [1, 20000], "val": [20001, 25000]}``: two numbers, of which the first is not larger, are a range.

    Other lists are of ids, and stay. Of a range, the images that are there are taken. Raises ValueError for all else.
    """
    found: dict[str, Sequence[int]] = {}
    for name, ids in splits.items():
        if not isinstance(ids, (list, tuple)) or not all(str(number).isdigit() for number in ids):
            raise ValueError(f"split {name}: found {ids!r}, expected [first, last], or a list of the numbers of images")
        numbers = [int(number) for number in ids]
        is_range = len(numbers) == 2 and numbers[0] <= numbers[1]
        found[name] = range(numbers[0], numbers[1] + 1) if is_range else numbers
    return found
