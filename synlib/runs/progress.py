"""How far a plan is: one bar over all its runs in a terminal or notebook, a line now and then in a log file."""

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Self

import tqdm.notebook
from tqdm.auto import tqdm as auto

from scapes import cityscapes
from synlib.runs.folder import RunDir
from synlib.runs.order import training_images
from synlib.runs.store import RunStore
from synlib.spec import Execution, RunSpec

UPDATE_SECONDS = 1
LINE_SECONDS = 60
"""Between two lines where standard error is a file."""


class Progress:
    """Images processed of all that ``specs`` have to process, whatever is done already included.

    An image of an iteration counts as much as one that is evaluated, which is about what they cost: a step backward
    here, pasting and matching masks there. The remaining time follows from the images a second of this call.
    ``before``: runs of the plan that were done already and are not among ``specs``.
    """

    def __init__(self, specs: Sequence[RunSpec], store: RunStore, job: Execution, before: int = 0) -> None:
        self.specs = {spec.run_id: spec for spec in specs}
        self.store, self.job = store, job
        self.sizes = {on.name: len(cityscapes.read_images(on.root, on.split)) for on in job.evaluate_on}
        self.totals = {spec.run_id: training_images(spec) + sum(self.sizes.values()) for spec in specs}
        self.done = {run_id: self._images_done(run_id) for run_id in self.specs}
        self.runs, self.runs_done, self.runs_failed = before + len(specs), before, 0
        self.live = sys.stderr.isatty() or issubclass(auto, tqdm.notebook.tqdm)
        self.begun, self.started = sum(self.done.values()), time.monotonic()
        self.shown = -float("inf")

    def __enter__(self) -> Self:
        self.bar = auto(
            total=sum(self.totals.values()), initial=self.begun, unit="image", unit_scale=True, smoothing=0,
            miniters=0, mininterval=0, dynamic_ncols=True, disable=not self.live,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def end(self, run_id: str, done: bool) -> None:
        """The run takes no more part: all of it is ``done``, or the rest of it never will be."""
        if done:
            self.runs_done += 1
            self.done[run_id] = self.totals[run_id]
        else:
            self.runs_failed += 1
            self.totals[run_id] = self.done[run_id]
        self.shown = min(self.shown, time.monotonic() - (UPDATE_SECONDS if self.live else LINE_SECONDS))

    def update(self, active: Iterable[RunDir], queued: int = 0) -> None:
        """Show where all runs are, if it is time to; ``active`` are those being worked on, ``queued`` wait to be."""
        if time.monotonic() - self.shown < (UPDATE_SECONDS if self.live else LINE_SECONDS):
            return
        self.shown = time.monotonic()
        stages = []
        for run in active:
            self.done[run.path.name] = self._images_done(run.path.name)
            stages.append(stage(run))
        failed = f", {self.runs_failed} failed" if self.runs_failed else ""
        waiting = f", {queued} in the queue" if queued else ""
        counts = f"{self.runs_done} of {self.runs} runs done{failed}{waiting}"
        if self.live:
            self.bar.total = sum(self.totals.values())
            self.bar.set_description_str(counts, refresh=False)
            self.bar.set_postfix_str("; ".join(stages), refresh=False)
            self.bar.update(sum(self.done.values()) - self.bar.n)
        else:
            print("; ".join([counts, self._remaining(), *stages]), file=sys.stderr, flush=True)

    def _remaining(self) -> str:
        done, total = sum(self.done.values()), sum(self.totals.values())
        elapsed = time.monotonic() - self.started
        left = auto.format_interval(elapsed * (total - done) / (done - self.begun)) if done > self.begun else "?"
        return f"{100 * done // max(total, 1)} % of the work, {left} left"

    def _images_done(self, run_id: str) -> int:
        spec, run = self.specs[run_id], self.store.run(run_id)
        images = run.iterations_done(spec.schedule.iterations) * spec.batch_size
        at_hand = run.progress()
        for on in self.job.evaluate_on:
            if (run.evaluation(on.name) / "result.json").exists():
                images += self.sizes[on.name]
            elif at_hand and at_hand["stage"] == f"evaluate on {on.name}":
                images += min(at_hand["done"], self.sizes[on.name])
        return images


def stage(run: RunDir) -> str:
    """What a run is at: ``1ebeb0029c5a: train 300/800``."""
    at_hand = run.progress()
    return f"{run.path.name}: " + (
        f"{at_hand['stage']} {at_hand['done']}/{at_hand['total']}" if at_hand else "starting"
    )
