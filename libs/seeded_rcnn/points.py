"""Bilinear sampling at points: of label maps without full masks, and with a gradient that a GPU can repeat bit by bit.

Shapes: B images, C channels, H x W px, P x Q points.
"""

from collections.abc import Iterator

import torch
from torch import Tensor


def bilinear(features: Tensor, grid: Tensor, *, border: bool = False) -> Tensor:
    """``F.grid_sample(..., align_corners=False)`` up to rounding: (B, C, H, W) and (B, P, Q, 2) -> (B, C, P, Q).

    Its gradient for ``features`` adds in a fixed order under ``torch.use_deterministic_algorithms``; that of
    ``grid_sample`` does not on a GPU. ``border``: outside the image are the values at its border, instead of 0.
    """
    batch, channels, height, width = features.shape
    size = grid.new_tensor([width, height])
    place = (grid + 1) * (size / 2) - 0.5
    if border:
        place = torch.minimum(place.clamp(min=0), size - 1)
    pixels = features.permute(0, 2, 3, 1).reshape(-1, channels)
    first = torch.arange(batch, device=grid.device).view(-1, 1, 1) * height * width  # pixel of each image
    sampled: Tensor | float = 0.0
    for index, weight in _neighbours(place, height, width):
        values = pixels.index_select(0, (first + index).flatten()).view(*index.shape, channels)
        sampled = sampled + values * weight[..., None]
    return sampled.permute(0, 3, 1, 2)


def repeatable_point_sample(features: Tensor, points: Tensor, align_corners: bool = False) -> Tensor:
    """PointRend's ``point_sample``, by :func:`bilinear`: (B, C, H, W) and (B, P, 2; in [0, 1]) -> (B, C, P)."""
    return bilinear(features, 2 * points[:, :, None] - 1)[..., 0]


def labels_at(labels: Tensor, values: Tensor, points: Tensor) -> Tensor:
    """The N masks ``labels == value`` at ``points`` (N, P, 2; x, y in px), bilinear: float32 (N, P).

    What PointRend's ``sample_point_labels`` gives for the masks as full frames: the same operations, one by one.
    """
    height, width = labels.shape
    size = points.new_tensor([width, height])
    place = (2 * (points / size) - 1 + 1) * (size / 2) - 0.5
    flat, sampled = labels.flatten(), points.new_zeros(points.shape[:2])
    for index, weight in _neighbours(place, height, width):
        sampled = sampled + weight * (flat[index] == values[:, None])
    return sampled


def _neighbours(place: Tensor, height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each of the four pixels around ``place`` (..., 2; px from the first one's centre): its index and weight.

    Indices are those of the flat image, (...,); a pixel outside the image has weight 0.
    """
    low = place.floor()
    right, below = (place - low).unbind(-1)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = low[..., 0] + dx, low[..., 1] + dy
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        weight = (right if dx else 1 - right) * (below if dy else 1 - below)
        index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        yield index.long(), weight * inside
