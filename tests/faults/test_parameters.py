"""Every parameter of the notebooks x every wrong value: named with what was found, before any data are touched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import papermill
import pytest

from synlib.profile import ROOT, Profile
from synlib.study.study import Study
from tests.faults.campaign import refusal, sentence

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LISTS = {
    "seeds": ([0, 1], [-1, 0.5, True, 1e400]),
    "thresholds": ([0, 40], [-1, 101, True]),
    "ratios": ([0, 50], [-1, 101, True]),
    "added_images": ([0, 8], [-1, 0.5, True]),
    "epochs": ([1, 2.5], [-1, 0, True, float("inf")]),
}
"""Parameter -> good values, and values that are out of range or of another type."""
MAPPINGS = {
    "removal": ({"car": 60}, [{"cat": 60}, {"car": 101}, {"car": "60"}, {"car": None}, {None: 60}, {0: 60}]),
    "learning_rates": (
        {0.9: [0.001, 0.01]},
        [{1.0: [0.1]}, {-0.1: [0.1]}, {0.9: []}, {0.9: 0.1}, {0.9: [0]}, {0.9: ["1e-3"]}, {None: [0.1]}, {"x": [0.1]}],
    ),
}


def wrong() -> Iterator[tuple[str, Any]]:
    for name, (_, bad) in LISTS.items():
        yield from ((name, [value]) for value in [*bad, "1", None, [1], {}, float("nan"), np.array([1])])
        yield from ((name, value) for value in ["[0, 1]", "all", 7, 0.5, True, {"a": 1}, ..., {"a"}])
        yield from ((name, value) for value in [np.array([[0, 1]]), np.array(["a"]), Path("x")])
    for name, (_, bad) in MAPPINGS.items():
        yield from ((name, value) for value in [*bad, "car: 60", 60, [60], True, np.array([0.1]), pd.Series([1]), ...])
    yield from (("jobs", value) for value in [0, -1, 1.0, 1.5, "2", None, True, [1], np.float64(2), np.array([1])])
    yield from (("profile", value) for value in ["nope", "nope.yaml", "", None, 3, ["demo"], True, np.array(["demo"])])


def right() -> Iterator[tuple[str, Any, Any]]:
    """Parameter, value, and the plain value that it must mean if it is not refused."""
    for name, (good, _) in LISTS.items():
        yield from ((name, value, good) for value in [tuple(good), np.array(good), [*np.array(good)], pd.Series(good)])
        yield from ((name, value, None) for value in [None, [], ()])
    yield from ((name, range(0, 3), [0, 1, 2]) for name in LISTS if name != "epochs")
    yield "learning_rates", {"0.9": [0.001, 0.01]}, MAPPINGS["learning_rates"][0]  # as papermill hands it over
    yield "learning_rates", {np.float64(0.9): np.array([0.001, 0.01])}, MAPPINGS["learning_rates"][0]
    yield "removal", {"car": np.int64(60)}, MAPPINGS["removal"][0]
    yield from ((name, value, None) for name in MAPPINGS for value in (None, {}))
    yield from (("jobs", value, 2) for value in (2, np.int64(2)))


def has_numpy(value: Any) -> bool:
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return any(isinstance(part, (np.ndarray, np.generic, pd.Series)) for part in parts)


def case(name: str, value: Any, *plain: Any):
    return pytest.param(name, value, *plain, id=f"{name}-{type(value).__name__} {value!r}"[:50])


def opened(name: str, value: Any) -> tuple[Profile, int]:
    """What a study with this parameter is made from."""
    study = Study.open(**{"profile": "smoke", name: value})
    return study.profile, study.jobs


def test_every_parameter_of_the_notebooks_is_here():
    known = {name for path in NOTEBOOKS for name in papermill.inspect_notebook(str(path))}
    assert known == {name for name, _ in wrong()}


@pytest.mark.parametrize(("name", "value"), [case(*item) for item in wrong()])
def test_a_wrong_value_is_named(monkeypatch, name, value):
    monkeypatch.setattr("synlib.study.study.StudyData", None)  # would fail if the data were looked at
    said = refusal(lambda: opened(name, value), name)
    assert "found" in said or "no file" in said


@pytest.mark.parametrize(("name", "value", "plain"), [case(*item) for item in right()])
def test_another_way_to_write_a_value_means_the_same_or_is_named(tmp_path, name, value, plain):
    try:
        found = opened(name, value)
    except ValueError as error:
        assert sentence(error, name) and has_numpy(value)
    else:
        assert found == opened(name, plain)
        found[0].save(tmp_path / "mine.yaml")  # YAML knows no NumPy
