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
_TRACE: Final = (b"traceparent", b"tracestate")
_UNIQUE: Final = frozenset({b"traceparent", b"idempotency-key", b"x-request-id"})
_PER_CONNECTION: Final = frozenset({b"connection", b"expect", b"transfer-encoding", b"upgrade"})
_NOT_KEPT: Final = _UNIQUE | _PER_CONNECTION


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

    def takes(self, fields: dict[bytes, bytes]) -> bool:
        """Whether a head with these fields is kept, if it is not too long."""
        return len(self._by_bytes) < _MOST_HEADS and _NOT_KEPT.isdisjoint(fields)

    def remember(self, head: bytes, known: Head) -> None:
        if len(head) <= _MOST_BYTES and self.takes(known.fields):
            self._by_bytes[head] = known

    def make_room(self) -> None:
        """Forgets all where no further one can be kept; called once a second."""
        if len(self._by_bytes) >= _MOST_HEADS:
            self._by_bytes.clear()


def fields_of(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Values by name; of a repeated one the last. Trace headers are read as HTTP has it, so that
    several of `tracestate` are one list, and several of `traceparent` are none."""
    fields = dict(headers)
    if len(fields) != len(headers):
        for name in _TRACE:
            if name in fields:
                fields[name] = b",".join([value for key, value in headers if key == name])
    return fields


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
