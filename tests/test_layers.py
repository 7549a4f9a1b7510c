"""The shape of the code: imports run downward, PyTorch stays in one folder, importing only defines, files are short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "synlib"
LAYERS = ("datasets", "curation", "evaluation", "pointrend", "study", "report")
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "torchvision", "detectron2", "fvcore")


def rank(path: Path) -> int:
    """0 for the modules at the top, which everything may import; the folders in their order; ``__main__`` last."""
    parts = path.relative_to(PACKAGE).parts
    if len(parts) > 1:
        return 1 + LAYERS.index(parts[0])
    return 1 + len(LAYERS) if parts[0] == "__main__.py" else 0


def imported(path: Path) -> list[str]:
    """Dotted names of everything that a module imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def file_of(name: str) -> Path | None:
    """The file behind a dotted name of this package, which may end in a function or class."""
    parts = name.split(".")[1:]
    while parts:
        for path in (PACKAGE.joinpath(*parts).with_suffix(".py"), PACKAGE.joinpath(*parts, "__init__.py")):
            if path.exists():
                return path
        parts = parts[:-1]
    return PACKAGE / "__init__.py"


def test_every_folder_has_its_layer():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(LAYERS)


def test_the_ranks_tell_layers_apart():
    assert rank(file_of("synlib.spec.RunSpec")) == 0
    assert rank(file_of("scapes.png")) == 1
    assert rank(file_of("synlib.report.figures.glance")) == 6


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module(path):
    for name in imported(path):
        if name.split(".")[0] == "synlib":
            assert rank(file_of(name)) <= rank(path), f"{path} imports {name}, which lies above it"
        if name.split(".")[0] in HEAVY:
            assert path.relative_to(PACKAGE).parts[0] == "pointrend", f"{path} imports {name}"
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_importing_a_module_only_defines(path):
    """At the top level: imports, definitions, constants and docstrings; no loops, prints or files opened."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr, ast.If)
    for node in ast.parse(path.read_text()).body:
        assert isinstance(node, allowed), f"{path}:{node.lineno}"
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{path}:{node.lineno}: a call at import time"
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) in ("__name__ == '__main__'", "TYPE_CHECKING"), f"{path}:{node.lineno}"


def modules_after(*names: str) -> set[str]:
    script = f"import sys\nimport {', '.join(names)}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return set(run.stdout.split())


def test_notebooks_and_plans_do_not_wait_for_pytorch():
    below = [
        ".".join(("synlib", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in MODULES
        if "pointrend" not in path.parts and path.name != "__main__.py"
    ]
    assert not modules_after(*below, "run_all") & set(HEAVY)


def test_the_command_line_imports_a_command_only_when_it_is_used():
    loaded = modules_after("synlib.__main__")
    assert not loaded & {*HEAVY, "matplotlib", "synlib.study.study", "scapes.ap"}
