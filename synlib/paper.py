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


def limit(name: str) -> float:
    """Figure 4: the removal threshold in percent above which AP of class ``name`` falls."""
    limits = _numbers()["LIMITS"]
    return limits.get(name, limits["others"])


def table3_rows() -> list[dict]:
    """``TABLE3`` in tidy form: one dictionary per run, with ``epochs``, ``added``, ``iterations`` and ``ap``."""
    real, batch = _numbers()["IMAGES"]["Cityscapes"], _numbers()["BATCH_SIZE"]
    return [
        {"epochs": epochs, "added": added, "iterations": epochs * (real + added) / batch, "ap": ap}
        for epochs, row in _numbers()["TABLE3"].items()
        for added, ap in row.items()
    ]
