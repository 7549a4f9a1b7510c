"""The published numbers by the names that ``paper.yaml`` has for them, such as ``paper.TABLE1``."""

from pathlib import Path
from typing import Any

import yaml


def __getattr__(name: str) -> Any:
    """Python asks here for names that the module does not define: at first for all, which it then does."""
    globals().update(numbers := yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")))
    if name not in numbers:
        raise AttributeError(f"the paper's {name}: expected one of {', '.join(numbers)}")
    return numbers[name]
