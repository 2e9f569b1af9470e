"""The archive's columns, and records as lines of JSON, which is how they reach DuckDB."""

import math
from typing import Any, Final

import msgspec

from pointsman.archive.layout import Kind
from pointsman.domain.decision import Value
from pointsman.domain.records import DecisionRecord, OutcomeKind, ShadowRecord

COLUMNS: Final[dict[Kind, dict[str, str]]] = {
    "decisions": {
        "id": "VARCHAR",
        "at_ms": "BIGINT",
        "project": "VARCHAR",
        "digest": "VARCHAR",
        "table": "BIGINT",
        "request_id": "VARCHAR",
        "unit": "VARCHAR",
        "bucket": "BIGINT",
        "unit_hash": "UBIGINT",
        "context": "VARCHAR",
        "rule": "VARCHAR",
        "epoch": "BIGINT",
        "assigned": "VARCHAR",
        "served": "VARCHAR",
        "version": "VARCHAR",
        "reason": "VARCHAR",
        "served_reason": "VARCHAR",
        "propensity": "DOUBLE",
        "propensities": "STRUCT(variant VARCHAR, propensity DOUBLE)[]",
        "probabilities": "DOUBLE[]",
        "predicted": "VARCHAR",
        "action": "VARCHAR",
        "latency_us": "BIGINT",
        "cost": "DOUBLE",
        "features": "VARCHAR",
        "live": "VARCHAR[]",
        "error": "VARCHAR",
        "pin": "VARCHAR",
        "idempotency_key": "VARCHAR",
        "key": "VARCHAR",
        "fault": "VARCHAR",
        "quality": "VARCHAR[]",
    },
    "shadows": {
        "id": "VARCHAR",
        "at_ms": "BIGINT",
        "project": "VARCHAR",
        "digest": "VARCHAR",
        "variant": "VARCHAR",
        "version": "VARCHAR",
        "probabilities": "DOUBLE[]",
        "predicted": "VARCHAR",
        "action": "VARCHAR",
        "latency_us": "BIGINT",
        "error": "VARCHAR",
    },
    "outcomes": {
        "decision_id": "VARCHAR",
        "kind": "VARCHAR",
        "value": "VARCHAR",
        "at_ms": "BIGINT",
        "received_ms": "BIGINT",
        "feedback_id": "VARCHAR",
    },
}
"""Names and DuckDB types by kind. `context`, `features` and the value of an outcome are JSON text;
everything else is as in the journal's record of the same name."""

_encoder: Final = msgspec.json.Encoder()
_context: Final = msgspec.json.Decoder(dict[str, Value])


class ArchivedOutcome(msgspec.Struct, frozen=True):
    """What was held to be true about a decision when its hot row went. value: JSON text"""

    decision_id: str
    kind: OutcomeKind
    value: str
    at_ms: int
    received_ms: int
    feedback_id: str


def decision_line(record: DecisionRecord) -> bytes:
    """One line of JSON, without its end."""
    body = msgspec.structs.asdict(record)
    body["context"] = _encoder.encode(record.context).decode()
    body["features"] = record.features.decode("utf-8", "replace")
    body["propensity"] = _number(record.propensity)
    body["cost"] = _number(record.cost)
    body["propensities"] = [
        {"variant": name, "propensity": _number(share)} for name, share in record.propensities
    ]
    body["probabilities"] = [_number(value) for value in record.probabilities]
    return _encoder.encode(body)


def shadow_line(record: ShadowRecord) -> bytes:
    """As `decision_line`."""
    body = msgspec.structs.asdict(record)
    body["probabilities"] = [_number(value) for value in record.probabilities]
    return _encoder.encode(body)


def outcome_line(outcome: ArchivedOutcome) -> bytes:
    """As `decision_line`."""
    return _encoder.encode(outcome)


def decision_of(row: dict[str, Any]) -> DecisionRecord:
    """The record back from a row of the archive. What it has no value for was not logged then."""
    body = {column: value for column, value in row.items() if value is not None}
    body.setdefault("unit", None)
    body["context"] = _context.decode(row["context"])
    body["features"] = row["features"].encode()
    body["propensities"] = tuple((p["variant"], p["propensity"]) for p in row["propensities"])
    body["probabilities"] = tuple(row["probabilities"])
    body["live"] = tuple(row["live"])
    body["quality"] = tuple(row.get("quality") or ())
    return DecisionRecord(**body)


def shadow_of(row: dict[str, Any]) -> ShadowRecord:
    """As `decision_of`."""
    body = {column: value for column, value in row.items() if value is not None}
    return ShadowRecord(**{**body, "probabilities": tuple(row["probabilities"])})


def _number(value: float) -> float | str:
    """A float JSON can hold; the others travel as words, which DuckDB reads as what they were."""
    return value if math.isfinite(value) else str(value)
