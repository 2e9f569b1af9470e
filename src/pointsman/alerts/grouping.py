"""What is to be told to whom, now: one message for a project and a receiver, of all that is new.

It is worked out from what is so and what was told, not from a list of events. So nothing is told
twice, nothing is forgotten while a receiver is down, and what is waiting does not grow with time:
there is one message under way for a project and a receiver, and the next one says all that came
meanwhile.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from pointsman.alerts.machine import Alert, State
from pointsman.alerts.policy import Policy


class Event(StrEnum):
    """What is told of an alert."""

    FIRING = "firing"
    STILL = "still_firing"
    RESOLVED = "resolved"


class Told(msgspec.Struct, frozen=True):
    """What a receiver was told last of an alert."""

    event: Event
    at_ms: int


class Batch(msgspec.Struct, frozen=True):
    """One message to be sent. lines: in the order the alerts began"""

    project: str
    receiver: str
    lines: tuple[tuple[Event, Alert], ...]


NEWS_MS: Final = 24 * 3_600_000
"""For so long, the end of an alert is told to who never heard that it began, such as a receiver
that was down meanwhile. Whoever did hear of it is told its end whenever that can be."""

TellingOf = Mapping[tuple[str, str], Told]
"""By (id of the alert, receiver)."""


def due(  # noqa: PLR0913, PLR0917 - each is a part of what it depends on
    project: str,
    alerts: Sequence[Alert],
    told: TellingOf,
    policy: Policy,
    receivers: Collection[str],
    now_ms: int,
) -> tuple[Batch, ...]:
    """Messages of one project that are to be sent now.

    alerts: those that fire, and those that are resolved and may not be told yet
    receivers: those that are known and have nothing of this project under way
    """
    batches = []
    for receiver in receivers:
        wanted = []
        for alert in sorted(alerts, key=lambda one: (one.since_ms, one.id)):
            listens = bool(policy.receivers(alert.condition.kind, (receiver,)))
            said = told.get((alert.id, receiver))
            if alert.state is State.RESOLVED:
                news = _ended(alert, said, now_ms, listens=listens)
            else:
                news = _fires(alert, said, policy.repeat_ms, now_ms) if listens else None
            if news is not None:
                wanted.append((*news, alert))
        if any(_waited(event, since_ms, policy, now_ms) for event, since_ms, _ in wanted):
            lines = tuple((event, alert) for event, _, alert in wanted)
            batches.append(Batch(project, receiver, lines))
    return tuple(batches)


def _ended(
    alert: Alert, said: Told | None, now_ms: int, *, listens: bool
) -> tuple[Event, int] | None:
    """What to tell of an alert that is over, and since when it could be told.

    Whoever heard that it began hears that it ended, whatever the file says by now.
    """
    over_ms = alert.resolved_ms or 0
    if said is None:
        fresh = listens and now_ms - over_ms < NEWS_MS
        return (Event.RESOLVED, alert.fired_ms or over_ms) if fresh else None
    return None if said.event is Event.RESOLVED else (Event.RESOLVED, over_ms)


def _fires(
    alert: Alert, said: Told | None, repeat_ms: int, now_ms: int
) -> tuple[Event, int] | None:
    if not alert.open:
        return None
    if said is None:
        return Event.FIRING, alert.fired_ms or 0
    again = not 0 <= now_ms - said.at_ms < repeat_ms
    return (Event.STILL, said.at_ms) if again else None


def _waited(event: Event, since_ms: int, policy: Policy, now_ms: int) -> bool:
    """Whether it waits for no company any more; nor does what seems to come from the future."""
    return event is Event.STILL or not 0 <= now_ms - since_ms < policy.group_ms
