"""What several test modules need and nobody wants to make twice: the miniature study, with its two runs trained."""

import os
import signal
import tempfile
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported, here and in every process that a test starts
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # equality of bytes is promised, and tested, on CPU

# A shell starts background jobs with Ctrl-C ignored, which every process below inherits; tests that press it want it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def run_all(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    import run_all

    return run_all


@pytest.fixture
def place():
    """A folder like ``tmp_path`` that everybody may enter and write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder).resolve()


@pytest.fixture
def store(tmp_path):
    """An empty store of runs."""
    from synlib.runs.store import RunStore

    return RunStore(tmp_path / "runs")


@pytest.fixture(scope="session")
def one():
    """Results of one seed."""
    from tests.fake_results import FakeStudy

    return FakeStudy()


@pytest.fixture(scope="session")
def smoke_data(tmp_path_factory) -> Path:
    """The data of profile ``smoke``: 8 + 4 images of 64 x 128 px a domain."""
    from synlib.profile import Profile
    from synlib.study.study import Study

    folder = tmp_path_factory.mktemp("smoke") / "data"
    data = Study.open(Profile.load("smoke").with_settings({"data.folder": str(folder)})).data
    return data.raw["real"].parent


@pytest.fixture(scope="session")
def smoke_settings(smoke_data) -> dict[str, str]:
    """Settings of profile ``smoke`` for tests: data that are ready, and a run folder that belongs to nobody else."""
    return {"data.folder": str(smoke_data), "runs": str(smoke_data.parent / "runs"), "execution.device": "cpu"}


@pytest.fixture(scope="session")
def study(smoke_settings):
    """The smoke study, nothing trained."""
    from synlib.profile import Profile
    from synlib.study.study import Study

    return Study.open(Profile.load("smoke").with_settings(smoke_settings), jobs=2)


@pytest.fixture(scope="session")
def job(study):
    """With what a worker trains for the smoke study: one process, no evaluation, no checkpoint before the end."""
    return study.execution().replace(evaluate_on=(), checkpoint_period=1000)


@pytest.fixture(scope="session")
def spec(study):
    """Two iterations on real images."""
    from tests.workers import real_spec

    return real_spec(study, iterations=2, warmup_iterations=0)


@pytest.fixture(scope="session")
def trained(study) -> SimpleNamespace:
    """``study``, ``planned``, ``results``, and the ``run`` on real images, with Table 1 trained: 2 x 4 iterations."""
    results = study.run("table1")
    planned = study.planned("table1")
    (run,) = (study.store.run(item.spec) for item in planned if item.name == "Cityscapes")
    return SimpleNamespace(study=study, planned=planned, results=results, run=run)
