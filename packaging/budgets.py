"""Count the lines of Python of each part of the house, and fail where one has grown above its budget: `make lint`.

Every line counts, docstrings and blank ones too. A budget is met by deleting, by a library or by a simpler design.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = {"synlib": 5000, "libs/scapes": 2000, "libs/seeded_rcnn": 900, "libs/toyscapes": 1900, "run_all.py": 120,
           "tests": 9500}  # fmt: skip
FILE_BUDGET = 350


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = {name: len((ROOT / name).read_text().splitlines()) for name in listed.stdout.split("\n") if name}
    problems = [
        f"{name}: {count} lines, expected at most {FILE_BUDGET}" for name, count in lines.items() if count > FILE_BUDGET
    ]
    for part, budget in BUDGETS.items():
        count = sum(number for name, number in lines.items() if name == part or name.startswith(f"{part}/"))
        print(f"{part:20} {count:6} of {budget} lines")
        if count > budget:
            problems.append(f"{part}: {count} lines, expected at most {budget}")
    print(*problems, sep="\n", end="\n" * bool(problems), file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
