"""Masks in one label map against Detectron2's full frames: every operation of the model gives the same."""

import pickle

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks, Instances

from seeded_rcnn.mapper import LabelMasks


@pytest.fixture(params=[torch.uint8, torch.int16])
def pair(request) -> tuple[LabelMasks, BitMasks]:
    """Five masks of a map of seven labels, of which one (6) has no pixel; and the same as full frames."""
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 6, (24, 40))).repeat_interleave(2, 1)
    values = torch.tensor([3, 1, 6, 2, 5])
    frames = labels == values[:, None, None]
    return LabelMasks(labels.to(request.param), values.to(request.param)), BitMasks(frames)


def test_frames_are_where_the_map_has_the_value(pair):
    ours, theirs = pair
    assert ours.tensor.dtype == torch.bool
    assert torch.equal(ours.tensor, theirs.tensor)
    assert (len(ours), ours.image_size, ours.device) == (len(theirs), theirs.image_size, theirs.device)


CHOSEN = torch.tensor([True, False, True, False, True])


@pytest.mark.parametrize(
    "item", [2, slice(1, 3), slice(0, 0), torch.tensor([4, 0, 0, 2]), CHOSEN, CHOSEN & False], ids=str
)
def test_selecting(pair, item):
    ours, theirs = (masks[item] for masks in pair)
    assert torch.equal(ours.tensor, theirs.tensor)
    assert torch.equal(ours.nonempty(), theirs.nonempty())


def test_what_the_model_makes_of_them(pair):
    ours, theirs = pair
    proposals = torch.tensor([[0, 0, 9, 9], [3.5, 2, 60, 20], [7, 1, 8, 23], [0, 0, 80, 24], [5, 5, 30, 9.25]])
    assert torch.equal(ours.crop_and_resize(proposals, 14), theirs.crop_and_resize(proposals, 14))
    assert torch.equal(ours.get_bounding_boxes().tensor, theirs.get_bounding_boxes().tensor)


def test_what_is_sent_to_another_process_or_device_is_the_map(pair):
    ours, theirs = pair
    assert len(pickle.dumps(ours)) < theirs.tensor.numel()
    assert torch.equal(pickle.loads(pickle.dumps(ours)).tensor, theirs.tensor)
    elsewhere = Instances((24, 80), gt_masks=ours).to("meta").gt_masks
    assert (elsewhere.device.type, elsewhere.labels.shape) == ("meta", (24, 80))
    assert (elsewhere.tensor.shape, elsewhere.tensor.dtype) == ((5, 24, 80), torch.bool)
