"""Every benchmark runs at its smallest scale, and its last line has a number: scripts that nobody runs stop working."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SMALLEST = {
    "ap.py": "--images 1 --repeats 1",
    "draw_toyscapes.py": "--pairs 1 --rounds 1 --height 64",
    "evaluator.py": "--images 2",
    "gpu_check.py": "--scale tiny --json {folder}/gpu_check.json",
    "harmonize.py": "--images 1 --rounds 1",
    "inference.py": "--scale tiny --images 2 --rounds 1",
    "instance_table.py": "--images 1 --rounds 1 --warm 0",
    "loader_memory.py": "--images 200 --fewer 100 --workers 1",
    "mapper.py": "--images 2 --rounds 1",
    "schedule.py": "--profile demo",
    "starting_weights.py": "--profile smoke --iterations 4 --pretraining-s 1",
    "train_step.py": "--scale tiny --iterations 6 --images 2 --precision float32",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_smallest_scale(name, tmp_path):
    command = [sys.executable, FOLDER / name, *SMALLEST[name].format(folder=tmp_path).split()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert re.search(r"\d", ended.stdout.splitlines()[-1])
    assert "nan" not in ended.stdout.splitlines()[-1]
