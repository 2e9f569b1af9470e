"""uvicorn's HTTP protocol with a fast lane: scoring requests run without ASGI scope, task or queue.

What uvicorn does for connections stays: keep-alive, answers in the order of pipelined requests,
flow control, shutdown. What is added: bounds on heads, bodies, connections and time, with one
sweep over all connections in place of timers for each request.

Pinned to uvicorn 0.54: `cycle`, `pipeline`, `flow` and `_start_asgi_task` are its internals.
"""

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.answers import CONTINUE, refusal
from pointsman.gateway.errors import STATUS
from pointsman.gateway.exchange import Exchange
from pointsman.gateway.heads import Head, fields_of, not_http, size_of

if TYPE_CHECKING:
    from pointsman.gateway.edge import Edge

LINGER_S: Final = 1.0
"""How long a refused client may go on sending before its connection is reset."""
GRACE_S: Final = 0.5
"""While draining: how long an idle connection stays open for a request already on its way."""
_NEVER: Final = float("inf")
_HOP_BY_HOP: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Phase(Enum):
    """What a connection waits for."""

    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    BUSY = "busy"  # an answer of ours
    LINGER = "linger"  # the end of what a refused client still sends


class FastLane(HttpToolsProtocol):
    """One connection."""

    cycle: Any  # an Exchange here, uvicorn's cycle on the slow lane
    pipeline: Any

    def __init__(
        self,
        edge: "Edge",
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.edge = edge
        self.phase = Phase.IDLE
        self.expires = _NEVER
        self._armed: Phase | None = None
        self._head_bytes = 0
        self._chunk = 0
        self._begun = 0
        self._dead = False
        self._draining = False
        self._advancing = False
        self._upgrading = False
        self._stalled_since = 0.0

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        if len(self.connections) >= self.edge.limits.connections:
            self.edge.connection_refused()
            error = PointsmanError(Kind.OVERLOADED, "too many connections are open")
            transport.write(refusal(error, close=True))
            transport.close()
            self.transport = transport
            self._dead = True
            return
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = self.client = None  # looked up for the slow lane only
        self.scheme = "http"
        self._expect(Phase.IDLE, self.edge.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        self.expires = _NEVER
        for waiting, _ in self.pipeline:
            waiting.disconnected = True
            if type(waiting) is Exchange:
                waiting.release()
        if type(self.cycle) is Exchange and not self.cycle.complete:
            self.cycle.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._dead:
            return
        resting = self.phase is Phase.IDLE
        if resting and self._again(data):
            return
        self._chunk = len(data)
        self._begun = 0
        if not self._parse(data):
            return
        phase = self.phase
        if resting and self._begun == 1 and type(self.cycle) is Exchange:
            self._remember(data, self.cycle)
        if phase is Phase.BUSY or self._dead:
            return
        if phase is Phase.HEAD:
            # Where a head began in the middle of these bytes, its share of them is not known.
            if self._begun == 0 or (self._begun == 1 and resting):
                self._head_bytes += len(data)
            if self._head_bytes > self.edge.limits.head_bytes:
                self._refuse_connection(431, self.edge.head_too_large)
                return
        if phase is not self._armed:
            limits = self.edge.limits
            self._expect(phase, limits.head_s if phase is Phase.HEAD else limits.body_s)

    def _parse(self, data: bytes) -> bool:
        """Whether the parser took all of it; what it did not take has been dealt with."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
            return False
        except httptools.HttpParserError as error:
            if not self._dead:
                refused = not_http(error)
                self._refuse_connection(STATUS[refused.kind], refused)
            return False
        return True

    def _again(self, data: bytes) -> bool:
        """Whether this was a whole fast-lane request with a head that was parsed before.

        It is then accepted: what the parser callbacks below do for a request by itself.
        """
        edge = self.edge
        end = data.find(b"\r\n\r\n") + 4
        known = edge.heads.get(data[:end])
        if known is None or len(data) != end + known.length:
            return False
        match = edge.table.fast.get(known.url) or edge.match_fast(b"POST", known.url)
        if match is None:
            return False
        exchange = Exchange(self, match, known.fields, data[end:], known.length)
        exchange.first = exchange.complete = True
        exchange.keep_alive = not self._draining
        self.cycle = exchange
        self.phase = self._armed = Phase.BUSY
        edge.buffered += known.length
        if edge.buffered > edge.limits.buffered_bytes:
            exchange.complete = False
            self._refuse_connection(503, edge.no_room())
        else:
            edge.accept(exchange)
        return True

    def _remember(self, data: bytes, exchange: Exchange) -> None:
        """Keeps the head of a request that came in one piece and leaves its connection open."""
        heads = self.edge.heads
        length = exchange.headers.get(b"content-length")
        if length is None or not exchange.complete or not exchange.keep_alive or exchange.canned:
            return
        if not heads.takes(exchange.headers):
            return
        end = data.find(b"\r\n\r\n") + 4
        # The body begins right behind these bytes, or they are not what ended the head.
        if len(data) == end + int(length):
            known = Head(self.url, exchange.headers, int(length))
            heads.remember(data[:end], known)

    def _decline_upgrade(self, rest: bytes) -> None:
        """Reads the request again without its offer to upgrade, which hides its body from the
        parser. Java's HTTP client offers h2c with the first request of every connection."""
        if self._dead:
            return
        if self.parser.get_method() == b"CONNECT":
            error = PointsmanError(Kind.MALFORMED, "CONNECT is not for us")
            self._refuse_connection(400, error)
            return
        lines = [b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        lines += [b"%s: %s\r\n" % line for line in self.headers if line[0] not in _HOP_BY_HOP]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join((*lines, b"\r\n", rest)))

    def _expect(self, phase: Phase, seconds: float) -> None:
        self.phase = self._armed = phase
        self.expires = self.loop.time() + seconds

    # Parser callbacks

    def on_message_begin(self) -> None:
        if self._dead:
            return
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.phase = Phase.HEAD
        self._armed = None
        self._head_bytes = 0
        self._begun += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self.parser
        self._upgrading = parser.should_upgrade()
        if self._dead or self._upgrading:
            return
        self.phase = Phase.BODY
        edge = self.edge
        headers = self.headers
        fields = fields_of(headers)
        most = edge.limits.head_bytes
        if self._head_bytes + self._chunk > most and size_of(self.url, headers) > most:
            self._refuse_connection(431, edge.head_too_large)
            return
        match = edge.table.fast.get(self.url)
        if match is None or parser.get_method() != b"POST":
            match = edge.match_fast(parser.get_method(), self.url)
        if match is None:
            self._slow_lane(fields)
            return
        exchange = Exchange(self, match, fields)
        previous = self.cycle
        self.cycle = exchange
        if self._draining or not parser.should_keep_alive():
            exchange.keep_alive = False
        elif b"connection" in fields:
            # Kept alive although of version 1.0: those clients expect to be told so. We close.
            exchange.keep_alive = parser.get_http_version() == "1.1"
        if previous is None or previous.response_complete:
            exchange.first = True
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, None))
        length = fields.get(b"content-length")
        if length is not None and int(length) > edge.limits.batch_bytes:
            self._refuse_connection(413, edge.body_too_large)
        elif (
            b"expect" in fields and fields[b"expect"].lower() == b"100-continue" and exchange.first
        ):
            self.transport.write(CONTINUE)

    def _slow_lane(self, fields: dict[bytes, bytes]) -> None:
        """Hands the request to the ASGI application, as uvicorn does."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.headers = url, headers
        self.scope["headers"] = headers
        self.phase = Phase.BODY
        self.expect_100_continue = fields.get(b"expect", b"").lower() == b"100-continue"
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        exchange = self.cycle
        if self._dead or exchange is None:
            return
        if type(exchange) is not Exchange:
            super().on_body(body)
            return
        held = exchange.body
        if not held:
            exchange.body = body
        else:
            if type(held) is bytes:
                held = exchange.body = bytearray(held)
            held += body
        edge = self.edge
        exchange.held += len(body)
        edge.buffered += len(body)
        if exchange.held > edge.limits.batch_bytes:
            self._refuse_connection(413, edge.body_too_large)
        elif edge.buffered > edge.limits.buffered_bytes:
            self._refuse_connection(503, edge.no_room())

    def on_message_complete(self) -> None:
        if self._dead or self._upgrading:
            return
        self.phase = Phase.BUSY
        self._armed = Phase.BUSY
        exchange = self.cycle
        if type(exchange) is not Exchange:
            super().on_message_complete()
            if exchange.response_complete:
                self._rest()
            return
        exchange.complete = True
        if exchange.first:
            self.edge.accept(exchange)  # never a canned one: those end the reading

    # Answers

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """The next request of the connection, once all earlier ones are answered."""
        if type(cycle) is Exchange:
            cycle.first = True
            if cycle.complete:
                self._start(cycle)
            elif cycle.headers.get(b"expect", b"").lower() == b"100-continue":
                self.transport.write(CONTINUE)
            return
        super()._start_asgi_task(cycle, app)

    def _start(self, exchange: Exchange) -> None:
        if exchange.canned:
            self.send(exchange, exchange.canned)
            self._linger()
        else:
            self.edge.accept(exchange)

    def send(self, exchange: Exchange, answer: bytes) -> None:
        """Writes a whole answer and goes on to the connection's next request."""
        exchange.response_complete = True
        edge = self.edge
        edge.buffered -= exchange.held
        exchange.held = 0
        if exchange.disconnected:
            return
        transport = self.transport
        transport.write(answer)
        if not exchange.keep_alive and not exchange.canned:
            transport.close()
        if self.pipeline or self._draining or self.flow.read_paused or self.phase is not Phase.BUSY:
            self.on_response_complete()
            return
        # As below, for the usual connection: nothing waits, nothing was paused.
        self.server_state.total_requests += 1
        self.phase = self._armed = Phase.IDLE
        self.expires = edge.now + edge.limits.idle_s

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._advancing or self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._advance()
        if not self.pipeline and self.cycle.response_complete and self.phase is Phase.BUSY:
            self._rest()

    def _advance(self) -> None:
        """Starts the connection's next requests, until one has to be waited for.

        A loop, since a request may be refused at once, and thousands may wait.
        """
        self._advancing = True
        while self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            if not cycle.response_complete:
                break
        self._advancing = False

    def _rest(self) -> None:
        self.phase = self._armed = Phase.IDLE
        self.expires = self.edge.now + (GRACE_S if self._draining else self.edge.limits.idle_s)

    # Refusals and time

    def _refuse_connection(self, status: int, error: PointsmanError) -> None:
        """Answers in its turn a request that cannot be read to its end, then closes."""
        self._dead = True
        self.edge.refused(status)
        answer = refusal(error, status=status, headers=self.edge.common, close=True)
        exchange = self.cycle
        if type(exchange) is Exchange and not exchange.complete:
            exchange.canned, exchange.complete, exchange.keep_alive = answer, True, False
            if exchange.first:
                self._start(exchange)
            return
        if exchange is not None and not exchange.response_complete:
            if type(exchange) is not Exchange and exchange.more_body:
                # A slow-lane request in mid-body: its application sees a client that left.
                exchange.disconnected = True
                exchange.message_event.set()
                if not exchange.response_started:
                    self.transport.write(answer)
                self._linger()
                return
            refused = Exchange(self, None, {})
            refused.canned, refused.complete, refused.keep_alive = answer, True, False
            self.pipeline.appendleft((refused, None))
            return
        self.transport.write(answer)
        self._linger()

    def _linger(self) -> None:
        """Lets the client read our answer before the connection goes: closing with unread data in
        our socket would reset it."""
        self._dead = True
        if self.transport.is_closing():
            return
        self._expect(Phase.LINGER, LINGER_S)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def sweep(self, now: float) -> None:
        """Ends what took too long; called for every connection a few times a second."""
        if self._stalled_since and now - self._stalled_since > self.edge.limits.write_s:
            self.edge.timed_out("write")
            self.transport.abort()
            return
        if now < self.expires or self.phase is Phase.BUSY:
            return
        phase = self.phase
        self.expires = _NEVER
        if phase is Phase.IDLE or phase is Phase.LINGER:
            self.transport.close()
            return
        self.edge.timed_out(phase.value)
        what = "headers" if phase is Phase.HEAD else "body"
        error = PointsmanError(Kind.TIMEOUT, f"the {what} of the request did not arrive in time")
        self._refuse_connection(408, error)

    def pause_writing(self) -> None:
        # A client that sends and does not read: take no more from it until it does.
        self._stalled_since = self.loop.time()
        self.flow.pause_reading()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since = 0.0
        super().resume_writing()
        if not self.pipeline:
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """Lets the connection go once its requests are answered."""
        self._draining = True
        if self.phase is Phase.IDLE:
            self.expires = self.loop.time() + GRACE_S
        for waiting, _ in self.pipeline:
            waiting.keep_alive = False
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
