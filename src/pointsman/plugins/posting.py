"""One POST to an address an operator gave: strict time limits, no redirects, no proxies, and an
answer that is not read beyond its status."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.ports import RefusedError

TIMEOUT_S: Final = 10.0
"""For connecting, and for each wait for bytes."""
WHOLE_S: Final = 20.0
"""For all of it: whoever answers byte by byte is as good as away."""
_REFUSED: Final = frozenset({400, 413, 422})


class Target:
    """Where to post to.

    what: it is, as errors call it, which never repeat the address: it may hold a secret
    plain: whether it may be http beyond this machine
    """

    def __init__(self, url: str, what: str, *, plain: bool, hint: str) -> None:
        parts = _split(url)
        if (
            parts is None
            or parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.username
        ):
            raise PointsmanError(Kind.INVALID, f"{what}: not the address of a webhook", hint=hint)
        if parts.scheme == "http" and not plain and not is_loopback(parts.hostname):
            raise PointsmanError(
                Kind.INVALID,
                f"{what}: http beyond this machine, where everybody on the way can read it",
                hint="use https, or say that http is meant with --allow-http-receiver NAME",
            )
        self._what = what
        self._host, self._port = parts.hostname, parts.port
        self._tls = parts.scheme == "https"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer. Raises PointsmanError(BACKEND_FAILED) where there is none."""
        sent = {"content-type": "application/json", "user-agent": "pointsman", **headers}
        connection = self._connection()
        try:
            with cut_off(lambda: connection.sock) as overdue:
                connection.request("POST", self._path, body=body, headers=sent)
                status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            why = too_late() if overdue.is_set() else f"{type(error).__name__}: {error}"
            raise self._away(why) from None
        finally:
            connection.close()
        if overdue.is_set():  # An answer that was cut off may look like a whole one.
            raise self._away(too_late())
        return status

    def _away(self, why: str) -> PointsmanError:
        return PointsmanError(
            Kind.BACKEND_FAILED,
            f"{self._what} cannot be reached: {why}",
            hint="it is sent again until it is taken",
        )

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_S, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)


def not_taken(what: str, status: int) -> PointsmanError:
    """What an answer means that is no success: RefusedError where it says the message is wrong."""
    redirect = ", a redirect, and none is followed" if 300 <= status < 400 else ""
    said = f"{what} answered with {status}{redirect}"
    if status in _REFUSED:
        return RefusedError(Kind.BACKEND_FAILED, said, hint="it would be refused again")
    return PointsmanError(Kind.BACKEND_FAILED, said, hint="it is sent again until it is taken")


def is_loopback(host: str) -> bool:
    """Whether it is this machine, by what the name says."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


@contextlib.contextmanager
def cut_off(wire: Callable[[], socket.socket | None]) -> Iterator[threading.Event]:
    """Cuts a connection off after WHOLE_S; the event says whether. wire: gives its socket"""
    overdue = threading.Event()
    watchdog = threading.Timer(WHOLE_S, _cut, (wire, overdue))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield overdue
    finally:
        watchdog.cancel()


def too_late() -> str:
    return f"no answer within {WHOLE_S:.0f} s"


def _cut(wire: Callable[[], socket.socket | None], overdue: threading.Event) -> None:
    overdue.set()
    found = wire()
    if found is not None:
        with contextlib.suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)
