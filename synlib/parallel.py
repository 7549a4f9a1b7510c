"""Run one function over many items in worker processes, with a progress bar."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_items(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    description: str = "",
    unit: str = "image",
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order, computed by ``workers`` processes (default: one a core).

    ``function`` must be importable (defined at the top of a module). With one worker, or few items, everything runs in
    this process. Workers start from a fresh server process, because forking one that holds threads can dead-lock.
    The progress bar shows a rate and the remaining time.
    """
    workers = workers or os.cpu_count() or 1
    bar = tqdm(total=len(items), desc=description, unit=unit, disable=not description, delay=1)
    with bar:
        if workers == 1 or len(items) < 4 * workers:
            for item in items:
                yield function(item)
                bar.update()
            return
        chunk = max(1, min(32, len(items) // (workers * 8)))
        with ProcessPoolExecutor(
            workers, multiprocessing.get_context("forkserver"), initializer=_one_thread
        ) as pool:
            try:
                for result in pool.map(function, items, chunksize=chunk):
                    yield result
                    bar.update()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _one_thread() -> None:
    """One OpenCV thread a worker: the processes already use every core."""
    import cv2

    cv2.setNumThreads(0)
