"""PointRend's mask head, able to train on a batch without any object, and with a seed for the points of each image.

Detectron2 leaves images without objects out of training; here they are negatives, and a process may get only such.
Detectron2 v0.6's head then fails on an empty list (``sample_point_labels``). In every other case this is its head.
"""

import torch
from detectron2.modeling import ROI_MASK_HEAD_REGISTRY
from detectron2.projects.point_rend import PointRendMaskHead
from detectron2.structures import Instances

from seeded_rcnn.sampling import seed_next


@ROI_MASK_HEAD_REGISTRY.register()
class NegativesMaskHead(PointRendMaskHead):
    """PointRendMaskHead; both losses are 0, and every parameter has a gradient of 0, when there is no foreground.

    ``seeds``: of the images, in order; see :mod:`seeded_rcnn.sampling`.
    """

    seeds: list[int] | None = None

    def _sample_train_points(
        self, coarse_mask: torch.Tensor, instances: list[Instances]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.seeds:
            return self._sample_points(coarse_mask, instances)
        of_images = zip(coarse_mask.split([len(found) for found in instances]), instances, strict=True)
        drawn = [self._sample_points(masks, [found]) for masks, found in of_images]
        return torch.cat([points for points, _ in drawn]), torch.cat([labels for _, labels in drawn])

    def _sample_points(
        self, coarse_mask: torch.Tensor, instances: list[Instances]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seed_next(self.seeds, coarse_mask.device)
        if len(coarse_mask):
            return super()._sample_train_points(coarse_mask, instances)
        points = self.mask_point_train_num_points
        return coarse_mask.new_zeros(0, points, 2), coarse_mask.new_zeros(0, points)
