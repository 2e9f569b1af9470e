"""Heads of requests: how large they are, what is wrong with those that are none, and those seen
before, which need not be parsed again."""

import logging
from typing import Final

import httptools
import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.errors import INTERNAL

_logger = logging.getLogger(__name__)

_MOST_HEADS: Final = 1024
_MOST_BYTES: Final = 2048
_UNIQUE: Final = (b"traceparent", b"idempotency-key", b"x-request-id")
_PER_CONNECTION: Final = (b"connection", b"expect", b"transfer-encoding", b"upgrade")


class Head(msgspec.Struct, frozen=True):
    """What the parser made of a head. length: of the body that follows, in bytes"""

    url: bytes
    fields: dict[bytes, bytes]
    length: int


class KnownHeads:
    """Heads of one worker's kept connections, by their very bytes.

    A client that keeps its connection sends the same head with every request, but for the length
    of the body. The parser is deterministic: where it stands before a message, the same bytes mean
    the same thing. Only what it has accepted on the fast lane is kept, and nothing whose next
    sending would differ anyway. Bounded in number and in bytes: at most 4 MiB.
    """

    def __init__(self) -> None:
        self._by_bytes: dict[bytes, Head] = {}
        self.get = self._by_bytes.get

    def remember(self, head: bytes, known: Head) -> None:
        if len(self._by_bytes) >= _MOST_HEADS or len(head) > _MOST_BYTES:
            return
        fields = known.fields
        if any(name in fields for name in _UNIQUE) or any(
            name in fields for name in _PER_CONNECTION
        ):
            return
        self._by_bytes[head] = known

    def make_room(self) -> None:
        """Forgets all where no further one can be kept; called once a second."""
        if len(self._by_bytes) >= _MOST_HEADS:
            self._by_bytes.clear()


def size_of(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    return len(url) + sum([len(name) + len(value) + 4 for name, value in headers])


def not_http(error: httptools.HttpParserError) -> PointsmanError:
    """What the parser objects to; a fault in one of our callbacks is ours, not the client's."""
    cause = error.__context__
    if cause is not None and not isinstance(
        cause, httptools.HttpParserInvalidURLError | UnicodeDecodeError
    ):
        _logger.error("a parser callback failed", exc_info=cause)
        return INTERNAL
    said = str(cause or error)[:200]
    return PointsmanError(Kind.MALFORMED, f"this is not an HTTP/1.1 request: {said}")
