"""The training set as an indexable sequence of samples, in an order that is a function of (seed, position) alone.

Position ``p`` counts samples since iteration 0: iteration ``i`` of batch size B uses the B positions from ``i * B`` on.
So a resumed run, a run with other loader workers, and a run on more GPUs see the same samples.
"""

import contextlib
import ctypes
import gc
import itertools
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch.multiprocessing  # tensors then travel between processes in shared memory

from seeded_rcnn.mapper import InstanceMapper

POLL_S, SLOW_S, PATIENCE_S = 2, 50, 300
SHARED_MEMORY = "/dev/shm"


class TrainingSamples:
    """``samples[position]`` is the mapped sample at that position of the endless, reshuffled training stream.

    Its ``seeds``, int (3,), are for :mod:`seeded_rcnn.sampling`. Loading processes share the tables: flat arrays.
    ``groups``: indices of images that take turns, such as a domain's, each reshuffled when it is used up; all are one.
    """

    def __init__(self, images: pd.DataFrame, instances: pd.DataFrame, mapper: InstanceMapper, seed: int) -> None:
        self.seed, self.mapper, self.groups = seed, mapper, [np.arange(len(images))]
        self.image_paths = images["image_path"].map(os.fsencode).to_numpy().astype(bytes)
        self.instance_paths = images["instance_path"].map(os.fsencode).to_numpy().astype(bytes)
        keys = ["dataset", "image_id"]
        row_of_image = pd.Series(np.arange(len(images)), index=pd.MultiIndex.from_frame(images[keys]))
        owner = row_of_image.loc[pd.MultiIndex.from_frame(instances[keys])].to_numpy()
        order = np.argsort(owner, kind="stable")
        self.offsets = np.searchsorted(owner[order], np.arange(len(images) + 1))
        self.table = instances[["instance_id", "category", "x0", "y0", "x1", "y1"]].to_numpy(np.int32)[order]

    def row(self, position: int) -> dict[str, Any]:
        """What the mapper gets at ``position``."""
        turn, number = divmod(position, len(self.groups))
        epoch, step = divmod(turn, len(group := self.groups[number]))
        index = group[np.random.default_rng([self.seed, epoch, number]).permutation(len(group))[step]]
        table = self.table[self.offsets[index] : self.offsets[index + 1]]
        return {
            "image_path": os.fsdecode(self.image_paths[index]),
            "instance_path": os.fsdecode(self.instance_paths[index]),
            "instance_id": table[:, 0],
            "category": table[:, 1],
            "boxes": table[:, 2:],
        }

    def __getitem__(self, position: int) -> dict[str, Any]:
        # Detectron2's augmentations draw from NumPy's global generator.
        np.random.seed(np.random.SeedSequence([self.seed, 1, position]).generate_state(1)[0])
        sample = self.mapper(self.row(position))
        words = np.random.SeedSequence([self.seed, 2, position]).generate_state(3, np.uint64)
        return sample | {"seeds": (words >> np.uint64(1)).tolist()}


def batches(start: int, iterations: int, batch_size: int, rank: int = 0, processes: int = 1) -> list[range]:
    """For each iteration from ``start`` on, the positions of process ``rank``; ValueError when shares are unequal."""
    if batch_size % processes:
        raise ValueError(f"batch_size {batch_size} is not a multiple of the {processes} training processes")
    share = batch_size // processes
    firsts = range(start * batch_size + rank * share, iterations * batch_size, batch_size)
    return [range(first, first + share) for first in firsts]


def load(
    samples: TrainingSamples, positions: list[range], workers: int, batch_bytes: int, check: Callable[[str], Any]
) -> Iterator[list[dict[str, Any]]]:
    """Yield the batches at ``positions``, of at most ``batch_bytes``, loaded by ``workers`` processes (0: by this one).

    ``check``, which may raise, is called for each batch and every ``POLL_S`` s of a wait; after ``SLOW_S``, with why.
    Raises what loading does, TimeoutError after ``PATIENCE_S``, RuntimeError for lacking memory or a killed process.
    """
    if not workers:
        for batch in positions:
            check("")
            yield [samples[position] for position in batch]
        return
    ahead, needed = 2 * workers, 2 * workers * batch_bytes  # batches that are kept ready, their bytes
    total, _, free = shutil.disk_usage(SHARED_MEMORY if os.path.isdir(SHARED_MEMORY) else "/")
    lack = RuntimeError(
        f"shared memory ({SHARED_MEMORY}): found {total / 1e6:.0f} MB, expected {needed / 1e6:.0f} MB free for batches "
        "loaded ahead; use more (`docker run --shm-size=2g`) or fewer execution.loader_workers (0 needs none)"
    )
    if free < needed:
        raise lack
    pool = futures.ProcessPoolExecutor(workers, initializer=_begin, initargs=(samples,))
    try:
        coming = deque(pool.submit(_batch, batch) for batch in positions[:ahead])
        for batch, later in itertools.zip_longest(positions, positions[ahead:]):
            began, awaited = time.monotonic(), coming.popleft()
            check("")
            while not futures.wait([awaited], POLL_S).done:
                waited, path = time.monotonic() - began, samples.row(batch[0])["image_path"]
                slow = f"no batch for {waited:.0f} s: still reading {path} or its labels; check its disk or file server"
                check(slow if waited > SLOW_S else "")
                if waited > PATIENCE_S:
                    raise TimeoutError(slow)
            if later:
                coming.append(pool.submit(_batch, later))
            yield awaited.result()
    except futures.process.BrokenProcessPool as error:
        for process in list(pool._processes.values()):
            process.join(0.1)  # that one has died is known before why; the others live on
        if any(process.exitcode == -signal.SIGBUS for process in pool._processes.values()):
            raise lack from error
        raise RuntimeError("a loading process was killed (out of memory?): lower execution.loader_workers") from error
    except RuntimeError as error:
        if "shared memory" in str(error):
            raise lack from error
        raise
    finally:
        for process in (pool._processes or {}).values():
            process.kill()  # it would ignore SIGTERM
        pool.shutdown(wait=False, cancel_futures=True)


def _begin(samples: TrainingSamples) -> None:
    """In a loading process: leave signals to the training, which first ends its iteration; end when it has ended."""
    global _samples
    _samples = samples
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True).start()


def _batch(positions: range) -> list[dict[str, Any]]:
    return [_samples[position] for position in positions]


def give_back_memory() -> None:
    """Return freed memory to the system: loading processes would inherit what their parent has kept of it."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # only GNU's C library has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)
