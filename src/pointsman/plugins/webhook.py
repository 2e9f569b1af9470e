"""Tells people by a signed webhook: one POST for each thing that happened.

Signed as the Standard Webhooks specification (standardwebhooks.com) says, so that its libraries
verify it: `webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature`, which is
`v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`. The id is the same whenever the
same notification is sent again, so a receiver may drop what it knows.

The body also has `text`, which is what Slack, Mattermost and their like show.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.plugins.posting import Target
from pointsman.ports import Clock, Notification

SHORTEST_SECRET: Final = 16
_encode: Final = msgspec.json.Encoder().encode


class WebhookNotifier:
    """Posts to one address.

    url: may hold a query; what it answers is not read beyond its status, and redirects are not
        followed
    secret: gives the key, at each notification: a file that changes is heeded; empty = unsigned
    """

    def __init__(self, url: str, secret: Callable[[], str], clock: Clock) -> None:
        self._target = Target(
            url,
            "--notify",
            plain=True,
            hint="write it like https://hooks.example.com/pointsman, without a login",
        )
        self._secret = secret
        self._clock = clock

    def notify(self, notification: Notification) -> None:
        """Returns once the receiver has taken it. Raises PointsmanError(BACKEND_FAILED)."""
        body = body_of(notification)
        delivery = id_of(notification)
        stamp = str(self._clock.now_ms() // 1000)
        headers = {"webhook-id": delivery, "webhook-timestamp": stamp}
        key = self._secret()
        if key:
            headers["webhook-signature"] = signature(key, delivery, stamp, body)
        status = self._target.post(body, headers)
        if not 200 <= status < 300:
            raise PointsmanError(
                Kind.BACKEND_FAILED,
                f"the webhook for notifications answered with {status}",
                hint="check --notify; it is sent again until it is taken",
            )


def body_of(notification: Notification) -> bytes:
    """The JSON that is sent: type, project, the sentence twice, and the time (RFC 3339)."""
    at = datetime.fromtimestamp(notification.at_ms / 1000, UTC)
    return _encode(
        {
            "type": notification.type,
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "project": notification.project,
            "sentence": notification.sentence,
            "text": notification.sentence,
        }
    )


def id_of(notification: Notification) -> str:
    """The same for the same notification, whenever it is sent."""
    return f"msg_{hashlib.sha256(_encode(notification)).hexdigest()[:32]}"


def signature(secret: str, delivery: str, stamp: str, body: bytes) -> str:
    """What `webhook-signature` says. secret: `whsec_` and base64 as the specification writes it, or
    any other text of at least 16 characters, whose bytes are then the key"""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            raise PointsmanError(
                Kind.INVALID,
                "the secret of notifications begins with `whsec_`, and no base64 follows",
                hint='make one with: echo "whsec_$(openssl rand -base64 32)"',
            ) from None
    if len(key) < SHORTEST_SECRET:
        raise PointsmanError(
            Kind.INVALID,
            f"the secret of notifications is shorter than {SHORTEST_SECRET} bytes",
            hint='make one with: echo "whsec_$(openssl rand -base64 32)"',
        )
    content = b".".join((delivery.encode(), stamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
