"""Alerts by e-mail: one mail a message, plain text, over SMTP.

Beyond this machine it is encrypted: `smtp://` asks for STARTTLS and goes no further without it,
`smtps://` is TLS from the first byte.
"""

import smtplib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from pointsman.alerts.message import Message, text, title
from pointsman.domain.alert import Severity
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.plugins.posting import TIMEOUT_S, cut_off, is_loopback, too_late
from pointsman.ports import RefusedError

_HINT: Final = (
    "write it like email:smtp://USER:PASSWORD@mail.example.com:587/?from=a@example.com&"
    "to=b@example.com, by reference where it holds a password; `to` may come several times"
)
_LONGEST: Final = 200
_PORTS: Final = {"smtp": 587, "smtps": 465}
_LOCAL_PORT: Final = 25


class Mailbox(msgspec.Struct, frozen=True):
    """Where mail goes through, from whom and to whom."""

    host: str
    port: int
    tls: bool
    starttls: bool
    user: str
    password: str
    sender: str
    to: tuple[str, ...]


class EmailReceiver:
    """url: gives `smtp://USER:PASSWORD@HOST:PORT/?from=ADDRESS&to=ADDRESS`, at each message

    plain: whether it may go unencrypted beyond this machine
    """

    type = "email"

    def __init__(self, name: str, url: Callable[[], str], *, plain: bool) -> None:
        self._what = f"receiver {name}"
        self._url = url
        self._plain = plain

    def check(self) -> None:
        """Raises PointsmanError where it cannot be used as it is set up."""
        self._mailbox()

    def deliver(self, message: Message) -> None:
        box = self._mailbox()
        mail = mail_of(message, box.sender, box.to)
        server = _server(box)
        try:
            with cut_off(lambda: server.sock) as overdue, server:
                _sign_in(server, box)
                refused = server.send_message(mail, box.sender, list(box.to))
        except smtplib.SMTPDataError as error:
            refusal = RefusedError if 500 <= error.smtp_code < 600 else PointsmanError
            what = f"{self._what} refused a mail: {_said(error)}"
            raise refusal(Kind.BACKEND_FAILED, what) from None
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            why = too_late() if overdue.is_set() else f"{type(error).__name__}: {_said(error)}"
            what = f"{self._what}: {why}"
            hint = "it is sent again until it is taken"
            raise PointsmanError(Kind.BACKEND_FAILED, what, hint=hint) from None
        if refused:
            raise PointsmanError(
                Kind.BACKEND_FAILED, f"{self._what}: {len(refused)} of {len(box.to)} were refused"
            )

    def _mailbox(self) -> Mailbox:
        try:
            return mailbox(self._url(), plain=self._plain)
        except ValueError:
            what = f"{self._what}: not the address of a mail server with `from` and `to`"
            raise PointsmanError(Kind.INVALID, what, hint=_HINT) from None


def _server(box: Mailbox) -> smtplib.SMTP:
    """Not connected yet, so that its socket can be cut off from the first byte on."""
    context = ssl.create_default_context()
    server = (
        smtplib.SMTP_SSL(timeout=TIMEOUT_S, context=context)
        if box.tls
        else smtplib.SMTP(timeout=TIMEOUT_S)
    )
    # What certificates are held against; else only a constructor that connects would set it.
    server._host = box.host  # type: ignore[attr-defined]  # noqa: SLF001
    return server


def _sign_in(server: smtplib.SMTP, box: Mailbox) -> None:
    server.connect(box.host, box.port)
    if box.starttls:
        server.starttls(context=ssl.create_default_context())
    if box.user:
        server.login(box.user, box.password)


def mailbox(url: str, *, plain: bool) -> Mailbox:
    """What an address says. Raises ValueError."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    sender = query.get("from", [""])[0]
    to = tuple(query.get("to", ()))
    if parts.scheme not in _PORTS or not parts.hostname or not to:
        raise ValueError("not an address of a mail server")
    if not all(_is_address(one) for one in (sender, *to)):
        raise ValueError("not a mail address")
    local = is_loopback(parts.hostname)
    port = parts.port or (_LOCAL_PORT if local else _PORTS[parts.scheme])
    tls = parts.scheme == "smtps"
    return Mailbox(
        host=parts.hostname,
        port=port,
        tls=tls,
        starttls=not tls and not local and not plain,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sender=sender,
        to=to,
    )


def mail_of(message: Message, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """The mail. Its `Message-ID` is the message's own, so that a second copy can be told."""
    mail = EmailMessage()
    mail["Subject"] = " ".join(title(message).split())[:_LONGEST]
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at_ms / 1000, UTC))
    domain = sender.rpartition("@")[2]
    mail["Message-ID"] = f"<{message.id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Pointsman-Project"] = message.project or "-"
    if message.firing and message.severity is Severity.CRITICAL:
        mail["Importance"] = "high"
    mail.set_content(text(message))
    return mail


def _is_address(text: str) -> bool:
    _, address = parseaddr(text)
    name, at, domain = address.rpartition("@")
    return address == text and bool(name and at and domain) and text.isascii()


def _said(error: Exception) -> str:
    """What a server said, short, and in one line."""
    return " ".join(str(error).split())[:200]
