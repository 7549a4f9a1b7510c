"""The shape of the code: imports run downward, PyTorch stays in its rooms, importing only defines, files are short."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARIES = ("scapes", "seeded_rcnn", "toyscapes")
MODULES = sorted([*ROOT.glob("synlib/**/*.py"), *ROOT.glob("libs/*/*.py")])
TORCH_ROOMS = ("seeded_rcnn", "synlib.pointrend")
HEAVY = ("torch", "torchvision", "detectron2", "fvcore")

MAY_IMPORT = {
    "scapes": (),
    "seeded_rcnn": ("scapes",),
    "toyscapes": ("scapes",),
    "synlib": ("scapes",),
    "synlib.curation": ("synlib", "scapes"),
    "synlib.runs": ("synlib.curation", "synlib", "scapes"),
    "synlib.pointrend": ("synlib.runs", "synlib.curation", "synlib", "seeded_rcnn", "scapes"),
    "synlib.study": ("synlib.runs", "synlib.curation", "synlib", "toyscapes", "scapes"),
    "synlib.report": ("synlib.study", "synlib.runs", "synlib.curation", "synlib", "scapes"),
    "synlib.__main__": ("synlib.report", "synlib.study", "synlib.runs", "synlib.curation", "synlib", "scapes"),
}
"""Room -> the rooms that its modules may import, besides itself. ``synlib``: the modules at its top."""


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "libs" else parts).removesuffix(".__init__")


def room(name: str) -> str:
    """The room of a dotted name, which may end in a function or class."""
    parts = name.split(".")
    if parts[0] in LIBRARIES:
        return parts[0]
    inner = ".".join(parts[:2])
    return inner if inner in MAY_IMPORT else parts[0]


def imported(path: Path) -> list[str]:
    """Dotted names of everything that a module imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_every_folder_is_a_room():
    folders = {dotted(path) for path in MODULES if path.name == "__init__.py"}
    assert folders == set(MAY_IMPORT) - {"synlib.__main__"}


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module(path):
    own = room(dotted(path))
    for name in imported(path):
        if name.split(".")[0] in (*LIBRARIES, "synlib", "tests"):
            assert room(name) in (own, *MAY_IMPORT[own]), f"{path} imports {name}, which lies above it"
        if name.split(".")[0] in HEAVY:
            assert own in TORCH_ROOMS, f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_importing_a_module_only_defines(path):
    """At the top level: imports, definitions, constants and docstrings; no loops, prints or files opened."""
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr, ast.If)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Try):  # an import with a remedy
            assert {type(part) for part in node.body} <= {ast.Import, ast.ImportFrom}, f"{path}:{node.lineno}"
            continue
        assert isinstance(node, allowed), f"{path}:{node.lineno}"
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{path}:{node.lineno}: a call at import time"
        assert not isinstance(node, ast.Assign) or "read_text" not in ast.unparse(node), f"{path}:{node.lineno}"
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) in ("__name__ == '__main__'", "TYPE_CHECKING"), f"{path}:{node.lineno}"


NAMES = [dotted(path) for path in MODULES if path.name != "__main__.py"]


@pytest.mark.parametrize(
    ("names", "unwanted"),
    [
        ([*(name for name in NAMES if room(name) not in TORCH_ROOMS), "run_all"], HEAVY),
        ([name for name in NAMES if room(name) == "scapes"], (*HEAVY, "pydantic", "matplotlib")),
        (["synlib.__main__"], (*HEAVY, "matplotlib", "synlib.study.study", "scapes.ap")),
    ],
    ids=["notebooks and plans", "scapes", "the command line"],
)
def test_nobody_waits_for_what_is_not_used(names, unwanted):
    script = f"import sys\nimport {', '.join(names)}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stderr) == (0, "")
    assert not set(run.stdout.split()) & set(unwanted)
