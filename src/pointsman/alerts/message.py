"""What is sent, as values; every kind of receiver writes it in its own form."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from pointsman.alerts.condition import NOTHING_DONE, number
from pointsman.alerts.grouping import Batch, Event
from pointsman.alerts.machine import Alert
from pointsman.domain.alert import Severity
from pointsman.rollout.words import span

INSTALLATION = "this installation"


class Line(msgspec.Struct, frozen=True):
    """One alert of a message. link: to where it can be seen"""

    event: Event
    alert: Alert
    link: str


class Message(msgspec.Struct, frozen=True):
    """What one receiver is sent at once.

    id: the same however often it is sent, so that a receiver may drop what it has
    project: `tenant/project`; empty where it is about the installation
    link: to the alerts page
    """

    id: str
    project: str
    at_ms: int
    lines: tuple[Line, ...]
    link: str

    @property
    def firing(self) -> bool:
        """Whether anything in it is still wrong."""
        return any(line.event is not Event.RESOLVED for line in self.lines)

    @property
    def severity(self) -> Severity:
        """The worst of what fires, or of everything where nothing does."""
        order = list(Severity)
        firing = [one for one in self.lines if one.event is not Event.RESOLVED] or self.lines
        return max((line.alert.severity for line in firing), key=order.index)


def compose(
    batch: Batch, now_ms: int, link: Callable[[Alert], str], page: Callable[[str], str]
) -> Message:
    """The message of a batch. link, page: to an alert's picture, and to the page of a project"""
    parts = [batch.project, batch.receiver, str(now_ms)]
    parts += [f"{alert.id} {event.value}" for event, alert in batch.lines]
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    lines = tuple(Line(event, alert, link(alert)) for event, alert in batch.lines)
    return Message(f"msg_{name}", batch.project, now_ms, lines, page(batch.project))


def title(message: Message) -> str:
    """`[firing: 1, resolved: 2] default/loan: ...`: what a subject line has room for."""
    counts = dict.fromkeys(Event, 0)
    for line in message.lines:
        counts[line.event] += 1
    said = ", ".join(f"{_word(event)}: {n}" for event, n in counts.items() if n)
    about = message.project or INSTALLATION
    if len({line.alert.id for line in message.lines}) > 1:
        return f"[{said}] {about}"
    sentence = message.lines[0].alert.condition.sentence.removeprefix(f"{about}: ")
    return f"[{said}] {about}: {sentence}"


def headline(line: Line) -> str:
    """`FIRING critical: default/loan: rolled back ...`"""
    mark = _word(line.event).upper()
    return f"{mark} {line.alert.severity.value}: {line.alert.condition.sentence}"


def facts(line: Line) -> list[tuple[str, str]]:
    """What is known of an alert, as (name, text), without what is not."""
    alert, found = line.alert, line.alert.condition
    told = [
        ("kind", found.kind.value),
        ("of", found.subject),
        ("metric", found.metric),
        ("value", number(found.value, found.measure)),
        ("bound", number(found.bound, found.measure)),
        ("window", "" if found.window_ms is None else span(found.window_ms)),
        ("n", "" if found.n is None else f"{found.n:,}"),
        ("what Pointsman did", found.deed or NOTHING_DONE),
        ("since", stamp(alert.since_ms)),
        ("over since", "" if alert.gone_ms is None else stamp(alert.gone_ms)),
    ]
    if line.event is not Event.RESOLVED:
        told = told[:-1]
    return [(name, text) for name, text in told if text]


def text(message: Message) -> str:
    """All of it as plain text."""
    blocks = [
        "\n".join([headline(one), *(f"  {n}: {t}" for n, t in facts(one)), f"  {one.link}"])
        for one in message.lines
    ]
    return "\n\n".join([*blocks, f"All alerts: {message.link}"])


def stamp(at_ms: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(event: Event) -> str:
    return event.value.replace("_", " ")
