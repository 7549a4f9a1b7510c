"""Section 3.2 of the paper: a rider and the vehicle, one instance in Synscapes, become two as in Cityscapes.

For one image: if any pixel of a bicycle or motorcycle instance is *rider* in the class map, a rider instance of those
pixels is added and the vehicle shrinks to its strict vehicle pixels. What the paper leaves open is a :class:`Policy`.

Everything happens on *segments*, the sets of pixels that share instance and class: a few hundred per image. Pixels are
touched twice, to find the runs of equal segments and to write the result.

Shapes: H, W of the image; R runs of pixels, in raster order; S segments; I ids in the instance map (0 included);
P = 2 I parts: part 2 i is what instance i becomes, part 2 i + 1 the rider that is split from it.
"""

import dataclasses
from collections import Counter
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np

from scapes.labels import (
    BICYCLE,
    INSTANCE_BASE,
    INSTANCE_LABEL_IDS,
    LABEL_IDS,
    MAX_LABEL_ID,
    MOTORCYCLE,
    NAMES,
    PERSON,
    RIDER,
    check_label_ids,
    label_of_instance,
)
from scapes.numbered import check_classes

VOID = 0
_NO_CLASS = -1


@dataclasses.dataclass(frozen=True)
class Policy:
    """What to do where section 3.2 is silent; recorded in the manifest of the harmonised data set.

    leftover: pixels of a rider-and-vehicle instance that the class map calls neither rider nor bicycle nor motorcycle.
        ``strict`` (default): they leave the instance and keep their class ("reduced to the strict vehicle area").
        ``vehicle``: they stay with the vehicle.
    disagreement: instances whose class in the metadata is not the commonest class of their pixels in the class map (of
        a rider and vehicle, only the bicycle and motorcycle pixels are asked). ``meta`` (default): the metadata holds.
        ``map``: the class map holds. ``strict``: the metadata holds, and pixels of another class leave the instance.
        ``error``: stop.
    wheelchairs: person instances most of whose pixels are rider in the class map. ``rider`` (default): they become
        riders, as Cityscapes labels a person in a wheelchair. ``person``: they stay persons.
    orphans: pixels of a class with instances that belong to none, such as bicycles without riders that were not told
        apart. ``group`` (default): a group region, which evaluation ignores. ``components``: each connected part
        becomes an instance. ``void``: unlabelled, which evaluation ignores.
    unknown_ids: instances in the map that the metadata does not list. ``group`` (default): their pixels are orphans.
        ``map``: they are instances of their commonest class in the class map. ``error``: stop.
    without_pixels: instances in the metadata that have no pixel (hidden ones). ``count`` (default) or ``error``.
    overflow: more than 1,000 instances of a class in an image, which the format cannot number. ``group`` (default): the
        smallest beyond become group regions. ``error``: stop.
    """

    leftover: Literal["strict", "vehicle"] = "strict"
    disagreement: Literal["meta", "map", "strict", "error"] = "meta"
    wheelchairs: Literal["rider", "person"] = "rider"
    orphans: Literal["group", "components", "void"] = "group"
    unknown_ids: Literal["group", "map", "error"] = "group"
    without_pixels: Literal["count", "error"] = "count"
    overflow: Literal["group", "error"] = "group"

    def __post_init__(self) -> None:
        for name, choices in POLICY_CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"policy {name}={getattr(self, name)!r}: expected one of {', '.join(choices)}")


POLICY_CHOICES = {field.name: get_args(field.type) for field in dataclasses.fields(Policy)}
DEFAULT_POLICY = Policy()


def harmonize_maps(
    class_map: np.ndarray, instance_map: np.ndarray, classes: dict[int, int], policy: Policy = DEFAULT_POLICY
) -> tuple[np.ndarray, np.ndarray, Counter]:
    """Harmonise one image.

    class_map: Cityscapes label ids, uint8 (H, W). instance_map: instance ids, integer (H, W), 0 = no instance.
    classes: {instance id: label id}, from the metadata.

    Returns ``instance_ids`` uint16 (H, W) in the Cityscapes encoding, ``label_ids`` uint8 (H, W) that agrees with it,
    and a ``Counter`` over (event, class name). Events: ``before`` and ``after`` count instances with pixels;
    ``rider_added``, ``vehicle_vanished``, ``wheelchair``, ``disagreement``, ``unknown_id``, ``without_pixels``,
    ``overflow``, ``component_added`` count instances; ``leftover_px`` and ``orphan_px`` count pixels.

    The result depends on the arguments alone: the instances of a class are numbered from 0 by their id in the source.
    Raises ``ValueError`` for maps of different shape, label ids that Cityscapes does not have, a class without
    instances in the metadata, and where a policy says ``error``.
    """
    if class_map.shape != instance_map.shape or class_map.ndim != 2 or not class_map.size:
        raise ValueError(f"class map {class_map.shape} and instance map {instance_map.shape}: expected equal (H, W)")
    check_label_ids("class map", class_map)
    check_classes(classes.items())
    counts: Counter = Counter()
    segments = _find_segments(class_map, instance_map)
    source_class = _source_classes(segments, classes, policy, counts)
    part_class, segment_part = _split_riders(segments, source_class, policy, counts)
    part_value = _number_parts(part_class, segment_part, segments.px, policy, counts)
    value = _segment_values(segments, segment_part, part_value, policy, counts)

    instance_ids = np.repeat(value[segments.of_run], segments.run_px).reshape(class_map.shape)
    label = label_of_instance(value).astype(np.uint8)
    label_ids = np.repeat(label[segments.of_run], segments.run_px).reshape(class_map.shape)
    if policy.orphans == "components":
        _number_components(instance_ids, policy, counts)
    return instance_ids, label_ids, counts


class _Segments(NamedTuple):
    of_run: np.ndarray  # (R,) segment of each run
    run_px: np.ndarray  # (R,) length of each run
    label: np.ndarray  # (S,) class in the class map
    source: np.ndarray  # (S,) index into ids
    px: np.ndarray  # (S,)
    ids: np.ndarray  # (I,) ids in the instance map, ascending
    histogram: np.ndarray  # (I, MAX_LABEL_ID + 1) pixels of each instance by class in the class map


def _find_segments(class_map: np.ndarray, instance_map: np.ndarray) -> _Segments:
    # Runs of pixels with equal instance and class, in raster order.
    labels, ids = class_map.ravel(), instance_map.ravel()
    change = ids[1:] != ids[:-1]
    change |= labels[1:] != labels[:-1]
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    run_px = np.diff(starts, append=len(ids))
    # Segments: all runs with one pair of instance and class, as one number.
    base = MAX_LABEL_ID + 1
    keys, of_run = np.unique(ids[starts].astype(np.int64) * base + labels[starts], return_inverse=True)
    px = np.bincount(of_run, run_px).astype(np.int64)
    # Instances: all segments with one id.
    ids, source = np.unique(keys // base, return_inverse=True)
    histogram = np.zeros((len(ids), base), np.int64)
    histogram[source, keys % base] = px
    return _Segments(of_run, run_px, keys % base, source, px, ids, histogram)


def _source_classes(segments: _Segments, classes: dict[int, int], policy: Policy, counts: Counter) -> np.ndarray:
    """Class of each id in the map, (I,), after the policies; ``_NO_CLASS`` where it is not an instance."""
    ids, histogram = segments.ids, segments.histogram
    # Ids that only the map or only the metadata knows.
    source_class = np.array([classes.get(int(i), _NO_CLASS) for i in ids])
    unknown = (source_class == _NO_CLASS) & (ids != 0)
    _count(counts, "before", source_class[source_class != _NO_CLASS])
    _count(counts, "unknown_id", histogram[unknown].argmax(1))
    hidden = [classes[i] for i in classes.keys() - set(ids.tolist())]
    _count(counts, "without_pixels", hidden)
    if hidden and policy.without_pixels == "error":
        raise ValueError(f"{len(hidden)} instances of the metadata have no pixel (policy without_pixels)")
    if unknown.any() and policy.unknown_ids == "error":
        raise ValueError(f"instance {ids[unknown][0]} of the map is not in the metadata (policy unknown_ids)")
    if policy.unknown_ids == "map":
        source_class[unknown] = _instance_class(histogram[unknown].argmax(1))

    # Persons in wheelchairs.
    seated = (source_class == PERSON) & (2 * histogram[:, RIDER] > histogram.sum(1))
    _count(counts, "wheelchair", source_class[seated])
    if policy.wheelchairs == "rider":
        source_class[seated] = RIDER

    # The commonest class of each instance in the class map; of a rider and vehicle, only the vehicle is asked.
    compared = histogram.copy()
    merged = _is_two_wheeler(source_class) & (histogram[:, RIDER] > 0)
    compared[np.ix_(merged, ~_is_two_wheeler(np.arange(compared.shape[1])))] = 0
    commonest = compared.argmax(1)
    differs = (source_class != _NO_CLASS) & (commonest != source_class) & compared.any(1) & ~seated
    _count(counts, "disagreement", source_class[differs])
    if differs.any() and policy.disagreement == "error":
        i = np.flatnonzero(differs)[0]
        raise ValueError(
            f"instance {ids[i]} is {NAMES[source_class[i]]} in the metadata, but most of its pixels are "
            f"{NAMES[commonest[i]]} in the class map (policy disagreement)"
        )
    if policy.disagreement == "map":
        source_class[differs] = _instance_class(commonest[differs])
    return source_class


def _split_riders(
    segments: _Segments, source_class: np.ndarray, policy: Policy, counts: Counter
) -> tuple[np.ndarray, np.ndarray]:
    """The rule of the paper: class of each part (P,), and the part each segment belongs to (S,), -1 for none."""
    label, source, px = segments.label, segments.source, segments.px
    merged = _is_two_wheeler(source_class) & (segments.histogram[:, RIDER] > 0)
    in_merged = merged[source]
    is_rider = in_merged & (label == RIDER)
    leftover = in_merged & ~is_rider & ~_is_two_wheeler(label)
    _count(counts, "leftover_px", source_class[source[leftover]], px[leftover])

    belongs = source_class[source] != _NO_CLASS
    if policy.leftover == "strict":
        belongs &= ~leftover
    if policy.disagreement == "strict":
        belongs &= in_merged | (label == source_class[source])
    segment_part = np.where(belongs, 2 * source + is_rider, -1)

    strict_px = px * (belongs & ~is_rider)
    vanished = merged & (np.bincount(source, strict_px, len(source_class)) == 0)
    _count(counts, "rider_added", source_class[merged])
    _count(counts, "vehicle_vanished", source_class[vanished])
    part_class = np.repeat(source_class, 2)
    part_class[1::2] = RIDER
    return part_class, segment_part


def _number_parts(
    part_class: np.ndarray, segment_part: np.ndarray, px: np.ndarray, policy: Policy, counts: Counter
) -> np.ndarray:
    """Instance id in the Cityscapes encoding of each part that has pixels, uint16 (P,)."""
    inside = segment_part >= 0
    part_px = np.bincount(segment_part[inside], px[inside], len(part_class))
    value = np.zeros(len(part_class), np.uint16)
    for label in INSTANCE_LABEL_IDS:
        parts = np.flatnonzero((part_class == label) & (part_px > 0))
        if len(parts) > INSTANCE_BASE:
            _refuse_overflow(len(parts), label, policy)
            largest = np.sort(np.argsort(-part_px[parts], kind="stable")[:INSTANCE_BASE])
            value[np.delete(parts, largest)] = label
            counts["overflow", NAMES[label]] += len(parts) - INSTANCE_BASE
            parts = parts[largest]
        value[parts] = label * INSTANCE_BASE + np.arange(len(parts))
    _count(counts, "after", part_class[value >= INSTANCE_BASE])
    return value


def _segment_values(
    segments: _Segments, segment_part: np.ndarray, part_value: np.ndarray, policy: Policy, counts: Counter
) -> np.ndarray:
    """What the pixels of each segment become, uint16 (S,): the id of its part, or its class where it has none."""
    orphan = (segment_part < 0) & np.isin(segments.label, LABEL_IDS)
    _count(counts, "orphan_px", segments.label[orphan], segments.px[orphan])
    plain = np.where(orphan & (policy.orphans == "void"), VOID, segments.label)
    return np.where(segment_part >= 0, part_value[segment_part], plain).astype(np.uint16)


def _number_components(instance_ids: np.ndarray, policy: Policy, counts: Counter) -> None:
    """Turn each 8-connected part of each group region into an instance, in place; numbered in raster order."""
    for label in LABEL_IDS:
        group = instance_ids == label
        if not group.any():
            continue
        _, component = cv2.connectedComponents(group.astype(np.uint8), connectivity=8)
        _, first_pixel, of_pixel = np.unique(component[group], return_index=True, return_inverse=True)
        found, used = len(first_pixel), counts["after", NAMES[label]]
        added = min(found, INSTANCE_BASE - used)
        if added < found:
            _refuse_overflow(used + found, label, policy)
        rank = np.argsort(np.argsort(first_pixel))  # raster order, whatever order OpenCV numbers them in
        value = np.where(rank < added, label * INSTANCE_BASE + used + rank, label).astype(np.uint16)
        instance_ids[group] = value[of_pixel]
        counts["component_added", NAMES[label]] += added
        counts["after", NAMES[label]] += added


def _refuse_overflow(found: int, label: int, policy: Policy) -> None:
    if policy.overflow == "error":
        raise ValueError(f"{found} instances of {NAMES[label]}, the format numbers {INSTANCE_BASE} (policy overflow)")


def _is_two_wheeler(label: np.ndarray) -> np.ndarray:
    return (label == MOTORCYCLE) | (label == BICYCLE)


def _instance_class(label: np.ndarray) -> np.ndarray:
    return np.where(np.isin(label, INSTANCE_LABEL_IDS), label, _NO_CLASS)


def _count(counts: Counter, event: str, labels: np.ndarray | list[int], amounts: np.ndarray | None = None) -> None:
    """Add ``amounts`` (default: one each) to ``counts[event, class name]``."""
    totals = np.bincount(np.asarray(labels, np.int64), amounts)
    for label in np.flatnonzero(totals):
        counts[event, NAMES[label]] += int(totals[label])
