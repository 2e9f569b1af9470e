"""The small languages inside a spec: names, durations, sizes, weights, references to models.

Every one of them reads what a user writes and writes back one normal form, so that two files that
mean the same have the same canonical bytes.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from pointsman.domain.names import ATTRIBUTE_PATTERN, NAME_PATTERN

DURATION_PATTERN: Final = r"^[0-9]{1,12}(ms|s|m|h|d|w)$"
SIZE_PATTERN: Final = r"^[0-9]{1,12}(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$"
DECIMAL_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"

_DURATION_UNITS: Final = {
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_SIZE_UNITS: Final = {
    "TiB": 1 << 40,
    "TB": 10**12,
    "GiB": 1 << 30,
    "GB": 10**9,
    "MiB": 1 << 20,
    "MB": 10**6,
    "KiB": 1 << 10,
    "KB": 10**3,
    "B": 1,
}
_DURATION: Final = re.compile(DURATION_PATTERN)
_SIZE: Final = re.compile(SIZE_PATTERN)
_DECIMAL: Final = re.compile(DECIMAL_PATTERN)


def parse_duration(text: object) -> int:
    """Milliseconds. Raises PydanticCustomError on anything but `<whole number><ms|s|m|h|d|w>`."""
    if not isinstance(text, str) or not _DURATION.fullmatch(text):
        raise PydanticCustomError(
            "duration",
            "a duration is a whole number and a unit, not {found}",
            {"found": repr(text)},
        )
    digits = text.rstrip("mshdw")
    return int(digits) * _DURATION_UNITS[text[len(digits) :]]


def format_duration(milliseconds: int) -> str:
    """The normal form: the largest unit that divides it (`90m`, not `5400s`)."""
    for unit, size in _DURATION_UNITS.items():
        # Weeks are read and never written: few people think of 14 days as 2w.
        if unit != "w" and milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return "0ms"


def parse_size(text: object) -> int:
    """Bytes. Raises PydanticCustomError on anything but `<whole number><B|KB|MB|GB|TB|KiB|...>`."""
    if not isinstance(text, str) or not _SIZE.fullmatch(text):
        raise PydanticCustomError(
            "size", "a size is a whole number and a unit, not {found}", {"found": repr(text)}
        )
    digits = text.rstrip("KMGTiB")
    return int(digits) * _SIZE_UNITS[text[len(digits) :]]


def format_size(size_bytes: int) -> str:
    """The normal form: the largest unit that divides it."""
    for unit, size in _SIZE_UNITS.items():
        if size_bytes and size_bytes % size == 0:
            return f"{size_bytes // size}{unit}"
    return "0B"


def parse_decimal(value: object) -> Decimal:
    """The exact decimal a user wrote, never a binary fraction near it.

    Takes integers, floats (by their shortest text, which is what was written for up to 15
    digits) and strings such as "0.5", the stored form of a fraction.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise PydanticCustomError(
            "decimal", "must be a number, not {found}", {"found": repr(value)}
        )
    text = f"{Decimal(repr(value)):f}" if isinstance(value, float) else str(value)
    if text.startswith("-"):
        raise PydanticCustomError(
            "negative", "must not be negative, and is {found}", {"found": text}
        )
    if not any(character.isdigit() for character in text):
        raise PydanticCustomError(
            "decimal", "must be a number, not {found}", {"found": repr(value)}
        )
    if not _DECIMAL.fullmatch(text):
        raise PydanticCustomError(
            "decimal",
            "must be a number with at most 9 digits before and 9 after the point, not {found}",
            {"found": repr(value)},
        )
    return Decimal(text)


def format_decimal(value: Decimal) -> int | str:
    """The normal form: an integer where it is one, else its shortest text."""
    if value == value.to_integral_value():
        return int(value)
    return f"{value.normalize():f}"


def _percent(value: object) -> Decimal:
    percent = parse_decimal(value)
    if percent > 100:
        raise PydanticCustomError(
            "percent", "must be between 0 and 100, and is {found}", {"found": str(percent)}
        )
    return percent


def _sorted(value: Any) -> Any:
    """Order in a mapping means nothing: it must not differ between a file and its stored form."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return dict(sorted(value.items()))
    return value


_DECIMAL_SCHEMA: Final = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": DECIMAL_PATTERN}]
}
_PERCENT_SCHEMA: Final = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 100},
        {"type": "string", "pattern": DECIMAL_PATTERN},
    ]
}

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Projects, tenants, variants, rules, metrics, backends."""


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float):
        raise PydanticCustomError("scalar", "must be text, a number, true or false")
    return value


AttributeName = Annotated[str, StringConstraints(pattern=ATTRIBUTE_PATTERN)]
"""Context attributes: CEL identifiers."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]

Condition = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
"""CEL source; compiled by the semantic checks, against the declared context."""

Milliseconds = Annotated[
    int,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["150ms", "10m"]}),
]
"""Written as a duration (`10m`), held as milliseconds."""

Bytes = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN, "examples": ["50GB", "512MiB"]}),
]
"""Written as a size (`50GB`), held as bytes."""

Weight = Annotated[
    Decimal,
    BeforeValidator(parse_decimal),
    PlainSerializer(format_decimal, return_type=int | str),
    WithJsonSchema(_DECIMAL_SCHEMA),
]
"""Relative, at least 0; exact."""

Percent = Annotated[
    Decimal,
    BeforeValidator(_percent),
    PlainSerializer(format_decimal, return_type=int | str),
    WithJsonSchema(_PERCENT_SCHEMA),
]
"""0 to 100; exact."""

Scalar = Annotated[str | int | float | bool, BeforeValidator(_scalar)]
"""One plain value; whether it fits the declared type is for the checks to say."""

Sorted = BeforeValidator(_sorted)
"""For mappings: see `_sorted`."""
