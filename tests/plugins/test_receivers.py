"""What each kind of receiver is sent, over real sockets, and what becomes of failures."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alerting_world import SECRET, Receiver, genuine
from mail_server import MailServer, certificate
from pointsman.alerts.condition import Condition, Measure
from pointsman.alerts.grouping import Batch, Event
from pointsman.alerts.machine import Alert, State
from pointsman.alerts.message import Message, compose, title
from pointsman.domain.alert import Kind as AlertKind
from pointsman.domain.alert import Severity
from pointsman.domain.errors import PointsmanError
from pointsman.plugins import posting
from pointsman.plugins.alert_webhook import WebhookReceiver
from pointsman.plugins.email import EmailReceiver, mailbox
from pointsman.plugins.pagerduty import PagerDutyReceiver
from pointsman.plugins.slack import SlackReceiver
from pointsman.ports import RefusedError

AT_MS = 1_800_000_000_123
KEY = "e93facc04764012d7bfb002500d5d1a6"

BROKEN = Alert(
    "5d0f",
    "payments/fraud",
    State.FIRING,
    Severity.CRITICAL,
    Condition(
        AlertKind.ROLLED_BACK,
        "payments/fraud: rolled back from 20 %: denied <b>+36.4 points & more",
        subject="challenger",
        metric="denied",
        value=0.364,
        bound=0.05,
        measure=Measure.POINTS,
        window_ms=11_000,
        n=1212,
        deed="took all traffic from challenger version 2 (from 20 % to 0 %)",
    ),
    since_ms=AT_MS,
    fired_ms=AT_MS,
)
OVER = Alert(
    "77aa",
    "payments/fraud",
    State.RESOLVED,
    Severity.WARNING,
    Condition(AlertKind.KILLED, "payments/fraud: the kill switch of b is on", subject="b"),
    since_ms=AT_MS - 60_000,
    fired_ms=AT_MS - 60_000,
    gone_ms=AT_MS - 10_000,
    resolved_ms=AT_MS,
)


class Clock:
    def now_ms(self) -> int:
        return AT_MS + 5_000


def message(*lines: tuple[Event, Alert]) -> Message:
    batch = Batch("payments/fraud", "a", lines or ((Event.FIRING, BROKEN), (Event.RESOLVED, OVER)))
    return compose(
        batch, AT_MS, lambda one: f"https://p.example.com/ui/#/{one.id}", lambda _: "https://p/ui/"
    )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_a_webhook_says_everything_for_programs_and_for_people(receiver: Receiver) -> None:
    hook = WebhookReceiver("a", lambda: receiver.url, lambda: SECRET, Clock(), plain=False)
    hook.deliver(message())
    hook.deliver(message())

    (body, again), (headers, _) = receiver.bodies, receiver.seen[0]
    assert body == again
    assert receiver.ids[0] == receiver.ids[1] == message().id
    assert receiver.forged == []
    assert headers["webhook-timestamp"] == str((AT_MS + 5_000) // 1000)
    assert (body["type"], body["severity"]) == ("alerts.firing", "critical")
    assert body["timestamp"] == "2027-01-15T08:00:00.123Z"
    first, second = body["alerts"]
    assert first == {
        "id": "5d0f",
        "event": "firing",
        "kind": "rolled_back",
        "subject": "challenger",
        "severity": "critical",
        "sentence": BROKEN.condition.sentence,
        "metric": "denied",
        "value": 0.364,
        "bound": 0.05,
        "measure": "points",
        "window_ms": 11_000,
        "n": 1212,
        "deed": "took all traffic from challenger version 2 (from 20 % to 0 %)",
        "since": "2027-01-15T08:00:00.123Z",
        "resolved": None,
        "link": "https://p.example.com/ui/#/5d0f",
    }
    assert (second["event"], second["resolved"]) == ("resolved", "2027-01-15T08:00:00.123Z")
    for text in ("value: +36.4 points", "bound: +5 points", "window: 11 s", "n: 1,212", "took all"):
        assert text in body["text"]


def test_a_signature_is_of_this_body_and_this_time_alone(receiver: Receiver) -> None:
    """Whoever changes a byte, or sends it again at another time, is found out by any verifier."""
    hook = WebhookReceiver("a", lambda: receiver.url, lambda: SECRET, Clock(), plain=False)
    hook.deliver(message())

    headers, body = receiver.seen[0]
    assert genuine(headers, body)
    assert not genuine(headers, body.replace(b"critical", b"harmless"))
    assert not genuine({**headers, "webhook-timestamp": "1"}, body)


def test_slack_is_sent_what_all_of_its_kind_understand(receiver: Receiver) -> None:
    """`text` and `attachments`, as Slack's page on incoming webhooks and legacy attachments has
    them; what means something to Slack is escaped."""
    receiver.status = 200
    SlackReceiver("a", lambda: receiver.url, plain=False).deliver(message())

    (body,) = receiver.bodies
    assert set(body) == {"text", "attachments"}
    assert body["text"] == "[firing: 1, resolved: 1] payments/fraud"
    first, second = body["attachments"]
    known = {"fallback", "color", "title", "title_link", "text", "fields", "ts"}
    assert set(first) == set(second) == known
    assert (first["color"], second["color"]) == ("danger", "good")
    assert "&lt;b&gt;+36.4 points &amp; more" in first["text"]
    assert "<" not in first["fallback"]
    assert first["ts"] == AT_MS // 1000
    fields = {one["title"]: one["value"] for one in first["fields"]}
    assert fields["value"] == "+36.4 points"
    assert fields["n"] == "1,212"
    assert all(set(one) == {"title", "value", "short"} for one in first["fields"])


def test_slack_is_not_flooded(receiver: Receiver) -> None:
    """More alerts than Slack shows well are counted, and the page has them all."""
    receiver.status = 200
    many = [(Event.FIRING, BROKEN)] * 25
    SlackReceiver("a", lambda: receiver.url, plain=False).deliver(message(*many))

    (body,) = receiver.bodies
    assert len(body["attachments"]) == 20
    assert "(and 5 more: https://p/ui/)" in body["text"]


def test_pagerduty_is_sent_one_event_an_alert_as_its_schema_says(receiver: Receiver) -> None:
    """Events API v2, by PagerDuty's own OpenAPI document: `trigger` opens an incident under its
    `dedup_key`, `resolve` with the same key closes it."""
    receiver.status = 202
    url = f"{receiver.url}?routing_key={KEY}"
    duty = PagerDutyReceiver("a", lambda: url, plain=False)
    duty.deliver(message())
    duty.deliver(message((Event.STILL, BROKEN)))

    first, second, still = receiver.bodies
    assert receiver.paths == ["/hook"] * 3, "the key is in the body alone"
    for event in (first, second, still):
        check_event(event)
    assert (first["event_action"], second["event_action"]) == ("trigger", "resolve")
    assert first["dedup_key"] == still["dedup_key"] == "pointsman-5d0f"
    assert first["payload"]["class"] == "rolled_back"
    assert first["payload"]["custom_details"]["value"] == "+36.4 points"
    assert first["links"] == [{"href": "https://p.example.com/ui/#/5d0f", "text": "what happened"}]


def check_event(event: dict[str, Any]) -> None:
    """By the schema `createV2Event` of PagerDuty's `reference/events-v2/openapiv3.json`."""
    texts = {"routing_key", "event_action", "dedup_key", "client", "client_url"}
    assert set(event) <= texts | {"payload", "links", "images"}
    assert {"routing_key", "event_action"} <= set(event)
    assert all(isinstance(event[key], str) for key in texts & set(event))
    assert event["routing_key"] == KEY
    assert event["event_action"] in {"trigger", "acknowledge", "resolve"}
    if event["event_action"] != "trigger":
        assert event["dedup_key"]
        return
    payload = event["payload"]
    optional = {"timestamp", "component", "group", "class"}
    assert {"summary", "severity", "source"} <= set(payload)
    assert set(payload) <= {"summary", "severity", "source", "custom_details"} | optional
    assert all(isinstance(payload[key], str) for key in set(payload) - {"custom_details"})
    assert payload["severity"] in {"critical", "warning", "error", "info"}
    assert 0 < len(payload["summary"]) <= 1024
    assert isinstance(payload["custom_details"], dict)


def test_a_mail_is_plain_text_with_all_of_it() -> None:
    server = MailServer(login="me:se:cret")
    url = f"smtp://me:se%3Acret@127.0.0.1:{server.port}/?from=p@example.com&to=a@b.com&to=c@d.com"
    try:
        EmailReceiver("a", lambda: url, plain=False).deliver(message())
    finally:
        server.close()

    ((sender, to, mail),) = server.mails
    assert (sender, to) == ("p@example.com", ["a@b.com", "c@d.com"])
    assert mail["Subject"] == "[firing: 1, resolved: 1] payments/fraud"
    assert mail["Message-ID"] == f"<{message().id}@example.com>"
    assert (mail["Auto-Submitted"], mail["Importance"]) == ("auto-generated", "high")
    assert mail["Date"] == "Fri, 15 Jan 2027 08:00:00 +0000"
    body = mail.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert "FIRING critical: payments/fraud: rolled back" in body
    assert "RESOLVED warning: payments/fraud: the kill switch of b is on" in body


@pytest.mark.parametrize(("said", "final"), [("451 later", False), ("554 never", True)])
def test_a_mail_that_is_refused_is_tried_again_where_that_is_any_use(
    *, said: str, final: bool
) -> None:
    server = MailServer()
    server.after_data = said
    url = f"smtp://127.0.0.1:{server.port}/?from=p@example.com&to=a@b.com"
    try:
        with pytest.raises(PointsmanError, match="refused a mail") as caught:
            EmailReceiver("a", lambda: url, plain=False).deliver(message())
    finally:
        server.close()

    assert isinstance(caught.value, RefusedError) is final


def test_beyond_this_machine_no_mail_goes_unencrypted() -> None:
    """A server without STARTTLS is handed nothing, no password above all. (0.0.0.0 is reached like
    this machine, and is no name of it.)"""
    server = MailServer(login="me:secret")
    url = f"smtp://me:secret@0.0.0.0:{server.port}/?from=p@example.com&to=a@b.com"
    try:
        with pytest.raises(PointsmanError, match="STARTTLS") as caught:
            EmailReceiver("a", lambda: url, plain=False).deliver(message())
        assert set(server.commands) <= {"EHLO", "QUIT"}
        EmailReceiver("a", lambda: url, plain=True).deliver(message())
    finally:
        server.close()

    assert "secret" not in str(caught.value.as_dict())
    assert len(server.mails) == 1


def test_a_mail_server_is_believed_by_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MailServer(certificate(tmp_path / "localhost.pem"))
    url = f"smtps://localhost:{server.port}/?from=p@example.com&to=a@b.com"
    mail = EmailReceiver("a", lambda: url, plain=False)
    try:
        with pytest.raises(PointsmanError, match="CERTIFICATE_VERIFY_FAILED"):
            mail.deliver(message())
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "localhost.pem"))
        mail.deliver(message())
    finally:
        server.close()

    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("status", "final"),
    [(301, False), (400, True), (404, False), (413, True), (429, False), (503, False)],
)
def test_what_was_not_taken_is_said_and_no_redirect_is_followed(
    receiver: Receiver, *, status: int, final: bool
) -> None:
    receiver.status = status
    others = [
        WebhookReceiver("a", lambda: receiver.url, lambda: SECRET, Clock(), plain=False),
        SlackReceiver("a", lambda: receiver.url, plain=False),
        PagerDutyReceiver("a", lambda: f"{receiver.url}?routing_key={KEY}", plain=False),
    ]
    for one in others:
        with pytest.raises(PointsmanError, match=f"receiver a answered with {status}") as caught:
            one.deliver(message())
        assert isinstance(caught.value, RefusedError) is final

    assert len(receiver.seen) == 3


def test_whoever_answers_byte_by_byte_is_as_good_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time; all of them do not."""
    monkeypatch.setattr(posting, "WHOLE_S", 1.0)
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    threading.Thread(target=drip, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    started = time.monotonic()
    with pytest.raises(PointsmanError, match="no answer within 1 s"):
        SlackReceiver("a", lambda: url, plain=False).deliver(message())
    stop.set()
    listener.close()

    assert time.monotonic() - started < 9.0


def slack(url: str) -> SlackReceiver:
    return SlackReceiver("a", lambda: url, plain=False)


def email(url: str) -> EmailReceiver:
    return EmailReceiver("a", lambda: url, plain=False)


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (slack("nonsense secret"), "not the address"),
        (slack("http://secret.example.com/"), "http beyond this machine"),
        (slack("https://u:secret@example.com"), "not the address"),
        (slack("https://secret:port/"), "not the address"),
        (PagerDutyReceiver("a", lambda: "secret", plain=False), "routing key"),
        (email("smtp://u:secret@h"), "`from` and `to`"),
        (email("smtp://h/?from=a@b&to=x secret"), "`from` and `to`"),
        (
            WebhookReceiver("a", lambda: "https://h/", lambda: "secret", Clock(), plain=False),
            "shorter than 16",
        ),
    ],
)
def test_what_cannot_be_reached_is_refused_without_repeating_a_secret(made: Any, what: str) -> None:
    with pytest.raises(PointsmanError, match=what) as caught:
        made.check()

    assert "secret" not in caught.value.message.replace("the secret of notifications", "")


def test_ports_and_encryption_of_mail_are_those_that_are_usual() -> None:
    where = "/?from=a@b.com&to=c@d.com"
    usual = mailbox(f"smtp://mail.example.com{where}", plain=False)
    local = mailbox(f"smtp://localhost{where}", plain=False)
    tls = mailbox(f"smtps://mail.example.com{where}", plain=False)

    assert (usual.port, usual.starttls, usual.tls) == (587, True, False)
    assert (local.port, local.starttls, local.tls) == (25, False, False)
    assert (tls.port, tls.starttls, tls.tls) == (465, False, True)


def test_a_subject_line_has_the_sentence_of_one_alert_and_the_count_of_many() -> None:
    assert title(message((Event.RESOLVED, OVER))) == (
        "[resolved: 1] payments/fraud: the kill switch of b is on"
    )
    assert title(message((Event.STILL, BROKEN), (Event.RESOLVED, OVER))) == (
        "[still firing: 1, resolved: 1] payments/fraud"
    )
