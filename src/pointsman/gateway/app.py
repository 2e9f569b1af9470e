"""The slow lane: everything but scoring, as a small ASGI application."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

import pointsman
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import EVERY_TENANT
from pointsman.gateway import metrics, oip_answers
from pointsman.gateway.auth import Permission, Principal
from pointsman.gateway.edge import Edge
from pointsman.gateway.errors import INTERNAL, STATUS, body
from pointsman.gateway.feedback import Feedback
from pointsman.gateway.gate import unpack
from pointsman.gateway.intake import resolved_pin
from pointsman.gateway.routes import Action, Match, MethodNotAllowedError, decoded
from pointsman.gateway.schema import encode
from pointsman.gateway.served import Served

_logger = logging.getLogger(__name__)

JSON: Final = b"application/json"

Answer = tuple[int, bytes, bytes]
"""Status, content type, body."""

Scrape = Callable[[str | None], bytes]
"""`/metrics`, of one tenant's projects or (None) of all."""

FeedbackState = Callable[[str, str], Awaitable[tuple[int, bytes]]]
"""Asks the controller for (feedback id, tenant): its status and JSON body."""


class App:
    """One worker's. `state` asks the controller what became of a piece of feedback."""

    def __init__(
        self, edge: Edge, feedback: Feedback, state: FeedbackState, scrape: Scrape
    ) -> None:
        self._edge = edge
        self._feedback = feedback
        self._state = state
        self._scrape = scrape

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        assert scope["type"] == "http"  # lifespan and WebSockets are off
        route, extra = "none", []
        try:
            path = decoded(scope["raw_path"])
            match = self._edge.router.find(scope["method"], path)
            route = match.action.value
            status, kind, content = await self._act(match, dict(scope["headers"]), receive)
        except PointsmanError as error:
            status, kind, content = STATUS[error.kind], JSON, body(error)
            extra = _headers_of(error)
        except Exception:
            _logger.exception("%s failed", route)
            status, kind, content = 500, JSON, body(INTERNAL)
        self._edge.answered(route, status)
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(content)).encode()),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def _act(
        self, match: Match, headers: dict[bytes, bytes], receive: ASGIReceiveCallable
    ) -> Answer:
        caller: Principal | None = None
        if match.permission is not Permission.PUBLIC:
            caller = self._edge.table.gatekeeper.principal(headers)
            caller.require(match.permission)
        action = match.action
        if caller is None:
            return _json(*self._server(action))
        if action is Action.METRICS:
            tenant = None if not caller.key or caller.tenant == EVERY_TENANT else caller.tenant
            return 200, metrics.CONTENT_TYPE.encode(), self._scrape(tenant)
        if action is Action.FEEDBACK:
            content = await self._body(headers, receive)
            return 202, JSON, await self._feedback.take(caller, content)
        if action is Action.FEEDBACK_STATE:
            status, content = await self._state(match.id, caller.tenant)
            return status, JSON, content
        return _json(*self._model(match, caller))

    def _server(self, action: Action) -> tuple[int, Any]:
        if action is Action.SERVER_LIVE:
            return 200, {"live": True}
        if action is Action.SERVER_READY:
            ready = self._edge.ready
            return (200 if ready else 503), {"ready": ready}
        assert action is Action.SERVER_METADATA
        return 200, {
            "name": "pointsman",
            "version": pointsman.__version__,
            "extensions": list(oip_answers.EXTENSIONS),
        }

    def _model(self, match: Match, caller: Principal) -> tuple[int, Any]:
        served = self._served(match, caller)
        if match.version is not None:
            resolved_pin(served, match.version, in_path=True)
        if match.action is Action.MODEL_METADATA:
            return 200, oip_answers.model_metadata(served)
        assert match.action is Action.MODEL_READY
        ready = self._edge.ready
        return (200 if ready else 503), {"name": served.table.project, "ready": ready}

    def _served(self, match: Match, caller: Principal) -> Served:
        table = self._edge.table
        served = table.find(caller.tenant, match.project)
        if served is None:
            raise table.unknown(caller.tenant, match.project)
        return served

    async def _body(self, headers: dict[bytes, bytes], receive: ASGIReceiveCallable) -> bytes:
        """The whole body, unpacked. Raises PointsmanError(TOO_LARGE) as soon as that is known."""
        most = self._edge.limits.body_bytes
        too_large = PointsmanError(
            Kind.TOO_LARGE, f"the body is longer than {most} bytes", hint="split the request"
        )
        if int(headers.get(b"content-length", b"0")) > most:
            raise too_large
        parts = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise PointsmanError(Kind.MALFORMED, "the client left before the body ended")
            parts += message.get("body", b"")
            more = message.get("more_body", False)
            if len(parts) > most:
                raise too_large
        encoding = headers.get(b"content-encoding")
        plain = (
            bytes(parts) if encoding is None else bytes(unpack(parts, encoding, self._edge.limits))
        )
        if len(plain) > most:
            raise too_large
        return plain


def _json(status: int, value: Any) -> Answer:
    return status, JSON, encode(value)


def _headers_of(error: PointsmanError) -> list[tuple[bytes, bytes]]:
    if isinstance(error, MethodNotAllowedError):
        return [(b"allow", ", ".join(error.allowed).encode())]
    if error.kind is Kind.UNAUTHENTICATED:
        return [(b"www-authenticate", b"Bearer")]
    if STATUS[error.kind] == 503:
        return [(b"retry-after", b"1")]
    if error.kind is Kind.TOO_LARGE:
        # The rest of the body is not read: the connection cannot be used again.
        return [(b"connection", b"close")]
    return []
