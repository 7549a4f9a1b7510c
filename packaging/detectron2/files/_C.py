"""Stands where Detectron2's compiled extension would be. Importing it is fine; calling one of its operations is not.

What PointRend needs is not here: RoIAlign and non-maximum suppression come from torchvision.
"""

_OPERATIONS = {
    "box_iou_rotated": "rotated boxes",
    "nms_rotated": "rotated boxes",
    "roi_align_rotated_forward": "rotated boxes",
    "roi_align_rotated_backward": "rotated boxes",
    "deform_conv_forward": "deformable convolutions (MODEL.RESNETS.DEFORM_ON_PER_STAGE)",
    "deform_conv_backward_input": "deformable convolutions (MODEL.RESNETS.DEFORM_ON_PER_STAGE)",
    "deform_conv_backward_filter": "deformable convolutions (MODEL.RESNETS.DEFORM_ON_PER_STAGE)",
    "modulated_deform_conv_forward": "modulated deformable convolutions (MODEL.RESNETS.DEFORM_MODULATED)",
    "modulated_deform_conv_backward": "modulated deformable convolutions (MODEL.RESNETS.DEFORM_MODULATED)",
    "COCOevalAccumulate": "the fast COCO evaluator; COCOEvaluator(..., use_fast_impl=False) needs no extension",
    "COCOevalEvaluateImages": "the fast COCO evaluator; COCOEvaluator(..., use_fast_impl=False) needs no extension",
    "InstanceAnnotation": "the fast COCO evaluator; COCOEvaluator(..., use_fast_impl=False) needs no extension",
}


def _missing(name, purpose):
    def operation(*args, **kwargs):
        raise NotImplementedError(
            f"detectron2._C.{name} is not available: this Detectron2 was built without its compiled extension. "
            f"The operation serves {purpose}. See packaging/detectron2/README.md for what is left out and why."
        )

    operation.__name__ = operation.__qualname__ = name
    return operation


globals().update({name: _missing(name, purpose) for name, purpose in _OPERATIONS.items()})


def get_compiler_version():
    """What `detectron2.utils.collect_env` prints as the compiler of the extension."""
    return "none (built without the compiled extension)"


def get_cuda_version():
    """What `detectron2.utils.collect_env` prints as the CUDA version of the extension."""
    return "none (built without the compiled extension)"


def has_cuda():
    """Whether the extension holds CUDA kernels."""
    return False
