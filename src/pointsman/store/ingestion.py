"""What the ingester writes, and what it reads to know what to write. Each call is one statement or
a few of them, for many rows."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, bindparam, delete, func, select, update

from pointsman.domain.records import DecisionRecord, OverrideRecord, ShadowRecord
from pointsman.store import bulk, rows
from pointsman.store.evidence_schema import (
    decision,
    feedback,
    inbox,
    outcome,
    override,
    shadow,
)
from pointsman.store.rows import Piece


class Held(msgspec.Struct, frozen=True):
    """What a register holds: the value, and the feedback it came with."""

    value: str | float | None
    at_ms: int
    received_ms: int
    feedback_id: str


def insert_decisions(
    connection: Connection, records: Sequence[DecisionRecord]
) -> list[DecisionRecord]:
    """Those that were new; of several with one id the first is kept."""
    by_id: dict[str, DecisionRecord] = {}
    for record in records:
        by_id.setdefault(record.id, record)
    fresh = list(by_id.values())
    with connection.begin_nested() as attempt:
        if bulk.insert(connection, decision, _decision_rows(fresh), "ignore") == len(fresh):
            return fresh
        # Some are known. Rare (retries of a caller), so the quick way was tried first.
        attempt.rollback()
    known = existing_decisions(connection, by_id)
    fresh = [record for record in fresh if record.id not in known]
    bulk.insert(connection, decision, _decision_rows(fresh))
    return fresh


def existing_decisions(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of the ids that are in the store."""
    return {row.id for row in _by_key(connection, decision, decision.c.id, ids, [decision.c.id])}


def decisions_by_id(connection: Connection, ids: Iterable[str]) -> dict[str, DecisionRecord]:
    """Records without features; ids that are not in the store are left out."""
    found = map(rows.decision_of, _by_key(connection, decision, decision.c.id, ids))
    return {record.id: record for record in found}


def insert_shadows(connection: Connection, records: Sequence[ShadowRecord]) -> list[ShadowRecord]:
    """Those that were new; of several with one id and variant the first is kept."""
    by_key: dict[tuple[str, str], ShadowRecord] = {}
    for record in records:
        by_key.setdefault((record.id, record.variant), record)
    known = shadows_by_decision(connection, {record.id for record in records})
    old = {(record.id, record.variant) for found in known.values() for record in found}
    fresh = [record for key, record in by_key.items() if key not in old]
    bulk.insert(connection, shadow, [rows.shadow_row(record) for record in fresh])
    return fresh


def shadows_by_decision(
    connection: Connection, ids: Collection[str]
) -> dict[str, list[ShadowRecord]]:
    """What shadows answered to these decisions; those that no shadow saw are left out."""
    if not ids or connection.scalar(select(shadow.c.decision_id).limit(1)) is None:
        return {}
    found: dict[str, list[ShadowRecord]] = {}
    for row in _by_key(connection, shadow, shadow.c.decision_id, ids):
        found.setdefault(row.decision_id, []).append(rows.shadow_of(row))
    return found


def insert_overrides(connection: Connection, records: Sequence[tuple[OverrideRecord, str]]) -> int:
    """Each with the stream it came from."""
    values = [(r.at_ms, r.target, r.set, r.actor, r.reason, stream) for r, stream in records]
    return bulk.insert(connection, override, values)


def next_feedback_row(connection: Connection) -> int:
    """Row number for the next piece of feedback; they are never used twice while rows remain."""
    return (connection.scalar(select(func.max(feedback.c.row))) or 0) + 1


def insert_feedback(connection: Connection, pieces: Sequence[Piece]) -> None:
    """Adds what was received, in its settled state, under row numbers from `next_feedback_row`."""
    bulk.insert(connection, feedback, [rows.piece_row(piece) for piece in pieces])


def pieces_by_id(
    connection: Connection, ids: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], list[Piece]]:
    """All feedback with one of these (tenant, id), by it."""
    by_tenant: dict[str, list[str]] = defaultdict(list)
    for tenant, identifier in ids:
        by_tenant[tenant].append(identifier)
    found: dict[tuple[str, str], list[Piece]] = defaultdict(list)
    for tenant, identifiers in by_tenant.items():
        query = select(feedback).where(
            feedback.c.tenant == tenant, bulk.among(feedback.c.id, identifiers)
        )
        for row in connection.execute(query):
            piece = rows.piece_of(row)
            found[tenant, piece.id].append(piece)
    return found


def pieces_by_decision(connection: Connection, ids: Iterable[str]) -> dict[str, list[Piece]]:
    """All feedback about these decisions, by decision."""
    found: dict[str, list[Piece]] = defaultdict(list)
    for row in _by_key(connection, feedback, feedback.c.decision_id, ids):
        piece = rows.piece_of(row)
        found[piece.decision_id].append(piece)
    return found


def waiting_for(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of the decisions that feedback was waiting for."""
    if connection.scalar(select(inbox.c.feedback).limit(1)) is None:
        return set()
    found = _by_key(connection, inbox, inbox.c.decision_id, ids, [inbox.c.decision_id])
    return {row.decision_id for row in found}


def put_in_inbox(connection: Connection, pieces: Iterable[Piece], lifetime_ms: int) -> None:
    """Keeps feedback waiting for its decision."""
    values = [(p.decision_id, p.row, p.received_ms + lifetime_ms) for p in pieces]
    bulk.insert(connection, inbox, values, "ignore")


def take_from_inbox(connection: Connection, decisions: Iterable[str]) -> None:
    connection.execute(delete(inbox).where(bulk.among(inbox.c.decision_id, decisions)))


def expire_inbox(connection: Connection, now_ms: int, limit: int = 10_000) -> int:
    """How much feedback stopped waiting just now. It is still joined if its decision ever comes."""
    over = (
        select(inbox.c.decision_id, inbox.c.feedback)
        .where(inbox.c.expires_ms < now_ms)
        .limit(limit)
    )
    found = connection.execute(over).all()
    if not found:
        return 0
    connection.execute(
        update(inbox)
        .where(inbox.c.decision_id == bindparam("d"), inbox.c.feedback == bindparam("f"))
        .values(expires_ms=None),
        [{"d": row.decision_id, "f": row.feedback} for row in found],
    )
    connection.execute(
        update(feedback)
        .where(feedback.c.row == bindparam("r"), feedback.c.state == "early")
        .values(state="expired"),
        [{"r": row.feedback} for row in found],
    )
    return len(found)


def set_states(connection: Connection, changes: Sequence[tuple[int, str, str]]) -> None:
    """Gives feedback, by row number, a state and a note."""
    if not changes:
        return
    connection.execute(
        update(feedback)
        .where(feedback.c.row == bindparam("r"))
        .values(state=bindparam("s"), note=bindparam("n")),
        [{"r": row, "s": state, "n": note} for row, state, note in changes],
    )


def held_for(connection: Connection, ids: Iterable[str]) -> dict[tuple[str, str], Held]:
    """Registers of these decisions, by (decision, kind)."""
    return {
        (row.decision_id, row.kind): Held(
            rows.value_of(row.value), row.at_ms, row.received_ms, row.feedback_id
        )
        for row in _by_key(connection, outcome, outcome.c.decision_id, ids)
    }


def hold(connection: Connection, registers: dict[tuple[str, str], Held | None]) -> None:
    """Sets registers; None empties one."""
    kept = [
        (decision_id, kind, rows.json_text(h.value), h.at_ms, h.received_ms, h.feedback_id)
        for (decision_id, kind), h in registers.items()
        if h is not None
    ]
    bulk.insert(connection, outcome, kept, "replace")
    emptied = [{"d": d, "k": k} for (d, k), h in registers.items() if h is None]
    if emptied:
        connection.execute(
            delete(outcome).where(
                outcome.c.decision_id == bindparam("d"), outcome.c.kind == bindparam("k")
            ),
            emptied,
        )


def _decision_rows(records: Iterable[DecisionRecord]) -> list[tuple[Any, ...]]:
    return [rows.decision_row(record) for record in records]


def _by_key(
    connection: Connection,
    table: Table,
    key: Any,
    values: Iterable[str],
    columns: Sequence[Any] = (),
) -> Iterable[Any]:
    query = select(*columns) if columns else select(table)
    return connection.execute(query.where(bulk.among(key, values)))
