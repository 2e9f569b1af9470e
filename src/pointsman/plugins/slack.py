"""Alerts to an incoming webhook of Slack, or of what takes the same: Mattermost, Rocket.Chat.

`text` and `attachments` are what all of these understand; Slack's own `blocks` are not.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from pointsman.alerts.grouping import Event
from pointsman.alerts.message import Line, Message, facts, headline, title
from pointsman.domain.alert import Severity
from pointsman.plugins.posting import Target, not_taken

_encode: Final = msgspec.json.Encoder().encode
_MOST: Final = 20
"""Attachments of one message: Slack advises against more."""
_LONGEST: Final = 2_000
"""Characters of one text: Slack cuts longer ones."""
_SHORT: Final = 40
_COLOURS: Final = {
    Severity.CRITICAL: "danger",
    Severity.WARNING: "warning",
    Severity.INFO: "#439fe0",
}


class SlackReceiver:
    """url: gives the address of the incoming webhook, which is a secret, at each message"""

    type = "slack"

    def __init__(self, name: str, url: Callable[[], str], *, plain: bool) -> None:
        self._what = f"receiver {name}"
        self._url = url
        self._plain = plain

    def check(self) -> None:
        """Raises PointsmanError where it cannot be used as it is set up."""
        self._target()

    def deliver(self, message: Message) -> None:
        status = self._target().post(body_of(message), {})
        if not 200 <= status < 300:
            raise not_taken(self._what, status)

    def _target(self) -> Target:
        return Target(
            self._url(),
            self._what,
            plain=self._plain,
            hint="write it like slack:${env:NAME}, the whole address of the incoming webhook",
        )


def body_of(message: Message) -> bytes:
    """The JSON of one message."""
    said = escaped(title(message))
    more = len(message.lines) - _MOST
    if more > 0:
        said += f" (and {more} more: {message.link})"
    attachments = [_attachment(line) for line in message.lines[:_MOST]]
    return _encode({"text": said, "attachments": attachments})


def escaped(text: str) -> str:
    """Text that Slack shows as it is: these three characters alone mean something to it."""
    plain = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _attachment(line: Line) -> dict[str, Any]:
    resolved = line.event is Event.RESOLVED
    return {
        "fallback": escaped(headline(line)),
        "color": "good" if resolved else _COLOURS[line.alert.severity],
        "title": escaped(headline(line).partition(":")[0]),
        "title_link": line.link,
        "text": escaped(line.alert.condition.sentence),
        "fields": [
            {"title": name, "value": escaped(text), "short": len(text) <= _SHORT}
            for name, text in facts(line)
        ],
        "ts": line.alert.since_ms // 1000,
    }
