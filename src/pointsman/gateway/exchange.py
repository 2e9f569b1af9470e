"""One fast-lane request on its connection: the bytes that came, and the answer that goes."""

from typing import TYPE_CHECKING, Final

import msgspec

from pointsman.domain.errors import PointsmanError
from pointsman.gateway.answers import CLOSE, answer, refusal
from pointsman.gateway.routes import Match

if TYPE_CHECKING:
    from pointsman.gateway.protocol import FastLane


class _NoEvent:
    """uvicorn sets this when a connection is lost; an exchange has nobody waiting for it."""

    def set(self) -> None:
        pass


_NO_EVENT: Final = _NoEvent()


class Exchange(msgspec.Struct, eq=False):
    """One fast-lane request and its answer; takes the place of uvicorn's cycle.

    match: None for a request that was refused before it was read
    first: whether all earlier requests of the connection are answered
    complete: whether the whole body is here
    held: body bytes counted as buffered, until the answer
    canned: the whole answer of a refused request
    """

    protocol: "FastLane"
    match: Match | None
    headers: dict[bytes, bytes]
    body: bytes | bytearray = b""
    held: int = 0
    canned: bytes = b""
    keep_alive: bool = True
    first: bool = False
    complete: bool = False
    disconnected: bool = False
    response_complete: bool = False
    message_event: _NoEvent = _NO_EVENT

    def respond(self, status: int, head: str, body: bytes) -> None:
        """Sends the answer. head: header lines, each ended by CRLF."""
        protocol = self.protocol
        common = protocol.edge.common
        lines = common + head if self.keep_alive else common + head + CLOSE
        protocol.send(self, answer(status, lines, body))

    def refuse(self, error: PointsmanError, headers: str = "") -> None:
        """Sends an error answer. headers: further header lines, each ended by CRLF."""
        protocol = self.protocol
        lines = protocol.edge.common + headers
        protocol.send(self, refusal(error, headers=lines, close=not self.keep_alive))

    def release(self) -> None:
        """Gives back what the body took of the worker's room for bodies."""
        self.protocol.edge.buffered -= self.held
        self.held = 0
        self.body = b""
