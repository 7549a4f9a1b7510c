"""Every long step x every way to stop it: one line, nothing that passes for complete, and the same command goes on."""

import functools
import itertools
import multiprocessing
import os
import pkgutil
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import pytest

import toyscapes
from scapes import cityscapes, staging
from scapes.instances import fingerprint, instance_table
from synlib.cli import exit_code
from synlib.curation.harmonize import harmonize_dataset
from synlib.pointrend import worker
from synlib.report import site
from synlib.runs.folder import LAUNCHER_VARIABLE, RunDir
from synlib.spec import EvaluationSet, Execution, RunSpec
from tests.faults.campaign import listing, sentence
from tests.tiny_data import write_cityscapes, write_synscapes
from tests.workers import make_run

CHILDREN = multiprocessing.get_context("forkserver")  # PyTorch is imported once, and no thread of the tests is copied
CHILDREN.set_forkserver_preload([__name__])
SPEC = {
    "model": "pointrend_tiny", "batch_size": 2, "init": "random", "data": {"real": 4},
    "input": {"train_short_px": [64], "test_short_px": 64, "max_long_px": 128},
}  # fmt: skip
NAMES = ["01_harmonization", "02_pruning_study"]
drawn = functools.partial(toyscapes.write_cityscapes, train=4, val=2, height=64, width=128, workers=1)
four_images = functools.partial(write_cityscapes, train=4)


def draw(place: Path) -> None:
    drawn(place / "out")


def harmonize(place: Path) -> None:
    harmonize_dataset(place / "in", place / "out", images="copy", workers=1)


def count(place: Path) -> None:
    instance_table(cityscapes.read_images(place / "in", "train"), place / "out", workers=1)


def stage(place: Path) -> None:
    images = cityscapes.read_images(place / "in", "train")
    staging.staged(images, place / "in", place / "out", fingerprint(images))


def train(place: Path) -> int:
    return worker.main(str(place / "out"))


def report(place: Path) -> None:
    site.build(place / "out", NAMES, profile="smoke", command="", figures=place / "in", now=NAMES)


def run_folder(given: Path, iterations: int = 4, evaluate: bool = False) -> None:
    """A run with a checkpoint after each iteration."""
    drawn(given)
    on = EvaluationSet(name="Cityscapes", root=str(given), data="", min_area_px=10)
    how = {"loader_workers": 0, "threads": 1, "checkpoint_period": 1, "device": "cpu"}
    job = Execution(real_root=str(given), evaluate_on=[on] * evaluate, **how)
    make_run(given.with_name("out"), RunSpec(**SPEC, schedule={"iterations": iterations, "warmup_iterations": 0}), job)


def notebooks(given: Path) -> None:
    given.mkdir()
    (given / "figure1.png").write_bytes(b"a figure")
    notes = {"papermill": {"end_time": "2026-01-02T03:04:05+00:00", "duration": 65.2}}
    for name in NAMES:
        cells = [nbformat.v4.new_markdown_cell("# Title", id="a")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=notes), given.with_name("out") / f"{name}.ipynb")


class Step(NamedTuple):
    """``work(place)`` fills ``place/out``; it is stopped at a call of the function ``moment``."""

    work: Callable[[Path], int | None]
    ready: Callable[[Path], object]  # makes the folder ``place/in``
    moment: str
    complete: str  # a file that says that the work is done; empty: each file says so for itself
    same: str = "**/*"  # files that are the same, byte by byte, if it was stopped


STEPS = {
    "drawing": Step(draw, Path.mkdir, "toyscapes.writers._write_json", "toyscapes.json"),
    "harmonizing": Step(harmonize, write_synscapes, "synlib.curation.harmonize.write_json", "harmonized.json"),
    "counting": Step(count, four_images, "scapes.instances.image_instances", "*.parquet", "*.parquet"),
    "staging": Step(stage, four_images, "scapes.staging._copy", "", "[!.]*.png"),
    "training": Step(train, run_folder, "seeded_rcnn.trainer.Trainer.run_step", "result.json", "model_final.pth"),
    "evaluating": Step(
        train, lambda given: run_folder(given, 1, True), "synlib.pointrend.predict.pasted",
        "result.json", "predictions.parquet",
    ),
    "reporting": Step(report, notebooks, "synlib.report.site.replacing", "index.html", "*.html"),
}  # fmt: skip
RUNS = ("training", "evaluating")


def launcher_dies() -> None:
    os.kill(int(os.environ[LAUNCHER_VARIABLE]), signal.SIGKILL)
    while psutil.pid_exists(int(os.environ[LAUNCHER_VARIABLE])):
        time.sleep(0.01)


FAULTS = {
    "": lambda: None,
    "SIGINT": lambda: os.kill(os.getpid(), signal.SIGINT),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    # A limit on the size of files stands for it; the reason of a failure fits.
    "full disk": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (480, 480)),
    "launcher dies": launcher_dies,
}
CODES = {"SIGINT": 130, "SIGTERM": -signal.SIGTERM, "SIGKILL": -signal.SIGKILL, "full disk": 1, "launcher dies": 130}
"""How a command ends; a training saves its state on SIGTERM."""
CASES = [(step, fault) for step in STEPS for fault in CODES]


def act(step: str, place: Path, said: Connection, launcher: int, fault: str) -> None:
    """In a child: the step's work, as a command would do it, and in the second call of the moment the fault."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(said.fileno(), 2)
    os.environ[LAUNCHER_VARIABLE] = str(launcher)
    own, calls = pkgutil.resolve_name(STEPS[step].moment), itertools.count(1)

    def counted(*arguments, **options):
        if next(calls) == 2:
            FAULTS[fault]()
        return own(*arguments, **options)

    pytest.MonkeyPatch().setattr(STEPS[step].moment, counted)
    os._exit(exit_code(lambda: STEPS[step].work(place)))


def child(step: str, place: Path, fault: str = "") -> tuple[int, str]:
    """Exit code of a child that works on a step, and what it said on standard error."""
    reader, writer = CHILDREN.Pipe(duplex=False)
    launcher = subprocess.Popen(["sleep", "600"])
    threading.Thread(target=launcher.wait).start()  # as init does: what has ended is gone
    process = CHILDREN.Process(target=act, args=(step, place, writer, launcher.pid, fault))
    process.start()
    writer.close()
    said = b"".join(iter(lambda: os.read(reader.fileno(), 65536), b""))
    process.join()
    launcher.kill()
    return process.exitcode, said.decode()


def prepared(step: str, place: Path) -> Path:
    place.mkdir()
    if step not in RUNS:
        (place / "out").mkdir()
    STEPS[step].ready(place / "in")
    return place


def outcome(step: str, place: Path) -> dict[str, str]:
    """The files that do not depend on what has happened: name -> hash."""
    found = {os.path.relpath(path, place): what for path, what in listing(place / "out").items()}
    return {path: what for path, what in found.items() if Path(path).match(STEPS[step].same)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Callable[[str], dict[str, str]]:
    """What a step leaves that nothing stops."""

    @functools.cache
    def left(step: str) -> dict[str, str]:
        place = prepared(step, tmp_path_factory.mktemp("undisturbed") / step)
        assert child(step, place)[0] == 0
        assert list((place / "out").glob(STEPS[step].complete or "**/*.png"))
        return outcome(step, place)

    return left


@pytest.mark.parametrize(("step", "fault"), CASES, ids=map("-".join, CASES))
def test_a_step_that_is_stopped_goes_on(tmp_path, undisturbed, step, fault):
    place = prepared(step, tmp_path / "place")
    given, run = listing(place / "in"), RunDir(place / "out")
    code, said = child(step, place, fault)
    if fault == "launcher dies" and step not in RUNS:  # a command goes on without the shell that started it
        assert code == 0 and outcome(step, place) == undisturbed(step), said
        return
    assert code == (130 if (step, fault) == ("training", "SIGTERM") else CODES[fault]), said
    if STEPS[step].complete:
        assert not list((place / "out").glob(STEPS[step].complete))
    else:
        assert outcome(step, place).items() <= undisturbed(step).items()
    if fault == "full disk" and step in RUNS:
        assert run.state() == "failed"
        assert "no space left to write to" in sentence(run.failure(), "make room and start again")
    elif fault == "full disk":
        assert "too large" in sentence(said, place / "out")
    elif code == 130:
        assert said.splitlines()[-1:] == ["interrupted; the same command goes on from here"]
    if code > 0 and step != "staging":  # whose threads are cut off
        assert not list((place / "out").rglob(".*.tmp*"))
    if step in RUNS and code != 1:
        assert run.state() == "interrupted" and not (run.path / "failure.json").exists()
    assert listing(place / "in") == given
    assert child(step, place)[0] == 0
    assert outcome(step, place) == undisturbed(step)
    assert not list((place / "out").rglob(".*.tmp*"))
