"""MLflow's webhooks: is this delivery really from the registry, and what does it say?

MLflow signs `<delivery id>.<timestamp>.<body>` with HMAC-SHA256 and sends `v1,<base64>` in
`X-MLflow-Signature`, beside `X-MLflow-Timestamp` (Unix seconds) and `X-MLflow-Delivery-Id`.
A delivery is only ever a nudge: what to serve is read from the registry itself, so one that comes
twice does no harm.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.ports import Clock

TOLERANCE_S: Final = 300
MAX_BODY_BYTES: Final = 256 << 10


class WebhookEvent(msgspec.Struct, frozen=True):
    """One thing that happened in the registry.

    entity, action: `model_version_alias` `created`, `model_version` `created`, ...
    model: registered model; alias, version: empty where the event has none
    """

    delivery_id: str
    entity: str
    action: str
    model: str
    alias: str
    version: str


class _Body(msgspec.Struct):
    entity: str
    action: str
    data: dict[str, Any]


class WebhookVerifier:
    """Checks deliveries of one registry. secret: as given to MLflow when the webhook was made."""

    def __init__(self, secret: str, clock: Clock, *, tolerance_s: int = TOLERANCE_S) -> None:
        if len(secret) < 16:
            raise PointsmanError(
                Kind.INVALID,
                "the webhook secret is shorter than 16 characters",
                hint="make one with: openssl rand -hex 32",
            )
        self._secret = secret.encode()
        self._clock = clock
        self._tolerance_s = tolerance_s

    def verify(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """The event. headers: names in any case.

        Raises PointsmanError: UNAUTHENTICATED for anything that is not a fresh delivery signed with
        the secret (without saying which), TOO_LARGE, MALFORMED for a signed body that is no event.
        """
        if len(body) > MAX_BODY_BYTES:
            raise PointsmanError(Kind.TOO_LARGE, f"the delivery is over {MAX_BODY_BYTES:,} bytes")
        lower = {name.lower(): value for name, value in headers.items()}
        delivery = lower.get("x-mlflow-delivery-id", "")
        stamp = lower.get("x-mlflow-timestamp", "")
        signature = lower.get("x-mlflow-signature", "")
        content = b".".join((delivery.encode(), stamp.encode(), body))
        mac = hmac.new(self._secret, content, hashlib.sha256).digest()
        expected = b"v1," + base64.b64encode(mac)
        now_s = self._clock.now_ms() // 1000
        fresh = stamp.isascii() and stamp.isdigit() and len(stamp) < 16
        if (
            not hmac.compare_digest(expected, signature.encode())
            or not delivery
            or not fresh
            or abs(now_s - int(stamp)) > self._tolerance_s
        ):
            raise PointsmanError(
                Kind.UNAUTHENTICATED,
                "the webhook delivery is not signed, or too old",
                hint="use the same secret in MLflow and here, and check both clocks",
            )
        try:
            event = msgspec.json.decode(body, type=_Body)
        except msgspec.MsgspecError:
            raise PointsmanError(Kind.MALFORMED, "the delivery is not an MLflow event") from None
        return WebhookEvent(
            delivery_id=delivery,
            entity=event.entity,
            action=event.action,
            model=str(event.data.get("name") or ""),
            alias=str(event.data.get("alias") or ""),
            version=str(event.data.get("version") or ""),
        )
