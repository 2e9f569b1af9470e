"""HTTP/1.1 answers as bytes: status lines, headers and bodies of the fast lane."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.errors import STATUS, body

JSON: Final = b"content-type: application/json\r\n"
BINARY: Final = b"content-type: application/octet-stream\r\n"
CLOSE: Final = b"connection: close\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_RETRY: Final = b"retry-after: 1\r\n"
_EXTRA: Final[dict[Kind, bytes]] = {
    Kind.UNAUTHENTICATED: b"www-authenticate: Bearer\r\n",
    Kind.OVERLOADED: _RETRY,
    Kind.UNAVAILABLE: _RETRY,
    Kind.LOG_UNAVAILABLE: _RETRY,
}


def refusal(
    error: PointsmanError, *, status: int = 0, headers: bytes = b"", close: bool = False
) -> bytes:
    """The whole answer to a request that is refused.

    status: where the protocol has a more exact one than the kind's (408, 431)
    headers: further header lines, each ended by CRLF
    """
    content = body(error)
    return b"".join(
        (
            STATUS_LINE[status or STATUS[error.kind]],
            JSON,
            headers,
            _EXTRA.get(error.kind, b""),
            CLOSE if close else b"",
            b"content-length: %d\r\n\r\n" % len(content),
            content,
        )
    )
