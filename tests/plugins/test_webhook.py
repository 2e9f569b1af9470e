"""Notifications by webhook: what is sent, how it is signed, and what becomes of failures."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.plugins.webhook import WebhookNotifier, signature
from pointsman.ports import Notification

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT_MS = 1_800_000_000_123
TOLD = Notification(
    "payments/fraud", "rollout.guardrail_broken", "fraud: rolled back from 1 %", AT_MS
)


class Clock:
    def now_ms(self) -> int:
        return AT_MS + 5_000


class Receiver:
    """A real server that keeps what it was sent and answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.seen.append((self.path, headers, body))
                self.send_response(receiver.status)
                self.send_header("location", "http://127.0.0.1:1/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?room=ml"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_notification_says_what_happened_for_programs_and_for_people(receiver: Receiver) -> None:
    WebhookNotifier(receiver.url, lambda: "", Clock()).notify(TOLD)

    ((path, headers, body),) = receiver.seen
    assert path == "/hook?room=ml"
    assert headers["content-type"] == "application/json"
    assert "webhook-signature" not in headers
    assert json.loads(body) == {
        "type": "rollout.guardrail_broken",
        "timestamp": "2027-01-15T08:00:00.123Z",
        "project": "payments/fraud",
        "sentence": "fraud: rolled back from 1 %",
        "text": "fraud: rolled back from 1 %",
    }


def test_signatures_are_those_of_the_standard_webhooks_specification() -> None:
    """The signature that the specification's own Python library makes of the same message."""
    signed = signature(
        SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}'
    )

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_deliveries_are_signed_and_repetitions_can_be_told(receiver: Receiver) -> None:
    """The same notification has the same id; what is signed is what was sent."""
    notifier = WebhookNotifier(receiver.url, lambda: SECRET, Clock())
    notifier.notify(TOLD)
    notifier.notify(TOLD)
    notifier.notify(
        Notification("payments/fraud", "rollout.waiting", "waits for an approval", AT_MS)
    )

    ids = [headers["webhook-id"] for _, headers, _ in receiver.seen]
    assert ids[0] == ids[1] != ids[2]
    for _, headers, body in receiver.seen:
        stamp = headers["webhook-timestamp"]
        assert stamp == str((AT_MS + 5_000) // 1000)
        expected = signature(SECRET, headers["webhook-id"], stamp, body)
        assert headers["webhook-signature"] == expected


@pytest.mark.parametrize("status", [301, 400, 500])
def test_what_was_not_taken_is_said_to_have_failed(receiver: Receiver, status: int) -> None:
    """Redirects are not followed: what is told may be meant for one receiver only."""
    receiver.status = status
    with pytest.raises(PointsmanError, match=str(status)) as caught:
        WebhookNotifier(receiver.url, lambda: SECRET, Clock()).notify(TOLD)

    assert caught.value.kind is Kind.BACKEND_FAILED
    assert len(receiver.seen) == 1


def test_a_receiver_that_is_away_is_a_failure_too() -> None:
    with pytest.raises(PointsmanError, match="cannot be reached"):
        WebhookNotifier("http://127.0.0.1:1/", lambda: "", Clock()).notify(TOLD)


@pytest.mark.parametrize(
    "url", ["", "hooks.example.com", "ftp://example.com/", "https://me:secret@example.com/"]
)
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    """It may hold a secret."""
    with pytest.raises(PointsmanError) as caught:
        WebhookNotifier(url, lambda: "", Clock())

    assert "secret" not in caught.value.message


@pytest.mark.parametrize("secret", ["short", "whsec_not base64", "whsec_c2hvcnQ="])
def test_a_secret_that_protects_nothing_is_refused(secret: str) -> None:
    with pytest.raises(PointsmanError, match="secret of notifications"):
        signature(secret, "msg_1", "1", b"{}")
