"""Stop a training without losing work: on SIGTERM, as launchers and clusters send it, with a checkpoint."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator

from detectron2.checkpoint import Checkpointer
from detectron2.engine import HookBase
from detectron2.utils import comm


class StopHook(HookBase):
    """Raise KeyboardInterrupt after the iteration in which SIGTERM came, once the main process has saved it.

    The other processes continue, since it may need them for the current iteration, and fail or are ended when it has
    left: no failure of the run. Register this hook after those that change what is saved.
    """

    def __init__(self, checkpointer: Checkpointer) -> None:
        self.checkpointer = checkpointer

    def before_train(self) -> None:
        self.asked = False
        self.previous = signal.signal(signal.SIGTERM, self._ask)

    def after_step(self) -> None:
        iteration = self.trainer.iter
        if self.asked and comm.is_main_process() and iteration + 1 < self.trainer.max_iter:
            self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
            raise KeyboardInterrupt(f"asked to stop; saved after iteration {iteration}")

    def after_train(self) -> None:
        signal.signal(signal.SIGTERM, self.previous)
        if self.asked and not comm.is_main_process() and self.trainer.iter < self.trainer.max_iter:
            raise KeyboardInterrupt("asked to stop")  # instead of the error that the main process's exit has caused

    def _ask(self, *_: object) -> None:
        self.asked = True


def ignore_sigterm(_: int) -> None:
    """``worker_init_fn``: loader workers get the signal too, and their death would abort the training."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def ending_loader_workers() -> Iterator[None]:
    """Kill loader workers that an error has left: Python would send SIGTERM, which they ignore, and wait for them."""
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would report their end as another error
        for process in multiprocessing.active_children():
            if isinstance(process, multiprocessing.Process):  # and not one of another library, such as joblib
                process.kill()
