"""Run one function over many items in worker processes, with a progress bar."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
    if workers == 1 or len(items) < 4 * workers:
        results = map(function, items)
    else:
        pool = Parallel(n_jobs=workers, return_as="generator", batch_size=max(1, min(16, len(items) // (8 * workers))))

        def call(item: Any) -> Any:
            cv2.setNumThreads(1)  # the processes already use every core
            return function(item)

        results = pool(delayed(call)(item) for item in items)
    yield from tqdm(results, total=len(items), desc=description, unit=f" {unit}", disable=not description, delay=1)
