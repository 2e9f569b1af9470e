"""How a rollout's evidence stood when it was looked at: written once, read for pictures."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import sqlite

from pointsman.store.control_schema import look


class Look(msgspec.Struct, frozen=True):
    """One criterion at one time.

    value, low, high: of the challenger's difference to the champion, in `unit`; None where nothing
        is known, or nothing bounds it
    bound: what it is held against, with its sign; n, n_champion: what it rests on
    """

    role: str
    metric: str
    slice: str
    at_ms: int
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    bound: float
    unit: str
    n: int
    n_champion: int


def add(connection: Connection, project: str, attempt: int, looks: Sequence[Look]) -> None:
    """Keeps looks of an attempt; one that is there already stays."""
    if not looks:
        return
    rows = [{"project": project, "attempt": attempt, **msgspec.structs.asdict(o)} for o in looks]
    connection.execute(sqlite.insert(look).on_conflict_do_nothing(), rows)


def read(connection: Connection, project: str, attempt: int) -> list[Look]:
    """Looks of one attempt, criterion by criterion, in order of time."""
    query = (
        select(*(look.c[name] for name in Look.__struct_fields__))
        .where(look.c.project == project, look.c.attempt == attempt)
        .order_by(look.c.role, look.c.metric, look.c.slice, look.c.at_ms)
    )
    return [Look(*tuple(row)) for row in connection.execute(query)]


def attempts(connection: Connection, project: str) -> list[int]:
    """Attempts with any looks, the newest first."""
    found = select(look.c.attempt).where(look.c.project == project).distinct()
    return sorted(connection.scalars(found), reverse=True)


def delete_old(connection: Connection, before_ms: int) -> int:
    """How many looks went that are older than this."""
    return connection.execute(delete(look).where(look.c.at_ms < before_ms)).rowcount
