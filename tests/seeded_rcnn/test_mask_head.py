"""The mask head trains on batches without an object, and is Detectron2's where there is one."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.projects.point_rend import PointRendMaskHead
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from synlib.pointrend.config import detectron2_config
from synlib.spec import DataSpec, RunSpec

HEIGHT, WIDTH = 64, 96


def sample(objects: int) -> dict:
    rng = torch.Generator().manual_seed(objects)
    boxes, masks = torch.zeros(objects, 4), torch.zeros(objects, HEIGHT, WIDTH, dtype=torch.bool)
    for i in range(objects):
        boxes[i] = torch.tensor([10 * i, 5, 10 * i + 20, 50])
        masks[i, 5:50, 10 * i : 10 * i + 20] = True
    truth = Instances((HEIGHT, WIDTH), gt_boxes=Boxes(boxes), gt_masks=BitMasks(masks))
    truth.gt_classes = torch.arange(objects)
    return {"image": torch.rand(3, HEIGHT, WIDTH, generator=rng) * 255, "instances": truth}


def losses(model, objects: list[int]) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    with EventStorage():
        return model([sample(count) for count in objects])


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build_model(detectron2_config(RunSpec(model="pointrend_tiny", data=DataSpec(real=1)), "cpu"))


def test_a_batch_without_an_object_reaches_every_parameter(model):
    model.zero_grad()
    found = losses(model, [0, 0])
    assert found["loss_mask"] == found["loss_mask_point"] == 0
    assert found["loss_cls"] > 0
    sum(found.values()).backward()
    for name, parameter in model.named_parameters():  # processes average their gradients: each must have all of them
        assert parameter.grad is not None or not parameter.requires_grad, name
    for parameter in model.roi_heads.mask_head.parameters():
        assert not parameter.grad.any()


@pytest.mark.parametrize("objects", [[3, 2], [0, 2]])
def test_with_objects_the_losses_are_detectron2s(model, objects, monkeypatch):
    ours = losses(model, objects)
    monkeypatch.setattr(model.roi_heads.mask_head, "__class__", PointRendMaskHead)
    theirs = losses(model, objects)
    assert ours["loss_mask_point"] > 0
    assert ours == theirs
