"""How a run is doing: its ``status.json``. Nothing here changes a number of the training."""

import logging
import time

from detectron2.utils import comm

from synlib.runs.folder import RunDir, stop_without_launcher


class Status:
    """Keeps ``status.json`` of ``run`` up to date, at most once per second, from the main process.

    Raises KeyboardInterrupt when the process that launched this one has died.
    """

    def __init__(self, run: RunDir, stage: str, total: int, done: int = 0) -> None:
        self.run, self.stage, self.total, self.first = run, stage, total, done
        self.started, self.slow = time.monotonic(), ""
        self._write(done)

    def update(self, done: int) -> None:
        if time.monotonic() - self.written >= 1 or done == self.total:
            stop_without_launcher()
            self._write(done)

    def wait(self, slow: str) -> None:
        """Called while data are awaited; ``slow``: what takes long. It is logged, and the launcher tells it."""
        stop_without_launcher()
        said, self.slow = self.slow, slow
        if slow and not said:
            logging.getLogger(__name__).warning("%s", slow)
            self._write(self.done)

    def _write(self, done: int) -> None:
        self.written, self.done = time.monotonic(), done
        rate = (done - self.first) / (self.written - self.started) if done > self.first else None
        if comm.is_main_process() or self.slow:
            content = {"stage": self.stage, "done": done, "total": self.total, "per_second": rate}
            self.run.write("status.json", content | {"slow": self.slow})
