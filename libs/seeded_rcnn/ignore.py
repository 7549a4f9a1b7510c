"""Training that neither learns nor punishes some boxes: instances of class -1 (``removed_as: ignore`` in a run's spec).

An anchor or proposal that would be background, and most of whose own area lies in an ignored box, is not sampled. An
ignored box is never a target. The rest is Detectron2 v0.6's ``RPN`` and ``StandardROIHeads``, seeded
(:mod:`seeded_rcnn.sampling`); without ignored boxes the labels and the random numbers drawn are theirs. The rule uses
boxes, as these two stages do; the mask head sees foreground proposals only.
"""

import torch
from detectron2.config import CfgNode
from detectron2.layers import nonzero_tuple
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.structures import Boxes, Instances, pairwise_ioa
from torch import Tensor

from seeded_rcnn.sampling import SeededROIHeads, SeededRPN

COVERED = 0.5
"""A box is covered by an ignored one when the intersection is more than this fraction of its own area."""


def enable(cfg: CfgNode) -> None:
    """Use the two classes below in ``cfg``. Raises ValueError unless it has those of :mod:`seeded_rcnn.sampling`."""
    for node, ours, theirs in (
        (cfg.MODEL.PROPOSAL_GENERATOR, IgnoringRPN, SeededRPN),
        (cfg.MODEL.ROI_HEADS, IgnoringROIHeads, SeededROIHeads),
    ):
        if theirs.__name__ != node.NAME:
            raise ValueError(f"removed_as ignore: the model has {node.NAME}, expected {theirs.__name__}")
        node.NAME = ours.__name__


@PROPOSAL_GENERATOR_REGISTRY.register()
class IgnoringRPN(SeededRPN):
    """SeededRPN whose ground truth may hold instances to be ignored."""

    @torch.no_grad()
    def label_and_sample_anchors(self, anchors: list[Boxes], truths: list[Instances]) -> tuple[list[Tensor], ...]:
        """As RPN's; covered anchors that would have label 0 have -1."""
        every = Boxes.cat(anchors)
        self._covered = [covered_by_ignored(every, truth) for truth in truths]
        return super().label_and_sample_anchors(anchors, [without_ignored(truth) for truth in truths])

    def _subsample_labels(self, label: Tensor) -> Tensor:
        # Called once per image, in order, between matching and sampling.
        label[self._covered.pop(0) & (label == 0)] = -1
        return super()._subsample_labels(label)


@ROI_HEADS_REGISTRY.register()
class IgnoringROIHeads(SeededROIHeads):
    """SeededROIHeads whose ground truth may hold instances to be ignored."""

    @torch.no_grad()
    def label_and_sample_proposals(self, proposals: list[Instances], targets: list[Instances]) -> list[Instances]:
        """As ROIHeads'; covered proposals that would be background are not among the samples."""
        pairs = zip(proposals, targets, strict=True)
        self._covered = [covered_by_ignored(found.proposal_boxes, truth) for found, truth in pairs]
        return super().label_and_sample_proposals(proposals, [without_ignored(truth) for truth in targets])

    def _sample_proposals(self, matches: Tensor, labels: Tensor, gt_classes: Tensor) -> tuple[Tensor, Tensor]:
        # Called once per image, in order. The ground truth, appended to the proposals, is foreground.
        covered = nonzero_tuple(self._covered.pop(0))[0]
        labels[covered[labels[covered] == 0]] = -1
        if not len(gt_classes):  # without ground truth Detectron2 would ignore the labels
            gt_classes = gt_classes.new_full((1,), self.num_classes)
        return super()._sample_proposals(matches, labels, gt_classes)


def covered_by_ignored(boxes: Boxes, truth: Instances) -> Tensor:
    """Which of the N ``boxes`` one of the ignored boxes of ``truth`` covers, bool (N,)."""
    covered = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for index in nonzero_tuple(truth.gt_classes < 0)[0].tolist():  # one at a time: there may be 500,000 anchors
        covered |= pairwise_ioa(truth.gt_boxes[index], boxes)[0] > COVERED
    return covered


def without_ignored(truth: Instances) -> Instances:
    """The instances of ``truth`` that are to be learned."""
    learned = truth.gt_classes >= 0
    return truth if learned.all() else truth[learned]
