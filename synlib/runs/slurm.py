"""Bring runs to their results on a Slurm cluster: one job per run, found again by a later call, never submitted twice.

A run's job is found in the queue by its working directory, the run's folder. A caller submits only while it holds the
run's lock and the queue has no job there; Slurm runs jobs of one name, the run's id, one after the other; and a worker
takes the run's lock.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jinja2
import pandas as pd
from tqdm import tqdm

from synlib.profile import ROOT
from synlib.runs.folder import RunDir
from synlib.runs.local import prepare
from synlib.runs.store import RunStore
from synlib.spec import Execution, RunSpec

QUERY_SECONDS = 15
"""Between two looks into the queue: administrators ask not to be polled more often."""
COMMAND_SECONDS = 120
VISIBLE_SECONDS = {"COMPLETED": 90, "GONE": 90, "FAILED": 10}
"""How long until the files of a job that ended so are seen here: a network file system looks again after a minute."""
ENDS = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "was cancelled",
    "COMPLETED": "ended without a result",
    "DEADLINE": "missed its deadline",
    "FAILED": "failed",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "was killed for using more memory than it asked for: raise execution.slurm.mem",
    "PREEMPTED": "was displaced by another job and not put back into the queue",
    "TIMEOUT": "was ended by its time limit: raise execution.slurm.time or stop_before_s",
    "GONE": "is gone from the queue",
}
"""States of jobs that are over. A job in any other state runs, or will."""
RUNS = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT")


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
        """``over``, ``runs``, ``waits``, or ``held``: it could not be started, and a person has to decide."""
        if self.state in ENDS or self.state in RUNS:
            return "over" if self.state in ENDS else "runs"
        held = re.search("launch failed|requeued in held state", self.reason.replace("_", " "), re.IGNORECASE)
        return "held" if held and self.state == "PENDING" else "waits"


def command(*line: str) -> str:
    """Standard output of a command. Raises SlurmError when there is no such command, or it fails, or hangs."""
    environment = dict(os.environ)
    if "SLURM_JOB_ID" in environment:  # sbatch would pass on the variables that describe the job that this is in
        environment = {n: v for n, v in environment.items() if not n.startswith("SLURM_") or n == "SLURM_CONF"}
    quiet = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    try:
        ended = subprocess.run(line, timeout=COMMAND_SECONDS, env=environment, **quiet)
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

    @property
    def job(self) -> QueuedJob:
        return self.executor.jobs.get(self.id, QueuedJob(self.id, "GONE"))

    @property
    def queued(self) -> bool:
        return self.job.phase == "waits"

    def ended(self) -> bool:
        """Whether the job is over, and what it has left can be seen from here."""
        self.executor.refresh()
        if self.job.phase != "over":
            return self.job.phase == "held"
        self.over_since = self.over_since or time.monotonic()
        with contextlib.suppress(OSError):
            os.listdir(self.run.path)  # makes a network file system look again
        waited = time.monotonic() - self.over_since >= VISIBLE_SECONDS.get(self.job.state, 0)
        return waited or self.run.has_result() or self.run.failure() is not None

    def reason(self) -> str:
        """Why the job has left no result, and what it said last."""
        state, why, said = self.job.state, self.job.reason, ""
        if self.job.phase == "held":
            return f"job {self.id} is held back ({why}): `scontrol release {self.id}` tries again, or cancel it"
        with contextlib.suppress(OSError):
            text = self.run.output_path.read_text(errors="replace")
            said = "".join(text.rpartition(f"job {self.id} on ")[1:])  # without what earlier jobs of the run have left
        if state == "FAILED" and re.search("oom.kill|exceeded (job )?memory limit", said, re.IGNORECASE):
            state = "OUT_OF_MEMORY"  # Slurm only knows that it failed
        end = f"job {self.id} {ENDS[state]}" + ("" if why in ("", "None") else f" ({why})")
        if failure := self.run.failure():
            end = f"job {self.id} failed: {failure}"
        if not said:
            return f"{end}; its log cannot be seen from here (yet)"
        return "\n    ".join([end, "the last lines of its log:", *said.splitlines()[-8:]])


class SlurmExecutor:
    """Submits a job for each run, or finds the one that it has. Raises SlurmError without a cluster in reach."""

    queues, places = True, sys.maxsize

    def __init__(self, store: RunStore, execution: Execution) -> None:
        self.store, self.execution = store, execution
        found = re.search(r"^ClusterName\s*=\s*(\S+)", command("scontrol", "show", "config"), re.MULTILINE)
        self.cluster = found[1] if found else ""
        self.jobs, self.asked, self.silent = queued_jobs(), time.monotonic(), False  # jobs: when it last answered

    def refresh(self) -> None:
        """Look into the queue again if it is time to; while it does not answer, ``jobs`` stay as they were."""
        if time.monotonic() - self.asked < QUERY_SECONDS:
            return
        self.asked = time.monotonic()
        try:
            self.jobs, self.silent = queued_jobs(), False
        except SlurmError as error:
            if not self.silent:
                tqdm.write(f"the cluster's queue does not answer ({error}); waiting for it", file=sys.stderr)
            self.silent = True

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
        execution = with_processes(self.execution)
        with prepare(spec, self.store, execution):
            if found := in_queue(self.store, queued_jobs(f"--name={spec.run_id}")).get(spec.run_id):
                return found  # of a caller that was faster
            (run.path / "job.sh").write_text(script(run, execution))
            initial = in_queue(self.store, self.jobs).get(spec.initial_run)
            dependency = "--dependency=singleton" + (f",afterok:{initial.id}" if initial else "")
            job_id = command("sbatch", "--parsable", dependency, str(run.path / "job.sh")).strip().partition(";")[0]
            run.write("slurm.json", {"job": job_id, "cluster": self.cluster})
        return QueuedJob(job_id, "PENDING", folder=str(run.path))

    def leave(self, active: Sequence[SlurmJob]) -> None:
        """The caller goes: its jobs do not."""
        if active:
            commands = "`python -m synlib runs` shows them, `python -m synlib cancel` ends them"
            tqdm.write(f"{len(active)} jobs stay in the queue; the same command finds them, {commands}", sys.stderr)


def with_processes(execution: Execution) -> Execution:
    """``execution`` with one process for each GPU of its jobs. Raises ValueError when nodes cannot share them."""
    processes, nodes = execution.slurm.gpus or execution.processes, execution.slurm.nodes
    if processes % nodes:
        raise ValueError(f"execution.processes: found {processes}, expected a multiple of the {nodes} nodes")
    return execution.replace(processes=processes)


def script(run: RunDir, execution: Execution) -> str:
    """The job script of a run, from the template ``job.sh``. ``execution``: of :func:`with_processes`."""
    settings, on_node = execution.slurm, execution.processes // execution.slurm.nodes
    cpus = max(1, settings.cpus // settings.nodes or on_node * (execution.threads + execution.loader_workers))
    template = Path(__file__).with_name("job.sh").read_text()
    shell = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    # In double quotes, as both the shell and sbatch read them.
    shell.filters["quoted"] = lambda value: '"' + re.sub(r'([\\"$`])', r"\\\1", str(value)) + '"'
    given = {"execution": execution, "settings": settings, "on_node": on_node, "cpus": cpus}
    return shell.from_string(template).render(run=run, code=ROOT, python=sys.executable, **given)


def cancel(store: RunStore, run_ids: Sequence[str]) -> dict[str, QueuedJob]:
    """Take the jobs of these runs, or of all, out of the queue; trainings save their state first. Returns them by run.

    Raises ValueError for a run that has no job, SlurmError.
    """
    jobs = in_queue(store, queued_jobs())
    if unknown := [run_id for run_id in run_ids if run_id not in jobs]:
        raise ValueError(f"run {unknown[0]}: no job in the queue; `python -m synlib runs` lists those that have one")
    chosen = {run_id: jobs[run_id] for run_id in run_ids or jobs}
    if chosen:
        command("scancel", *(job.id for job in chosen.values()))
    return chosen


def queue_columns(store: RunStore) -> pd.DataFrame:
    """One row per run in the queue: ``run``, ``job``, ``queue`` (its state there), ``node``, ``elapsed``; or none."""
    submitted = shutil.which("squeue") and any(store.root.glob("*/slurm.json"))
    rows = []
    for run_id, job in (in_queue(store, queued_jobs()) if submitted else {}).items():
        why = "" if job.phase == "runs" else f" ({job.reason})"
        rows.append((run_id, job.id, job.state.lower() + why, job.node, job.elapsed))
    return pd.DataFrame(rows, columns=["run", "job", "queue", "node", "elapsed"])
