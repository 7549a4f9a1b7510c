"""Sections of YAML and JSON files as immutable, strict pydantic models, whose errors are one line."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from scapes.files import replacing

T = TypeVar("T")
List = Annotated[tuple[T, ...], Field(strict=False)]  # a list in a file, a tuple in Python
Count = Annotated[int, Field(ge=1)]
Values = Annotated[List[T], Field(min_length=1), AfterValidator(lambda values: tuple(dict.fromkeys(values)))]
"""Values of a factor, each once."""


def expanded(path: str) -> str:
    """``path`` with ``~`` and ``$VARIABLES`` replaced. Raises ValueError, naming it, for one that is not known."""
    known = os.path.expandvars(os.path.expanduser(path))
    if unknown := re.search(r"^~[^/]*|\$\w+|\$\{[^}]*\}", known):
        raise ValueError(f"found {path!r}, expected a path of which all is known; {unknown[0]} is not set")
    return known


LocalPath = Annotated[str, AfterValidator(lambda path: path and os.path.realpath(expanded(path)))]
"""A path of this machine, absolute once it is read: relative ones are relative to the current folder; empty: none."""

NUMBER = "a number without quotes, such as 0.001 or 1.0e-3"  # YAML reads 1e-3 as text
EXPECTED = {
    "int_type": "an integer", "float_type": NUMBER, "float_parsing": NUMBER, "string_type": "text in quotes",
    "bool_type": "true or false", "tuple_type": "a list", "dict_type": "a mapping", "model_type": "a mapping of fields",
    "greater_than": "more than {gt}", "greater_than_equal": "at least {ge}", "less_than_equal": "at most {le}",
    "too_short": "at least one value", "string_pattern_mismatch": "{pattern}",
}  # fmt: skip
"""Kind of pydantic's error -> what was expected, where pydantic's own words are not plain enough."""


class Section(BaseModel):
    """A section of a file. Strict: text is no number, true is no integer. Whatever makes one raises ValueError."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None

    __init__.__pydantic_base_init__ = True  # sections within sections are validated at once, with their full names

    @classmethod
    def load(cls, path: str | Path, **defaults: Any) -> Self:
        """Read a YAML file; any error names it. ``defaults``: of fields that it may lack."""
        try:
            values = yaml.safe_load(Path(path).read_text())
            check(isinstance(values, dict), values, "a mapping of fields")
            return cls(**{str(name): value for name, value in (defaults | values).items()})
        except (ValueError, RecursionError, yaml.YAMLError) as error:  # YAML's errors have several lines
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error

    def replace(self, **changes: Any) -> Self:
        """A validated copy with other values."""
        return type(self)(**{**dict(self), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Of JSON's types only."""
        return self.model_dump(mode="json")

    def save(self, path: str | Path) -> None:
        """Write YAML that gives an equal section back."""
        with replacing(path) as temporary:
            temporary.write_text(yaml.safe_dump(self.model_dump(), sort_keys=False))

    @model_validator(mode="before")
    @classmethod
    def _only_known_fields(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(f"unknown field {name!r}; expected some of {', '.join(cls.model_fields)}")
        return values


def plain(value: Any) -> Any:
    """``value`` with NumPy's arrays and numbers, ranges and sets as lists and numbers of Python."""
    if isinstance(value, dict):
        return {plain(key): plain(own) for key, own in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    return [plain(own) for own in value] if isinstance(value, (list, tuple, range, set)) else value


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's errors as ``section.field: found ..., expected ...``."""
    first = error.errors(include_url=False)[0]
    kind, context = first["type"], first.get("ctx", {})
    place = first["loc"][:-2] if first["loc"][-1:] == ("[key]",) else first["loc"]  # a key is the value found
    names = [part for part in place if isinstance(part, str)]
    if kind == "missing":
        problem = f"missing field {names.pop()!r}"
    elif kind == "value_error":
        problem = str(context["error"])
    else:
        expected = EXPECTED[kind].format(**context) if kind in EXPECTED else first["msg"]
        problem = f"found {first['input']!r}, expected {expected.removeprefix('Input should be ')}"
    separator = ": " if problem.startswith(("found", "unknown", "missing")) else "."  # a validator may name a field
    return ".".join(names) + separator * bool(names) + problem


def check(condition: bool, found: T, expected: str, field: str = "") -> T:
    """For validators: ``found``, or ValueError unless ``condition``; ``field`` where a whole section is validated."""
    if not condition:
        raise ValueError(f"{field}{': ' if field else ''}found {found!r}, expected {expected}")
    return found
