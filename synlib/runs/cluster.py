"""Slurm's commands: submit a job, look into the queue, cancel. What Slurm answers to a refusal is in the error."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

QUERY_SECONDS = 15
"""Between two looks into the queue: administrators ask not to be polled more often."""
COMMAND_SECONDS = 120
ACTIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED", "REQUEUE_HOLD",
          "REQUEUE_FED", "SPECIAL_EXIT", "RESIZING", "SIGNALING", "STAGE_OUT", "RESV_DEL_HOLD"}  # fmt: skip
FIELDS = "%i|%T|%M|%N|%r|%j|%Z"


class SlurmError(RuntimeError):
    """A command of Slurm that is not there, or that ended with an error."""


@dataclass(frozen=True)
class QueuedJob:
    """A job as squeue shows it. ``elapsed`` is squeue's text; ``folder`` the job's working directory."""

    id: str
    state: str
    elapsed: str
    node: str
    reason: str
    name: str
    folder: str

    @property
    def active(self) -> bool:
        """Whether it runs, or will."""
        return self.state in ACTIVE

    @property
    def stuck(self) -> bool:
        """Whether Slurm holds it back until a person decides, since it could not be started on its node."""
        reason = self.reason.lower().replace("_", " ")
        return self.state == "PENDING" and ("launch failed" in reason or "requeued in held state" in reason)

    @property
    def pending(self) -> bool:
        return self.active and self.state not in ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT")


def is_there() -> bool:
    """Whether this machine has Slurm's commands."""
    return shutil.which("squeue") is not None


def command(*line: str) -> str:
    """Standard output of a command. Raises SlurmError when there is no such command, or it fails, or hangs."""
    if shutil.which(line[0]) is None:
        raise SlurmError(f"{line[0]}: no such command; expected to be on a machine that submits to a Slurm cluster")
    try:
        ended = subprocess.run(
            line, capture_output=True, text=True, timeout=COMMAND_SECONDS, env=_environment(), stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{line[0]} has not answered for {COMMAND_SECONDS} s") from error
    if ended.returncode:
        answer = " ".join((ended.stderr or ended.stdout).split()) or f"exit code {ended.returncode}"
        raise SlurmError(f"{line[0]} refused: {answer}")
    return ended.stdout


def _environment() -> dict[str, str]:
    """This process's, without what describes the job that it is itself part of, which sbatch would pass on."""
    if "SLURM_JOB_ID" not in os.environ:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}


def submit(script: Path, *, after: str | None = None) -> str:
    """Submit a job script; returns the job's id.

    ``after``: the job that has to succeed first. Besides, jobs of one name and user run one after the other: should a
    run ever be submitted twice, its jobs never work on it at the same time.
    """
    dependency = ",".join(["singleton", *([f"afterok:{after}"] if after else [])])
    return command("sbatch", "--parsable", f"--dependency={dependency}", str(script)).strip().partition(";")[0]


def cancel(jobs: Iterable[QueuedJob]) -> None:
    command("scancel", *(job.id for job in jobs))


def name_of_cluster() -> str:
    """The ``ClusterName`` of its configuration: job numbers mean nothing elsewhere."""
    for line in command("scontrol", "show", "config").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "ClusterName":
            return value.strip()
    return ""


def jobs(name: str = "") -> list[QueuedJob]:
    """This user's jobs, those that ended a few minutes ago included; with ``name`` only those of that name."""
    output = command(
        "squeue", "--me", "--noheader", "--states=all", f"--format={FIELDS}", *([f"--name={name}"] * bool(name))
    )
    return parse(output.splitlines())  # fmt: skip


def parse(lines: Sequence[str]) -> list[QueuedJob]:
    rows = (line.strip().split("|", FIELDS.count("|")) for line in lines)
    return [QueuedJob(*row) for row in rows if len(row) == FIELDS.count("|") + 1]


class Queue:
    """The queue, asked at most every :data:`QUERY_SECONDS`; while it does not answer, as it last was."""

    def __init__(self) -> None:
        self.jobs: dict[str, QueuedJob] = {}
        self.asked = -float("inf")
        self.silent = ""

    def job(self, job_id: str) -> QueuedJob | None:
        """The job, or None when the queue has forgotten it."""
        self.refresh()
        return self.jobs.get(job_id)

    def refresh(self, *, now: bool = False) -> None:
        """Look again if it is time to. With ``now`` at once, and then raises SlurmError when there is no answer."""
        if not now and time.monotonic() - self.asked < QUERY_SECONDS:
            return
        self.asked = time.monotonic()
        try:
            self.jobs = {job.id: job for job in jobs()}
            self.silent = ""
        except SlurmError as error:
            if now:
                raise
            if not self.silent:
                tqdm.write(f"the cluster's queue does not answer ({error}); waiting for it", file=sys.stderr)
            self.silent = str(error)
