"""Section 3.2 of the paper: a rider and the vehicle, one instance in Synscapes, become two as in Cityscapes.

For one image: if any pixel of a bicycle or motorcycle instance is *rider* in the class map, a rider instance of those
pixels is added and the vehicle shrinks to its strict vehicle pixels. What the paper leaves open is a :class:`Policy`.

Shapes: H, W of the image; R runs of equal pixels, in raster order; S segments, the sets of pixels that share instance
and class, a few hundred per image; I ids in the instance map (0 included); P = 2 I parts: part 2 i is what instance i
becomes, part 2 i + 1 the rider that is split from it.
"""

from collections import Counter
from typing import NamedTuple, get_args

import numpy as np

from scapes import labels
from scapes.labels import BICYCLE, INSTANCE_BASE, INSTANCE_LABEL_IDS, LABEL_IDS, MOTORCYCLE, NAMES, PERSON, RIDER
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
    classes: {instance id: label id}, from the metadata. All are as the readers of :mod:`scapes.synthetic` give them.

    Returns ``instance_ids`` uint16 (H, W) in the Cityscapes encoding, ``label_ids`` uint8 (H, W) that agrees with it,
    and a ``Counter`` over (event, class name). Events: ``before`` and ``after`` count instances with pixels;
    ``rider_added``, ``vehicle_vanished``, ``wheelchair``, ``disagreement`` (with the class map), ``unknown_id``,
    ``without_pixels``, ``overflow`` count instances; ``leftover_px`` and ``orphan_px`` pixels.

    The instances of a class are numbered from 0 by their id in the source.
    """
    counts: Counter = Counter()
    segments = _find_segments(class_map, instance_map)
    source_class = _source_classes(segments, classes, policy, counts)
    part = _segment_parts(segments, source_class, policy, counts)
    part_value = _number_parts(source_class, part, segments.px, counts)
    value = _segment_values(segments, part, part_value, policy, counts)

    instance_ids = np.repeat(value[segments.of_run], segments.run_px).reshape(class_map.shape)
    label = labels.label_of_instance(value).astype(np.uint8)
    label_ids = np.repeat(label[segments.of_run], segments.run_px).reshape(class_map.shape)
    return instance_ids, label_ids, counts


class _Segments(NamedTuple):
    of_run: np.ndarray  # (R,) segment of each run
    run_px: np.ndarray  # (R,) length of each run
    label: np.ndarray  # (S,) class in the class map
    source: np.ndarray  # (S,) index into ids
    px: np.ndarray  # (S,)
    ids: np.ndarray  # (I,) ids in the instance map, ascending
    histogram: np.ndarray  # (I, len(NAMES)) pixels of each instance by class in the class map


def _find_segments(class_map: np.ndarray, instance_map: np.ndarray) -> _Segments:
    # Runs of pixels with equal instance and class, in raster order.
    label, ids = class_map.ravel(), instance_map.ravel()
    change = ids[1:] != ids[:-1]
    change |= label[1:] != label[:-1]
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    run_px = np.diff(starts, append=len(ids))
    # Segments: all runs with one pair of instance and class, as one number.
    base = len(NAMES)
    keys, of_run = np.unique(ids[starts].astype(np.int64) * base + label[starts], return_inverse=True)
    px = np.bincount(of_run, run_px).astype(np.int64)
    # Instances: all segments with one id.
    ids, source = np.unique(keys // base, return_inverse=True)
    histogram = np.zeros((len(ids), base), np.int64)
    histogram[source, keys % base] = px
    return _Segments(of_run, run_px, keys % base, source, px, ids, histogram)


def _source_classes(segments: _Segments, classes: dict[int, int], policy: Policy, counts: Counter) -> np.ndarray:
    """Class of each id in the map (I,), ``_NO_CLASS`` for no instance."""
    ids, histogram = segments.ids, segments.histogram
    # Ids that only the map or only the metadata knows.
    source_class = np.array([classes.get(int(i), _NO_CLASS) for i in ids])
    known = source_class != _NO_CLASS
    _count(counts, "before", source_class[known])
    _count(counts, "unknown_id", histogram[~known & (ids != 0)].argmax(1))
    _count(counts, "without_pixels", [classes[i] for i in classes.keys() - set(ids.tolist())])
    # Persons in wheelchairs.
    seated = (source_class == PERSON) & (2 * histogram[:, RIDER] > histogram.sum(1))
    _count(counts, "wheelchair", source_class[seated])
    if policy.wheelchairs == "rider":
        source_class[seated] = RIDER
    # The commonest class of each instance in the class map; of a rider and vehicle, only the vehicle is asked.
    asked = histogram.copy()
    asked[np.ix_(_is_merged(segments, source_class), ~np.isin(np.arange(len(NAMES)), _TWO_WHEELERS))] = 0
    differs = known & ~seated & asked.any(1) & (asked.argmax(1) != source_class)
    _count(counts, "disagreement", source_class[differs])
    return source_class


def _is_merged(segments: _Segments, source_class: np.ndarray) -> np.ndarray:
    """Which instances are a rider and a vehicle, bool (I,)."""
    return np.isin(source_class, _TWO_WHEELERS) & (segments.histogram[:, RIDER] > 0)


def _segment_parts(segments: _Segments, source_class: np.ndarray, policy: Policy, counts: Counter) -> np.ndarray:
    """The rule of the paper: the part to which each segment belongs (S,), -1 for none."""
    label, source, px = segments.label, segments.source, segments.px
    merged = _is_merged(segments, source_class)
    # Segments of a rider and vehicle: the rider's, and those that are neither's.
    is_rider = merged[source] & (label == RIDER)
    leftover = merged[source] & ~np.isin(label, (RIDER, *_TWO_WHEELERS))
    _count(counts, "leftover_px", source_class[source[leftover]], px[leftover])
    belongs = source_class[source] != _NO_CLASS
    if policy.leftover == "strict":
        belongs &= ~leftover
    # Vehicles of which nothing is left.
    vehicle_px = np.bincount(source, px * (belongs & ~is_rider), len(source_class))
    _count(counts, "rider_added", source_class[merged])
    _count(counts, "vehicle_vanished", source_class[merged & (vehicle_px == 0)])
    return np.where(belongs, 2 * source + is_rider, -1)


def _number_parts(source_class: np.ndarray, part: np.ndarray, px: np.ndarray, counts: Counter) -> np.ndarray:
    """Instance id in the Cityscapes encoding of each part that has pixels, uint16 (P,)."""
    part_class = np.repeat(source_class, 2)
    part_class[1::2] = RIDER
    part_px = np.bincount(part[part >= 0], px[part >= 0], len(part_class))
    value = np.zeros(len(part_class), np.uint16)
    for label in INSTANCE_LABEL_IDS:
        parts = np.flatnonzero((part_class == label) & (part_px > 0))
        if len(parts) > INSTANCE_BASE:  # the smallest become group regions
            largest = np.sort(np.argsort(-part_px[parts], kind="stable")[:INSTANCE_BASE])
            value[np.delete(parts, largest)] = label
            counts["overflow", NAMES[label]] += len(parts) - INSTANCE_BASE
            parts = parts[largest]
        value[parts] = label * INSTANCE_BASE + np.arange(len(parts))
    _count(counts, "after", part_class[value >= INSTANCE_BASE])
    return value


def _segment_values(
    segments: _Segments, part: np.ndarray, part_value: np.ndarray, policy: Policy, counts: Counter
) -> np.ndarray:
    """What the pixels of each segment become, uint16 (S,): the id of its part, or its class where it has none."""
    orphan = (part < 0) & np.isin(segments.label, LABEL_IDS)
    _count(counts, "orphan_px", segments.label[orphan], segments.px[orphan])
    plain = np.where(orphan & (policy.orphans == "void"), 0, segments.label)
    return np.where(part >= 0, part_value[part], plain).astype(np.uint16)


def _count(counts: Counter, event: str, classes: np.ndarray | list[int], amounts: np.ndarray | None = None) -> None:
    """Add ``amounts`` (default: one each) to ``counts[event, class name]``."""
    totals = np.bincount(np.asarray(classes, np.int64), amounts)
    for label in np.flatnonzero(totals):
        counts[event, NAMES[label]] += int(totals[label])
