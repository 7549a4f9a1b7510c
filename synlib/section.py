"""Sections of YAML and JSON files as immutable, strict pydantic models, whose errors are one line."""

from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scapes.files import replacing

T = TypeVar("T")
List = Annotated[tuple[T, ...], Field(strict=False)]
"""A list in a file, a tuple in Python."""
Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]

NUMBER = "a number without quotes, such as 0.001 or 1.0e-3"  # YAML reads 1e-3 as text
EXPECTED = {
    "int_type": "an integer", "float_type": NUMBER, "float_parsing": NUMBER, "string_type": "text in quotes",
    "bool_type": "true or false", "tuple_type": "a list", "dict_type": "a mapping", "model_type": "a mapping of fields",
    "greater_than": "more than {gt}", "greater_than_equal": "at least {ge}", "less_than": "less than {lt}",
    "less_than_equal": "at most {le}", "literal_error": "{expected}", "too_short": "at least one value",
    "string_pattern_mismatch": "{pattern}",
}  # fmt: skip
"""pydantic's kind of error -> what our sentence says; another kind keeps pydantic's words."""


class Section(BaseModel):
    """A section of a YAML or JSON file: immutable and strict (text is no number, true is no integer).

    Its constructor, :meth:`from_dict` and :meth:`replace` raise ValueError, one line with the field, what was found and
    what is expected; an unknown field is an error that lists the known ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None

    __init__.__pydantic_base_init__ = True  # sections within sections are validated at once, with their full names

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None

    @classmethod
    def load(cls, path: str | Path, **defaults: Any) -> Self:
        """Read a YAML file; any error names it. ``defaults``: of fields that it may lack."""
        try:
            values = yaml.safe_load(Path(path).read_text())
            return cls.from_dict(defaults | values if isinstance(values, dict) else values)
        except (ValueError, yaml.YAMLError) as error:  # YAML's errors have several lines
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
        unknown = [name for name in values if name not in cls.model_fields] if isinstance(values, dict) else []
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r}; expected some of {', '.join(cls.model_fields)}")
        return values

    def _set(self, **values: Any) -> None:
        """For validators, which complete what was given."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def _sentence(error: ValidationError) -> str:
    """The first of pydantic's errors as ``section.field: found ..., expected ...``."""
    first = error.errors(include_url=False)[0]
    kind, found, context = first["type"], first["input"], first.get("ctx", {})
    names = [part for part in first["loc"] if isinstance(part, str)]
    names = names[:-2] if names[-1:] == ["[key]"] else names
    if kind == "missing":
        problem = f"missing field {names.pop()!r}"
    elif kind == "value_error":
        problem = str(context["error"])
    else:
        expected = EXPECTED[kind].format(**context) if kind in EXPECTED else first["msg"]
        problem = f"found {found!r}, expected {expected}"
    if names and not problem.startswith(("found", "unknown", "missing")):  # it begins with the name of a field
        return f"{'.'.join(names)}.{problem}"
    return ": ".join([*filter(None, [".".join(names)]), problem])


def check(condition: bool, found: Any, expected: str, field: str = "") -> None:
    """For validators: raise ValueError unless ``condition``; ``field`` where a whole section is validated."""
    if not condition:
        raise ValueError(f"{field}{': ' if field else ''}found {found!r}, expected {expected}")
