"""How far the runs of a call are: one bar in a terminal or notebook, a line now and then in a log file."""

import sys
import time
from collections.abc import Collection, Sequence

import tqdm.notebook
from tqdm.auto import tqdm as auto

from synlib.runs.folder import RunDir
from synlib.runs.store import RunStore
from synlib.spec import RunSpec

UPDATE_SECONDS, LINE_SECONDS = 1, 60
"""Between two updates of a bar; between two lines where standard error is a file."""
LINE = "{desc}; {percentage:.0f} % of the training, {remaining} left{postfix}"


class Lines:
    """Standard error that is no terminal: each state of a bar becomes a line of its own."""

    def write(self, text: str) -> None:
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)


class Progress:
    """Images trained on, of all that ``specs`` need; tqdm estimates the time that is left.

    ``before``: how many runs were done already and are not among ``specs``.
    """

    def __init__(self, specs: Sequence[RunSpec], store: RunStore, before: int = 0) -> None:
        self.specs, self.store = {spec.run_id: spec for spec in specs}, store
        self.totals = {spec.run_id: spec.training_images for spec in specs}
        self.done = {run_id: self._images_done(run_id) for run_id in self.specs}
        self.runs, self.succeeded, self.failed = before + len(specs), before, 0
        live = sys.stderr.isatty() or issubclass(auto, tqdm.notebook.tqdm)
        self.period_s = UPDATE_SECONDS if live else LINE_SECONDS
        form = {"dynamic_ncols": True} if live else {"file": Lines(), "bar_format": LINE}
        self.bar = auto(desc=self._counts(), total=sum(self.totals.values()), initial=sum(self.done.values()),
                        unit="image", unit_scale=True, smoothing=0, **form)  # fmt: skip
        self.shown = time.monotonic()

    def end(self, run_id: str, *, failed: bool) -> None:
        """The run takes no more part: all of its work is done, or the rest of it never will be."""
        self.failed, self.succeeded = self.failed + failed, self.succeeded + (not failed)
        if failed:
            self.totals[run_id] = self.done[run_id]
        else:
            self.done[run_id] = self.totals[run_id]
        self.shown = -float("inf")

    def update(self, running: Collection[RunDir], queued: int = 0) -> None:
        """Show how far all runs are, if it is time to; ``queued`` runs wait in a cluster's queue."""
        if time.monotonic() - self.shown < self.period_s:
            return
        self.shown = time.monotonic()
        self.done |= {run.path.name: self._images_done(run.path.name) for run in running}
        self.bar.n, self.bar.total = sum(self.done.values()), sum(self.totals.values())
        self.bar.set_description_str(self._counts(queued), refresh=False)
        self.bar.set_postfix_str("; ".join(f"{run.path.name}: {run.stage()}" for run in running))

    def _counts(self, queued: int = 0) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        waiting = f", {queued} in the queue" if queued else ""
        return f"{self.succeeded} of {self.runs} runs done{failed}{waiting}"

    def _images_done(self, run_id: str) -> int:
        spec = self.specs[run_id]
        return self.store.run(run_id).iterations_done(spec.schedule.iterations) * spec.batch_size
