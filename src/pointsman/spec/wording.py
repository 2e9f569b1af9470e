"""What pydantic found, in the words of the spec: where, what, and what to do."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pointsman.domain.errors import Violation
from pointsman.domain.names import ATTRIBUTE_PATTERN, NAME_PATTERN
from pointsman.domain.suggestion import did_you_mean
from pointsman.spec.events import DECISION_PATTERN, OPERATIONAL_PATTERN
from pointsman.spec.models import API_VERSION, Project
from pointsman.spec.places import Document, Path, render
from pointsman.spec.scalars import format_duration

_QUOTE: Final = "put quotes around it"
_PATTERNS: Final = {
    NAME_PATTERN: (
        "is not a name",
        "1 to 128 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit",
    ),
    ATTRIBUTE_PATTERN: (
        "is not an attribute name",
        "1 to 128 of a-z, A-Z, 0-9, `_`, not beginning with a digit",
    ),
}
_EVENTS: Final = {
    DECISION_PATTERN: "one of `denied`, `positive` or, say, `score > 0.9`",
    OPERATIONAL_PATTERN: "one of `error`, `fallback`, `timeout`, `malformed` or, say, "
    "`latency > 100ms` or `cost > 0.01`",
}
_KINDS: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
}
_BOUNDS: Final = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_LENGTHS: Final = frozenset({"too_short", "too_long", "string_too_short", "string_too_long"})
_CUSTOM_HINTS: Final = {
    "duration": "for example 150ms, 30s, 10m, 12h, 7d",
    "size": "for example 512MiB, 50GB",
    "percent": "it is a percentage of units",
}
_MISSING_HINTS: Final = {
    "apiVersion": f"write `apiVersion: {API_VERSION}`",
    "kind": "write `kind: Project`",
    "metadata": "write `metadata: {name: my-project}`",
    "classes": "list the classes, in the order of the probabilities you want back",
    "variants": "write at least `variants: {champion: {model: ...}}`",
    "horizon": "say how long until it can be trusted, for example 7d",
}


def violations(error: ValidationError, document: Document) -> list[Violation]:
    """One violation for each place that is wrong, in the order pydantic found them.

    What the reader has already complained about is not repeated.
    """
    found: dict[Path, Violation] = {}
    unions: set[Path] = set()
    for detail in error.errors(include_url=False):
        path, missing = locate(detail, document)
        known_broken = any(path[:length] in document.broken for length in range(len(path) + 1))
        if known_broken or path in found or _is_echo(detail):
            continue
        found[path] = _violation(detail, path, document, missing=missing)
        if detail["type"] == "literal_error" and isinstance(detail["input"], dict | list):
            unions.add(path)
    # Of a union, the member that got further tells more.
    for path in unions:
        if any(other[: len(path)] == path != other for other in found):
            del found[path]
    return list(found.values())


def _is_echo(detail: ErrorDetails) -> bool:
    """Whether it only says that a list is too short without its wrong items."""
    if detail["type"] != "too_short":
        return False
    least: int = detail["ctx"]["min_length"]
    return len(detail["input"]) >= least


def locate(detail: ErrorDetails, document: Document) -> tuple[Path, bool]:
    """The path as the user wrote it, and whether its last part is what is missing.

    pydantic's own path also names what is not in the file: union members, the long form behind a
    short one, the marker of a key.
    """
    location = [part for part in detail["loc"] if part != "[key]"]
    value: Any = document.value
    path: Path = ()
    for part in location:
        if _has(value, part):
            key, value = part, value[part]
        elif path[-1:] == ("features",) and isinstance(part, int) and isinstance(value, Mapping):
            # Declared as a mapping, validated as a list in the same order.
            key = list(value)[part]
            value = value[key]
        else:
            continue
        path = (*path, key)
    if detail["type"] == "missing" and isinstance(value, Mapping):
        return (*path, location[-1]), True
    return path, False


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _violation(detail: ErrorDetails, path: Path, document: Document, *, missing: bool) -> Violation:
    kind = detail["type"]
    at_key = missing or kind == "extra_forbidden" or detail["loc"][-1] == "[key]"
    if detail["loc"][-1] == "[key]":
        message, hint = _pattern(path[-1], detail)
    elif kind == "extra_forbidden":
        message = f"unknown key '{path[-1]}'"
        hint = _known_here(str(path[-1]), path[:-1], detail["loc"][:-1])
    else:
        message, hint = _words(detail, path)
    container = isinstance(detail["input"], dict | list)
    place = document.place(path) if at_key or container else document.value_place(path)
    return Violation(render(path), message, hint, "", place.line, place.column)


def _words(detail: ErrorDetails, path: Path) -> tuple[str, str]:
    """Message and hint by pydantic's error type."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "is required", _MISSING_HINTS.get(str(path[-1]) if path else "", "")
    if kind in _KINDS:
        return _wrong_type(_KINDS[kind], value, path)
    if kind in {"literal_error", "enum"}:
        return _one_of(value, str(context.get("expected", "")), path)
    if kind == "string_pattern_mismatch":
        return _pattern(value, detail)
    if kind in _BOUNDS:
        return _bound(kind, value, context)
    if kind in _LENGTHS:
        return _length(kind, context), ""
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        return _metric_kind(value)
    return detail["msg"], _CUSTOM_HINTS.get(kind, "")


def _wrong_type(wanted: str, value: Any, path: Path) -> tuple[str, str]:
    if wanted == "text" and path[-1:] == ("when",):
        hint = "compare an attribute: 'request.NAME == ...'; the last rule needs no condition"
        return f"must be a condition in CEL, not {_shown(value)}", hint
    hint = _QUOTE if wanted == "text" and isinstance(value, int | float) else ""
    return f"must be {wanted}, not {_shown(value)}", hint


def _bound(kind: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    key, words = _BOUNDS[kind]
    # Only durations are written as text and compared as numbers.
    bound = format_duration(int(context[key])) if isinstance(value, str) else f"{context[key]:g}"
    return f"must be {words} {bound}, and is {value}", ""


def _length(kind: str, context: Mapping[str, Any]) -> str:
    unit = " characters" if kind.startswith("string") else " entries"
    if kind.endswith("too_long"):
        return f"must have at most {context['max_length']:,}{unit}"
    least = context["min_length"]
    return f"must have at least {least}{unit}" if least > 1 else "must not be empty"


def _one_of(value: Any, expected: str, path: Path) -> tuple[str, str]:
    choices = re.findall(r"'([^']*)'", expected)
    if path == ("apiVersion",):
        return f"must be {API_VERSION}, not {_shown(value)}", "this release reads no other version"
    if len(choices) == 1:
        return f"must be {choices[0]}, not {_shown(value)}", ""
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    if not hint.startswith("did"):
        hint = _QUOTE if isinstance(value, bool | int | float) else ""
    return f"must be one of {', '.join(choices)}, not {_shown(value)}", hint


def _metric_kind(value: Any) -> tuple[str, str]:
    kinds = ("classifier", "decision", "operational")
    given = value.get("kind") if isinstance(value, Mapping) else None
    if given is None:
        return "must have a `kind`", f"one of {', '.join(kinds)}"
    hint = did_you_mean(str(given), kinds)
    return f"must have a `kind` of {', '.join(kinds)}, not {_shown(given)}", hint


def _pattern(value: Any, detail: ErrorDetails) -> tuple[str, str]:
    pattern = detail.get("ctx", {}).get("pattern", "")
    if pattern in _PATTERNS:
        message, hint = _PATTERNS[pattern]
        return f"{_shown(value)} {message}", hint
    if pattern in _EVENTS:
        return f"{_shown(value)} is not an event", _EVENTS[pattern]
    if "[0-9]{4}" in pattern:
        return f"{_shown(value)} is not a day", "for example 2026-12-20"
    if ">=" in pattern:
        return f"{_shown(value)} is not a comparison", 'for example ">= 0.9"'
    return f"{_shown(value)} is not allowed here", "either `decision` or a duration such as 1d"


def _shown(value: Any) -> str:
    """A value as a user would recognise it, short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 40 else f"'{value[:37]}...'"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return "nothing" if value is None else str(value)


def _known_here(key: str, path: Path, location: tuple[int | str, ...]) -> str:
    """Hint for an unknown key: the one that was meant, or where it belongs."""
    known = _keys_at(location)
    hint = did_you_mean(key, known)
    if hint.startswith("did"):
        return hint
    meant = did_you_mean(key, _homes())
    word = meant.removeprefix("did you mean '").removesuffix("'?")
    homes = sorted(home for home in _homes().get(word, ()) if home != render(path))
    if not homes:
        return hint
    return f"`{word}` belongs to `{homes[0]}`"


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = Project.model_json_schema(by_alias=True)
    return schema


def _keys_at(location: tuple[int | str, ...]) -> set[str]:
    """Keys the language knows at pydantic's own path."""
    nodes = [_schema()]
    for part in location:
        nodes = [below for node in nodes for below in _below(node, part)]
    return {key for node in nodes for key in _flat(node).get("properties", {})}


def _below(node: dict[str, Any], part: int | str) -> list[dict[str, Any]]:
    """Schemas one step further down; a union stays where it is for its own marker."""
    found = []
    for option in _options(node):
        if part in option.get("properties", {}):
            found.append(option["properties"][part])
        elif isinstance(part, int) and "items" in option:
            found.append(option["items"])
        elif isinstance(option.get("additionalProperties"), dict):
            found.append(option["additionalProperties"])
        elif "patternProperties" in option:
            found += option["patternProperties"].values()
        elif option.get("properties", {}).get("kind", {}).get("const") == part:
            found.append(option)
    return found


def _options(node: dict[str, Any]) -> list[dict[str, Any]]:
    node = _flat(node)
    union = node.get("anyOf") or node.get("oneOf")
    return [_flat(option) for option in union] if union else [node]


def _flat(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        target: dict[str, Any] = _schema()["$defs"][node["$ref"].rpartition("/")[2]]
        return target
    return node


@lru_cache(maxsize=1)
def _homes() -> dict[str, set[str]]:
    """Key -> blocks directly below the root or `spec` it belongs to."""
    homes: dict[str, set[str]] = {}
    spec = _schema()["$defs"]["ProjectSpec"]["properties"]
    blocks = {"metadata": {"$ref": "#/$defs/Metadata"}, "spec": {"$ref": "#/$defs/ProjectSpec"}}
    blocks |= {f"spec.{name}": node for name, node in spec.items()}
    for path, node in blocks.items():
        for option in _options(node):
            for key in option.get("properties", {}):
                homes.setdefault(key, set()).add(path)
    return homes
