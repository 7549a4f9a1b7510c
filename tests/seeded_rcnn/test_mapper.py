"""Our mapper and its masks against Detectron2's own: the same image, boxes, classes and masks, bit for bit."""

import pickle

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import read_image
from detectron2.projects.point_rend.point_features import sample_point_labels
from detectron2.structures import BitMasks, BoxMode, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from scapes import instances, png
from scapes.files import BadFile
from seeded_rcnn.mapper import InstanceMapper, LabelMasks, read_photo
from seeded_rcnn.stream import TrainingSamples
from tests.cases import draw_map


def augmentations(*short_px: int) -> list[T.Augmentation]:
    return [T.ResizeShortestEdge(short_px or (32, 48, 80), 200, "choice"), T.RandomFlip()]


def detectron2_sample(image_path: str, instance_map: np.ndarray, table, augmentation: list, order: str) -> dict:
    """What Detectron2 makes of the same image, with one run-length mask an instance as in a COCO file."""
    annotations = [
        {
            "bbox": [float(row.x0), float(row.y0), float(row.x1), float(row.y1)],
            "bbox_mode": BoxMode.XYXY_ABS,
            "category_id": int(row.category),
            "segmentation": coco_mask.encode(np.asfortranarray((instance_map == row.instance_id).astype(np.uint8))),
        }
        for row in table.itertuples()
    ]
    how = {"image_format": order, "use_instance_mask": True, "instance_mask_format": "bitmask"}
    sample = dict(zip(("height", "width"), instance_map.shape, strict=True), file_name=image_path)
    return DatasetMapper(True, augmentations=augmentation, **how)(sample | {"annotations": annotations})


def our_row(image_path, instance_path, table) -> dict:
    image = pd.DataFrame([{"image_path": str(image_path), "instance_path": str(instance_path)}])
    tables = (table.assign(dataset="", image_id="") for table in (image, table))
    return TrainingSamples(*tables, InstanceMapper([], "RGB"), 0).row(0)


def assert_identical(image_path, instance_path, table, seed: int, augmentation=None) -> None:
    augmentation, order = augmentation or augmentations(), ("RGB", "BGR")[seed % 2]
    np.random.seed(seed)
    ours = InstanceMapper(augmentation, order)(our_row(image_path, instance_path, table))
    np.random.seed(seed)
    theirs = detectron2_sample(str(image_path), png.read(instance_path, "gray 16"), table, augmentation, order)
    a, b = ours["instances"], theirs["instances"]
    assert (ours["height"], ours["width"], a.image_size) == (theirs["height"], theirs["width"], b.image_size)
    pairs = [(ours["image"], theirs["image"]), (a.gt_boxes.tensor, b.gt_boxes.tensor), (a.gt_classes, b.gt_classes)]
    if len(table):
        pairs.append((a.gt_masks.tensor, b.gt_masks.tensor))
    else:  # Detectron2 leaves the field out
        assert a.gt_masks.tensor.shape == (0, *a.image_size)
    for mine, expected in pairs:
        assert mine.dtype == expected.dtype
        assert torch.equal(mine, expected)


def write_sample(folder, instance_map: np.ndarray, seed: int = 0):
    image = np.random.default_rng(seed).integers(0, 256, (*instance_map.shape, 3), dtype=np.uint8)
    assert cv2.imwrite(str(folder / "image.png"), image)
    png.write(folder / "instances.png", instance_map)
    table = pd.DataFrame(instances.image_instances(instance_map))
    return folder / "image.png", folder / "instances.png", table[~table["crowd"]]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(8, 70), width=st.integers(8, 70))
def test_any_map_gives_what_detectron2_gives(tmp_path_factory, seed, height, width):
    frame = draw_map(np.random.default_rng(seed), height, width)
    assert_identical(*write_sample(tmp_path_factory.mktemp("map"), frame, seed), seed)


def test_small_instances_that_a_smaller_image_loses_are_left_out_alike(tmp_path):
    frame = np.full((90, 90), 7, np.uint16)
    frame[::6, ::6] = 26000 + np.arange(225).reshape(15, 15)
    paths_and_table = write_sample(tmp_path, frame)
    half = augmentations(32)
    assert_identical(*paths_and_table, 0, half)
    sample = InstanceMapper(half, "RGB")(our_row(*paths_and_table))
    assert 0 < len(sample["instances"]) < 225


@pytest.mark.parametrize("count", [0, 254, 255, 256, 510, 511, 600])
def test_more_instances_than_eight_bits_hold(tmp_path, count):
    frame = np.full((24, 30), 7, np.uint16)
    frame.flat[:count] = 24000 + np.arange(count)
    *paths, table = write_sample(tmp_path, frame.repeat(3, 0).repeat(3, 1) if count == 600 else frame)
    assert len(table) == count
    for seed in range(2):
        assert_identical(*paths, table, seed, augmentations(24, 48, 80))


def test_unusable_files_are_named(tmp_path):
    photo, instance_map, table = write_sample(tmp_path, np.full((20, 30), 7, np.uint16))
    row, mapper = our_row(photo, instance_map, table), InstanceMapper(augmentations(), "RGB")
    png.write(instance_map, np.full((30, 20), 7, np.uint16))
    with pytest.raises(BadFile, match=r"instances\.png: size: found \(30, 20\), expected \(20, 30\)"):
        mapper(row)
    png.write(instance_map, np.full((20, 30), 7, np.uint8))
    with pytest.raises(BadFile, match=r"instances\.png: PNG kind: found gray 8-bit, expected gray 16-bit"):
        mapper(row)
    photo.write_bytes(photo.read_bytes()[:-40])
    with pytest.raises(BadFile, match=r"image\.png: truncated PNG"):
        mapper(row)


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_photos_of_any_kind_are_read_as_detectron2_reads_them(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
    for path in map(str, (tmp_path / "a.png", tmp_path / "a.jpg") if mode != "P" else (tmp_path / "a.png",)):
        Image.fromarray(pixels).convert(mode).save(path)
        for order in ("RGB", "BGR"):
            ours, theirs = read_photo(path, order), read_image(path, order)
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)


@pytest.fixture(params=[torch.uint8, torch.int16])
def pair(request) -> tuple[LabelMasks, BitMasks]:
    """Five masks of a map of seven labels, of which one (6) has no pixel; and the same as full frames."""
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 6, (24, 40))).repeat_interleave(2, 1)
    values = torch.tensor([3, 1, 6, 2, 5])
    frames = labels == values[:, None, None]
    return LabelMasks(labels.to(request.param), values.to(request.param)), BitMasks(frames)


def test_frames_and_what_the_model_makes_of_them(pair):
    ours, theirs = (masks[torch.tensor([3, 0, 0, 2, 4])] for masks in pair)
    assert ours.tensor.dtype == torch.bool
    assert torch.equal(ours.tensor, theirs.tensor)
    assert (len(ours), ours.image_size, ours.device) == (len(theirs), theirs.image_size, theirs.device)
    proposals = torch.tensor([[0, 0, 9, 9], [3.5, 2, 60, 20], [7, 1, 8, 23], [0, 0, 80, 24], [5, 5, 30, 9.25]])
    assert torch.equal(ours.crop_and_resize(proposals, 14), theirs.crop_and_resize(proposals, 14))
    assert torch.equal(ours.get_bounding_boxes().tensor, theirs.get_bounding_boxes().tensor)
    points = torch.rand(5, 300, 2) * torch.tensor([100, 40]) - 9  # as in predicted boxes, beyond the image, too
    points[:, :150] = (2 * points[:, :150]).round() / 2  # also between pixels, in their centres, and on the borders
    assert torch.equal(ours.at(points), sample_point_labels([Instances((24, 80), gt_masks=theirs)], points))
    for lost in (float("nan"), float("inf"), -float("inf")):  # as in a box that has diverged: so does the loss
        assert not ours.at(torch.full_like(points, lost)).isfinite().any()


CHOSEN = torch.tensor([True, False, True, False, True])
ITEMS = [2, slice(1, 3), slice(0, 0), torch.tensor([4, 0, 0, 2]), CHOSEN, CHOSEN & False]


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_selecting(pair, item):
    ours, theirs = (masks[item] for masks in pair)
    assert torch.equal(ours.tensor, theirs.tensor)
    assert torch.equal(ours.nonempty(), theirs.nonempty())


def test_what_is_sent_to_another_process_or_device_is_the_map(pair):
    ours, theirs = pair
    assert len(pickle.dumps(ours)) < theirs.tensor.numel()
    assert torch.equal(pickle.loads(pickle.dumps(ours)).tensor, theirs.tensor)
    elsewhere = Instances((24, 80), gt_masks=ours).to("meta").gt_masks
    assert (elsewhere.device.type, elsewhere.labels.shape) == ("meta", (24, 80))
    assert (elsewhere.tensor.shape, elsewhere.tensor.dtype) == ((5, 24, 80), torch.bool)
