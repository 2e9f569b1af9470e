"""Records as hot rows and back. Everything but the features comes back as it was."""

import math
from typing import Any, Final

import msgspec
from sqlalchemy import Row

from pointsman.domain.decision import Value
from pointsman.domain.records import DecisionRecord, OutcomeKind, ShadowRecord

_json: Final = msgspec.json.Encoder()
_context: Final = msgspec.json.Decoder(dict[str, Value])
_shares: Final = msgspec.json.Decoder(tuple[tuple[str, float], ...])
_floats: Final = msgspec.json.Decoder(tuple[float, ...])
_names: Final = msgspec.json.Decoder(tuple[str, ...])
_value: Final[msgspec.json.Decoder[str | float | None]] = msgspec.json.Decoder(str | float | None)

_TOP: Final = 1 << 63


def signed(value: int) -> int:
    """An unsigned 64-bit value as the signed one of the same bits, which SQL can hold."""
    return value - 2 * _TOP if value >= _TOP else value


def unsigned(value: int) -> int:
    """The inverse of `signed`."""
    return value + 2 * _TOP if value < 0 else value


def json_text(value: object) -> str:
    """JSON of a value; floats come back as the same bits."""
    return _json.encode(value).decode()


def decision_row(record: DecisionRecord) -> tuple[Any, ...]:
    """Values of the `decision` table's columns, in order, without the row number.

    Raises ValueError for probabilities that are not finite: JSON has no word for them.
    """
    if not math.isfinite(sum(record.probabilities)):
        raise ValueError(f"decision {record.id}: probabilities are not finite")
    return (
        record.id,
        record.at_ms,
        record.project,
        bytes.fromhex(record.digest),
        record.table,
        record.request_id,
        record.unit,
        record.bucket,
        signed(record.unit_hash),
        json_text(record.context) if record.context else "{}",
        record.rule,
        record.epoch,
        record.assigned,
        record.served,
        record.version,
        record.reason,
        record.served_reason,
        record.propensity,
        json_text(record.propensities),
        json_text(record.probabilities) if record.probabilities else "[]",
        record.predicted,
        record.action,
        record.latency_us,
        record.cost,
        json_text(record.live) if record.live else "[]",
        record.error,
        record.pin,
        record.idempotency_key,
        record.key,
        record.fault,
        json_text(record.quality) if record.quality else "",
    )


def decision_of(found: Row[Any]) -> DecisionRecord:
    """The record of a `decision` row, without its features. Read by position: it is often."""
    row: tuple[Any, ...] = tuple(found)
    (_, identifier, at_ms, project, digest, table, request_id, unit, bucket, unit_hash) = row[:10]
    (context, rule, epoch, assigned, served, version, reason, served_reason) = row[10:18]
    (propensity, shares, probabilities, predicted, action, latency_us, cost, live) = row[18:26]
    (error, pin, idempotency_key, key, fault, quality) = row[26:]
    return DecisionRecord(
        identifier,
        at_ms,
        project,
        digest.hex(),
        table,
        request_id,
        unit,
        bucket,
        unsigned(unit_hash),
        _context.decode(context),
        rule,
        epoch,
        assigned,
        served,
        version,
        reason,
        served_reason,
        propensity,
        _shares.decode(shares),
        _floats.decode(probabilities),
        predicted,
        action,
        latency_us,
        cost,
        b"",
        () if live == "[]" else _names.decode(live),
        error,
        pin,
        idempotency_key,
        key,
        fault,
        _names.decode(quality) if quality else (),
    )


def shadow_row(record: ShadowRecord) -> tuple[Any, ...]:
    """Values of the `shadow` table's columns, in order."""
    return (
        record.id,
        record.variant,
        record.at_ms,
        record.project,
        record.version,
        json_text(record.probabilities),
        record.predicted,
        record.action,
        record.latency_us,
        record.error,
    )


def shadow_of(row: Row[Any]) -> ShadowRecord:
    """The record of a `shadow` row; the digest is that of its decision and left empty."""
    return ShadowRecord(
        id=row.decision_id,
        at_ms=row.at_ms,
        project=row.project,
        digest="",
        variant=row.variant,
        version=row.version,
        probabilities=_floats.decode(row.probabilities),
        predicted=row.predicted,
        action=row.action,
        latency_us=row.latency_us,
        error=row.error,
    )


class Piece(msgspec.Struct, frozen=True):
    """One received piece of feedback, as its row holds it.

    row: number of the row, also the order of ingestion
    value: class name of a label, number of a reward or cost, None for one that was not finite
    """

    row: int
    tenant: str
    id: str
    decision_id: str
    kind: OutcomeKind
    value: str | float | None
    at_ms: int
    received_ms: int
    key: str
    state: str
    note: str = ""


def piece_row(piece: Piece) -> tuple[Any, ...]:
    """Values of the `feedback` table's columns, in order."""
    return (
        piece.row,
        piece.tenant,
        piece.id,
        piece.decision_id,
        piece.kind,
        json_text(piece.value),
        piece.at_ms,
        piece.received_ms,
        piece.key,
        piece.state,
        piece.note,
    )


def piece_of(found: Row[Any]) -> Piece:
    """The inverse of `piece_row`, for a whole row of the table."""
    row: tuple[Any, ...] = tuple(found)
    number, tenant, identifier, decision_id, kind, value, *rest = row
    return Piece(number, tenant, identifier, decision_id, kind, value_of(value), *rest)


def value_of(text: str) -> str | float | None:
    """The value of an outcome: a class name, a number, or None for one that was not finite."""
    return _value.decode(text)
