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
import http.client
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.ports import Clock, Notification

TIMEOUT_S: Final = 10.0
SHORTEST_SECRET: Final = 16
_encode: Final = msgspec.json.Encoder().encode


class WebhookNotifier:
    """Posts to one address.

    url: may hold a query; what it answers is not read beyond its status, and redirects are not
        followed
    secret: gives the key, at each notification: a file that changes is heeded; empty = unsigned
    """

    def __init__(self, url: str, secret: Callable[[], str], clock: Clock) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise PointsmanError(
                Kind.INVALID,
                "--notify: not the address of a webhook",
                hint="write it like https://hooks.example.com/pointsman, without a login",
            )
        self._host, self._port = parts.hostname, parts.port
        self._tls = parts.scheme == "https"
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = secret
        self._clock = clock

    def notify(self, notification: Notification) -> None:
        """Returns once the receiver has taken it. Raises PointsmanError(BACKEND_FAILED)."""
        body = body_of(notification)
        delivery = id_of(notification)
        stamp = str(self._clock.now_ms() // 1000)
        headers = {
            "content-type": "application/json",
            "user-agent": "pointsman",
            "webhook-id": delivery,
            "webhook-timestamp": stamp,
        }
        key = self._secret()
        if key:
            headers["webhook-signature"] = signature(key, delivery, stamp, body)
        connection = self._connection()
        try:
            connection.request("POST", self._target, body=body, headers=headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise _failed(f"cannot be reached: {type(error).__name__}: {error}") from None
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise _failed(f"answered with {status}")

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_S, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)


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


def _failed(what: str) -> PointsmanError:
    return PointsmanError(
        Kind.BACKEND_FAILED,
        f"the webhook for notifications {what}",
        hint="check --notify; it is sent again until it is taken",
    )
