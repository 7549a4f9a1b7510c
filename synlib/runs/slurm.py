"""Bring runs to their results on a Slurm cluster: one job per run, found again by a later call, never submitted twice.

Nothing is remembered but the run's folder, which is also its job's working directory: the queue is asked for the job in
it. Two workers never work on one run, because a caller submits only while it holds the run's lock and the queue has no
job in the run's folder; Slurm itself runs jobs of the same name, the run's id, one after the other; and a worker takes
the run's lock. Plain scripts rather than the library submitit, which pickles a function and needs an accounting
database: ``job.sh`` is there to be read.
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
COMMON = Path(__file__).with_name("job.sh")
LOG_LINES, LOG_BYTES = 8, 16384
VISIBLE_SECONDS = {"COMPLETED": 90, "FAILED": 10}
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


class SlurmError(RuntimeError):
    """A command of Slurm that is not there, or that ended with an error."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as squeue shows it. ``elapsed`` is squeue's text; ``folder`` the job's working directory, the run's."""

    id: str
    state: str
    elapsed: str = ""
    node: str = ""
    reason: str = ""
    folder: str = ""

    @property
    def active(self) -> bool:
        """Whether it runs, or will."""
        return self.state not in ENDS

    @property
    def waits(self) -> bool:
        return self.active and self.state not in ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT")

    @property
    def stuck(self) -> bool:
        """Whether Slurm holds it back until a person decides, since it could not be started on its node."""
        reason = self.reason.lower().replace("_", " ")
        return self.state == "PENDING" and ("launch failed" in reason or "requeued in held state" in reason)


def command(*line: str) -> str:
    """Standard output of a command. Raises SlurmError when there is no such command, or it fails, or hangs."""
    if shutil.which(line[0]) is None:
        raise SlurmError(f"{line[0]}: no such command; expected to be on a machine that submits to a Slurm cluster")
    # Inside a job, sbatch would pass on the variables that describe that job.
    inside = "SLURM_JOB_ID" in os.environ
    kept = {n: v for n, v in os.environ.items() if not (inside and n.startswith("SLURM_") and n != "SLURM_CONF")}
    try:
        ended = subprocess.run(
            line, timeout=COMMAND_SECONDS, env=kept, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{line[0]} has not answered for {COMMAND_SECONDS} s") from error
    if ended.returncode:
        answer = " ".join((ended.stderr or ended.stdout).split()) or f"exit code {ended.returncode}"
        raise SlurmError(f"{line[0]} refused: {answer}")
    return ended.stdout


def queued_jobs(*options: str) -> dict[str, QueuedJob]:
    """This user's jobs by number, also those that ended a few minutes ago. Raises SlurmError."""
    lines = command("squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%M|%N|%r|%Z", *options).splitlines()
    rows = [line.strip().split("|", 5) for line in lines]
    return {row[0]: QueuedJob(*row) for row in rows if len(row) == 6}  # other lines are warnings


def job_in(folder: Path, jobs: dict[str, QueuedJob]) -> QueuedJob | None:
    """The job of the run in ``folder`` that runs or will."""
    return next((job for job in jobs.values() if job.active and job.folder == str(folder)), None)


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
        return self.job.waits

    def ended(self) -> bool:
        """Whether the job is over, and what it has left can be seen from here."""
        self.executor.refresh()
        if self.job.active:
            return self.job.stuck
        self.over_since = self.over_since or time.monotonic()
        with contextlib.suppress(OSError):
            os.listdir(self.run.path)  # makes a network file system look again
        if self.run.has_result() or self.run.failure():
            return True
        state = "COMPLETED" if self.job.state == "GONE" else self.job.state
        return time.monotonic() - self.over_since >= VISIBLE_SECONDS.get(state, 0)

    def reason(self) -> str:
        """Why the job has left no result, and what it said last."""
        if self.job.stuck:
            free = f"`scontrol release {self.id}` tries again, or cancel it"
            return f"job {self.id} is held back ({self.job.reason}): {free}"
        said, failure = self._said(), self.run.failure()
        end = f"failed: {failure}" if failure else self._end(said or "")
        if said is None:
            return f"job {self.id} {end}; its log cannot be seen from here (yet)"
        return "\n    ".join([f"job {self.id} {end}", "the last lines of its log:", *said.splitlines()[-LOG_LINES:]])

    def _end(self, said: str) -> str:
        """How the job ended, by its state; where Slurm only knows that it failed, by what it said."""
        state, reason = self.job.state, self.job.reason
        if state == "FAILED" and re.search("oom.kill|exceeded (job )?memory limit", said, re.IGNORECASE):
            state = "OUT_OF_MEMORY"
        known = reason in ("None", "") or state in ("COMPLETED", "OUT_OF_MEMORY")
        return ENDS[state] + ("" if known else f" ({reason})")

    def _said(self) -> str | None:
        """The end of the log, without what earlier jobs of the run have left in it; None when it cannot be read."""
        try:
            with open(self.run.output_path, "rb") as file:
                file.seek(max(0, self.run.output_path.stat().st_size - LOG_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return None
        _, mark, own = text.rpartition(f"job {self.id} on ")
        return mark + own if mark else text


class SlurmExecutor:
    """Submits a job for each run, or finds the one that it has; the queue decides what runs when.

    Raises SlurmError when this machine cannot reach a cluster. ``jobs``: the queue as it was when it last answered.
    """

    queues, places = True, sys.maxsize

    def __init__(self, store: RunStore, execution: Execution) -> None:
        self.store, self.execution = store, execution
        found = re.search(r"^ClusterName\s*=\s*(\S+)", command("scontrol", "show", "config"), re.MULTILINE)
        self.cluster = found[1] if found else ""
        self.jobs, self.asked, self.silent = queued_jobs(), time.monotonic(), False

    def refresh(self) -> None:
        """Look into the queue again if it is time to; while it does not answer, it stays as it was."""
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
        """The run's job, which is submitted if the queue has none.

        Raises SlurmError when Slurm refuses it, RunBusyError, ValueError and OSError as WorkerProcess does.
        """
        run = self.store.run(spec)
        record = run.read("slurm.json") or {}
        if record.get("cluster", self.cluster) != self.cluster:
            raise ValueError(
                f"{run.path / 'slurm.json'}: found job {record.get('job')} of cluster {record['cluster']}, and this is "
                f"{self.cluster}; go on there, or delete the file if that job is over"
            )
        job = job_in(run.path, self.jobs) or self._submitted(spec, run)
        self.jobs[job.id] = job
        return SlurmJob(run, job.id, self)

    def _submitted(self, spec: RunSpec, run: RunDir) -> QueuedJob:
        execution = with_processes(self.execution)
        with prepare(spec, self.store, execution):
            if found := job_in(run.path, queued_jobs(f"--name={spec.run_id}")):  # of a caller that was faster
                return found
            (run.path / "job.sh").write_text(script(run, execution))
            initial = spec.initial_run and job_in(self.store.run(spec.initial_run).path, self.jobs)
            dependency = "--dependency=singleton" + (f",afterok:{initial.id}" if initial else "")
            job_id = command("sbatch", "--parsable", dependency, str(run.path / "job.sh")).strip().partition(";")[0]
            run.write("slurm.json", {"job": job_id, "cluster": self.cluster})
        return QueuedJob(job_id, "PENDING", folder=str(run.path))

    def leave(self, active: Sequence[SlurmJob]) -> None:
        """The caller goes: its jobs do not."""
        if active:
            tqdm.write(
                f"{len(active)} jobs stay in the queue; the same command finds them, `python -m synlib runs` shows "
                "them, `python -m synlib cancel` ends them",
                file=sys.stderr,
            )


def with_processes(execution: Execution) -> Execution:
    """``execution`` with one process for each GPU of its jobs. Raises ValueError when nodes cannot share them."""
    processes, nodes = execution.slurm.gpus or execution.processes, execution.slurm.nodes
    if processes % nodes:
        raise ValueError(f"execution.processes: found {processes}, expected a multiple of the {nodes} nodes")
    return execution.replace(processes=processes)


def script(run: RunDir, execution: Execution) -> str:
    """The job script of a run: its own lines, then those of all jobs. ``execution``: of :func:`with_processes`."""
    settings, folder = execution.slurm, str(run.path)
    on_node = execution.processes // settings.nodes
    cpus = max(1, settings.cpus // settings.nodes or on_node * (execution.threads + execution.loader_workers))
    given = {name: getattr(settings, name) for name in ("mem", "time", "partition", "account")}
    options = [
        f"--job-name={run.path.name}", f"--chdir={_quoted(folder)}",
        f"--output={_quoted(str(run.output_path).replace('%', '%%'))}", "--open-mode=append",
        f"--nodes={settings.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}",
        "--requeue", f"--signal=B:USR1@{settings.stop_before_s}", "--kill-on-invalid-dep=yes",
        *([f"--gpus-per-node={on_node}"] if settings.gpus else []),
        *(f"--{name}={value}" for name, value in given.items() if value), *settings.directives,
    ]  # fmt: skip
    torchrun = [
        "-m torch.distributed.run", f"--nnodes={settings.nodes} --nproc-per-node={on_node} --rdzv-backend=c10d",
        "--rdzv-id=$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}",
        '--rdzv-endpoint="$(hostname):$((20000 + SLURM_JOB_ID % 20000))"',
    ]  # fmt: skip
    worker = [_quoted(sys.executable), *(torchrun if execution.processes > 1 else []), "-m synlib.pointrend.worker"]
    lines = [
        "#!/bin/bash", *(f"#SBATCH {option}" for option in options), "",
        f"run={_quoted(folder)}", f"code={_quoted(ROOT)}", f"cpus={cpus}", f"worker=({' '.join(worker)})",
        f"export OMP_NUM_THREADS={execution.threads}",
        "setup() {", *(f"{line} || exit 1" for line in settings.setup), ":", "}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n" + COMMON.read_text()


def _quoted(value: object) -> str:
    """In double quotes, as both the shell and sbatch read them."""
    return '"' + re.sub(r'([\\"$`])', r"\\\1", str(value)) + '"'


def in_queue(store: RunStore) -> dict[str, QueuedJob]:
    """Run id -> its job that is waiting or running, for all runs of the store. Raises SlurmError."""
    jobs = {Path(job.folder): job for job in queued_jobs().values() if job.active}
    return {folder.name: job for folder, job in jobs.items() if folder.parent == store.root}


def cancel(store: RunStore, run_ids: Sequence[str] = ()) -> dict[str, QueuedJob]:
    """Take the jobs of these runs, or of all of the store, out of the queue; returns them by run.

    A training that is under way saves its state first. Raises ValueError for a run that has no job, SlurmError.
    """
    jobs = in_queue(store)
    for run_id in run_ids:
        if run_id not in jobs:
            raise ValueError(f"run {run_id}: no job in the queue; `python -m synlib runs` lists those that have one")
    chosen = {run_id: job for run_id, job in jobs.items() if not run_ids or run_id in run_ids}
    if chosen:
        command("scancel", *(job.id for job in chosen.values()))
    return chosen


def queue_columns(store: RunStore) -> pd.DataFrame:
    """``run``, ``job``, ``queue`` (its state there), ``node``, ``elapsed``: one row per run that has a job.

    Empty where there is no Slurm, or no run was ever submitted. To be merged with :meth:`RunStore.table`.
    """
    rows = []
    if shutil.which("squeue") and any(store.root.glob("*/slurm.json")):
        for run_id, job in in_queue(store).items():
            state = job.state.lower() + (f" ({job.reason})" if job.waits else "")
            rows.append((run_id, job.id, state, job.node, job.elapsed))
    return pd.DataFrame(rows, columns=["run", "job", "queue", "node", "elapsed"])
