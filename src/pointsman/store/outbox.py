"""What has been decided and is still to be done. Written in the transaction of the decision, and
carried out until it succeeded; every entry may be carried out twice."""

from collections.abc import Iterable
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select, update

from pointsman.rollout.plan import Notify, Publish, SetAlias
from pointsman.store.control_schema import outbox


class Tell(msgspec.Struct, frozen=True, tag="tell"):
    """Tell the owner of what is in the history under this action."""

    action: str
    sentence: str


Task = Publish | SetAlias | Notify | Tell

LONGEST_WAIT_MS: Final = 300_000
"""After however many failures, what is to be done is tried again within that time."""

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Task]] = msgspec.json.Decoder(Task)


class Entry(msgspec.Struct, frozen=True):
    """One thing to do. tries: how often it failed so far; at_ms: when it was decided"""

    id: int
    project: str
    task: Task
    tries: int
    at_ms: int
    error: str = ""


def kind_of(task: Task) -> str:
    match task:
        case Publish():
            return "publish"
        case SetAlias():
            return "set_alias"
        case Notify() | Tell():
            return "notify"


def put(connection: Connection, project: str, tasks: Iterable[Task], at_ms: int) -> None:
    """Adds tasks, in order."""
    for task in tasks:
        connection.execute(
            insert(outbox).values(
                project=project,
                kind=kind_of(task),
                body=_encoder.encode(task),
                at_ms=at_ms,
                done_ms=None,
                tries=0,
                not_before_ms=0,
                error="",
            )
        )


def due(connection: Connection, project: str, now_ms: int) -> list[Entry]:
    """What may be done now, in order: of each kind the oldest ones, none past one that waits.

    Nobody is made to wait for longer than LONGEST_WAIT_MS, so whatever seems to was put off by a
    clock that has been put back since, and may be done.
    """
    rows = connection.execute(
        select(outbox)
        .where(outbox.c.project == project, outbox.c.done_ms.is_(None))
        .order_by(outbox.c.id)
    )
    waiting: set[str] = set()
    found: list[Entry] = []
    for row in rows:
        if now_ms < row.not_before_ms <= now_ms + LONGEST_WAIT_MS:
            waiting.add(row.kind)
        if row.kind not in waiting:
            found.append(_entry(row))
    return found


def projects(connection: Connection) -> list[str]:
    """Every project with something left to do."""
    found = select(outbox.c.project).where(outbox.c.done_ms.is_(None)).distinct()
    return [str(row.project) for row in connection.execute(found)]


def left(connection: Connection, project: str) -> list[Entry]:
    """Everything that is not done yet, in order."""
    rows = connection.execute(
        select(outbox)
        .where(outbox.c.project == project, outbox.c.done_ms.is_(None))
        .order_by(outbox.c.id)
    )
    return [_entry(row) for row in rows]


def done(connection: Connection, entry: Entry, at_ms: int) -> None:
    connection.execute(
        update(outbox).where(outbox.c.id == entry.id).values(done_ms=at_ms, error="")
    )


def failed(connection: Connection, entry: Entry, error: str, not_before_ms: int) -> None:
    connection.execute(
        update(outbox)
        .where(outbox.c.id == entry.id)
        .values(tries=entry.tries + 1, error=error[:500], not_before_ms=not_before_ms)
    )


def _entry(row: object) -> Entry:
    body: bytes = row.body  # type: ignore[attr-defined]  # a row of the outbox
    return Entry(
        row.id,  # type: ignore[attr-defined]
        row.project,  # type: ignore[attr-defined]
        _decoder.decode(body),
        row.tries,  # type: ignore[attr-defined]
        row.at_ms,  # type: ignore[attr-defined]
        row.error,  # type: ignore[attr-defined]
    )
