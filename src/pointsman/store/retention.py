"""Deletes what has been kept for long enough, a bounded number of rows at a time."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, func, select

from pointsman.store import bulk
from pointsman.store.evidence_schema import (
    cell,
    decision,
    exposure,
    feedback,
    gauge,
    headcount,
    inbox,
    outcome,
    shadow,
    traffic,
)

Register = tuple[str, str, str, int, str]
_REGISTER: Final = (
    outcome.c.decision_id,
    outcome.c.kind,
    outcome.c.value,
    outcome.c.at_ms,
    outcome.c.feedback_id,
)


def rows_by_project(connection: Connection) -> dict[str, int]:
    """How many decisions of each project are in the hot rows. Reads an index from end to end."""
    counted = select(decision.c.project, func.count()).group_by(decision.c.project)
    return {row[0]: row[1] for row in connection.execute(counted)}


def used_bytes(connection: Connection) -> int:
    """What the store takes on disk, without pages that are free to be used again."""
    pages, free, size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def delete_decisions(
    connection: Connection,
    project: str,
    limit: int,
    *,
    before_ms: int | None = None,
    kept: Collection[Register] | None = None,
) -> int:
    """How many of a project's oldest decisions went, with all that is known about them.

    before_ms: only those made before; None = however young
    kept: outcomes that are kept elsewhere; a decision with another one stays. None: all may go
    """
    oldest = connection.execute(_oldest(project, limit, before_ms)).all()
    if kept is not None:
        about = bulk.among(outcome.c.decision_id, [row.id for row in oldest])
        held = connection.execute(select(*_REGISTER).where(about)).all()
        news = {row.decision_id for row in held if tuple(row) not in kept}
        oldest = [row for row in oldest if row.id not in news]
    for chunk in bulk.chunks(row.row for row in oldest):
        connection.execute(delete(decision).where(decision.c.row.in_(chunk)))
    _delete_about(connection, [row.id for row in oldest])
    return len(oldest)


def outcomes_to_go(
    connection: Connection, project: str, limit: int, before_ms: int | None = None
) -> list[Row[Any]]:
    """All that is held about the decisions `delete_decisions` would delete: rows of `outcome`,
    each with the time of its decision behind."""
    oldest = _oldest(project, limit, before_ms).subquery()
    query = select(*outcome.c, oldest.c.at_ms.label("decided_ms")).join(
        oldest, oldest.c.id == outcome.c.decision_id
    )
    return list(connection.execute(query.order_by(outcome.c.decision_id, outcome.c.kind)))


def register_of(row: Row[Any]) -> Register:
    """What tells an outcome from any other that may be held in its place."""
    return (row.decision_id, row.kind, row.value, row.at_ms, row.feedback_id)


def delete_orphans(connection: Connection, before_ms: int, limit: int) -> int:
    """How many decisions that never came are no longer waited for by feedback received before."""
    query = (
        select(inbox.c.decision_id)
        .join(feedback, feedback.c.row == inbox.c.feedback)
        .where(inbox.c.expires_ms.is_(None), feedback.c.received_ms < before_ms)
        .limit(limit)
    )
    orphans = set(connection.scalars(query))
    _delete_about(connection, list(orphans))
    return len(orphans)


def delete_evidence(connection: Connection, before_ms: int) -> int:
    """How many cells, gauges, exposures and lines of counts went. Reads all of them."""
    old = (
        delete(cell).where(cell.c.block_ms < before_ms),
        delete(headcount).where(headcount.c.block_ms.between(0, before_ms - 1)),
        delete(headcount).where(headcount.c.block_ms.between(1 - before_ms, -2)),
        delete(gauge).where(gauge.c.hour_ms < before_ms),
        delete(traffic).where(traffic.c.hour_ms < before_ms),
        delete(exposure).where(exposure.c.at_ms < before_ms),
    )
    return sum(connection.execute(statement).rowcount for statement in old)


def give_back(connection: Connection, pages: int) -> None:
    """Returns free pages to the file system, at most so many."""
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA incremental_vacuum({pages:d})")
    # It returns no rows, and yet frees one page for each time it is asked for one.
    cursor.fetchall()
    cursor.close()


def _oldest(project: str, limit: int, before_ms: int | None) -> Select[Any]:
    query = select(decision.c.row, decision.c.id, decision.c.at_ms)
    query = query.where(decision.c.project == project)
    if before_ms is not None:
        query = query.where(decision.c.at_ms < before_ms)
    return query.order_by(decision.c.at_ms, decision.c.row).limit(limit)


def _delete_about(connection: Connection, decisions: Sequence[str]) -> None:
    if not decisions:
        return
    for table in (shadow, outcome, feedback, inbox):
        about = bulk.among(table.c.decision_id, decisions)
        connection.execute(delete(table).where(about))
