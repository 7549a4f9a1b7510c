"""The training set as an indexable sequence of samples, in an order that is a function of (seed, position) alone.

Position ``p`` counts samples since iteration 0: iteration ``i`` of batch size B uses the B positions from ``i * B`` on.
So a resumed run, a run with other loader workers, and a run on more GPUs see the same samples.
"""

import contextlib
import ctypes
import gc
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch.utils.data

from seeded_rcnn.mapper import InstanceMapper


class TrainingSamples(torch.utils.data.Dataset):
    """``samples[position]`` is the mapped sample at that position of the endless, reshuffled training stream.

    Its ``seeds``, int (3,), are for :mod:`seeded_rcnn.sampling`. Loader workers share the tables without copies: they
    are kept as a few flat arrays.
    """

    def __init__(self, images: pd.DataFrame, instances: pd.DataFrame, mapper: InstanceMapper, seed: int) -> None:
        self.seed, self.mapper = seed, mapper
        self.image_paths = images["image_path"].to_numpy().astype(bytes)
        self.instance_paths = images["instance_path"].to_numpy().astype(bytes)
        keys = ["dataset", "image_id"]
        row_of_image = pd.Series(np.arange(len(images)), index=pd.MultiIndex.from_frame(images[keys]))
        owner = row_of_image.loc[pd.MultiIndex.from_frame(instances[keys])].to_numpy()
        order = np.argsort(owner, kind="stable")
        self.offsets = np.searchsorted(owner[order], np.arange(len(images) + 1))
        self.instance_ids = instances["instance_id"].to_numpy(np.int32)[order]
        self.categories = instances["category"].to_numpy(np.int8)[order]
        self.boxes = instances[["x0", "y0", "x1", "y1"]].to_numpy(np.int32)[order]

    def __len__(self) -> int:
        return len(self.image_paths)

    def row(self, index: int) -> dict[str, Any]:
        span = slice(self.offsets[index], self.offsets[index + 1])
        return {
            "image_path": self.image_paths[index].decode(),
            "instance_path": self.instance_paths[index].decode(),
            "instance_id": self.instance_ids[span],
            "category": self.categories[span],
            "boxes": self.boxes[span],
        }

    def __getitem__(self, position: int) -> dict[str, Any]:
        epoch, step = divmod(position, len(self))
        index = np.random.default_rng([self.seed, epoch]).permutation(len(self))[step]
        # Detectron2's augmentations draw from NumPy's global generator.
        np.random.seed(np.random.SeedSequence([self.seed, 1, position]).generate_state(1)[0])
        sample = self.mapper(self.row(index))
        words = np.random.SeedSequence([self.seed, 2, position]).generate_state(3, np.uint64)
        return sample | {"seeds": (words >> np.uint64(1)).tolist()}


def batches(start: int, iterations: int, batch_size: int, rank: int = 0, processes: int = 1) -> list[range]:
    """For each iteration from ``start`` on, the positions that process ``rank`` of ``processes`` trains on.

    Raises ValueError when the processes cannot have equal shares of a batch.
    """
    if batch_size % processes:
        raise ValueError(f"batch_size {batch_size} is not a multiple of the {processes} training processes")
    share = batch_size // processes
    firsts = range(start * batch_size + rank * share, iterations * batch_size, batch_size)
    return [range(first, first + share) for first in firsts]


def give_back_memory() -> None:
    """Return freed memory to the system: loading processes would inherit what their parent has kept of it."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # only GNU's C library has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)
