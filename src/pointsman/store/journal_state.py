"""How far the journal is ingested, and what of it could not be."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from sqlalchemy import Connection, select

from pointsman.domain.records import OverrideRecord
from pointsman.store import bulk
from pointsman.store.evidence_schema import fault, override, position

FaultKind = Literal["corrupt", "truncated", "missing", "gap", "unknown_kind", "unusable"]


class Ingested(msgspec.Struct, frozen=True):
    """Where ingestion goes on in a stream: the fields of a journal position."""

    segment: int
    offset: int
    next: int
    hash: bytes


class IngestFault(msgspec.Struct, frozen=True):
    """A range of a segment that could not be ingested. It stays in the segment, which is kept.

    kind: as the journal's reader says, or `unknown_kind` (records that a newer version wrote), or
        `unusable` (a sound record that the store cannot hold; `note` says why)
    records: lost with it, -1 where nothing tells
    """

    stream: str
    segment: int
    start: int
    end: int
    kind: FaultKind
    records: int
    note: str
    seen_ms: int


def load_positions(connection: Connection) -> dict[str, Ingested]:
    """Positions by stream; a stream that is not there has not been read yet."""
    rows = connection.execute(select(position)).all()
    return {r.stream: Ingested(r.segment, r.offset, r.next, r.hash) for r in rows}


def save_positions(connection: Connection, positions: Mapping[str, Ingested]) -> None:
    rows = [(s, p.segment, p.offset, p.next, p.hash) for s, p in positions.items()]
    bulk.insert(connection, position, rows, "replace")


def save_faults(connection: Connection, faults: Iterable[IngestFault]) -> int:
    """Faults that were not known yet; the first report of one is kept."""
    rows = [
        (f.stream, f.segment, f.start, f.kind, f.end, f.records, f.note, f.seen_ms) for f in faults
    ]
    return bulk.insert(connection, fault, rows, "ignore")


def list_faults(connection: Connection, limit: int = 100) -> list[IngestFault]:
    """The newest first."""
    newest = select(fault).order_by(fault.c.seen_ms.desc(), fault.c.stream).limit(limit)
    return [IngestFault(**row) for row in connection.execute(newest).mappings()]


def damaged_segments(connection: Connection, stream: str) -> set[int]:
    """Segments that hold what could not be ingested, and are kept for whoever looks into it."""
    damage = select(fault.c.segment).where(
        fault.c.stream == stream, fault.c.kind.in_(("corrupt", "unknown_kind", "unusable"))
    )
    return set(connection.scalars(damage))


def overrides_in_force(
    connection: Connection, targets: Sequence[str], since_ms: int
) -> list[OverrideRecord]:
    """What gateways said last of each target since then, where that was to set it."""
    found: list[OverrideRecord] = []
    for target in targets:
        row = connection.execute(
            select(override)
            .where(override.c.target == target, override.c.at_ms >= since_ms)
            .order_by(override.c.at_ms.desc(), override.c.row.desc())
            .limit(1)
        ).first()
        if row is not None and row.set:
            found.append(OverrideRecord(row.at_ms, row.target, True, row.actor, row.reason))
    return found
