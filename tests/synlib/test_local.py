"""This machine's GPUs: which there are, how trainings share them, and what a plan counts."""

import subprocess
from types import SimpleNamespace

import pytest

from synlib.profile import Profile
from synlib.runs import local
from synlib.runs.local import LocalExecutor, visible_gpus
from synlib.spec import DataSpec, Execution, RunSpec, Slurm
from synlib.study.plan import gpus_of, seconds_per_iteration

SPEC = RunSpec(data=DataSpec(real=4))


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """Writes an nvidia-smi that answers with a script."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def write(script: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return write


def test_runs_get_gpus_of_their_own_while_there_are_enough(monkeypatch, store):
    pretended = "synlib.runs.local.WorkerProcess"
    monkeypatch.setattr(pretended, lambda _, __, e, gpus: SimpleNamespace(gpus=gpus, processes=e.processes))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    two, one = (LocalExecutor(store, Execution(processes=count), 3) for count in (2, 1))
    first = two.start(SPEC, [])
    second = two.start(SPEC, [first])
    assert (first.gpus, second.gpus) == (["0", "1"], ["2", "3"])
    assert one.start(SPEC, [first, second]).gpus == ["0"]
    assert LocalExecutor(store, Execution(processes=2, device="cpu"), 3).start(SPEC, [first]).gpus == []
    with pytest.raises(ValueError, match=r"execution.processes: found 8, expected auto, or at most 4 \(GPUs\)"):
        LocalExecutor(store, Execution(processes=8)).start(SPEC, [])
    # auto: as many as there are for each place that divide the batch
    for gpus, places, batch, expected in (("0,1,2,3", 1, 8, 4), ("0,1,2", 1, 8, 2), ("0,1", 4, 8, 1), ("", 1, 8, 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        worker = LocalExecutor(store, Execution(processes="auto"), places).start(SPEC.replace(batch_size=batch), [])
        assert (worker.processes, len(worker.gpus)) == (expected, expected if gpus else 0)


def test_a_worker_sees_its_gpus_and_no_others_and_a_number_of_processes(monkeypatch, store):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda line, env, **_: started.append((line, env)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c")
    LocalExecutor(store, Execution(processes="auto")).start(SPEC, [])
    assert started[0][1]["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"  # a batch of 8 has no equal thirds
    assert "--nproc-per-node=2" in started[0][0]
    assert store.run(SPEC).read("job.json")["processes"] == 2


GPUS = {None: ["0", "1"], "": [], "-1": [], "1": ["1"], "0,9": ["0"], "0,-1,1": ["0"], "GPU-a, b": ["GPU-a", "b"]}


@pytest.mark.parametrize("variable", GPUS)
def test_gpus_are_those_that_were_chosen_or_that_the_driver_lists(monkeypatch, driver, variable):
    driver(r"printf '0, A\n1, A\n'")
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == GPUS[variable]


def test_what_a_driver_without_gpus_says_is_none(monkeypatch, driver):
    for script in ("echo No devices were found", "echo No devices were found; exit 6", "echo 9 NVML failed; exit 9"):
        driver(script)
        assert visible_gpus() == []
    driver("exec sleep 60")
    monkeypatch.setattr(local, "DRIVER_SECONDS", 0.2)
    with pytest.raises(OSError, match=r"nvidia-smi has not answered for 0.2 s; set execution.device: cpu"):
        visible_gpus()


def test_a_plan_counts_the_gpus_that_trainings_will_have(monkeypatch):
    four, auto = Slurm(gpus=4), Execution(processes="auto")
    for here, settings, expected in (
        ("", {}, 1), ("0,1", {}, 2), ("0,1", {"processes": 3}, 3), ("0,1", {"slurm": four}, 2),
        ("", {"slurm": four}, 4), ("0,1", {"slurm": four, "executor": "slurm"}, 4),
    ):  # fmt: skip
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", here)
        assert gpus_of(auto.replace(**settings)) == expected


def test_a_plan_takes_what_was_measured_on_the_gpu_that_is_here(monkeypatch, driver):
    driver(r"printf '0, NVIDIA H200\n1, NVIDIA H200\n'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,GPU-c,GPU-d")
    measured, other = (0.13, "measured on H200 in tf32: 0.13 s"), (0.24, "the profile's 0.24 s")
    for precision, expected in {"tf32": measured, "fp16": other}.items():
        assert seconds_per_iteration([], Profile.load("paper").replace(precision=precision), None) == expected
