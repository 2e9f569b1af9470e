"""The audit log: one row a change, in the change's own transaction, each chained to the one before.

Row n's hash is SHA-256 over the canonical JSON (RFC 8785) of everything in the row but the hash
itself, the hash of row n-1 included. So an edited, inserted, removed or reordered row shows; that
the newest rows were cut off shows only against a copy of a later hash kept elsewhere.
"""

import hashlib
import json
from typing import Any, Final

import msgspec
import rfc8785
from sqlalchemy import Connection, Select, desc, func, insert, select

from pointsman.store.control_schema import audit

GENESIS: Final = "0" * 64


class Entry(msgspec.Struct, frozen=True):
    """One change, and who made it.

    target: `tenant/project`, `token/ID`, `key/ID`; sentence: what happened, for people
    payload: JSON values only; the canonical form holds no integer beyond 2^53
    tell: whether the owner of the project, its target, is to be told, since nobody asked for it
    """

    actor: str
    tenant: str
    target: str
    action: str
    sentence: str
    payload: dict[str, Any] = {}
    tell: bool = False


class Logged(msgspec.Struct, frozen=True):
    """An entry as it stands in the log."""

    seq: int
    at_ms: int
    actor: str
    tenant: str
    target: str
    action: str
    sentence: str
    payload: dict[str, Any]
    prev_hash: str
    hash: str


class AuditReport(msgspec.Struct, frozen=True):
    """What `verify` found. first_bad: the sequence number the chain breaks at, 0 where it holds."""

    entries: int
    head: str
    first_bad: int = 0
    problem: str = ""

    @property
    def ok(self) -> bool:
        return self.first_bad == 0


def append(connection: Connection, at_ms: int, entry: Entry) -> int:
    """The sequence number of the new row. The caller's transaction must hold the write lock."""
    last = connection.execute(
        select(audit.c.seq, audit.c.hash).order_by(desc(audit.c.seq)).limit(1)
    ).first()
    seq = 1 if last is None else last.seq + 1
    row = {
        "seq": seq,
        "at_ms": at_ms,
        "actor": entry.actor,
        "tenant": entry.tenant,
        "target": entry.target,
        "action": entry.action,
        "sentence": entry.sentence,
        "payload": rfc8785.dumps(entry.payload).decode(),
        "prev_hash": GENESIS if last is None else last.hash,
    }
    connection.execute(insert(audit).values(**row, hash=_hash(row)))
    return seq


def verify(connection: Connection) -> AuditReport:
    """Whether every row is as it was written, from the first to the last. Streams; O(rows)."""
    previous, expected = GENESIS, 1
    rows = connection.execution_options(yield_per=1000).execute(select(audit).order_by(audit.c.seq))
    for found in rows.mappings():
        row = dict(found)
        claimed = str(row.pop("hash"))
        problem = ""
        if row["seq"] != expected:
            problem = f"entry {expected} is missing"
        elif row["prev_hash"] != previous:
            problem = f"entry {expected} is not chained to the one before"
        elif _hash(row) != claimed:
            problem = f"entry {expected} was changed after it was written"
        if problem:
            return AuditReport(expected - 1, previous, expected, problem)
        previous, expected = claimed, expected + 1
    return AuditReport(expected - 1, previous)


def newest(connection: Connection) -> int:
    """The sequence number of the newest entry, 0 where there is none."""
    return connection.scalar(select(func.max(audit.c.seq))) or 0


def changes(connection: Connection, target: str) -> list[Logged]:
    """The newest entry of a target that changed anything, or none: who took records out is not
    what happened to it."""
    query = select(audit).where(audit.c.target == target, audit.c.action.not_like("decisions.%"))
    return _logged(connection, query.order_by(desc(audit.c.seq)).limit(1))


def newest_of(connection: Connection, target: str, action: str) -> Logged | None:
    """The newest entry of a target with that action."""
    query = select(audit).where(audit.c.target == target, audit.c.action == action)
    found = _logged(connection, query.order_by(desc(audit.c.seq)).limit(1))
    return found[0] if found else None


def entries(
    connection: Connection, *, target: str = "", tenant: str = "", limit: int = 100
) -> list[Logged]:
    """The newest entries first, of one target or tenant where one is named."""
    query = select(audit).order_by(desc(audit.c.seq)).limit(limit)
    if target:
        query = query.where(audit.c.target == target)
    if tenant:
        query = query.where(audit.c.tenant == tenant)
    return _logged(connection, query)


def _logged(connection: Connection, query: Select[Any]) -> list[Logged]:
    return [
        Logged(**{**row, "payload": json.loads(row["payload"])})
        for row in connection.execute(query).mappings()
    ]


def _hash(row: dict[str, Any]) -> str:
    return hashlib.sha256(rfc8785.dumps(row)).hexdigest()
