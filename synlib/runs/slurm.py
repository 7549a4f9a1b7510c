"""Bring runs to their results on a Slurm cluster: one job per run, found again by a later call, never submitted twice.

A run's job is found in the queue by its working directory, the run's folder. A caller submits only while it holds the
run's lock, as a worker does, and the queue has no job there; jobs of one name, the run's id, run one after the other.
"""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd
import yaml
from tqdm import tqdm

from synlib.profile import ROOT
from synlib.runs.folder import RunDir
from synlib.runs.local import prepare
from synlib.runs.store import RunStore
from synlib.spec import Execution, RunSpec

QUERY_SECONDS, COMMAND_SECONDS = 15, 120  # between two looks into the queue, as administrators ask; for an answer
VISIBLE_SECONDS = {"COMPLETED": 90, "GONE": 90, "FAILED": 10, "DependencyNeverSatisfied": 60}
"""How long until the files of a job that ended so are seen here: a network file system looks again after a minute."""


@functools.cache
def words() -> dict[str, Any]:
    """What Slurm's words mean."""
    return yaml.safe_load(Path(__file__).with_name("slurm.yaml").read_text())


class SlurmError(RuntimeError):
    """A command of Slurm that is not there, or that ended with an error."""


class QueuedJob(NamedTuple):
    """A job as squeue shows it."""

    id: str
    state: str
    elapsed: str = ""
    node: str = ""
    reason: str = ""
    folder: str = ""  # its working directory, the run's folder

    @property
    def phase(self) -> str:
        """``over``, ``runs``, ``waits``; ``held`` or ``never``: a person has to act; ``unknown``: perhaps."""
        phase, reason = words()["states"].get(self.state, "unknown"), self.reason.replace("_", " ")
        fits = (name for name, forms in words()["reasons"].items() if re.fullmatch("|".join(forms), reason, re.I))
        return next(fits, "unknown") if phase == "waits" else phase

    def text(self, of: str) -> str:
        """What is said of the job in a phase, or of one that is over in a state."""
        return f"job {self.id} " + words()["texts"][of].format(**self._asdict())


def command(*line: str) -> str:
    """Standard output of a command. Raises SlurmError when there is no such command, or it fails, or hangs."""
    own = "SLURM_" if "SLURM_JOB_ID" in os.environ else ()  # sbatch would pass on what describes this job
    environment = {n: value for n, value in os.environ.items() if not n.startswith(own) or n == "SLURM_CONF"}
    quiet = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "env": environment}
    try:
        ended = subprocess.run(line, timeout=COMMAND_SECONDS, **quiet)
    except FileNotFoundError as error:
        raise SlurmError(f"{line[0]}: no such command; expected to be on a machine that submits to Slurm") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{line[0]} has not answered for {COMMAND_SECONDS} s") from error
    if ended.returncode:
        answer = " ".join((ended.stderr or ended.stdout).split()) or f"exit code {ended.returncode}"
        raise SlurmError(f"{line[0]} refused: {answer}")
    return ended.stdout


def queued_jobs(*options: str) -> dict[str, QueuedJob]:
    """This user's jobs by number, also those that ended a few minutes ago. Raises SlurmError."""
    answer = command("squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%M|%N|%r|%Z", *options)
    rows = [line.strip().split("|", 5) for line in answer.splitlines()]
    return {row[0]: QueuedJob(*row) for row in rows if len(row) == 6}  # other lines are warnings


def in_queue(store: RunStore, jobs: dict[str, QueuedJob]) -> dict[str, QueuedJob]:
    """Run id -> its job that runs or will, for all runs of the store."""
    folders = {Path(job.folder): job for job in jobs.values() if job.phase != "over"}
    return {folder.name: job for folder, job in folders.items() if folder.parent == store.root}


@dataclass
class SlurmJob:
    """A run's job in the queue: what :class:`synlib.runs.local.WorkerProcess` is on this machine."""

    run: RunDir
    id: str
    executor: "SlurmExecutor"
    over_since: float = 0.0

    job = property(lambda self: self.executor.jobs.get(self.id, QueuedJob(self.id, "GONE")))
    phase = property(lambda self: self.job.phase)

    def ended(self) -> bool:
        """Whether the job is over and what it has left can be seen from here, or whether a person has to act."""
        self.executor.refresh()
        job = self.job
        if job.phase == "unknown":
            self.executor.say(f"{job.id} {job.reason}", job.text("unknown"))
        if job.phase in ("runs", "waits", "unknown"):
            return False
        self.over_since = self.over_since or time.monotonic()
        with contextlib.suppress(OSError):
            os.listdir(self.run.path)  # makes a network file system look again
        seconds = VISIBLE_SECONDS.get(job.state if job.phase == "over" else job.reason, 0)
        return time.monotonic() - self.over_since >= seconds or self.run.has_result() or bool(self.run.failure())

    def reason(self) -> str:
        """Why the job has left no result, and what it said last."""
        state, why, said = self.job.state, self.job.reason, ""
        if self.phase != "over":
            return self.job.text(self.phase)
        with contextlib.suppress(OSError):
            text = self.run.output_path.read_text(errors="replace")
            said = "".join(text.rpartition(f"job {self.id} on ")[1:])  # without what earlier jobs of the run have left
        if state == "FAILED" and re.search(words()["out_of_memory"], said, re.IGNORECASE):
            state = "OUT_OF_MEMORY"
        end = self.job.text(state) + ("" if why in ("", "None") else f" ({why})")
        if failure := self.run.failure():
            end = f"job {self.id} failed: {failure}"
        if not said:
            return f"{end}; its log cannot be seen from here (yet)"
        return "\n    ".join([end, "the last lines of its log:", *said.splitlines()[-8:]])


class SlurmExecutor:
    """Submits a job for each run, or finds the one that it has. Raises SlurmError without a cluster in reach."""

    queues, places = True, sys.maxsize

    def __init__(self, store: RunStore, execution: Execution) -> None:
        self.store, self.execution, self.said = store, execution, set()
        found = re.search(r"^ClusterName\s*=\s*(\S+)", command("scontrol", "show", "config"), re.MULTILINE)
        self.cluster = found[1] if found else ""
        self.jobs, self.asked = queued_jobs(), time.monotonic()  # jobs: when it last answered

    def refresh(self) -> None:
        """Look into the queue again if it is time to; while it does not answer, ``jobs`` stay as they were."""
        if time.monotonic() - self.asked < QUERY_SECONDS:
            return
        self.asked = time.monotonic()
        try:
            self.jobs = queued_jobs()
            self.said.discard("queue")
        except SlurmError as error:
            self.say("queue", f"the cluster's queue does not answer ({error}); waiting for it")

    def say(self, about: str, text: str) -> None:
        """On standard error, once about the same."""
        if about not in self.said:
            tqdm.write(text, file=sys.stderr)
        self.said.add(about)

    def start(self, spec: RunSpec, active: Sequence[SlurmJob]) -> SlurmJob:
        """The run's job, submitted if the queue has none. Raises SlurmError, and what :func:`prepare` does."""
        run = self.store.run(spec)
        record = run.read("slurm.json") or {}
        if record.get("cluster", self.cluster) != self.cluster:
            found = f"found job {record.get('job')} of cluster {record['cluster']}, and this is {self.cluster}"
            raise ValueError(f"{run.path / 'slurm.json'}: {found}; go on there, or delete the file if that job is over")
        job = in_queue(self.store, self.jobs).get(spec.run_id) or self._submitted(spec, run)
        self.jobs[job.id] = job
        return SlurmJob(run, job.id, self)

    def _submitted(self, spec: RunSpec, run: RunDir) -> QueuedJob:
        with prepare(spec, self.store, self.execution):
            if found := in_queue(self.store, queued_jobs(f"--name={spec.run_id}")).get(spec.run_id):
                return found  # of a caller that was faster
            (run.path / "job.sh").write_text(script(run, self.execution))
            initial = in_queue(self.store, self.jobs).get(spec.initial_run)
            dependency = "--dependency=singleton" + (f",afterok:{initial.id}" if initial else "")
            job_id = command("sbatch", "--parsable", dependency, str(run.path / "job.sh")).strip().partition(";")[0]
            run.write("slurm.json", {"job": job_id, "cluster": self.cluster})
        return QueuedJob(job_id, "PENDING", folder=str(run.path))

    def leave(self, active: Sequence[SlurmJob]) -> None:
        """The caller goes: its jobs do not."""
        if active:
            what = "the same command finds them, `python -m synlib runs` shows and `python -m synlib cancel` ends them"
            tqdm.write(f"{len(active)} jobs stay in the queue; {what}", sys.stderr)


def script(run: RunDir, execution: Execution) -> str:
    """The job script of a run, from the template ``job.sh``."""
    template = Path(__file__).with_name("job.sh").read_text()
    shell = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    # In double quotes, as both the shell and sbatch read them.
    shell.filters["quoted"] = lambda value: '"' + re.sub(r'([\\"$`])', r"\\\1", str(value)) + '"'
    return shell.from_string(template).render(run=run, code=ROOT, python=sys.executable, execution=execution)


def cancel(store: RunStore, run_ids: Sequence[str]) -> dict[str, QueuedJob]:
    """Take the jobs of these runs, or of all, out of the queue, and return them; trainings save their state first."""
    jobs = in_queue(store, queued_jobs())
    ids = [store.run(run_id).path.name for run_id in run_ids] or list(jobs)
    if unknown := [run_id for run_id in ids if run_id not in jobs]:
        raise ValueError(f"run {unknown[0]}: no job in the queue; `python -m synlib runs` lists those that have one")
    chosen = {run_id: jobs[run_id] for run_id in ids}
    if chosen:
        command("scancel", *(job.id for job in chosen.values()))
    return chosen


def queue_columns(store: RunStore) -> pd.DataFrame:
    """One row per run in the queue: ``run``, ``job``, ``queue`` (its state there), ``node``, ``elapsed``; or none."""
    jobs = in_queue(store, queued_jobs()) if shutil.which("squeue") and any(store.root.glob("*/slurm.json")) else {}
    table = pd.DataFrame(jobs.values(), columns=QueuedJob._fields).assign(run=list(jobs))
    table["queue"] = [j.state.lower() + f" ({j.reason})" * (j.phase != "runs") for j in jobs.values()]
    return table.rename(columns={"id": "job"})[["run", "job", "queue", "node", "elapsed"]]
