"""Modules that are here for their speed compute what the plain ones do, up to rounding."""

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler

from seeded_rcnn.backbone import GridROIAlign, use_grids

HEIGHT, WIDTH, STRIDE = 96, 192, 4


def boxes_of(images: list[int], seed: int) -> torch.Tensor:
    """Random boxes within the image, of all sizes, and those that touch its borders; one row an entry of ``images``."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(len(images), 2, 2, generator=generator).sort(1).values * torch.tensor([WIDTH, HEIGHT])
    extremes = torch.tensor([[0, 0, WIDTH, HEIGHT], [0, 0, 3, 2], [WIDTH - 3, HEIGHT - 2, WIDTH, HEIGHT], [9, 9, 9, 9]])
    boxes = torch.cat([extremes.float(), corners.reshape(-1, 4)])[: len(images)]
    return torch.cat([torch.tensor(images).float()[:, None], boxes], 1)


@pytest.mark.parametrize("images", [[0] * 5 + [1] * 60, [1] * 8, [0, 2], []])
def test_grid_roi_align_is_roi_align(images):
    rois = boxes_of(images, len(images)).reshape(-1, 5)
    results = []
    for align in (ROIAlign((7, 5), 1 / STRIDE, 1, aligned=True), GridROIAlign((7, 5), 1 / STRIDE)):
        features = torch.randn(3, 6, HEIGHT // STRIDE, WIDTH // STRIDE, generator=torch.Generator().manual_seed(1))
        features.requires_grad_()
        pooled = align(features, rois)
        (pooled * torch.linspace(-1, 1, pooled.numel()).reshape(pooled.shape)).sum().backward()
        results.append((pooled, features.grad))
    assert results[0][0].shape == (len(images), 6, 7, 5)
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("samples", "expected"), [(1, GridROIAlign), (2, ROIAlign), (0, ROIAlign)])
def test_only_one_sample_a_bin_is_replaced(samples, expected):
    pooler = ROIPooler(7, scales=(1 / 4, 1 / 8), sampling_ratio=samples, pooler_type="ROIAlignV2")
    use_grids(pooler)
    assert [type(level) for level in pooler.level_poolers] == [expected] * 2
