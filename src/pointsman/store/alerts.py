"""Alerts as stored, what was told of them, and the messages that are under way."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection, delete, desc, func, insert, select, update
from sqlalchemy.dialects import sqlite

from pointsman.alerts.grouping import Event, Told
from pointsman.alerts.machine import Alert, State
from pointsman.alerts.message import Message
from pointsman.store.control_schema import alert, alert_delivery, alert_told

KEPT_MS: Final = 90 * 86_400_000
"""How long alerts that are over, and messages that are settled, can be looked up."""

_encoder: Final = msgspec.json.Encoder(order="deterministic")
_alert: Final[msgspec.json.Decoder[Alert]] = msgspec.json.Decoder(Alert)
_message: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)

Outcome = Literal["sent", "given_up"]


class Delivery(msgspec.Struct, frozen=True):
    """A message on its way. tries: how often it failed; error: why it last did"""

    id: str
    project: str
    receiver: str
    message: Message
    at_ms: int
    tries: int
    error: str = ""


class Standing(msgspec.Struct, frozen=True):
    """How a receiver does. waiting: messages under way; times are None where there was none

    given_up: messages that were never taken, of those that are kept
    """

    waiting: int = 0
    error: str = ""
    failing_since_ms: int | None = None
    sent_ms: int | None = None
    given_up: int = 0


def unfinished(connection: Connection) -> set[str]:
    """Projects with something that is pending or fires, or whose end somebody is to be told."""
    states = (State.PENDING.value, State.FIRING.value)
    alive = select(alert.c.project).where(alert.c.state.in_(states))
    told = (
        select(alert.c.project)
        .join(alert_told, alert_told.c.alert == alert.c.id)
        .where(alert_told.c.event != Event.RESOLVED.value)
    )
    return {str(row.project) for row in connection.execute(alive.union(told))}


def alive_of(connection: Connection, project: str) -> list[Alert]:
    """What of one project is pending or fires, the oldest first."""
    states = (State.PENDING.value, State.FIRING.value)
    rows = connection.execute(
        select(alert.c.body).where(alert.c.project == project, alert.c.state.in_(states))
    )
    return sorted((_alert.decode(row.body) for row in rows), key=lambda one: (one.since_ms, one.id))


def untold(connection: Connection, project: str, since_ms: int) -> list[Alert]:
    """Alerts of a project that are over, of which somebody who heard of them may not know that
    yet, or that ended since then."""
    open_ends = select(alert_told.c.alert).where(alert_told.c.event != Event.RESOLVED.value)
    rows = connection.execute(
        select(alert.c.body)
        .where(alert.c.state == State.RESOLVED.value, alert.c.project == project)
        .where((alert.c.changed_ms >= since_ms) | alert.c.id.in_(open_ends))
    )
    return [_alert.decode(row.body) for row in rows]


def firing(connection: Connection, project: str | None = None) -> list[Alert]:
    """The newest first; of one project where one is named (`""`: the installation)."""
    query = select(alert.c.body).where(alert.c.state == State.FIRING.value)
    if project is not None:
        query = query.where(alert.c.project == project)
    found = [_alert.decode(row.body) for row in connection.execute(query)]
    return sorted(found, key=lambda one: (-(one.fired_ms or 0), one.id))


def resolved(connection: Connection, limit: int, project: str | None = None) -> list[Alert]:
    """As `firing`, of those that are over; those that ended last first."""
    query = select(alert.c.body).where(alert.c.state == State.RESOLVED.value)
    if project is not None:
        query = query.where(alert.c.project == project)
    query = query.order_by(desc(alert.c.changed_ms), alert.c.id).limit(limit)
    return [_alert.decode(row.body) for row in connection.execute(query)]


def put(connection: Connection, one: Alert, changed_ms: int) -> None:
    """Writes an alert over what was known of it."""
    values = {
        "project": one.project,
        "state": one.state.value,
        "changed_ms": changed_ms,
        "body": _encoder.encode(one),
    }
    statement = sqlite.insert(alert).values(id=one.id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def drop(connection: Connection, ids: Iterable[str]) -> None:
    """Forgets alerts that never came to anything."""
    for one in ids:
        connection.execute(delete(alert).where(alert.c.id == one))


def told_of(connection: Connection, ids: Sequence[str]) -> dict[tuple[str, str], Told]:
    """What was told last, by (alert, receiver)."""
    if not ids:
        return {}
    rows = connection.execute(select(alert_told).where(alert_told.c.alert.in_(ids)))
    return {(row.alert, row.receiver): Told(Event(row.event), row.at_ms) for row in rows}


def busy(connection: Connection, project: str) -> set[str]:
    """Receivers with a message of this project under way."""
    rows = connection.execute(
        select(alert_delivery.c.receiver).where(
            alert_delivery.c.project == project, alert_delivery.c.done_ms.is_(None)
        )
    )
    return {str(row.receiver) for row in rows}


def send(connection: Connection, receiver: str, message: Message) -> None:
    """Puts a message on its way; what it tells counts as told from now on, since it is sent until
    it is taken."""
    connection.execute(
        insert(alert_delivery).values(
            id=message.id,
            project=message.project,
            receiver=receiver,
            body=_encoder.encode(message),
            at_ms=message.at_ms,
            not_before_ms=0,
            claimed_ms=0,
            tries=0,
            error="",
            done_ms=None,
            outcome="",
        )
    )
    for line in message.lines:
        values = {"event": line.event.value, "at_ms": message.at_ms}
        statement = sqlite.insert(alert_told).values(
            alert=line.alert.id, receiver=receiver, **values
        )
        connection.execute(
            statement.on_conflict_do_update(index_elements=["alert", "receiver"], set_=values)
        )


def waiting(connection: Connection, receiver: str) -> bool:
    """Whether anything is under way to a receiver."""
    found = alert_delivery.c
    query = select(found.id).where(found.receiver == receiver, found.done_ms.is_(None))
    return connection.execute(query.limit(1)).first() is not None


def claim(
    connection: Connection, receiver: str, now_ms: int, lease_ms: int, longest_ms: int
) -> Delivery | None:
    """The message of a receiver that has waited longest and may be sent now, for this caller alone.

    The lease ends by itself, so that the message of a caller who died is sent by the next one.
    longest_ms: nothing is put off or leased for longer; what seems to be was by a clock that has
        been put back since
    """
    found = alert_delivery.c
    ready = (found.not_before_ms <= now_ms) | (found.not_before_ms > now_ms + longest_ms)
    free = (found.claimed_ms <= now_ms) | (found.claimed_ms > now_ms + longest_ms)
    row = connection.execute(
        select(alert_delivery)
        .where(found.receiver == receiver, found.done_ms.is_(None), ready, free)
        .order_by(found.not_before_ms, found.at_ms, found.id)
        .limit(1)
    ).first()
    if row is None:
        return None
    connection.execute(
        update(alert_delivery).where(found.id == row.id).values(claimed_ms=now_ms + lease_ms)
    )
    message = _message.decode(row.body)
    return Delivery(row.id, row.project, row.receiver, message, row.at_ms, row.tries, row.error)


def settle(connection: Connection, one: Delivery, outcome: Outcome, at_ms: int, error: str) -> None:
    """Ends a delivery."""
    connection.execute(
        update(alert_delivery)
        .where(alert_delivery.c.id == one.id)
        .values(done_ms=at_ms, outcome=outcome, claimed_ms=0, error=error[:500])
    )


def put_off(connection: Connection, one: Delivery, error: str, not_before_ms: int) -> None:
    """It failed, and is tried again then."""
    connection.execute(
        update(alert_delivery)
        .where(alert_delivery.c.id == one.id)
        .values(tries=one.tries + 1, error=error[:500], not_before_ms=not_before_ms, claimed_ms=0)
    )


def give_up(connection: Connection, receivers: Iterable[str], at_ms: int) -> None:
    """Ends what is under way to receivers that are no longer there."""
    connection.execute(
        update(alert_delivery)
        .where(alert_delivery.c.done_ms.is_(None))
        .where(alert_delivery.c.receiver.not_in(list(receivers)))
        .values(done_ms=at_ms, outcome="given_up", error="there is no such receiver any more")
    )


def standing(connection: Connection, receiver: str) -> Standing:
    """How a receiver does."""
    found = alert_delivery.c
    own = found.receiver == receiver
    waiting = connection.execute(
        select(found.at_ms, found.error).where(own, found.done_ms.is_(None)).order_by(found.at_ms)
    ).all()
    failing = [row for row in waiting if row.error]
    sent = connection.scalar(select(func.max(found.done_ms)).where(own, found.outcome == "sent"))
    lost = connection.scalar(
        select(func.count()).select_from(alert_delivery).where(own, found.outcome == "given_up")
    )
    return Standing(
        waiting=len(waiting),
        error=failing[-1].error if failing else "",
        failing_since_ms=failing[0].at_ms if failing else None,
        sent_ms=None if sent is None else int(sent),
        given_up=int(lost or 0),
    )


def delete_old(connection: Connection, now_ms: int) -> None:
    """Forgets what has been over for long enough."""
    before = now_ms - KEPT_MS
    old = (alert.c.state == State.RESOLVED.value) & (alert.c.changed_ms < before)
    gone = select(alert.c.id).where(old)
    connection.execute(delete(alert_told).where(alert_told.c.alert.in_(gone)))
    connection.execute(delete(alert).where(old))
    connection.execute(delete(alert_delivery).where(alert_delivery.c.done_ms < before))
