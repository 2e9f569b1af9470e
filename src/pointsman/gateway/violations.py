"""Why a native body was refused: every problem with its path, found once decoding has failed.

The decoders stop at the first problem, which is right for the hot path. This walks the body again,
slowly, so that a caller can mend everything at once.
"""

import difflib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.gateway.schema import ATTRIBUTE_TYPES, Schema
from pointsman.runtime.row_types import FEATURE_TYPES, STRING_CHARACTERS

MOST: Final = 20
UNKNOWN: Final = "not known"
MISSING: Final = "missing"
_MEMBER: Final = {
    "Object contains unknown field ": UNKNOWN,
    "Object missing required field ": MISSING,
}
"""What a decoder says of members, and what we say."""

_TOP: Final[dict[str, Any]] = {"unit": str | int | None, "variant": str | None, "id": str | None}


def explain(
    schema: Schema, body: bytes | bytearray, error: Exception, *, features: bool = True
) -> PointsmanError:
    """What is wrong with this body, as one error: MALFORMED where it is no JSON, else INVALID.

    error: what the decoder said
    features: whether the body should have had any
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as broken:
        return not_json(broken, body)
    found = tuple(islice(problems(schema, value, features=features), MOST + 1))
    return together(found or (Violation("", plain(str(error))),))


def refused(where: str, what: str, hint: str = "") -> PointsmanError:
    """The refusal of one thing in a request. where: `input amount`, `parameters.unit`"""
    found = Violation(where, what, hint)
    return PointsmanError(Kind.INVALID, f"{where}: {what}", hint=hint, violations=(found,))


def together(found: Sequence[Violation]) -> PointsmanError:
    """One refusal (INVALID) of everything that is wrong with a body. found: at least one"""
    first = found[0]
    more = ""
    if len(found) > 1:
        more = f" (and {'more than ' if len(found) > MOST else ''}{len(found[:MOST]) - 1} more)"
    path = f"{first.path}: " if first.path else ""
    return PointsmanError(
        Kind.INVALID,
        f"{path}{first.message}{more}",
        hint=first.hint,
        violations=tuple(found[:MOST]),
    )


class Gathered:
    """What is wrong with one request, so that it is refused for all of it at once.

    As a context manager it takes what is raised as INVALID; everything else goes on.
    """

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[Violation] = []

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, PointsmanError) or error.kind is not Kind.INVALID:
            return False
        self.add(error)
        return True

    def add(self, error: PointsmanError) -> None:
        self.found += error.violations or (Violation("", error.message, error.hint),)

    def end(self) -> None:
        """Raises PointsmanError(INVALID) where anything was found."""
        if self.found:
            raise together(self.found)


def not_json(error: Exception, body: bytes | bytearray) -> PointsmanError:
    """The refusal of a body that is not JSON."""
    if not body:
        return PointsmanError(Kind.MALFORMED, "the body is empty", hint="send JSON")
    said = plain(str(error)).removeprefix("JSON is malformed: ")
    if said == "Number out of range":
        return PointsmanError(
            Kind.INVALID,
            "the body has a number that no 64-bit float can hold",
            hint="numbers must be finite and below 1.8e308",
        )
    hint = "JSON knows neither NaN nor Infinity; send UTF-8 and check commas and quotes"
    return PointsmanError(Kind.MALFORMED, f"the body is not JSON: {said}", hint=hint)


def problems(schema: Schema, value: Any, *, features: bool) -> Iterator[Violation]:
    """Everything that is wrong with a body that is JSON. features: whether it should have any"""
    if not isinstance(value, dict):
        yield Violation("", f"the body is {_kind(value)}, not an object", _shape_hint(features))
        return
    allowed = [*_TOP, "context", *(["features"] if features else [])]
    yield from _unknown("", value, allowed)
    for name, kind in _TOP.items():
        if name in value:
            yield from _typed(name, value[name], kind)
    if value.get("context") is not None:
        yield from _context(schema, value["context"])
    if features and "features" not in value:
        yield Violation("features", MISSING, _shape_hint(features))
    elif features:
        yield from _features(schema, value["features"])


def _context(schema: Schema, given: Any) -> Iterator[Violation]:
    if not isinstance(given, dict):
        yield Violation("context", f"is {_kind(given)}, not an object")
        return
    yield from _unknown("context.", given, [a.name for a in schema.attributes])
    for attribute in schema.attributes:
        if given.get(attribute.name) is not None:
            kind = ATTRIBUTE_TYPES[attribute.type]
            yield from _typed(f"context.{attribute.name}", given[attribute.name], kind)


def _features(schema: Schema, given: Any) -> Iterator[Violation]:
    if isinstance(given, list):
        for place, row in enumerate(given):
            yield from _row(schema, f"features[{place}]", row)
    else:
        yield from _row(schema, "features", given)


def _row(schema: Schema, path: str, row: Any) -> Iterator[Violation]:
    if not isinstance(row, dict):
        hint = "one object for one row, a list of objects for several"
        yield Violation(path, f"is {_kind(row)}, not an object", hint)
        return
    yield from _unknown(f"{path}.", row, schema.names)
    for feature in schema.features:
        place = f"{path}.{feature.name}"
        value = row.get(feature.name)
        if value is not None:
            yield from _typed(place, value, FEATURE_TYPES[feature.type], feature.type.value)
        elif feature.required:
            what = "null, but required" if feature.name in row else MISSING
            yield Violation(place, what, f"send a {feature.type.value}")


def _typed(path: str, value: Any, kind: Any, name: str = "") -> Iterator[Violation]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        said = plain(str(error))
        hint = f"declared as {name}" if name else ""
        if isinstance(value, str) and len(value) > STRING_CHARACTERS:
            said = f"longer than {STRING_CHARACTERS} characters"
        yield Violation(path, said, hint)


def _unknown(path: str, given: dict[str, Any], allowed: Sequence[str]) -> Iterator[Violation]:
    for name in given:
        if name not in allowed:
            yield Violation(f"{path}{name[:80]}", UNKNOWN, meant(name, allowed))


def meant(name: str, known: Sequence[str]) -> str:
    """A hint for a name that is not known."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {_listed(known)}"


def located(path: str, error: Exception) -> tuple[str, str]:
    """Where below `path` a decoder met a problem, and which, in our words."""
    said, _, place = str(error).replace("`", "").partition(" - at $")
    path += place
    for begin, words in _MEMBER.items():
        if said.startswith(begin):
            return f"{path}.{said.removeprefix(begin)}".removeprefix("."), words
    return path, said


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown}, ..." if len(names) > 12 else shown or "none"


def _shape_hint(features: bool) -> str:  # noqa: FBT001 - one call each
    shape = '{"unit": ..., "context": {...}, "features": {...}}'
    return f"send {shape}" if features else 'send {"unit": ..., "context": {...}}'


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def plain(said: str) -> str:
    """msgspec's words without its `- at $.path` and back-ticks."""
    return said.partition(" - at `")[0].replace("`", "")
