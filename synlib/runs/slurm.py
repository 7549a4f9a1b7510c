"""Bring runs to their results on a Slurm cluster: a job a run, found again by a later call, and never submitted twice.

Plain job scripts rather than the library submitit, which pickles a function and follows jobs through an accounting
database: here the run's folder holds all that a job needs to go on, and the script, ``job.sh``, is there to be read.

What keeps two workers off one run: a caller submits only while it holds the run's lock and the queue has no job in the
run's folder; Slurm itself runs jobs of one name, the run's id, one after the other; and a worker takes the run's lock,
which holds between nodes where the file server passes locks on.
"""

import contextlib
import datetime
import os
import re
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from synlib.runs import cluster
from synlib.runs.cluster import Queue, QueuedJob
from synlib.runs.folder import LAUNCHER_VARIABLE, RunDir
from synlib.runs.local import ROOT, prepare
from synlib.runs.store import RunStore
from synlib.spec import Execution, RunSpec, Slurm

RECORD = "slurm.json"
SCRIPT = "job.sh"
LOG_LINES = 8
LOG_BYTES = 16384
VISIBLE_SECONDS = {"COMPLETED": 90, "FAILED": 10}
"""How long what a job of that state has left may take to be seen here: a network file system looks again after a
minute. A failed job may have left nothing."""
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
}

TEMPLATE = """\
#!/bin/bash
{directives}

# Trains run {run_id}, or goes on with it. By hand: sbatch --dependency=singleton job.sh
echo "job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, attempt $((${{SLURM_RESTART_COUNT:-0}} + 1))"
run={folder}
code={root}
cd "$code" || {{ echo "$(hostname): $code cannot be read on this node"; exit 1; }}
unset {launcher}
export OMP_NUM_THREADS={threads} PYTHONUNBUFFERED=1
{setup}

saved() {{ ls -- "$run"/model_*.pth "$run"/evaluations/*/result.json 2>/dev/null; }}
# Time is nearly up: the training saves its state and ends. A cluster that ends the job earlier tells it by itself.
trap 'out_of_time=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
trap : TERM
rm -f -- "$run/failure.json"
before=$(saved)
srun --kill-on-bad-exit=1 --cpus-per-task={cpus} {worker} "$run" &
training=$!
while kill -0 $training 2>/dev/null; do wait $training; status=$?; done
if [ "$out_of_time" ] && [ ! -e "$run/result.json" ]; then
    if [ "$(saved)" != "$before" ]; then
        scontrol requeue "$SLURM_JOB_ID" && sleep 60
    fi
    echo "the time of the job is too short: nothing could be saved in it"
    exit 1
fi
exit $status
"""


class SlurmJob:
    """A run's job in the queue: what :class:`synlib.runs.local.WorkerProcess` is on this machine."""

    def __init__(self, run: RunDir, job_id: str, queue: Queue) -> None:
        self.run, self.id, self.queue = run, job_id, queue
        self.log = run.path / "output.txt"
        self.over_since: float | None = None

    def queued(self) -> bool:
        job = self.queue.job(self.id)
        return job is None or job.pending

    def ended(self) -> bool:
        """Whether the job is over, and what it has left can be seen from here."""
        job = self.queue.job(self.id)
        if job and job.active:
            return job.stuck
        if self.over_since is None:
            self.over_since = time.monotonic()
        with contextlib.suppress(OSError):
            os.listdir(self.run.path)  # makes a network file system look again
            if any((self.run.path / name).exists() for name in ("result.json", "failure.json")):
                return True
        patience_s = VISIBLE_SECONDS.get(job.state if job else "COMPLETED", 0)
        return time.monotonic() - self.over_since >= patience_s

    def reason(self) -> str:
        """Why the job has left no result, and what it said last."""
        job, said = self.queue.job(self.id), self._said()
        if job and job.stuck:
            return f"job {self.id} is held back ({job.reason}): `scontrol release {self.id}` tries again, or cancel it"
        failure = self.run.failure()
        end = f"failed: {failure}" if failure else _end(job, said or "")
        if said is None:
            return f"job {self.id} {end}; its log cannot be seen from here (yet)"
        lines = ["the last lines of its log:", *said.splitlines()[-LOG_LINES:]]
        return "\n    ".join([f"job {self.id} {end}", *lines])

    def _said(self) -> str | None:
        """The end of the log, without what earlier jobs of the run have left in it; None when it cannot be read."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, self.log.stat().st_size - LOG_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            return None
        _, mark, own = text.rpartition(f"job {self.id} on ")
        return mark + own if mark else text


def _end(job: QueuedJob | None, said: str) -> str:
    """What became of a job, by its state in the queue; where Slurm only knows that it failed, by what it said."""
    if job is None:
        return "is gone from the queue"
    if job.state == "FAILED" and re.search("oom.kill|exceeded (job )?memory limit", said, re.IGNORECASE):
        return ENDS["OUT_OF_MEMORY"]
    told = job.reason not in ("None", "") and job.state not in ("COMPLETED", "OUT_OF_MEMORY")
    return ENDS.get(job.state, f"ended as {job.state}") + (f" ({job.reason})" if told else "")


class SlurmExecutor:
    """Submits everything at once; the queue decides what runs when. With ``wait`` false a call ends after that."""

    queues = True

    def __init__(self, settings: Slurm, *, wait: bool = True) -> None:
        self.settings, self.wait = settings, wait
        self.queue = Queue()
        self.jobs: dict[str, str] = {}
        self.cluster = ""

    def connect(self) -> None:
        """Find out what is in the queue. Raises SlurmError when this machine cannot reach a cluster."""
        self.cluster = cluster.name_of_cluster()
        self.queue.refresh(now=True)

    def places(self, active: int) -> int:
        return sys.maxsize

    def start(self, spec: RunSpec, store: RunStore, job: Execution) -> SlurmJob:
        """The run's job, which is submitted if the queue has none.

        Raises SlurmError when Slurm refuses it, RunBusyError, ValueError and OSError as WorkerProcess does.
        """
        run = store.run(spec)
        found = self._known(run, self.queue.jobs.values())
        self.jobs[spec.run_id] = found.id if found else self._submit(spec, run, store, job)
        return SlurmJob(run, self.jobs[spec.run_id], self.queue)

    def _submit(self, spec: RunSpec, run: RunDir, store: RunStore, job: Execution) -> str:
        job = with_processes(job, self.settings)
        with prepare(spec, store, job):
            if found := self._known(run, cluster.jobs(spec.run_id)):  # of a caller that was faster
                return found.id
            with open(run.path / SCRIPT, "w") as file:
                file.write(script(run, job, self.settings))
            job_id = cluster.submit(run.path / SCRIPT, after=self.jobs.get(spec.initial_run))
            self._record(run, job_id)
        self.queue.jobs[job_id] = QueuedJob(job_id, "PENDING", "0:00", "", "", spec.run_id, str(run.path))
        return job_id

    def _known(self, run: RunDir, jobs: Collection[QueuedJob]) -> QueuedJob | None:
        """The run's job that is still to run or running; recorded in the folder, if it was not."""
        record = run.read(RECORD) or {}
        other = record.get("cluster", self.cluster)
        if other != self.cluster:
            raise ValueError(
                f"{run.path / RECORD}: found job {record.get('job')} of cluster {other}, and this is {self.cluster}; "
                "go on there, or delete the file if that job is over"
            )
        found = next((job for job in jobs if job.active and job.folder == str(run.path)), None)
        if found and found.id != record.get("job"):
            self._record(run, found.id)
        return found

    def _record(self, run: RunDir, job_id: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        run.write(RECORD, {"job": job_id, "cluster": self.cluster, "submitted": now})

    def leave(self, active: Sequence[SlurmJob]) -> None:
        """The caller goes: its jobs do not."""
        if active:
            tqdm.write(
                f"{len(active)} jobs stay in the queue; the same command finds them, `python -m synlib runs` shows "
                "them, `python -m synlib cancel` ends them",
                file=sys.stderr,
            )


def with_processes(job: Execution, settings: Slurm) -> Execution:
    """``job`` with a process for each GPU asked for. Raises ValueError when they cannot be shared out to the nodes."""
    processes = settings.gpus or job.processes
    if processes % settings.nodes:
        raise ValueError(f"execution.processes: found {processes}, expected a multiple of the {settings.nodes} nodes")
    return job.replace(processes=processes)


def script(run: RunDir, job: Execution, settings: Slurm) -> str:
    """The job script of a run. ``job``: as :func:`with_processes` makes it."""
    on_node = job.processes // settings.nodes
    cpus = max(1, settings.cpus // settings.nodes or on_node * (job.threads + job.loader_workers))
    worker = f"{_quoted(sys.executable)} -m synlib.pointrend.worker"
    if job.processes > 1:
        worker = (
            f"{_quoted(sys.executable)} -m torch.distributed.run --nnodes={settings.nodes} "
            f"--nproc-per-node={on_node} --rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID.${{SLURM_RESTART_COUNT:-0}} "
            '--rdzv-endpoint="$(hostname):$((20000 + SLURM_JOB_ID % 20000))" -m synlib.pointrend.worker'
        )
    return TEMPLATE.format(
        directives="\n".join(f"#SBATCH {option}" for option in _options(run, settings, on_node, cpus)),
        run_id=run.path.name, folder=_quoted(run.path), root=_quoted(ROOT), launcher=LAUNCHER_VARIABLE,
        threads=job.threads, setup="\n".join(f"{line} || exit 1" for line in settings.setup), cpus=cpus, worker=worker,
    )  # fmt: skip


def _options(run: RunDir, settings: Slurm, processes: int, cpus: int) -> list[str]:
    folder = str(run.path)
    options = [
        f"--job-name={run.path.name}", f"--chdir={_quoted(folder)}",
        f"--output={_quoted(folder.replace('%', '%%') + '/output.txt')}", "--open-mode=append",
        f"--nodes={settings.nodes}", "--ntasks-per-node=1", f"--cpus-per-task={cpus}",
        "--requeue", f"--signal=B:USR1@{settings.stop_before_s}", "--kill-on-invalid-dep=yes",
    ]  # fmt: skip
    options += [f"--gpus-per-node={processes}"] * bool(settings.gpus)
    given = ("mem", "time", "partition", "account")
    options += [f"--{name}={value}" for name in given if (value := getattr(settings, name))]
    return options + list(settings.directives)


def _quoted(value: object) -> str:
    """In double quotes, as both the shell and sbatch read them."""
    text = str(value)
    for character in '\\"$`':
        text = text.replace(character, "\\" + character)
    return f'"{text}"'


def in_queue(store: RunStore) -> dict[str, QueuedJob]:
    """Run id -> its job that is waiting or running, for all runs of the store. Raises SlurmError."""
    return {
        Path(job.folder).name: job for job in cluster.jobs() if job.active and Path(job.folder).parent == store.root
    }


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
        cluster.cancel(chosen.values())
    return chosen


def queue_columns(store: RunStore) -> pd.DataFrame:
    """``run``, ``job``, ``queue`` (its state there), ``node``, ``elapsed``, ``left``: a row a run with a job.

    Empty where there is no Slurm, or none of the runs was ever submitted.
    """
    columns = ["run", "job", "queue", "node", "elapsed", "left"]
    if not cluster.is_there() or not any(store.root.glob(f"*/{RECORD}")):
        return pd.DataFrame(columns=columns)
    rows = [
        (run_id, job.id, f"{job.state.lower()} ({job.reason})" if job.pending else job.state.lower(), job.node,
         job.elapsed, _left(store.run(run_id)) if job.state == "RUNNING" else "")
        for run_id, job in in_queue(store).items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _left(run: RunDir) -> str:
    """How long the stage at hand still takes, at the speed that the worker has measured."""
    at_hand = run.progress()
    if not at_hand or not at_hand.get("per_second"):
        return "?"
    return tqdm.format_interval((at_hand["total"] - at_hand["done"]) / at_hand["per_second"])
