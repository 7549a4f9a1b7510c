"""The rule of section 3.2 against an obvious reference that loops over instances and pixels, and its invariants."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scapes.labels import BICYCLE, CAR, INSTANCE_LABEL_IDS, LABEL_IDS, MOTORCYCLE, NAMES, PERSON, RIDER
from synlib.curation.rider_rule import POLICY_CHOICES, Policy, harmonize_maps

IDS = (0, 3, 70, 2400004, 2**24 - 1)
MAP_LABELS = (0, 7, RIDER, RIDER, MOTORCYCLE, BICYCLE, PERSON, CAR, 29)


@st.composite
def scenes(draw):
    """Overlapping rectangles of classes and of instances, and metadata that may or may not agree with them."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    class_map = np.full((height, width), 7, np.uint8)
    instance_map = np.zeros((height, width), np.int32)
    for _ in range(draw(st.integers(0, 8))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        box = np.s_[y : y + draw(st.integers(1, 6)), x : x + draw(st.integers(1, 6))]
        if draw(st.booleans()):
            class_map[box] = draw(st.sampled_from(MAP_LABELS))
        else:
            instance_map[box] = draw(st.sampled_from(IDS))
    of_id = st.sampled_from((MOTORCYCLE, BICYCLE, *INSTANCE_LABEL_IDS))
    classes = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(IDS[1:], of_id)))
    return class_map, instance_map, classes


def policies(**fixed):
    return st.builds(Policy, **{name: st.sampled_from(options) for name, options in POLICY_CHOICES.items()} | fixed)


def reference(class_map, instance_map, classes, policy):
    height, width = class_map.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    two_wheelers = (MOTORCYCLE, BICYCLE)
    objects = []  # (label, pixels), in the order in which they are numbered
    free = set(pixels)  # pixels that belong to no instance in the end
    counts = Counter()
    for i in sorted(set(instance_map.ravel().tolist()) - {0}):
        own = [p for p in pixels if instance_map[p] == i]
        labels = [int(class_map[p]) for p in own]
        label = classes.get(i)
        if label is None:
            continue
        seated = label == PERSON and labels.count(RIDER) > len(own) / 2
        if seated and policy.wheelchairs == "rider":
            label = RIDER
        rider, vehicle = [], []
        for p in own:
            c = class_map[p]
            if label in two_wheelers and RIDER in labels:
                if c == RIDER:
                    rider.append(p)
                elif c in two_wheelers or policy.leftover == "vehicle":
                    vehicle.append(p)
                counts["leftover_px", NAMES[label]] += c not in (RIDER, *two_wheelers)
            else:
                vehicle.append(p)
        objects += [(label, vehicle), (RIDER, rider)]
        free -= {*vehicle, *rider}

    instance_ids = class_map.astype(np.uint16)
    for p in free:
        if class_map[p] in LABEL_IDS:
            instance_ids[p] *= policy.orphans != "void"
            counts["orphan_px", NAMES[class_map[p]]] += 1
    numbers = Counter()
    for label, own in objects:
        for p in own:
            instance_ids[p] = label * 1000 + numbers[label]
        numbers[label] += bool(own)
    counts.update({("after", NAMES[label]): number for label, number in numbers.items()})
    return instance_ids, counts


@settings(max_examples=250, deadline=None)
@given(scenes(), policies())
def test_equals_reference(scene, policy):
    instance_ids, label_ids, counts = harmonize_maps(*scene, policy)
    expected, of_reference = reference(*scene, policy)
    assert instance_ids.dtype == np.uint16 and label_ids.dtype == np.uint8
    assert instance_ids.tolist() == expected.tolist()
    assert label_ids.tolist() == np.where(expected >= 1000, expected // 1000, expected).tolist()
    compared = {key: number for key, number in counts.items() if key[0] in ("after", "leftover_px", "orphan_px")}
    assert +Counter(compared) == +of_reference


@settings(max_examples=100, deadline=None)
@given(scenes(), policies())
def test_counts_add_up(scene, policy):
    counts = harmonize_maps(*scene, policy)[2]
    by_event = {event: Counter() for event in ("before", "after", "rider_added", "vehicle_vanished", "wheelchair")}
    for (event, name), number in counts.items():
        by_event.get(event, Counter())[name] += number
    seated = by_event["wheelchair"]["person"] if policy.wheelchairs == "rider" else 0
    expected = by_event["before"] - by_event["vehicle_vanished"]
    expected["rider"] += by_event["rider_added"].total() + seated
    expected["person"] -= seated
    assert by_event["after"] == +expected


def test_vehicles_without_pixels_vanish_and_surplus_instances_become_groups_smallest_first():
    counts = harmonize_maps(np.full((2, 2), RIDER, np.uint8), np.full((2, 2), 9), {9: BICYCLE})[2]
    assert counts["vehicle_vanished", "bicycle"] == 1 and counts["after", "bicycle"] == 0
    instance_map = np.arange(1, 1003).repeat(2).reshape(2, 1002)
    instance_map[0, 0] = 2  # instance 1 has one pixel, the smallest
    class_map = np.full(instance_map.shape, CAR, np.uint8)
    classes = dict.fromkeys(range(1, 1003), CAR)
    instance_ids, _, counts = harmonize_maps(class_map, instance_map, classes)
    assert counts["overflow", "car"] == 2 and counts["after", "car"] == 1000
    assert instance_ids[0, 1] == CAR and instance_ids[0, 0] == 26000 and instance_ids.max() == 26999


@pytest.mark.parametrize(
    ("label", "classes", "event", "name"),
    [
        (CAR, {1: CAR, 2: PERSON}, "without_pixels", "person"),
        (CAR, {}, "unknown_id", "car"),
        (CAR, {1: PERSON}, "disagreement", "person"),
        (RIDER, {1: PERSON}, "wheelchair", "person"),
    ],
)
def test_what_metadata_and_maps_do_not_agree_on_is_counted(label, classes, event, name):
    counts = harmonize_maps(np.full((1, 1), label, np.uint8), np.ones((1, 1), int), classes)[2]
    assert counts[event, name] == 1
    assert {event for event, _ in counts} - {event} <= {"before", "after", "orphan_px"}


@pytest.mark.parametrize(
    ("label", "instances", "classes", "message"),
    [
        (34, [[0]], {}, "found label id 34"),
        (CAR, [[1]], {1: 7}, "instance 1 has class 7"),
        (CAR, [[1]], {0: CAR, 1: CAR}, "instance id 0"),
        (CAR, [[1, 1]], {1: CAR}, r"class map \(1, 1\) and instance map \(1, 2\)"),
    ],
)
def test_errors(label, instances, classes, message):
    with pytest.raises(ValueError, match=message):
        harmonize_maps(np.full((1, 1), label, np.uint8), np.array(instances), classes)
