"""What engines say of a source that is no condition, in plain words and at its place."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.suggestion import did_you_mean
from pointsman.domain.table import Attribute

_PLACE: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']+)' applied to '([^']*)'")
_UNEXPECTED: Final = re.compile(r"Syntax error: [a-z :]*'(.*?)'(?: expecting .*)?$")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']+)'")


def problems(text: str, declared: Mapping[str, Attribute]) -> Iterator[Violation]:
    """Each problem of an engine's message, in plain words, at its place."""
    found = False
    for line, column, message in _PLACE.findall(text):
        found = True
        place = (max(int(line), 1), max(int(column), 1))
        words, hint = _plain(message.removesuffix(" [INVALID_ARGUMENT]"), declared)
        yield problem(words, hint, place)
        if message.startswith("Syntax error"):
            return  # what the parser says after that is an echo
    if not found:
        if "recursion limit" in text:
            yield problem("is nested too deeply", "split it into several rules")
        else:
            yield problem("is not valid CEL")


def _plain(message: str, declared: Mapping[str, Attribute]) -> tuple[str, str]:
    if match := _OVERLOAD.match(message):
        return _overload(match[1], match[2])
    if match := _UNDECLARED.match(message):
        return unknown(match[1], declared)
    if "'<EOF>'" in message.partition(" expecting ")[0]:
        return "syntax error: the condition ends too early", ""
    if "recursion depth" in message:
        return "is nested too deeply", "split it into several rules"
    if unexpected := _UNEXPECTED.match(message):
        return f"syntax error: unexpected '{unexpected[1].strip()}'", ""
    return message, ""


def _overload(function: str, types: str) -> tuple[str, str]:
    operator = function.strip("_").lstrip("@").replace("!_", "!")
    operands = types.strip("()").replace(".(", ", ").replace(", ", " and ")
    hint = ""
    if "double" in types and "int" in types:
        hint = "CEL does not mix numbers: compare a double with 10.0 and an int with 10"
    return f"`{operator}` does not take {operands}", hint


def unknown(reference: str, declared: Mapping[str, Attribute]) -> tuple[str, str]:
    name = reference.removeprefix("request.")
    if name == "request":
        return "`request` by itself has no value", "read one attribute: `request.NAME`"
    if name == reference:
        if name in declared:
            return f"unknown name '{name}'", f"attributes are read as `request.{name}`"
        hint = "attributes are read as `request.NAME`; functions are those of CEL"
        return f"unknown name '{name}'", hint
    hint = did_you_mean(name, declared) or "declare it under `spec.context`"
    return f"no attribute named '{name}' is declared", hint


def without_status(text: str) -> str:
    """The text without the gRPC status around it."""
    text = re.sub(r"^[A-Z_]+: ", "", text)
    return re.sub(r" \[[A-Z_]+\]$", "", text)


def problem(message: str, hint: str = "", place: tuple[int, int] = (1, 1)) -> Violation:
    return Violation(path="", message=message, hint=hint, line=place[0], column=place[1])


def invalid(source: str, problems: list[Violation]) -> PointsmanError:
    first = problems[0]
    return PointsmanError(
        Kind.INVALID,
        f"condition {source[:80]!r}, {first.line}:{first.column}: {first.message}",
        hint=first.hint,
        violations=tuple(problems),
    )
