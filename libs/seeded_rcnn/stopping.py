"""Stop a training without losing work: asked to by SIGTERM, it ends after the iteration at hand, with a checkpoint.

SIGTERM is what a launcher sends that is interrupted, and a cluster that needs the node or whose time is up.
"""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator

from detectron2.checkpoint import Checkpointer
from detectron2.engine import HookBase
from detectron2.utils import comm


class StopHook(HookBase):
    """Raise KeyboardInterrupt after the iteration in which SIGTERM came, once the main process has saved it.

    The other processes of a training go on meanwhile: the main one may need them for the iteration at hand. When it has
    left, they fail or are ended, which is then no fault of the run. To be registered after the hooks that change what
    is saved.
    """

    def __init__(self, checkpointer: Checkpointer) -> None:
        self.checkpointer, self.asked = checkpointer, False

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
            raise KeyboardInterrupt("asked to stop")  # in place of the error that the main process' leaving has caused

    def _ask(self, *_: object) -> None:
        self.asked = True


def leave_stopping_to_the_main_process(_: int) -> None:
    """For loading processes, which get the signal too and would fail the training with their end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def ending_loading_processes() -> Iterator[None]:
    """Kill at the end what an error has left of them: Python would ask them to end, which they ignore, and wait."""
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch takes their end for another error
        for process in multiprocessing.active_children():
            if isinstance(process, multiprocessing.Process):  # and not another library's, such as joblib's
                process.kill()
