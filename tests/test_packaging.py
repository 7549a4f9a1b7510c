"""One set of pins, and a Detectron2 that is what its recipe says."""

import importlib.metadata
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.test_layers import imported

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "packaging" / "detectron2"
LOCAL = "./packaging/detectron2"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ASKED_FOR = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]


@pytest.fixture
def backend(monkeypatch):
    monkeypatch.syspath_prepend(RECIPE)
    import build_backend

    return build_backend


@pytest.fixture(scope="module")
def pins():
    """Canonical name -> list of requirements (more than one where the version depends on the Python)."""
    pins = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith(("#", LOCAL)):
            requirement = Requirement(line)
            pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


def sdist_of(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"pb1-detectron2-0.6/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_every_requirement_is_pinned_exactly(pins):
    for requirements in pins.values():
        for requirement in requirements:
            assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(requirement.specifier)), requirement
            assert requirement.url is None
    text = (ROOT / "requirements.txt").read_text()
    assert text.count(f"\n{LOCAL}\n") == 1
    assert "://" not in text and "\n-" not in text  # no index, no options


def test_pyproject_asks_for_nothing_that_is_not_pinned(pins, backend):
    recipe = tomllib.loads((RECIPE / "pyproject.toml").read_text())
    built_with = [*PROJECT["build-system"]["requires"], *recipe["build-system"]["requires"], *backend.DEPENDENCIES]
    for requirement in map(Requirement, [*ASKED_FOR, *built_with]):
        if requirement.name == backend.NAME:
            assert requirement.specifier.contains(backend.VERSION)
            continue
        pinned = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(next(iter(pin.specifier)).version) for pin in pinned), requirement


def test_every_imported_package_is_asked_for():
    declared = {canonicalize_name(Requirement(requirement).name) for requirement in ASKED_FOR}
    distributions = importlib.metadata.packages_distributions()
    sources = [*(path for name in ("synlib", "tests", "benchmarks") for path in (ROOT / name).rglob("*.py"))]
    for path in [*sources, *ROOT.glob("*.py")]:
        for name in {name.partition(".")[0] for name in imported(path)} - sys.stdlib_module_names:
            owners = {canonicalize_name(owner) for owner in distributions.get(name, [])} - {"synlib"}
            assert not owners or owners & declared, f"{path.relative_to(ROOT)} imports {name}: add {owners}"


def test_conda_environment_refers_to_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert pip == "pip"
    assert packages == {"pip": ["-r requirements.txt", "-e ."]}
    requires = PROJECT["project"]["requires-python"]
    assert Requirement(f"python{requires}").specifier.contains(python.removeprefix("python="))


def test_installed_detectron2_carries_every_fix(backend):
    from fixes import FIXES

    distribution = importlib.metadata.distribution("detectron2")
    assert distribution.version == backend.VERSION
    assert distribution.read_text("METADATA") == backend.METADATA
    readme = (RECIPE / "README.md").read_text()
    for fix in FIXES:
        assert f"`{fix.file.removeprefix('detectron2/')}`" in readme, fix.file
        text = Path(distribution.locate_file(fix.file)).read_text()
        assert text.count(fix.new) >= fix.count, fix
        assert fix.old not in (text.replace(fix.new, "") if fix.new else text), fix
    assert Path(distribution.locate_file("detectron2/_C.py")).read_bytes() == (RECIPE / "files" / "_C.py").read_bytes()


def test_import_is_silent():
    modules = "detectron2.projects.point_rend, detectron2.engine, detectron2.evaluation, detectron2.model_zoo"
    command = [sys.executable, *(f"-Werror::{kind}" for kind in ("DeprecationWarning", "FutureWarning", "UserWarning"))]
    run = subprocess.run([*command, "-c", f"import {modules}"], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_missing_operations_explain_themselves_when_called():
    import torch
    from detectron2 import _C
    from detectron2.layers import nms_rotated

    with pytest.raises(NotImplementedError, match=r"_C\.deform_conv_forward .* packaging/detectron2/README\.md"):
        _C.deform_conv_forward(1, 2)
    with pytest.raises(NotImplementedError, match=r"_C\.nms_rotated .*rotated boxes"):
        nms_rotated(torch.zeros(1, 5), torch.zeros(1), 0.5)
    with pytest.raises(AttributeError):
        _C.no_such_operation  # noqa: B018


def test_an_archive_or_a_text_that_is_not_as_expected_stops_the_build(backend, monkeypatch, tmp_path):
    def stops(message: str) -> None:
        with pytest.raises(SystemExit, match=message):
            backend.build_wheel(str(tmp_path))

    sdist = tmp_path / "other.tar.gz"
    monkeypatch.setenv(backend.SDIST_VARIABLE, str(sdist))
    stops(r"other\.tar\.gz, which is not a file")
    sdist.write_bytes(sdist_of({"LICENSE": "a licence", "detectron2/__init__.py": "nothing to replace"}))
    stops(r"other\.tar\.gz has the SHA-256 .* expected 5d2e9e51")
    monkeypatch.setattr(backend, "SDIST_SHA256", backend.hashlib.sha256(sdist.read_bytes()).hexdigest())
    stops(r"detectron2/__init__\.py: expected the text .* found it 0 time")
    assert not list(tmp_path.glob("*.whl"))
    # What pip finds.
    monkeypatch.undo()
    monkeypatch.delenv(backend.SDIST_VARIABLE, raising=False)
    for name, value in {"NO_INDEX": "1", "CONFIG_FILE": os.devnull, "FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    stops(r"could not download pb1-detectron2 0\.6\. Check the network")
    (tmp_path / "pb1-detectron2-0.6.tar.gz").write_bytes(b"served by mistake")
    stops("does not have the SHA-256 5d2e9e51")


def test_wheel_is_complete_and_repeatable(backend, monkeypatch):
    monkeypatch.setattr(backend, "apply_fixes", lambda files: files)
    sources = {"LICENSE": "a licence", "detectron2/__init__.py": "", "detectron2/layers/csrc/vision.cpp": "int x;"}
    sdist = sdist_of({**sources, "projects/PointRend/point_rend/__init__.py": "", "tools/train.py": ""})
    content = backend.wheel_bytes(sdist)
    assert content == backend.wheel_bytes(sdist)
    names = set(backend.zipfile.ZipFile(io.BytesIO(content)).namelist())
    modules = {"detectron2/__init__.py", "detectron2/_C.py", "detectron2/projects/point_rend/__init__.py"}
    info = {f"detectron2-0.6.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")}
    assert names == modules | info


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_setup_says_what_to_install_and_leaves_the_environment_of_another_folder_alone(tmp_path):
    (tmp_path / "python2").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python2").chmod(0o755)
    command, environment = ["bash", str(ROOT / "packaging" / "setup.sh")], {"PYTHON": str(tmp_path / "python2")}
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "no Python 3.11, 3.12 or 3.13" in run.stderr
    assert "make PYTHON=" in " ".join(run.stderr.split())  # lines are folded
    assert not (tmp_path / ".venv").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / ".complete").write_text("/elsewhere")
    (tmp_path / ".venv").symlink_to(other)
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1 and "made for /elsewhere" in run.stderr
    assert [path.name for path in other.iterdir()] == [".complete"]
