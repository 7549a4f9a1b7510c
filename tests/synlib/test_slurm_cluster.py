"""Runs through a real Slurm: the same bytes as on this machine alone, whatever happens to jobs and nodes on the way."""

import contextlib
import subprocess
import threading
import time

import pytest
import torch

from synlib.runs import slurm
from synlib.runs.launch import train
from synlib.runs.slurm import SlurmExecutor, queued_jobs
from synlib.runs.store import RunStore
from synlib.spec import Slurm
from tests.slurm_cluster import Cluster, missing
from tests.workers import command, failing, real_spec, states, variant, wait_for, workers_of

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes; every command of Slurm in this process and those that it starts speaks to them."""
    patch = pytest.MonkeyPatch()
    patch.setattr(slurm, "QUERY_SECONDS", 0.5)
    patch.setattr(slurm, "VISIBLE_SECONDS", {"COMPLETED": 5, "FAILED": 1, "DependencyNeverSatisfied": 60})
    try:
        with Cluster(tmp_path_factory.mktemp("slurm")) as started:
            for name, value in started.environment.items():
                patch.setenv(name, value)
            yield started
    except RuntimeError as error:  # a machine, or a container, that does not let its daemons work
        pytest.skip(f"Slurm is installed and does not start here: {error}")
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def spec(study):
    return real_spec(study, iterations=60, warmup_iterations=0)


def weights(store, spec) -> bytes:
    return (store.run(spec).path / "model_final.pth").read_bytes()


def on_cluster(job, **settings):
    """``job`` executed by the cluster, with settings of :class:`Slurm`."""
    return job.replace(executor="slurm", slurm=Slurm(**settings))


def jobs_of(spec) -> list:
    return list(queued_jobs(f"--name={spec.run_id}").values())


def number(store, spec) -> str:
    return store.run(spec).read("slurm.json")["job"]


def test_table_1_is_the_same(cluster, trained, store):
    study = trained.study
    specs = [item.spec for item in trained.planned]
    assert states(train(specs, store, on_cluster(study.execution()))) == ["trained", "trained"]
    for spec in specs:
        assert weights(store, spec) == weights(study.store, spec)
        found, expected = (root.run(spec).read("result.json")["weights_sha256"] for root in (store, study.store))
        assert found == expected
    assert store.frame(specs)["ap"].equals(study.store.frame(specs)["ap"])
    submitted = len(queued_jobs())
    assert states(train(specs, store, on_cluster(study.execution()))) == ["done", "done"]
    assert len(queued_jobs()) == submitted


def test_nothing_that_happens_to_a_job_changes_its_result(cluster, store, spec, job, tmp_path, monkeypatch):
    """Its caller leaves, its time runs out, it is displaced, killed, submitted again, and loses its node."""
    spec = variant(spec, iterations=240)  # long enough for what happens to it on a fast machine
    run = store.run(spec)
    job = on_cluster(job)
    assert states(train([spec], store, job, wait=False)) == ["queued"]
    first = number(store, spec)
    train([spec], store, job, wait=False)
    assert [found.id for found in jobs_of(spec)] == [first]

    def trains(iterations: int) -> None:
        """Until so many are done; a job that is back in the queue does not wait there."""
        assert iterations <= spec.schedule.iterations, "the training went on too far to be disturbed again"

        def done() -> bool:
            for found in jobs_of(spec):
                with contextlib.suppress(subprocess.CalledProcessError):  # it has just started
                    if found.phase == "waits":
                        cluster.command("scontrol", "update", f"JobId={found.id}", "StartTime=now")
            time.sleep(0.2)
            return (run.progress() or {"done": 0})["done"] >= iterations

        wait_for(done)

    def saved() -> int:
        return max([int(path.stem.split("_")[1]) + 1 for path in run.path.glob("model_0*.pth")], default=0)

    def in_queue_again(attempts: int) -> None:
        wait_for(lambda: f"Restarts={attempts} " in cluster.command("scontrol", "show", "job", first))
        wait_for(lambda: jobs_of(spec)[0].state == "PENDING")
        time.sleep(2)  # a node refuses a job that comes back within the second in which it was ended there

    trains(2)
    cluster.command("scancel", "--batch", "--signal=USR1", first)  # what Slurm sends some time before the limit
    in_queue_again(1)
    on_time = saved()
    assert on_time >= 2

    trains(on_time + 2)
    cluster.command("scontrol", "requeue", first)
    in_queue_again(2)
    on_displacement = saved()
    assert on_displacement >= on_time + 2

    trains(on_displacement + 2)
    for process in workers_of(run.path):
        process.kill()
    with monkeypatch.context() as patch:  # a caller that has been there since before the job ended
        patch.setattr(slurm, "in_queue", lambda store, jobs: {spec.run_id: jobs[first]})
        error = failing(rf"run {spec.run_id} failed: job {first} ", [spec], store, job)
    assert "the last lines of its log:" in str(error)
    assert "Killed" in str(error)
    assert saved() == on_displacement

    caller = threading.Thread(target=train, args=([spec], store, job))
    caller.start()
    wait_for(lambda: number(store, spec) != first)
    second = number(store, spec)
    wait_for(lambda: "RUNNING" in {found.state for found in jobs_of(spec) if found.id == second})
    trains(on_displacement + 2)
    (node,) = {found.node for found in jobs_of(spec) if found.id == second}
    cluster.node_down(node)
    wait_for(lambda: cluster.states()[node].startswith("down"))
    trains(spec.schedule.iterations)
    caller.join(60)
    assert run.state() == "done"
    cluster.node_up(node)
    wait_for(lambda: cluster.states()[node] == "idle")

    undisturbed = RunStore(tmp_path / "local")
    train([spec], undisturbed, job.replace(executor="local"))
    assert weights(store, spec) == weights(undisturbed, spec)


def test_one_training_on_two_nodes(cluster, store, spec, job, tmp_path):
    short = variant(spec, iterations=3)
    train([short], store, on_cluster(job.replace(processes=2), nodes=2))
    assert "on node[1-2]" in (store.run(short).path / "output.txt").read_text()
    alone = RunStore(tmp_path / "local")
    train([short], alone, job)
    found, expected = (torch.load(root.run(short).path / "model_final.pth")["model"] for root in (store, alone))
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-3, atol=1e-5)


def test_each_failure_has_its_reason_and_the_others_go_on(cluster, store, spec, job, monkeypatch):
    good, bad = variant(spec, iterations=1), variant(spec, iterations=2)
    heir = bad.replace(init=f"run:{bad.run_id}")

    def start(executor, spec, active, own=SlurmExecutor.start):
        setup = ["echo preparing", "module load nothing"] if spec is bad else []
        executor.execution = on_cluster(job, setup=setup)
        return own(executor, spec, active)

    with monkeypatch.context() as patch:
        patch.setattr(SlurmExecutor, "start", start)
        outcomes = failing(f"run {bad.run_id} ", [bad, heir, good], store, on_cluster(job)).outcomes
    assert states(outcomes) == ["failed", "not started", "trained"]
    failed, not_started, _ = outcomes
    assert f"job {number(store, bad)} failed" in failed.reason
    assert "preparing" in failed.reason
    assert "module: command not found" in failed.reason
    assert not_started.reason == f"it needs run {bad.run_id}, which has no result"

    for settings, answer in (({"partition": "nowhere"}, "nowhere|partition"), ({"time": "soon"}, "time spec")):
        failing(f"(?i)sbatch refused: .*({answer})", [bad], store, on_cluster(job, **settings))
    failing(r"job \d+ was killed for using more memory than it asked", [bad], store, on_cluster(job, mem="100M"))


def test_held_jobs_are_found_again_told_and_cancelled(cluster, store, spec, job):
    specs = [variant(spec, iterations=iterations) for iterations in (4, 5)]
    train(specs, store, on_cluster(job, directives=["--hold"]), wait=False)
    numbers = [number(store, item) for item in specs]
    (store.run(specs[0]).path / "slurm.json").unlink()  # as if the caller had died right after the submission
    failing(rf"job {numbers[0]} is held \(JobHeldUser\): `scontrol release", specs, store, on_cluster(job))
    assert [len(jobs_of(item)) for item in specs] == [1, 1]
    assert f"run {specs[1].run_id}: job {numbers[1]} cancelled" in command("cancel", "--runs", store.root)
    assert {found.state for item in specs for found in jobs_of(item)} == {"CANCELLED"}
    with pytest.raises(ValueError, match="no job in the queue"):
        command("cancel", specs[0].run_id, "--runs", store.root)
