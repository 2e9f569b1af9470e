"""HTTP/1.1 answers as bytes: status lines, headers and bodies of the fast lane."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.errors import STATUS, body

JSON_LINE: Final = "content-type: application/json\r\n"
BINARY_LINE: Final = "content-type: application/octet-stream\r\n"
UNLOGGED: Final = "x-decision-log: unlogged\r\n"
CLOSE: Final = "connection: close\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_RETRY: Final = "retry-after: 1\r\n"
_EXTRA: Final[dict[Kind, str]] = {
    Kind.UNAUTHENTICATED: "www-authenticate: Bearer\r\n",
    Kind.OVERLOADED: _RETRY,
    Kind.UNAVAILABLE: _RETRY,
    Kind.LOG_UNAVAILABLE: _RETRY,
}


STATUS_LINES: Final = {code: line.decode() for code, line in STATUS_LINE.items()}


def answer(status: int, head: str, body: bytes) -> bytes:
    """A whole answer. head: header lines, each ended by CRLF, ASCII."""
    return f"{STATUS_LINES[status]}{head}content-length: {len(body)}\r\n\r\n".encode() + body


def refusal(
    error: PointsmanError, *, status: int = 0, headers: str = "", close: bool = False
) -> bytes:
    """The whole answer to a request that is refused.

    status: where the protocol has a more exact one than the kind's (408, 431)
    headers: further header lines, each ended by CRLF
    """
    head = f"{JSON_LINE}{headers}{_EXTRA.get(error.kind, '')}{CLOSE if close else ''}"
    return answer(status or STATUS[error.kind], head, body(error))
