"""Heads of requests: how large they are, and what is wrong with those that are none."""

import logging

import httptools

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.errors import INTERNAL

_logger = logging.getLogger(__name__)


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
