"""Sends messages until they are taken, each receiver by itself: one that is down delays no other.

At least once: a message is claimed, sent, and only then settled, so whoever dies in between sends
it again, with the same id.
"""

from collections.abc import Mapping
from typing import Any, Final

import structlog

from pointsman.alerts.condition import Condition
from pointsman.alerts.grouping import Batch, Event
from pointsman.alerts.machine import Alert, State
from pointsman.alerts.message import compose
from pointsman.controller.alerting import Links
from pointsman.controller.ledger import Ledger
from pointsman.domain.alert import Kind, Severity
from pointsman.domain.errors import Kind as ErrorKind
from pointsman.domain.errors import PointsmanError
from pointsman.domain.suggestion import did_you_mean
from pointsman.ports import Receiver, RefusedError
from pointsman.store import alerts
from pointsman.store.alerts import Delivery

_log = structlog.get_logger(__name__)
FIRST_WAIT_MS: Final = 1_000
LONGEST_WAIT_MS: Final = 300_000
LEASE_MS: Final = 120_000
"""Longer than any receiver may take (`Receiver`): then whoever claimed it has died."""
GIVE_UP_MS: Final = 24 * 3_600_000
"""After so long a message is let go: what it said is long overtaken, and on the alerts page."""
REFUSALS: Final = 3
"""So often a message may be refused as such before it is let go: it would be refused for ever, and
keep back what comes after it."""


class Deliveries:
    """Blocking; safe to use from several threads."""

    def __init__(self, ledger: Ledger, receivers: Mapping[str, Receiver], links: Links) -> None:
        self._ledger = ledger
        self._receivers = receivers
        self._links = links

    def turn(self, receiver: str) -> bool:
        """Sends one message, if there is one. Whether there may be more to send at once."""
        with self._ledger.reading() as connection:
            if not alerts.waiting(connection, receiver):
                return False
        with self._ledger.writing() as connection:
            now_ms = self._ledger.now_ms()
            found = alerts.claim(connection, receiver, now_ms, LEASE_MS, LONGEST_WAIT_MS)
        if found is None:
            return False
        try:
            self._receivers[receiver].deliver(found.message)
        except PointsmanError as error:
            self._failed(found, error)
            return False
        except Exception as error:  # noqa: BLE001 - an adapter's own mistake must not lose a message
            what = f"{type(error).__name__}: {error}"
            self._failed(found, PointsmanError(ErrorKind.INTERNAL, what))
            return False
        with self._ledger.writing() as connection:
            alerts.settle(connection, found, "sent", self._ledger.now_ms(), "")
        return True

    def standing(self) -> list[dict[str, Any]]:
        """How each receiver does, by name. Addresses and secrets are not told."""
        with self._ledger.reading() as connection:
            found = {name: alerts.standing(connection, name) for name in self._receivers}
        return [
            {
                "name": name,
                "type": self._receivers[name].type,
                "state": "failing" if one.failing_since_ms is not None else "ok",
                "waiting": one.waiting,
                "error": one.error,
                "failing_since_ms": one.failing_since_ms,
                "sent_ms": one.sent_ms,
                "given_up": one.given_up,
            }
            for name, one in sorted(found.items())
        ]

    def troubles(self) -> list[str]:
        """Sentences on receivers that do not take what they are sent."""
        return [
            f"alerts do not reach {one['name']}: {one['error']}; `pointsman alerts` says more"
            for one in self.standing()
            if one["state"] == "failing"
        ]

    def test(self, receiver: str) -> str:
        """Sends a message that says it is a test, now and once; the sentence that says so.

        Raises PointsmanError: NOT_FOUND for a name that is none, else as the receiver does.
        """
        if receiver not in self._receivers:
            raise PointsmanError(
                ErrorKind.NOT_FOUND,
                f"there is no receiver {receiver[:80]!r}",
                hint=did_you_mean(receiver, self._receivers)
                or "start with --receiver NAME=TYPE:WHERE",
            )
        now_ms = self._ledger.now_ms()
        condition = Condition(
            Kind.BACKGROUND,
            "this is a test of Pointsman's alerts; nothing is wrong",
            subject="test",
            deed="sent this message because somebody asked for it",
        )
        alert = Alert(
            f"test-{now_ms}",
            "",
            State.RESOLVED,
            Severity.INFO,
            condition,
            since_ms=now_ms,
            fired_ms=now_ms,
            gone_ms=now_ms,
            resolved_ms=now_ms,
        )
        batch = Batch("", receiver, ((Event.FIRING, alert), (Event.RESOLVED, alert)))
        message = compose(batch, now_ms, self._links.alert, self._links.page)
        self._receivers[receiver].deliver(message)
        return f"{receiver} has taken a test message"

    def _failed(self, found: Delivery, error: PointsmanError) -> None:
        now_ms = self._ledger.now_ms()
        wait_ms = min(FIRST_WAIT_MS * 2 ** min(found.tries, 20), LONGEST_WAIT_MS)
        refused = isinstance(error, RefusedError) and found.tries + 1 >= REFUSALS
        hopeless = refused or now_ms - found.at_ms >= GIVE_UP_MS
        _log.warning(
            "alert not delivered",
            receiver=found.receiver,
            project=found.project,
            error=error.message,
            again_in_ms=None if hopeless else wait_ms,
        )
        with self._ledger.writing() as connection:
            if hopeless:
                alerts.settle(connection, found, "given_up", now_ms, error.message)
            else:
                alerts.put_off(connection, found, error.message, now_ms + wait_ms)
