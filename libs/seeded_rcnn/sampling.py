"""Detectron2 v0.6's Mask R-CNN with repeatable random draws, and with instances that training ignores.

Draws: Detectron2 takes anchors (RPN), proposals (RoI heads) and points (PointRend's mask head) from the device's global
generator. Here it is seeded again for every image and stage with the sample's ``seeds``, so that the draws do not
change when a batch is divided among processes or into parts. A sample without ``seeds`` does not touch the generator.

Ignored instances have class -1. An anchor or proposal that would be background, and most of whose own area lies in an
ignored box, is not sampled; an ignored box is never a target. The mask head sees foreground proposals only. Without
ignored instances labels and random numbers are Detectron2's.
"""

from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ROIAlign, ShapeSpec, nonzero_tuple
from detectron2.modeling import META_ARCH_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY, GeneralizedRCNN
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import ROI_MASK_HEAD_REGISTRY, StandardROIHeads
from detectron2.projects.point_rend import PointRendMaskHead, mask_head
from detectron2.structures import Boxes, ImageList, Instances, pairwise_ioa
from torch import Tensor

from seeded_rcnn.backbone import GridROIAlign

COVERED = 0.5
"""A box is covered by an ignored one when the intersection is more than this fraction of its own area."""


class Seeded:
    """Part of a model that draws image by image, each with the next of its ``seeds`` for a batch, if there are any."""

    seeds: list[int] | None = None

    def seed_next(self, device: torch.device) -> None:
        if self.seeds:
            # torch.manual_seed would do, but takes 2 ms: it keeps its caller's stack for GPUs that are not used yet.
            generator = torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index]
            generator.manual_seed(self.seeds.pop(0))


@META_ARCH_REGISTRY.register()
class SeededRCNN(GeneralizedRCNN):
    """GeneralizedRCNN whose training samples may hold two things more.

    ``seeds``: one for each of RPN, RoI heads and mask head. ``frame``: height and width in px to which the batch is
    padded at least: with the same for all parts of an iteration's batch, they have the same anchors.
    """

    @torch.no_grad()
    def count(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        """What ``roi_heads.counts`` will be in a forward pass on the same batch; costs the backbone and the RPN."""
        images = self.preprocess_image(batched_inputs)
        truths = [sample["instances"].to(self.device) for sample in batched_inputs]
        proposals, _ = self.proposal_generator(images, self.backbone(images.tensor), truths)
        self.roi_heads.label_and_sample_proposals(proposals, truths)
        return self.roi_heads.counts

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        for stage, module in enumerate((self.proposal_generator, self.roi_heads, self.roi_heads.mask_head)):
            module.seeds = [sample["seeds"][stage] for sample in batched_inputs if "seeds" in sample]
        frame = self.pixel_mean.expand(3, *batched_inputs[0].get("frame", (0, 0)))  # one image more, already there
        images = super().preprocess_image([*batched_inputs, {"image": frame}])
        return ImageList(images.tensor[:-1], images.image_sizes[:-1])


@PROPOSAL_GENERATOR_REGISTRY.register()
class SeededRPN(Seeded, RPN):
    """RPN that draws the anchors of each image with a seed of its own; covered ones are never background."""

    @torch.no_grad()
    def label_and_sample_anchors(self, anchors: list[Boxes], truths: list[Instances]) -> tuple[list[Tensor], ...]:
        every = Boxes.cat(anchors)
        self._covered = [_covered_by_ignored(every, truth) for truth in truths]
        learned = [truth[nonzero_tuple(truth.gt_classes >= 0)[0]] for truth in truths]  # once, not for each field
        return super().label_and_sample_anchors(anchors, learned)

    def _subsample_labels(self, label: Tensor) -> Tensor:
        # Called once per image, in order, between matching and sampling.
        label[self._covered.pop(0) & (label == 0)] = -1
        self.seed_next(label.device)
        return super()._subsample_labels(label)


@ROI_HEADS_REGISTRY.register()
class SeededROIHeads(Seeded, StandardROIHeads):
    """StandardROIHeads that draws the proposals of each image with a seed of its own; covered ones are not background.

    ``counts``: int64 (3,), the last batch's images, sampled proposals, and those that are foreground.
    """

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        modules = super()._init_box_head(cfg, input_shape)
        levels = modules["box_pooler"].level_poolers
        for number, level in enumerate(levels):
            if isinstance(level, ROIAlign) and level.sampling_ratio == 1 and level.aligned:
                levels[number] = GridROIAlign(level.output_size, level.spatial_scale, 1)
        return modules

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        self._covered = [*map(_covered_by_ignored, [found.proposal_boxes for found in proposals], targets)]
        learned = [truth[nonzero_tuple(truth.gt_classes >= 0)[0]] for truth in targets]
        sampled = super().label_and_sample_proposals(proposals, learned)
        classes = torch.cat([found.gt_classes for found in sampled])
        foreground = (classes != self.num_classes).sum()
        self.counts = torch.stack([0 * foreground + len(sampled), 0 * foreground + len(classes), foreground])
        return sampled

    def _sample_proposals(self, matches: Tensor, labels: Tensor, gt_classes: Tensor) -> tuple[Tensor, Tensor]:
        # Called once per image, in order. The ground truth, appended to the proposals, is foreground.
        covered = self._covered.pop(0)
        labels[: len(covered)].masked_fill_(covered & (labels[: len(covered)] == 0), -1)
        if not len(gt_classes):  # without ground truth Detectron2 would ignore the labels
            gt_classes = gt_classes.new_full((1,), self.num_classes)
        self.seed_next(matches.device)
        return super()._sample_proposals(matches, labels, gt_classes)


@ROI_MASK_HEAD_REGISTRY.register()
class NegativesMaskHead(Seeded, PointRendMaskHead):
    """PointRendMaskHead with seeds for the points of each image, and able to train on a batch without any object.

    v0.6's head fails on a batch without. Here both losses are 0, and so are the gradients of all parameters. Targets
    are those of v0.6; it makes full frames of masks, while here ``gt_masks`` are LabelMasks, looked up at the points.
    """

    @torch.no_grad()
    def _sample_train_points(self, coarse_mask: Tensor, instances: list[Instances]) -> tuple[Tensor, Tensor]:
        counts, classes = [len(found) for found in instances], torch.cat([found.gt_classes for found in instances])
        together = counts if self.seeds else [sum(counts)]
        points = torch.cat([*map(self._draw_points, coarse_mask.split(together), classes.split(together))])
        boxes = Boxes.cat([found.proposal_boxes for found in instances])
        places = mask_head.get_point_coords_wrt_image(boxes.tensor, points).split(counts)
        labels = [found.gt_masks.at(place) for found, place in zip(instances, places, strict=True) if len(found)]
        return points, torch.cat([points.new_zeros(0, points.shape[1]), *labels])

    def _draw_points(self, coarse_mask: Tensor, classes: Tensor) -> Tensor:
        """Points (N, P, 2; in [0, 1]) in N boxes."""
        self.seed_next(coarse_mask.device)
        ratios = self.mask_point_oversample_ratio, self.mask_point_importance_sample_ratio
        count, how = self.mask_point_train_num_points, lambda logits: mask_head.calculate_uncertainty(logits, classes)
        return mask_head.get_uncertain_point_coords_with_randomness(coarse_mask, how, count, *ratios)


def _covered_by_ignored(boxes: Boxes, truth: Instances) -> Tensor:
    """Which of the N ``boxes`` one of the ignored boxes of ``truth`` covers, bool (N,)."""
    covered, ignored = boxes.tensor.new_zeros(len(boxes), dtype=torch.bool), truth.gt_boxes[truth.gt_classes < 0]
    for index in range(len(ignored)):  # one at a time: there may be 500,000 anchors
        covered |= pairwise_ioa(ignored[index], boxes)[0] > COVERED
    return covered
