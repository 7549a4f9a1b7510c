"""Checkpoints in Detectron2's format that are complete or absent, and are read without running code."""

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from scapes.files import replacing
from seeded_rcnn.weights import read_weights

LOG = logging.getLogger("synlib")


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

    def _load_file(self, filename: str) -> dict[str, Any]:
        return read_weights(filename)

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

    def finish(self) -> None:
        """Make the newest checkpoint the final one."""
        if self.save_to_disk:
            with replacing(Path(self.save_dir) / "model_final.pth") as temporary:
                shutil.copyfile(self.saved()[0], temporary)

    def saved(self) -> list[Path]:
        """Checkpoints of iterations, newest first."""
        return sorted(Path(self.save_dir).glob("model_[0-9]*.pth"), reverse=True)
