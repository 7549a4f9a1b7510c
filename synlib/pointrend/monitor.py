"""How a run is doing: its ``status.json``. Nothing here changes a number of the training."""

import time

from detectron2.utils import comm

from synlib.runs.folder import RunDir, stop_without_launcher


class Status:
    """Keeps ``status.json`` of ``run`` up to date, at most once per second, from the main process.

    Raises KeyboardInterrupt when the process that launched this one has died.
    """

    def __init__(self, run: RunDir, stage: str, total: int, done: int = 0) -> None:
        self.run, self.stage, self.total, self.first = run, stage, total, done
        self.started = time.monotonic()
        self._write(done)

    def update(self, done: int) -> None:
        if time.monotonic() - self.written >= 1 or done == self.total:
            stop_without_launcher()
            self._write(done)

    def _write(self, done: int) -> None:
        self.written = time.monotonic()
        rate = (done - self.first) / (self.written - self.started) if done > self.first else None
        if comm.is_main_process():
            content = {"stage": self.stage, "done": done, "total": self.total, "per_second": rate}
            self.run.write("status.json", content)
