"""Submitting, finding and reading jobs, with commands that only pretend; a real Slurm: test_slurm_cluster.py."""

import json
import os
import re
import subprocess
from types import SimpleNamespace

import pytest

from synlib.profile import ROOT, Profile
from synlib.runs import slurm
from synlib.runs.launch import train
from synlib.runs.slurm import QueuedJob, SlurmError, SlurmExecutor, SlurmJob
from synlib.runs.store import RunStore
from synlib.spec import DataSpec, Execution, RunSpec, Slurm
from tests.workers import command, failing, states

SPEC = RunSpec(data=DataSpec(real=4))
HEIR = SPEC.replace(init=f"run:{SPEC.run_id}")
PRETENDED = {
    "squeue": 'echo "$@" >> {folder}/asked; [ -e {folder}/down ] && {{ echo "no controller" >&2; exit 1; }}\n'
    "cat {folder}/queue",
    "sbatch": 'echo "$@" >> {folder}/submitted; [ -e {folder}/refuse ] && {{ cat {folder}/refuse >&2; exit 1; }}\n'
    "expr 10 + $(wc -l < {folder}/submitted)",
    "scontrol": "echo 'ClusterName             = pretended'",
    "scancel": 'echo "$@" >> {folder}/cancelled',
}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The folder of the pretended commands: ``queue`` is what squeue prints, ``submitted`` how sbatch was called."""
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "queue").touch()
    for name, text in PRETENDED.items():
        (folder / name).write_text("#!/bin/sh\n" + text.format(folder=folder) + "\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "QUERY_SECONDS", 0)
    monkeypatch.setattr(slurm, "VISIBLE_SECONDS", {"COMPLETED": 0.3, "DependencyNeverSatisfied": 60})
    return folder


def row(store, spec, job_id, state, reason="None") -> str:
    return f"{job_id}|{state}|1:02|node1|{reason}|{store.run(spec).path}\n"


def on(settings=None) -> dict:
    """Options of :func:`train` that submit, and return at once."""
    return {"execution": Execution(executor="slurm", slurm=settings or Slurm()), "wait": False}


def submitted(fake) -> list[str]:
    return (fake / "submitted").read_text().splitlines()


def job_in(store, spec, state, log="", reason="None"):
    """A handle on job 11 of ``spec``, which the queue knows in ``state``, or not at all."""
    run = store.run(spec)
    run.create(spec)
    if log:
        (run.path / "output.txt").write_text(log)
    jobs = {"11": QueuedJob("11", state, reason=reason, folder=str(run.path))} if state else {}
    said: dict[str, str] = {}
    return SlurmJob(run, "11", SimpleNamespace(jobs=jobs, refresh=lambda: None, said=said, say=said.setdefault))


def test_a_run_is_submitted_once_and_after_the_one_it_starts_from(fake, store):
    assert states(train([HEIR, SPEC], store, **on())) == ["queued", "queued"]
    first, second = submitted(fake)
    assert first.endswith(f"--dependency=singleton {store.run(SPEC).path}/job.sh")
    assert second.endswith(f"--dependency=singleton,afterok:11 {store.run(HEIR).path}/job.sh")
    assert store.run(SPEC).read("slurm.json")["cluster"] == "pretended"
    assert store.run(HEIR).read("job.json")["initial_weights"] == str(store.run(SPEC).path / "model_final.pth")

    (fake / "queue").write_text(row(store, SPEC, 11, "RUNNING") + row(store, HEIR, 12, "PENDING"))
    train([HEIR, SPEC], store, **on())
    assert len(submitted(fake)) == 2
    (fake / "queue").write_text(row(store, SPEC, 11, "RUNNING") + row(store, HEIR, 12, "CANCELLED"))
    train([HEIR, SPEC], store, **on())
    assert submitted(fake)[2:] == [f"--parsable --dependency=singleton,afterok:11 {store.run(HEIR).path}/job.sh"]

    (store.run(SPEC).path / "slurm.json").unlink()  # a job whose number was never written down is found
    assert states(train([SPEC], store, **on())) == ["queued"]
    elsewhere = SPEC.replace(seed=1)
    store.run(elsewhere).write("slurm.json", {"job": "5", "cluster": "elsewhere", "submitted": ""})
    failing("found job 5 of cluster elsewhere, and this is pretended", [elsewhere], store, **on())
    assert len(submitted(fake)) == 3


def test_what_sbatch_refuses_is_told_and_the_others_are_submitted(fake, store):
    (fake / "refuse").write_text("sbatch: error: invalid partition specified: nowhere\n")
    refused = "sbatch refused: sbatch: error: invalid partition specified: nowhere"
    error = failing(refused, [SPEC, HEIR, SPEC.replace(seed=1)], store, **on(Slurm(partition="nowhere")))
    assert states(error.outcomes) == ["failed", "not started", "failed"]
    assert store.run(SPEC).read("slurm.json") is None


def test_without_slurm_nothing_is_touched(store, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="scontrol: no such command; expected to be on a machine that submits"):
        train([SPEC], store, **on())
    assert not store.run(SPEC).path.exists()


def test_a_queue_that_does_not_answer_stays_as_it_was(fake, store, capsys, monkeypatch):
    (fake / "queue").write_text(row(store, SPEC, 11, "RUNNING"))
    executor = SlurmExecutor(store, Execution())
    monkeypatch.setattr(slurm, "QUERY_SECONDS", 60)
    executor.refresh()
    assert len((fake / "asked").read_text().splitlines()) == 1  # not more often than it should be
    monkeypatch.setattr(slurm, "QUERY_SECONDS", 0)
    (fake / "down").touch()
    for _ in range(2):
        executor.refresh()
    assert executor.jobs["11"].state == "RUNNING"
    assert capsys.readouterr().err.count("does not answer (squeue refused: no controller); waiting for it") == 1
    with pytest.raises(SlurmError, match="no controller"):
        SlurmExecutor(store, Execution())
    (fake / "down").unlink()
    (fake / "queue").write_text(row(store, SPEC, 11, "FAILED"))
    executor.refresh()
    assert executor.jobs["11"].state == "FAILED"


def test_cancelling_concerns_the_runs_of_this_folder_alone(fake, store, tmp_path):
    other = RunStore(tmp_path / "other")
    rows = [row(store, SPEC, 11, "RUNNING"), row(store, HEIR, 12, "PENDING"), row(other, SPEC, 13, "RUNNING")]
    (fake / "queue").write_text("".join(rows) + row(store, SPEC.replace(seed=1), 14, "COMPLETED"))
    store.run(HEIR).create(HEIR)
    assert command("cancel", HEIR.run_id[:6], "--runs", store.root) == f"run {HEIR.run_id}: job 12 cancelled\n"
    command("cancel", "--runs", store.root)
    assert (fake / "cancelled").read_text().splitlines() == ["12", "11 12"]
    with pytest.raises(ValueError, match=r"^ValueError: run unknown: no job in the queue"):
        command("cancel", "unknown", "--runs", store.root)
    assert "none of its runs has a job in the queue" in command("cancel", "--runs", tmp_path / "none")


def test_the_list_of_runs_shows_their_jobs(fake, store):
    train([SPEC, HEIR], store, **on())
    lines = [row(store, SPEC, 11, "RUNNING"), row(store, HEIR, 12, "PENDING", "Dependency"), "slurm: warning"]
    (fake / "queue").write_text("".join(lines))
    lines = {line.split()[0]: line for line in command("runs", "--runs", store.root).splitlines()}
    assert re.search(r" 11 +running +node1 +1:02 ", lines[SPEC.run_id])
    assert re.search(r" 12 +pending \(Dependency\) ", lines[HEIR.run_id])
    shown = {item["run"]: item for item in json.loads(command("runs", "--json", "--runs", store.root))}
    assert (shown[SPEC.run_id]["queue"], shown[HEIR.run_id]["job"]) == ("running", "12")


MEMORY = "was killed for using more memory than it asked for"
ENDS = [  # state, reason, last line of the log, what is said
    ("OUT_OF_MEMORY", "OutOfMemory", "x", MEMORY),
    ("FAILED", "NonZeroExitCode", "Detected 1 oom_kill event", MEMORY),
    ("FAILED", "None", "Exceeded step memory limit at some point.", MEMORY),
    ("FAILED", "None", "srun: error: n1: task 0: Out Of Memory", MEMORY),
    ("FAILED", "None", "CUDA out of memory", "failed\n"),
    ("FAILED", "NonZeroExitCode", "module: command not found", "failed (NonZeroExitCode)"),
    ("TIMEOUT", "TimeLimit", "", "was ended by its time limit: raise execution.slurm.time"),
    ("NODE_FAIL", "NodeDown", "", "lost its node (NodeDown)"),
    ("CANCELLED", "None", "", "was cancelled\n"),
    ("PREEMPTED", "None", "", "was displaced by another job and not put back"),
    ("COMPLETED", "None", "", "ended without a result\n"),
    (None, "None", "", "is gone from the queue\n"),
    ("FAILED", "RaisedSignal:53", None, "failed (RaisedSignal:53); its log cannot be seen from here (yet)"),
]


@pytest.mark.parametrize(("state", "reason", "log", "expected"), ENDS)
def test_a_job_without_a_result_says_why(store, state, reason, log, expected):
    text = "" if log is None else f"job 11 on n\n{log}"
    job = job_in(store, SPEC, state, text, reason)
    assert job.phase == "over"
    assert job.reason().startswith(f"job 11 {expected}")
    assert text.splitlines() == [line.strip() for line in job.reason().splitlines()[2:]]


HELD = "is held ({}): `scontrol release 11`, if need be by an administrator, lets it go on"
NEVER = "cannot start ({}): take it out of the queue (`scancel 11`), correct execution.slurm in the profile, and start"
UNKNOWN = "is {state} ({}), which may not end by itself: `scontrol show job 11` says more"
JOBS = {  # state and reasons -> what is said of the job, if anything
    "PENDING None Resources Priority Dependency BeginTime Licenses Cleaning AssocMaxJobsLimit QOSMaxGRESPerUser": "",
    "PENDING QOSGrpCpuLimit MaxCpuPerAccount AssocGrpCPURunMinutesLimit QOSResourceLimit AssocGrpSubmitJobsLimit": "",
    "PENDING launch_failed_requeued_held job_requeued_in_held_state JobHoldMaxRequeue JobHeldUser JobHeldAdmin": HELD,
    "PENDING BadConstraints InvalidAccount InvalidQOS AccountNotAllowed PartitionNodeLimit PartitionTimeLimit": NEVER,
    "PENDING QOSTimeLimit AssocMaxCpuPerJobLimit AssocMaxWallDurationPerJobLimit AssocMaxGRESPerNode QOSMinGRES": NEVER,
    "PENDING ReqNodeNotAvail,_UnavailableNodes:n1 PartitionDown AssocGrpCPUMinutesLimit AssocGrpWallLimit Odd": UNKNOWN,
    "REQUEUE_HOLD JobHoldMaxRequeue JobHeldMaxNodeFailRequeue JobHeldMaxPreemptRequeue": HELD,
    "SPECIAL_EXIT None": HELD, "RESV_DEL_HOLD ReservationDeleted": HELD, "LAUNCH_FAILED None": HELD,
    "SUSPENDED None": UNKNOWN, "STOPPED None": UNKNOWN, "CONFIGURING None": "", "SIGNALING None": "",
}  # fmt: skip


@pytest.mark.parametrize(("words", "text"), JOBS.items())
def test_a_job_that_waits_for_a_person_is_not_waited_for_and_an_unknown_reason_is_said_once(store, words, text):
    state, *reasons = words.split()
    for reason in reasons:
        job = job_in(store, SPEC, state, reason=reason)
        assert (reason, job.ended(), job.ended()) == (reason, *[text in (HELD, NEVER)] * 2)
        said = [job.reason()] if job.ended() else [*job.executor.said.values()]
        expected = f"job 11 {text.format(reason, state=state)}" if text else ""
        assert [entry[: len(expected)] for entry in said] == [expected] * bool(text)


def test_the_call_ends_when_the_rest_waits_for_a_person(fake, store, capsys):
    """What starts from a held run would wait for ever; Slurm itself cancels what waits for a run that failed."""
    train([HEIR, SPEC], store, **on())
    held, waits = row(store, SPEC, 11, "PENDING", "JobHeldUser"), row(store, HEIR, 12, "PENDING", "Dependency")
    (fake / "queue").write_text(held + waits)
    error = failing("run .* held: job 11 is held", [HEIR, SPEC], store, **on() | {"wait": True})
    assert states(error.outcomes) == ["held", "held"]
    assert error.outcomes[0].reason == "job 12 waits for the job of the run that it starts from (Dependency)"
    assert f"run {SPEC.run_id} held: job 11 is held (JobHeldUser)" in capsys.readouterr().err
    assert len(submitted(fake)) == 2
    assert not job_in(store, SPEC, "PENDING", reason="DependencyNeverSatisfied").ended()


def test_the_last_lines_are_those_of_this_job(store):
    old, new = "job 9 on node1, attempt 1\nold error\n", "job 11 on node2, attempt 1\n" + "\n".join("abcdefghijkl")
    said = job_in(store, SPEC, "FAILED", old + new).reason().splitlines()
    assert [line.strip() for line in said[2:]] == list("efghijkl")
    assert "old error" in job_in(store, SPEC, "FAILED", old).reason()


def test_a_result_that_is_not_visible_yet_is_waited_for(fake, store):
    job = job_in(store, SPEC, "COMPLETED")
    assert not job.ended()
    job.run.write("result.json", {})
    assert job.ended()
    assert job_in(store, HEIR, "NODE_FAIL").ended()
    assert not job_in(store, HEIR, "RUNNING").ended()


def test_the_script_asks_for_what_the_profile_says(store):
    settings = Slurm(nodes=2, gpus=8, mem="64G", time="12:00:00", partition="gpu", account="me",
                     directives=["--constraint=a100"], setup=["module load cuda"])  # fmt: skip
    execution = Execution(threads=2, loader_workers=3, slurm=settings)
    text = slurm.script(store.run(SPEC), execution)
    options = {line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert options >= {
        "--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=4", "--cpus-per-task=20", "--mem=64G", "--time=12:00:00",
        "--partition=gpu", "--account=me", "--constraint=a100", "--requeue", "--signal=B:USR1@120",
        f"--job-name={SPEC.run_id}",
    }  # fmt: skip
    assert "--nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d" in text
    assert "module load cuda || exit 1" in text
    plain = slurm.script(store.run(SPEC), Execution())
    assert "torch.distributed" not in plain
    assert not {"--mem", "--time", "--gpus"} & {line.split("=")[0].split("-per")[0][8:] for line in plain.splitlines()}


@pytest.mark.parametrize("name", ["plain", "with a space", 'quote"d', "dollar$HOME", "per%cent", "back\\slash"])
def test_the_script_is_a_script_whatever_the_folder_is_called(tmp_path, name):
    run = RunStore(tmp_path / name).run(SPEC)
    run.path.mkdir(parents=True)
    (run.path / "job.sh").write_text(slurm.script(run, Execution()))
    assert subprocess.run(["bash", "-n", run.path / "job.sh"]).returncode == 0
    line = next(line for line in (run.path / "job.sh").read_text().splitlines() if line.startswith("run="))
    shown = subprocess.run(["bash", "-c", f'{line}; printf %s "$run"'], capture_output=True, text=True).stdout
    assert shown == str(run.path)


def test_processes_are_shared_out_to_nodes():
    def processes(count, **settings):
        return Execution(executor="slurm", processes=count, slurm=Slurm(**settings)).job_processes

    assert processes(4, nodes=2) == 4
    assert processes(1, gpus=4) == processes("auto", gpus=4) == 4
    assert processes("auto", nodes=2) == 2
    with pytest.raises(ValueError, match=r"processes: found 3, expected a multiple of the 2 nodes"):
        processes(3, nodes=2)
    with pytest.raises(ValueError, match=r"slurm\.gpus: found 3, expected a multiple of the 2 nodes"):
        processes(1, gpus=3, nodes=2)


def test_the_worked_example_is_a_profile(tmp_path):
    fragment = (ROOT / "docs" / "slurm.md").read_text().split("```yaml")[1].split("```")[0]
    path = tmp_path / "mine.yaml"
    path.write_text((ROOT / "profiles" / "paper.yaml").read_text().partition("execution:")[0] + fragment)
    settings = Profile.load(path).execution.slurm
    assert (settings.gpus, settings.time, settings.directives) == (4, "12:00:00", ("--constraint=a100",))
