"""The published numbers by the names that ``paper.yaml`` has for them, such as ``paper.TABLE1``."""

from pathlib import Path
from typing import Any

import yaml

_NUMBERS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def __getattr__(name: str) -> Any:
    """Python asks here for names that the module does not define."""
    if name not in _NUMBERS:
        raise AttributeError(f"the paper's {name}: expected one of {', '.join(_NUMBERS)}")
    return _NUMBERS[name]
