"""The native protocol: `:predict` and `:decide` bodies in, answers out."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pointsman.domain.decision import Reason, Value
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import MAX_ID_BYTES
from pointsman.domain.table import AttributeType
from pointsman.gateway.answers import JSON_LINE, UNLOGGED
from pointsman.gateway.gate import check_escapes, check_text
from pointsman.gateway.quality import Seen
from pointsman.gateway.schema import Schema, encode
from pointsman.gateway.served import Served
from pointsman.gateway.settings import Limits
from pointsman.gateway.violations import explain, located, refused
from pointsman.gateway.work import Job, Row, Values
from pointsman.runtime.row_types import SAFE_INTEGER, STRING_CHARACTERS

_astuple: Final = msgspec.structs.astuple
_to_builtins: Final = msgspec.to_builtins
_SURELY_SHORT: Final = MAX_ID_BYTES // 4  # characters: at most four bytes each
_LONGEST: Final = 10**MAX_ID_BYTES  # the first number that is too long to be a unit


class Asked(msgspec.Struct, gc=False):
    """What a body says, whatever its protocol.

    units: one for all rows, or one a row
    features: of each row as JSON, in the order of `rows`
    many: whether rows are decided as `<id>/<row>`; for `:predict`, whether answered as a list
    form: what an Open Inference answer needs to know of the request
    marks: rows that are not as the project expects them, by their place; None where all are
    """

    units: list[str | None]
    context: dict[str, Value]
    pin: str | None
    request_id: str
    rows: list[Values]
    features: list[bytes]
    many: bool
    form: Any = None
    marks: dict[int, Seen] | None = None


def read_predict(served: Served, body: bytes | bytearray, limits: Limits) -> Asked:
    """The rows to be predicted. Raises PointsmanError (MALFORMED, INVALID, TOO_LARGE).

    What decodes is of the project's own types, with nothing unknown in it: it is no deeper than
    those and all of it is UTF-8, so the gate is asked only about what does not decode.
    """
    schema = served.schema
    try:
        asked = schema.predict.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        check_text(body, limits.depth)
        raise explain(schema, body, error) from None
    if b"\\" in body:
        check_escapes(body)
    given = asked.features
    unit, context = identity(schema, asked)
    if type(given) is list:
        check_rows(len(given), len(body), limits)
        return Asked(
            [unit],
            context,
            asked.variant,
            asked.id or "",
            [_astuple(row) for row in given],
            [encode(row) for row in given],
            True,
        )
    check_rows(1, len(body), limits)
    return Asked(
        [unit],
        context,
        asked.variant,
        asked.id or "",
        [_astuple(given)],
        [encode(given)],
        False,
    )


def read_decide(served: Served, body: bytes | bytearray, limits: Limits) -> Asked:
    """The one decision asked for. Raises PointsmanError (MALFORMED, INVALID, TOO_LARGE)."""
    check_rows(1, len(body), limits)
    try:
        asked = served.schema.decide.decode(body)
        check_escapes(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        check_text(body, limits.depth)
        raise explain(served.schema, body, error, features=False) from None
    unit, context = identity(served.schema, asked)
    return Asked([unit], context, asked.variant, asked.id or "", [()], [b""], False)


def check_rows(rows: int, body_bytes: int, limits: Limits) -> None:
    """Raises PointsmanError: INVALID for no row at all, TOO_LARGE beyond the limits."""
    if rows == 1 and body_bytes > limits.body_bytes:
        raise PointsmanError(
            Kind.TOO_LARGE,
            f"a request with one row may have {limits.body_bytes} bytes, not {body_bytes}",
            hint="send less, or several rows in one request",
        )
    if rows > limits.rows:
        raise PointsmanError(
            Kind.TOO_LARGE,
            f"a request may have {limits.rows} rows, not {rows}",
            hint="split it into several requests",
        )
    if rows == 0:
        raise PointsmanError(
            Kind.INVALID, "features: the list is empty", hint="send at least one row"
        )


def checked_unit(unit: str | int | None) -> str | None:
    """The unit as hashed and recorded. Raises PointsmanError(INVALID) for an empty or long one."""
    if unit is None:
        return None
    if isinstance(unit, str):
        text = unit
    else:  # Python writes no number of thousands of digits
        text = str(unit) if -_LONGEST < unit < _LONGEST else "9" * (MAX_ID_BYTES + 1)
    check_id("unit", text)
    return text


def check_id(what: str, text: str) -> None:
    """Raises PointsmanError(INVALID) for an empty text or more than 256 bytes of UTF-8."""
    if not text:
        raise refused(what, "it is empty", "leave it out where there is none")
    if len(text) > _SURELY_SHORT and len(text.encode()) > MAX_ID_BYTES:
        hint = "send a shorter identifier, for example a digest of it"
        raise refused(what, f"longer than {MAX_ID_BYTES} bytes", hint)


def settle_unit(schema: Schema, unit: str | int | None, context: dict[str, Value]) -> str | None:
    """The unit of a request: the top-level one, else that of the context, under its attribute.

    A top-level unit also stands in the context, so that rules and records see one and the same.
    """
    name = schema.unit
    if type(unit) is str and 0 < len(unit) <= _SURELY_SHORT and schema.plain_unit:
        context[name] = unit  # as below, for the usual request
        return unit
    if unit is None and name:
        found = context.get(name)
        return checked_unit(found if isinstance(found, str | int) else None)
    text = checked_unit(unit)
    if name and text is not None:
        context[name] = _as_declared(schema, name, text)
    return text


def _as_declared(schema: Schema, name: str, text: str) -> Value:
    for attribute in schema.attributes:
        if attribute.name == name and attribute.type is AttributeType.INT:
            try:
                number = int(text)
            except ValueError:
                said = f"{name} is declared as int, and {text[:40]!r} is none"
                raise refused("unit", said, "send a whole number") from None
            if not -SAFE_INTEGER <= number <= SAFE_INTEGER:
                said = f"{name} is declared as int, and {text[:40]} is beyond ±(2^53 - 1)"
                hint = "declare the attribute as string for identifiers as large as this"
                raise refused("unit", said, hint)
            return number
    return text


def identity(schema: Schema, asked: Any) -> tuple[str | None, dict[str, Value]]:
    """Unit and context of a decoded body. Raises PointsmanError(INVALID) for its unit or id."""
    context: dict[str, Value]
    context = dict(schema.defaults) if asked.context is None else _to_builtins(asked.context)
    unit = settle_unit(schema, asked.unit, context)
    if asked.id is not None:
        check_id("id", asked.id)
    return unit, context


def encode_predict(job: Job) -> tuple[str, bytes]:
    """One object for one row, `{"decision_id", "predictions": [...]}` for a list."""
    rows = job.rows
    if not job.many:
        row = rows[0]
        if job.logged and not job.request_id:
            return _head(job, row), _row(job.served, row).encode()
        return _head(job, row), _amended(job, _row(job.served, row))
    inner = ",".join([_row(job.served, row) for row in rows])
    text = f'{{"decision_id":"{job.id}","predictions":[{inner}]}}'
    body = text.encode() if job.logged and not job.request_id else _amended(job, text)
    return _head(job, rows[0] if _alike(rows) else None), body


def encode_decide(job: Job) -> tuple[str, bytes]:
    """The decision alone, with the probability it came about with."""
    row = job.rows[0]
    decision = row.decision
    shape: dict[str, Any] = {
        "decision_id": row.id,
        "variant": decision.assigned,
        "version": row.member.variant.version,
        "reason": decision.reason.value,
        "rule": decision.rule,
        "propensity": decision.propensity,
    }
    _amend(job, shape)
    return _head(job, row), encode(shape)


def _row(served: Served, row: Row) -> str:
    scores = row.scores
    assert scores is not None  # unanswered rows never come to be encoded
    between = row.member.bodies[reason_of(row)][row.chosen]
    return '{"decision_id":"' + row.id + between + served.probabilities % tuple(scores)


def reason_of(row: Row) -> Reason:
    """`FALLBACK` where another than the assigned variant answered, else as decided."""
    return row.decision.reason if row.tried == 1 else Reason.FALLBACK


def _head(job: Job, row: Row | None) -> str:
    """Headers of the answer; those of variant and reason only where all rows agree."""
    named = JSON_LINE if row is None else row.member.heads[reason_of(row)]
    if not job.logged:
        named += UNLOGGED
    return f"{named}x-decision-id: {job.id}\r\n{job.trace_lines}"


def _alike(rows: list[Row]) -> bool:
    first = rows[0]
    return all(row.member is first.member and reason_of(row) is reason_of(first) for row in rows)


def _amended(job: Job, text: str) -> bytes:
    shape: dict[str, Any] = {}
    _amend(job, shape)
    return text[:-1].encode() + b"," + encode(shape)[1:]


def _amend(job: Job, shape: dict[str, Any]) -> None:
    if job.request_id:
        shape["id"] = job.request_id
    if not job.logged:
        shape["logged"] = False


def context_of(schema: Schema, given: Mapping[str, Any]) -> dict[str, Value]:
    """The typed context in loose parameters; what is no declared attribute is not looked at.

    Raises PointsmanError(INVALID) for a value of another type.
    """
    context = dict(schema.defaults)
    for name, kind in schema.plain:
        if name in given:
            fits = type(given[name]) is kind
            if not fits or (kind is str and len(given[name]) > STRING_CHARACTERS):
                break
            context[name] = given[name]
    else:
        return context
    known = {a.name: given[a.name] for a in schema.attributes if a.name in given}
    try:
        checked: dict[str, Value] = _to_builtins(msgspec.convert(known, schema.context))
    except msgspec.ValidationError as error:
        hint = "context attributes have the types the project declares"
        raise refused(*located("parameters", error), hint) from None
    return checked
