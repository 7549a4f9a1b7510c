"""Everything that is changed in Detectron2 0.6, in one list. README.md beside this file says the same in prose.

A fix replaces a short text in one file, and says how often that text must be there. A text that is there more or less
often stops the build.
"""

from typing import NamedTuple


class Fix(NamedTuple):
    """Replace ``old`` by ``new`` in ``file`` (a path in the wheel), where it stands ``count`` times."""

    file: str
    old: str
    new: str
    reason: str
    count: int = 1


class FixError(RuntimeError):
    """A text to be replaced was not found as often as expected."""


_PILLOW = "PIL.Image.LINEAR was removed in Pillow 10"
_NUMPY = "NumPy 1.24 removed the aliases of Python's own types"
_PKG_RESOURCES = "pkg_resources was removed in setuptools 82 and warns before that"
_AMP = "torch.cuda.amp is deprecated in favour of torch.amp"
_SCRIPT = "torch.jit.script is deprecated"
_NO_EXTENSION = "the compiled extension is left out"

FIXES = (
    Fix(
        "detectron2/__init__.py",
        "\nfrom .utils.env import setup_environment\n",
        """
import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
    import fvcore.nn  # noqa: F401

from .utils.env import setup_environment
""",
        _SCRIPT + ", and fvcore scripts two losses when it is imported: that one warning is not shown",
    ),
    Fix("detectron2/data/transforms/transform.py", "Image.LINEAR", "Image.BILINEAR", _PILLOW),
    Fix(
        "detectron2/data/transforms/transform.py",
        "ret = np.asarray(pil_image)",
        "ret = np.array(pil_image)",
        "an array that shares Pillow's memory is read-only, which torch.from_numpy warns about",
        2,
    ),
    Fix("detectron2/data/build.py", "dtype=np.int", "dtype=int", _NUMPY, 2),
    Fix("detectron2/data/datasets/pascal_voc.py", "dtype=np.str", "dtype=str", _NUMPY),
    Fix("detectron2/evaluation/sem_seg_evaluation.py", "dtype=np.int)", "dtype=int)", _NUMPY, 2),
    Fix("detectron2/evaluation/sem_seg_evaluation.py", "np.float)", "float)", _NUMPY, 5),
    Fix("detectron2/model_zoo/model_zoo.py", "import pkg_resources\n", "", _PKG_RESOURCES),
    Fix(
        "detectron2/model_zoo/model_zoo.py",
        'pkg_resources.resource_filename(\n        "detectron2.model_zoo", os.path.join("configs", config_path)\n    )',
        'os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs", config_path)',
        _PKG_RESOURCES,
    ),
    Fix("detectron2/engine/train_loop.py", "from torch.cuda.amp import", "from torch.amp import", _AMP, 2),
    Fix("detectron2/engine/train_loop.py", "with autocast():", 'with autocast("cuda"):', _AMP),
    Fix(
        "detectron2/modeling/anchor_generator.py",
        "torch.meshgrid(shifts_y, shifts_x)",
        'torch.meshgrid(shifts_y, shifts_x, indexing="ij")',
        "torch.meshgrid warns when its indexing is not said; this is the order it has always used",
    ),
    Fix(
        "detectron2/modeling/box_regression.py",
        "@torch.jit.script\nclass ",
        "class ",
        _SCRIPT + "; scripting these classes changes nothing in ordinary use",
        2,
    ),
    Fix(
        "detectron2/engine/hooks.py",
        "torch.optim.lr_scheduler._LRScheduler",
        "torch.optim.lr_scheduler.LRScheduler",
        "PyTorch 2.0 renamed the base class: its own schedulers were no longer recognised, so not saved in checkpoints",
        2,
    ),
    Fix(
        "detectron2/export/__init__.py",
        "from .api import *\n",
        "",
        "the Caffe2 export needs a package that PyTorch no longer contains; the rest of the folder does not",
    ),
    Fix(
        "detectron2/utils/comm.py",
        "storage = torch.ByteStorage.from_buffer(buffer)\n    tensor = torch.ByteTensor(storage).to(",
        "tensor = torch.frombuffer(bytearray(buffer), dtype=torch.uint8).to(",
        "typed storages are deprecated and warn whenever processes exchange objects",
    ),
    Fix(
        "detectron2/layers/nms.py",
        "return torch.ops.detectron2.nms_rotated(",
        "from detectron2 import _C\n\n    return _C.nms_rotated(",
        _NO_EXTENSION + ": the same explanation as for the other operations instead of an AttributeError",
    ),
)


def apply_fixes(files: dict[str, bytes], fixes: tuple[Fix, ...] = FIXES) -> dict[str, bytes]:
    """Return ``files`` (path in the wheel -> content) with every fix applied.

    Raises FixError where a text is not there as often as expected.
    """
    files = dict(files)
    for fix in fixes:
        text = files.get(fix.file, b"").decode()
        found = text.count(fix.old)
        if found != fix.count:
            raise FixError(
                f"{fix.file}: expected the text {fix.old!r} {fix.count} time(s), found it {found} time(s). "
                "The fixes belong to another version of Detectron2: adapt packaging/detectron2/fixes.py."
            )
        files[fix.file] = text.replace(fix.old, fix.new).encode()
    return files
