"""The published numbers by the names that ``paper.yaml`` has for them, such as ``paper.TABLE1``."""

import functools
from pathlib import Path
from typing import Any

import yaml


@functools.cache
def _numbers() -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def __getattr__(name: str) -> Any:
    """Python asks here for names that the module does not define: the file is read when its first number is needed."""
    if name not in _numbers():
        raise AttributeError(f"the paper's {name}: expected one of {', '.join(_numbers())}")
    return _numbers()[name]
