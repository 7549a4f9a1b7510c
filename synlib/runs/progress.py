"""How far the runs of a call are: one bar in a terminal or notebook, a line now and then in a log file."""

import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import tqdm.notebook
from tqdm.auto import tqdm as auto

from synlib.runs.folder import RunDir
from synlib.runs.store import RunStore
from synlib.spec import RunSpec

UPDATE_SECONDS, LINE_SECONDS = 1, 60  # between two updates of a bar; between two lines where standard error is a file
LINE = "{desc}; {percentage:.0f} % of the training, {remaining} left{postfix}"


class Progress:
    """A bar over the images of those of ``specs`` that had not ended before. ``ended``: run id -> its outcome."""

    def __init__(self, specs: Mapping[str, RunSpec], store: RunStore, ended: Mapping[str, Any]) -> None:
        self.specs = {run_id: spec for run_id, spec in specs.items() if run_id not in ended}
        self.store, self.runs = store, len(specs)
        live = sys.stderr.isatty() or issubclass(auto, tqdm.notebook.tqdm)
        self.period_s = UPDATE_SECONDS if live else LINE_SECONDS
        # In a file, each state of the bar is a line of its own.
        lines = SimpleNamespace(write=lambda text: text.strip() and print(text.strip(), file=sys.stderr, flush=True))
        form = {"dynamic_ncols": True} if live else {"file": lines, "bar_format": LINE}
        form |= {"desc": self._counts(ended), "unit": "image", "unit_scale": True, "smoothing": 0}
        done, total = self._images(ended)
        self.bar = auto(total=total, initial=done, **form)
        self.shown, self.ended, self.told = time.monotonic(), len(ended), set[str]()

    def update(self, ended: Mapping[str, Any], running: Collection[RunDir], queued: int) -> None:
        """Show how far all runs are, when one has ended or it is time to; ``queued``: in a cluster's queue."""
        if len(ended) == self.ended and time.monotonic() - self.shown < self.period_s:
            return
        self.shown, self.ended = time.monotonic(), len(ended)
        self.bar.n, self.bar.total = self._images(ended)
        self.bar.set_description_str(self._counts(ended, queued), refresh=False)
        form = "{}: {stage} {done}/{total}".format
        at_hand = {run.path.name: run.progress() for run in running}
        for name in {name for name, at in at_hand.items() if at.get("slow")} - self.told:
            self.bar.write(f"run {name}: {at_hand[name]['slow']}", file=sys.stderr)
            self.told.add(name)
        self.bar.set_postfix_str("; ".join(form(n, **at) if at else f"{n}: starting" for n, at in at_hand.items()))

    def _images(self, ended: Mapping[str, Any]) -> tuple[int, int]:
        """Images trained on, and of all: what a failed run has not done is not work that is left."""
        done = total = 0
        for run_id, spec in self.specs.items():
            trained = self.store.run(run_id).iterations_done(spec.schedule.iterations) * spec.batch_size
            failed = run_id in ended and ended[run_id].failed
            done += spec.training_images if run_id in ended and not failed else trained
            total += trained if failed else spec.training_images
        return done, total

    def _counts(self, ended: Mapping[str, Any], queued: int = 0) -> str:
        lacking = Counter(outcome.state for outcome in ended.values() if outcome.failed)
        more = "".join(f", {count} {what}" for what, count in (lacking | Counter({"in the queue": queued})).items())
        return f"{len(ended) - lacking.total()} of {self.runs} runs done{more}"
