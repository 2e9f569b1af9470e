"""Rollouts as stored: state, what judging has read, what people asked for, and what was published.

A state is written over the one it came from, or not at all, so that two controllers at once
cannot both act on it.
"""

import msgspec
from sqlalchemy import Connection, Table, delete, desc, func, insert, select, update
from sqlalchemy.dialects import sqlite

from pointsman.rollout import state as states
from pointsman.rollout.observation import Command, Verb
from pointsman.rollout.plan import Answer
from pointsman.rollout.state import State
from pointsman.store.control_schema import (
    rollout,
    rollout_candidate,
    rollout_command,
    rollout_judging,
    rollout_publication,
)


class Overtaken(Exception):  # noqa: N818 - somebody else was first; nothing is wrong
    """Another state is there than the one a change was made from. Nothing may be written."""


def state(connection: Connection, project: str) -> State | None:
    """The newest; None for a project that has had no rollout."""
    found = connection.scalar(select(rollout.c.state).where(rollout.c.project == project))
    return None if found is None else states.decode(found)


def put_state(connection: Connection, project: str, expects: int, new: State) -> None:
    """Writes the state over number `expects` (0: none). Raises Overtaken."""
    _swap(connection, rollout, (project, expects, new.number), {"state": states.encode(new)})


def judging(connection: Connection, project: str) -> tuple[int, bytes]:
    """What was read so far and its number; 0 and nothing where there is none."""
    query = select(rollout_judging.c.number, rollout_judging.c.body)
    found = connection.execute(query.where(rollout_judging.c.project == project)).first()
    return (0, b"") if found is None else (found.number, bytes(found.body))


def put_judging(connection: Connection, project: str, expects: int, body: bytes) -> None:
    """As `put_state`."""
    _swap(connection, rollout_judging, (project, expects, expects + 1), {"body": body})


def _swap(
    connection: Connection, table: Table, key: tuple[str, int, int], values: dict[str, bytes]
) -> None:
    project, expects, number = key
    if expects == 0:
        statement = sqlite.insert(table).values(project=project, number=number, **values)
        done = connection.execute(statement.on_conflict_do_nothing()).rowcount
    else:
        done = connection.execute(
            update(table)
            .where(table.c.project == project, table.c.number == expects)
            .values(number=number, **values)
        ).rowcount
    if done != 1:
        raise Overtaken(f"{project}: {table.name} is no longer number {expects}")


def ask(connection: Connection, project: str, wanted: Command, at_ms: int) -> int:
    """Keeps a command; its sequence number, which only goes up."""
    done = connection.execute(
        insert(rollout_command).values(
            project=project,
            verb=wanted.verb.value,
            actor=wanted.actor,
            roles=msgspec.json.encode(wanted.roles).decode(),
            reason=wanted.reason,
            full=wanted.full,
            at_ms=at_ms,
            accepted=None,
            sentence="",
        )
    )
    return int((done.inserted_primary_key or (0,))[0])


def unanswered(connection: Connection, project: str) -> tuple[Command, ...]:
    """Commands nobody has answered yet, in the order they were given."""
    rows = connection.execute(
        select(rollout_command)
        .where(rollout_command.c.project == project, rollout_command.c.accepted.is_(None))
        .order_by(rollout_command.c.seq)
    )
    return tuple(
        Command(
            seq=row.seq,
            verb=Verb(row.verb),
            actor=row.actor,
            roles=tuple(msgspec.json.decode(row.roles, type=list[str])),
            reason=row.reason,
            full=row.full,
        )
        for row in rows
    )


def answer(connection: Connection, given: Answer) -> None:
    """Answers a command, once."""
    connection.execute(
        update(rollout_command)
        .where(rollout_command.c.seq == given.seq, rollout_command.c.accepted.is_(None))
        .values(accepted=given.accepted, sentence=given.sentence)
    )


def answered(connection: Connection, seq: int) -> Answer | None:
    """What became of a command; None while nobody has answered it."""
    found = connection.execute(
        select(rollout_command).where(
            rollout_command.c.seq == seq, rollout_command.c.accepted.is_not(None)
        )
    ).first()
    return None if found is None else Answer(found.seq, bool(found.accepted), found.sentence)


def candidate(connection: Connection, project: str, variant: str) -> bytes:
    """The prepared version an alias moved to, as the controller encodes it; empty without one."""
    found = connection.scalar(
        select(rollout_candidate.c.pinned).where(
            rollout_candidate.c.project == project, rollout_candidate.c.variant == variant
        )
    )
    return b"" if found is None else bytes(found)


def put_candidate(
    connection: Connection, project: str, variant: str, pinned: bytes, at_ms: int
) -> None:
    connection.execute(
        delete(rollout_candidate).where(
            rollout_candidate.c.project == project, rollout_candidate.c.variant == variant
        )
    )
    connection.execute(
        insert(rollout_candidate).values(
            project=project, variant=variant, pinned=pinned, at_ms=at_ms
        )
    )


def published(connection: Connection, project: str, publication: int, revision: int) -> None:
    """Remembers which revision carries a publication; the first one stays."""
    statement = sqlite.insert(rollout_publication).values(
        project=project, publication=publication, revision=revision
    )
    connection.execute(statement.on_conflict_do_nothing())


def newest_published(connection: Connection, project: str) -> tuple[int, int]:
    """The newest publication that is out, and the revision that carries it; zeros without any."""
    found = connection.execute(
        select(rollout_publication.c.publication, rollout_publication.c.revision)
        .where(rollout_publication.c.project == project)
        .order_by(desc(rollout_publication.c.publication))
        .limit(1)
    ).first()
    return (0, 0) if found is None else (found.publication, found.revision)


def carried_by(connection: Connection, project: str, first: int, last: int) -> tuple[int, int]:
    """Revisions from the first that carries one of these publications until just before the first
    that carries a later one, which is 0 while there is none. Zeros where none was published."""
    number, carrier = rollout_publication.c.publication, rollout_publication.c.revision
    own = rollout_publication.c.project == project
    since = connection.scalar(select(func.min(carrier)).where(own, number.between(first, last)))
    until = connection.scalar(select(func.min(carrier)).where(own, number > last))
    return (int(since), int(until or 0)) if since else (0, 0)
