"""PointRend's mask head, able to train on a batch without any object.

Detectron2 leaves images without objects out of training; here they are negatives, and a process may get only such.
Detectron2 v0.6's head then fails on an empty list (``sample_point_labels``). In every other case this is its head.
"""

import torch
from detectron2.modeling import ROI_MASK_HEAD_REGISTRY
from detectron2.projects.point_rend import PointRendMaskHead
from detectron2.structures import Instances


@ROI_MASK_HEAD_REGISTRY.register()
class NegativesMaskHead(PointRendMaskHead):
    """PointRendMaskHead; both losses are 0, and every parameter has a gradient of 0, when there is no foreground."""

    def _sample_train_points(
        self, coarse_mask: torch.Tensor, instances: list[Instances]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if len(coarse_mask):
            return super()._sample_train_points(coarse_mask, instances)
        points = self.mask_point_train_num_points
        return coarse_mask.new_zeros(0, points, 2), coarse_mask.new_zeros(0, points)
