"""The eight evaluated classes and their numbers, from the official table ``cityscapesscripts/helpers/labels.py``.

- ``label id``: a pixel of a class map (24 person ... 33 bicycle).
- ``category``: 0..7, index into :data:`CLASSES`, in tables and models as in Detectron2's ``load_cityscapes_instances``.
- ``instance id``: a pixel of ``*_gtFine_instanceIds.png``: ``label id * 1000 + n`` with n = 0..999 for an instance, the
  plain label id otherwise.
"""

import numpy as np
from cityscapesscripts.helpers.labels import labels as _OFFICIAL

from scapes import png
from scapes.files import BadFile

_EVALUATED = [label for label in _OFFICIAL if label.hasInstances and not label.ignoreInEval]
CLASSES: tuple[str, ...] = tuple(label.name for label in _EVALUATED)
LABEL_IDS: tuple[int, ...] = tuple(label.id for label in _EVALUATED)
PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = LABEL_IDS
INSTANCE_BASE = 1000
MAX_LABEL_ID = max(label.id for label in _OFFICIAL)
NAMES: tuple[str, ...] = tuple(label.name for label in sorted(_OFFICIAL, key=lambda label: label.id) if label.id >= 0)
"""Name of every official class, by label id."""
label_id = NAMES.index  # label_id("road") == 7
INSTANCE_LABEL_IDS: tuple[int, ...] = tuple(label.id for label in _OFFICIAL if label.hasInstances and label.id >= 0)
"""The evaluated eight, and caravan and trailer, which have instances but are ignored in evaluation."""
VOID_IDS = [label.id for label in _OFFICIAL if label.ignoreInEval and label.id >= 0]
CATEGORY_OF_LABEL = np.full(256, -1, np.int8)  # -1: a label that is not evaluated
CATEGORY_OF_LABEL[[*LABEL_IDS]] = range(len(LABEL_IDS))


def label_of_instance(ids: np.ndarray) -> np.ndarray:
    """Label ids of instance ids: integers of any shape, dtype as given."""
    return np.where(ids >= INSTANCE_BASE, ids // INSTANCE_BASE, ids)


def check_label_ids(path: str, label_ids: np.ndarray) -> None:
    """Raise ``BadFile`` unless the pixels, unsigned integers of any shape, are official label ids."""
    if label_ids.max() > MAX_LABEL_ID:
        raise BadFile("value", path, f"label id {label_ids.max()}", f"label ids 0..{MAX_LABEL_ID}")


def check_instance_ids(path: str, instance_ids: np.ndarray) -> None:
    """Raise ``BadFile`` unless the values, integers (N,), are label ids or ids of instances."""
    labels = label_of_instance(instance_ids)
    bad = (labels > MAX_LABEL_ID) | ((instance_ids >= INSTANCE_BASE) & ~np.isin(labels, INSTANCE_LABEL_IDS))
    if bad.any():
        expected = f"label ids 0..{MAX_LABEL_ID} or label id * {INSTANCE_BASE} + n of a class with instances"
        found = np.unique(instance_ids[bad])
        raise BadFile("value", path, f"{len(found)} such ids, the first is {found[0]}", expected)


def read_label_ids(path: str) -> np.ndarray:
    """A class map of label ids: uint8 (H, W); raises ``BadFile`` if it is damaged or holds other values."""
    label_ids = png.read(path, "gray 8")
    check_label_ids(path, label_ids)
    return label_ids
