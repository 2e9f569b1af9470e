"""The outermost layer of the admin API: who may address us, from which page, how much at once."""

from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pointsman.controller import problem
from pointsman.domain.errors import Kind, PointsmanError

BODY_BYTES: Final = 1 << 20
PAGE_BYTES: Final = 16 << 20
"""Of a report, which is a page with all its scripts."""
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Edge:
    """Refuses foreign Host and Origin headers (DNS rebinding, cross-site requests) and big bodies.

    hosts: names this API may be addressed by, without port, besides the loopback ones
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = LOOPBACK | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        limit = PAGE_BYTES if _sends_a_page(scope) else BODY_BYTES
        error = self._refusal(headers, limit, opened=_opens_a_page(scope, headers))
        if error is not None:
            await problem.answer(error)(scope, receive, send)
            return
        await self._app(scope, _bounded(receive, limit), send)

    def _refusal(
        self, headers: dict[str, bytes], limit: int, *, opened: bool
    ) -> PointsmanError | None:
        host = _bare(headers.get("host", b"").decode("latin-1"))
        if host not in self._hosts:
            return PointsmanError(
                Kind.FORBIDDEN,
                f"this API is not addressed as {host[:80]!r}",
                hint="name the host with --admin-host-name when the API is reached by that name",
            )
        origin = headers.get("origin", b"").decode("latin-1")
        foreign = bool(origin) and _bare(origin.partition("://")[2]) not in self._hosts
        elsewhere = headers.get("sec-fetch-site", b"") == b"cross-site"
        if foreign or (elsewhere and not opened):
            return PointsmanError(
                Kind.FORBIDDEN, "requests from pages of another origin are not answered"
            )
        length = headers.get("content-length", b"0")
        if length.isdigit() and int(length) > limit:
            return _too_large(limit)
        return None


def _opens_a_page(scope: Scope, headers: dict[str, bytes]) -> bool:
    """Whether somebody follows a link to the dashboard, as from a notification: its pages hold no
    data, and carry no token."""
    path = scope["path"]
    page = path in {"/", "/ui"} or path.startswith("/ui/")
    return page and scope["method"] == "GET" and headers.get("sec-fetch-mode") == b"navigate"


def _sends_a_page(scope: Scope) -> bool:
    """A report. Its caller is asked for a token before any of it is read."""
    path: str = scope["path"]
    return (
        bool(scope["method"] == "PUT")
        and path.startswith("/v1/tenants/")
        and path.endswith("/report")
        and path.count("/") == 6
    )


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive`, which ends in an error once more than the limit came in (chunked bodies)."""
    taken = 0

    async def counting() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise _too_large(limit)
        return message

    return counting


def _too_large(limit: int) -> PointsmanError:
    return PointsmanError(Kind.TOO_LARGE, f"the body is larger than {limit} bytes")


def _bare(host: str) -> str:
    """A Host header's name without port, lower case; IPv6 keeps its brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
