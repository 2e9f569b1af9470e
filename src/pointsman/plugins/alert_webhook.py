"""Alerts by a signed webhook, as the Standard Webhooks specification says (see `webhook.py`).

One POST a message. `webhook-id` is the message's own id, the same however often it is sent.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from pointsman.alerts.message import Line, Message, stamp, text, title
from pointsman.plugins.posting import Target, not_taken
from pointsman.plugins.webhook import signature
from pointsman.ports import Clock

_encode: Final = msgspec.json.Encoder().encode


class WebhookReceiver:
    """url: gives the address, at each message; secret: gives the key, empty = unsigned

    plain: whether the address may be http beyond this machine
    """

    type = "webhook"

    def __init__(
        self,
        name: str,
        url: Callable[[], str],
        secret: Callable[[], str],
        clock: Clock,
        *,
        plain: bool,
    ) -> None:
        self._what = f"receiver {name}"
        self._url = url
        self._secret = secret
        self._clock = clock
        self._plain = plain

    def check(self) -> None:
        """Raises PointsmanError where it cannot be used as it is set up."""
        self._target()
        key = self._secret()
        if key:
            signature(key, "msg_1", "1", b"")

    def deliver(self, message: Message) -> None:
        body = body_of(message)
        at = str(self._clock.now_ms() // 1000)
        headers = {"webhook-id": message.id, "webhook-timestamp": at}
        key = self._secret()
        if key:
            headers["webhook-signature"] = signature(key, message.id, at, body)
        status = self._target().post(body, headers)
        if not 200 <= status < 300:
            raise not_taken(self._what, status)

    def _target(self) -> Target:
        return Target(
            self._url(),
            self._what,
            plain=self._plain,
            hint="write it like webhook:https://hooks.example.com/pointsman, without a login",
        )


def body_of(message: Message) -> bytes:
    """The JSON that is sent: what happened for programs, and `text` for people."""
    return _encode(
        {
            "type": "alerts.firing" if message.firing else "alerts.resolved",
            "timestamp": stamp(message.at_ms),
            "project": message.project,
            "severity": message.severity.value,
            "title": title(message),
            "alerts": [_alert(line) for line in message.lines],
            "link": message.link,
            "text": text(message),
        }
    )


def _alert(line: Line) -> dict[str, Any]:
    alert, found = line.alert, line.alert.condition
    return {
        "id": alert.id,
        "event": line.event.value,
        "kind": found.kind.value,
        "subject": found.subject,
        "severity": alert.severity.value,
        "sentence": found.sentence,
        "metric": found.metric,
        "value": found.value,
        "bound": found.bound,
        "measure": found.measure.value,
        "window_ms": found.window_ms,
        "n": found.n,
        "deed": found.deed,
        "since": stamp(alert.since_ms),
        "resolved": None if alert.resolved_ms is None else stamp(alert.resolved_ms),
        "link": line.link,
    }
