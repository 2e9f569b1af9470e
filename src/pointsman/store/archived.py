"""Which segments of the journal are in the archive, and for whom."""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, select

from pointsman.domain.records import DecisionRecord
from pointsman.store import bulk, rows
from pointsman.store.evidence_schema import archived, decision, outcome

_AT_ONCE: Final = 5_000
"""Rows that are read from the database together."""


def load(connection: Connection) -> dict[tuple[str, int], frozenset[str]]:
    """Projects whose records are in the archive, by (stream, segment)."""
    found: dict[tuple[str, int], set[str]] = {}
    for stream, segment, project in connection.execute(select(archived)):
        found.setdefault((stream, segment), set()).add(project)
    return {key: frozenset(projects) for key, projects in found.items()}


def add(
    connection: Connection, stream: str, segments: Iterable[int], projects: Collection[str]
) -> None:
    """Says that what these segments hold of these projects is in the archive now."""
    values = [(stream, number, project) for number in segments for project in projects]
    bulk.insert(connection, archived, values, "ignore")


def forget(connection: Connection, gone: Iterable[tuple[str, int]]) -> None:
    """Forgets segments that are no longer there."""
    for stream, number in gone:
        connection.execute(
            delete(archived).where(archived.c.stream == stream, archived.c.segment == number)
        )


def outcomes(
    connection: Connection, project: str, since_ms: int, until_ms: int
) -> Iterator[tuple[str, str, str, int, int, str]]:
    """What is held to be true about a project's decisions of a time: decision, kind, value as JSON
    text, when it was so, when it was received, and the feedback it came with."""
    query = (
        select(outcome)
        .join(decision, decision.c.id == outcome.c.decision_id)
        .where(_within(project, since_ms, until_ms))
        .execution_options(yield_per=_AT_ONCE)
    )
    for row in connection.execute(query):
        yield tuple(row)


def decisions(
    connection: Connection, project: str, since_ms: int, until_ms: int
) -> Iterator[DecisionRecord]:
    """Hot rows of a project and a time, without their features."""
    query = select(decision).where(_within(project, since_ms, until_ms))
    for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
        yield rows.decision_of(row)


def _within(project: str, since_ms: int, until_ms: int) -> ColumnElement[bool]:
    """Decisions of a project from the one time until just before the other."""
    at_ms = decision.c.at_ms
    return and_(decision.c.project == project, at_ms >= since_ms, at_ms < until_ms)
