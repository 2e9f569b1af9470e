"""Alerts to PagerDuty's Events API v2: one event an alert, with the alert's id as `dedup_key`.

So PagerDuty opens one incident for an alert however often it hears of it, and closes it when the
alert is over.
"""

import re
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import msgspec

from pointsman.alerts.grouping import Event
from pointsman.alerts.message import INSTALLATION, Line, Message, facts, stamp
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.plugins.posting import WHOLE_S, Target, not_taken

URL: Final = "https://events.pagerduty.com/v2/enqueue"
_KEY: Final = re.compile(r"[A-Za-z0-9]{32}")
_LONGEST: Final = 1024
"""Characters of a summary: PagerDuty refuses longer ones."""
_WITHIN_S: Final = 60.0 - WHOLE_S
_encode: Final = msgspec.json.Encoder().encode
_HINT: Final = (
    "write pagerduty:${env:NAME}: the integration's key of 32 characters, or "
    "https://events.eu.pagerduty.com/v2/enqueue?routing_key=KEY where it is elsewhere"
)


class PagerDutyReceiver:
    """key: gives the routing key, or an address with it as `routing_key`, at each message"""

    type = "pagerduty"

    def __init__(self, name: str, key: Callable[[], str], *, plain: bool) -> None:
        self._what = f"receiver {name}"
        self._key = key
        self._plain = plain

    def check(self) -> None:
        """Raises PointsmanError where it cannot be used as it is set up."""
        self._target()

    def deliver(self, message: Message) -> None:
        """Sends every event, in order; what was taken before a failure comes again, and changes
        nothing there."""
        key, target = self._target()
        started = time.monotonic()
        for line in message.lines:
            if time.monotonic() - started > _WITHIN_S:
                raise PointsmanError(Kind.BACKEND_FAILED, f"{self._what} is too slow")
            status = target.post(_encode(event_of(line, key)), {})
            if not 200 <= status < 300:
                raise not_taken(self._what, status)

    def _target(self) -> tuple[str, Target]:
        said = self._key()
        url = URL
        if not _KEY.fullmatch(said):
            parts = urlsplit(said)
            found = parse_qs(parts.query).get("routing_key", [""])
            said, url = found[0], urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
        if not _KEY.fullmatch(said):
            what = f"{self._what}: not a routing key of PagerDuty's Events API v2"
            raise PointsmanError(Kind.INVALID, what, hint=_HINT)
        return said, Target(url, self._what, plain=self._plain, hint=_HINT)


def event_of(line: Line, routing_key: str) -> dict[str, Any]:
    """One event, as the schema of the Events API v2 has it."""
    alert, found = line.alert, line.alert.condition
    event = {
        "routing_key": routing_key,
        "event_action": "resolve" if line.event is Event.RESOLVED else "trigger",
        "dedup_key": f"pointsman-{alert.id}",
    }
    if line.event is Event.RESOLVED:
        return event
    return event | {
        "payload": {
            "summary": found.sentence[:_LONGEST],
            "timestamp": stamp(alert.since_ms),
            "severity": alert.severity.value,
            "source": alert.project or INSTALLATION,
            "component": found.subject or alert.project or INSTALLATION,
            "group": alert.project or INSTALLATION,
            "class": found.kind.value,
            "custom_details": dict(facts(line)),
        },
        "client": "Pointsman",
        "client_url": line.link,
        "links": [{"href": line.link, "text": "what happened"}],
    }
