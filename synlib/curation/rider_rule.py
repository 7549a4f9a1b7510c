"""Section 3.2 of the paper: a rider and the vehicle, one instance in Synscapes, become two as in Cityscapes.

For one image: if any pixel of a bicycle or motorcycle instance is *rider* in the class map, a rider instance of those
pixels is added and the vehicle shrinks to its strict vehicle pixels. What the paper leaves open is a :class:`Policy`.

Shapes: H, W of the image; R runs of equal pixels, in raster order; S segments, the sets of pixels that share instance
and class, a few hundred per image; I ids in the instance map (0 included); P = 2 I parts: part 2 i is what instance i
becomes, part 2 i + 1 the rider that is split from it.
"""

from collections import Counter
from typing import get_args

import numpy as np

from scapes import labels
from scapes.labels import BICYCLE, INSTANCE_BASE, INSTANCE_LABEL_IDS, LABEL_IDS, MOTORCYCLE, NAMES, PERSON, RIDER
from scapes.synthetic import checked_classes
from synlib.spec import Policy

_NO_CLASS = -1
_TWO_WHEELERS = (MOTORCYCLE, BICYCLE)
POLICY_CHOICES = {name: get_args(field.annotation) for name, field in Policy.model_fields.items()}
DEFAULT_POLICY = Policy()
DECIDED = {"disagreement": "meta", "unknown_ids": "group", "without_pixels": "count", "overflow": "group"}
"""What the manifest also records, without a choice: the class of an instance is that of the metadata, whatever the
class map says; pixels of ids that the metadata does not list are orphans; hidden instances, without a pixel, are
counted; of more than 1,000 instances of a class, which the format cannot number, the smallest become group regions."""


def harmonize_maps(
    class_map: np.ndarray, instance_map: np.ndarray, classes: dict[int, int], policy: Policy = DEFAULT_POLICY
) -> tuple[np.ndarray, np.ndarray, Counter]:
    """Harmonise one image.

    class_map: Cityscapes label ids, uint8 (H, W). instance_map: instance ids, integer (H, W), 0 = no instance.
    classes: {instance id: label id}, from the metadata.

    Returns ``instance_ids`` uint16 (H, W) in the Cityscapes encoding, ``label_ids`` uint8 (H, W) that agrees with it,
    and a ``Counter`` over (event, class name). Events: ``before`` and ``after`` count instances with pixels;
    ``rider_added``, ``vehicle_vanished``, ``wheelchair``, ``disagreement`` (with the class map), ``unknown_id``,
    ``without_pixels``, ``overflow`` count instances; ``leftover_px`` and ``orphan_px`` pixels.

    The instances of a class are numbered from 0 by their id in the source. Raises ``ValueError`` for maps of different
    shape, label ids that Cityscapes does not have, and a class without instances in the metadata.
    """
    if class_map.shape != instance_map.shape or class_map.ndim != 2 or not class_map.size:
        raise ValueError(f"class map {class_map.shape} and instance map {instance_map.shape}: expected equal (H, W)")
    labels.check_label_ids("class map", class_map)
    checked_classes(classes.items())
    image = _Segments(class_map, instance_map)
    image.find_classes(classes, policy)
    part = image.parts(policy)
    # What the pixels of each segment become, uint16 (S,): the id of its part, or its class where it has none.
    orphan = (part < 0) & np.isin(image.label, LABEL_IDS)
    image.count("orphan_px", image.label[orphan], image.px[orphan])
    plain = np.where(orphan & (policy.orphans == "void"), 0, image.label)
    value = np.where(part >= 0, image.part_values(part)[part], plain).astype(np.uint16)
    label = labels.label_of_instance(value).astype(np.uint8)
    maps = [np.repeat(own[image.of_run], image.run_px).reshape(class_map.shape) for own in (value, label)]
    return *maps, image.counts


class _Segments:
    """The segments of an image, and the ``counts`` of what the rule meets in them."""

    def __init__(self, class_map: np.ndarray, instance_map: np.ndarray) -> None:
        self.counts: Counter = Counter()
        # Runs of pixels with equal instance and class, in raster order; their lengths (R,).
        label, ids = class_map.ravel(), instance_map.ravel()
        change = (ids[1:] != ids[:-1]) | (label[1:] != label[:-1])
        starts = np.concatenate([[0], np.flatnonzero(change) + 1])
        self.run_px = np.diff(starts, append=len(ids))
        # Segments: all runs with one pair of instance and class, as one number. The segment of each run (R,).
        base = len(NAMES)
        keys, self.of_run = np.unique(ids[starts].astype(np.int64) * base + label[starts], return_inverse=True)
        self.label = keys % base  # (S,) class in the class map
        self.px = np.bincount(self.of_run, self.run_px).astype(np.int64)  # (S,)
        # Instances: all segments with one id. Ids in the map (I,), ascending; of each segment, which of them (S,).
        self.ids, self.source = np.unique(keys // base, return_inverse=True)
        self.histogram = np.zeros((len(self.ids), base), np.int64)  # pixels of each instance by class in the class map
        self.histogram[self.source, self.label] = self.px

    def find_classes(self, classes: dict[int, int], policy: Policy) -> None:
        """``source_class``: class of each id in the map (I,), ``_NO_CLASS`` for no instance; ``merged``: bool (I,)."""
        # Ids that only the map or only the metadata knows.
        self.source_class = source_class = np.array([classes.get(int(i), _NO_CLASS) for i in self.ids])
        known = source_class != _NO_CLASS
        self.count("before", source_class[known])
        self.count("unknown_id", self.histogram[~known & (self.ids != 0)].argmax(1))
        self.count("without_pixels", [classes[i] for i in classes.keys() - set(self.ids.tolist())])
        # Persons in wheelchairs.
        seated = (source_class == PERSON) & (2 * self.histogram[:, RIDER] > self.histogram.sum(1))
        self.count("wheelchair", source_class[seated])
        source_class[seated & (policy.wheelchairs == "rider")] = RIDER
        # Instances that are a rider and a vehicle.
        self.merged = np.isin(source_class, _TWO_WHEELERS) & (self.histogram[:, RIDER] > 0)
        # The commonest class of each instance in the class map; of a rider and vehicle, only the vehicle is asked.
        asked = np.where(self.merged[:, None] & ~np.isin(np.arange(len(NAMES)), _TWO_WHEELERS), 0, self.histogram)
        differs = known & ~seated & asked.any(1) & (asked.argmax(1) != source_class)
        self.count("disagreement", source_class[differs])

    def parts(self, policy: Policy) -> np.ndarray:
        """The rule of the paper: the part to which each segment belongs (S,), -1 for none."""
        merged, source, source_class = self.merged, self.source, self.source_class
        # Segments of a rider and vehicle: the rider's, and those that are neither's.
        is_rider = merged[source] & (self.label == RIDER)
        leftover = merged[source] & ~np.isin(self.label, (RIDER, *_TWO_WHEELERS))
        self.count("leftover_px", source_class[source[leftover]], self.px[leftover])
        belongs = (source_class[source] != _NO_CLASS) & ~(leftover & (policy.leftover == "strict"))
        # Vehicles of which nothing is left.
        vehicle_px = np.bincount(source, self.px * (belongs & ~is_rider), len(source_class))
        self.count("rider_added", source_class[merged])
        self.count("vehicle_vanished", source_class[merged & (vehicle_px == 0)])
        return np.where(belongs, 2 * source + is_rider, -1)

    def part_values(self, part: np.ndarray) -> np.ndarray:
        """Instance id in the Cityscapes encoding of each part that has pixels, uint16 (P,)."""
        part_class = np.repeat(self.source_class, 2)
        part_class[1::2] = RIDER
        part_px = np.bincount(part[part >= 0], self.px[part >= 0], len(part_class))
        value = np.zeros(len(part_class), np.uint16)
        for label in INSTANCE_LABEL_IDS:
            parts = np.flatnonzero((part_class == label) & (part_px > 0))
            largest = np.sort(parts[np.argsort(-part_px[parts], kind="stable")[:INSTANCE_BASE]])
            value[parts] = label  # the smallest, if there are more, become group regions
            value[largest] = label * INSTANCE_BASE + np.arange(len(largest))
            self.count("overflow", [label] * (len(parts) - len(largest)))
        self.count("after", part_class[value >= INSTANCE_BASE])
        return value

    def count(self, event: str, classes: np.ndarray | list[int], amounts: np.ndarray | None = None) -> None:
        """Add ``amounts`` (default: one each) to ``counts[event, class name]``."""
        totals = np.bincount(np.asarray(classes, np.int64), amounts)
        for label in np.flatnonzero(totals):
            self.counts[event, NAMES[label]] += int(totals[label])
