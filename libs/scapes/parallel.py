"""Run one function over many items in worker processes, with a progress bar."""

import os
from collections.abc import Callable, Iterator, Sequence

import cv2
from joblib import Parallel, delayed
from tqdm.auto import tqdm


def map_items(
    function: Callable, items: Sequence, *, workers: int | None = None, description: str = "", unit: str = "images"
) -> Iterator:
    """Yield ``function(item)`` in order, computed by ``workers`` processes (default: one per core), or here if few.

    They run only a little ahead of the caller, so memory stays flat. A ``description`` shows the progress bar.
    """
    workers = workers or os.cpu_count() or 1
    jobs = 1 if len(items) < 4 * workers else workers
    batch_size = max(1, min(16, len(items) // (8 * workers)))
    one_thread = {"initializer": cv2.setNumThreads, "initargs": (1,)}  # the processes already use every core
    pool = Parallel(n_jobs=jobs, return_as="generator", batch_size=batch_size, **one_thread)
    results = pool(delayed(function)(item) for item in items)
    yield from tqdm(results, total=len(items), desc=description, unit=f" {unit}", disable=not description, delay=1)
