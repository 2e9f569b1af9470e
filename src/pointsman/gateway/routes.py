"""Every route of the data plane with the permission it asks for, and how a path finds its route.

A route without a declared permission stops the start (`check`).
"""

import re
import urllib.parse
from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.auth import Permission


class Action(Enum):
    """What a route does; the first three run on the fast lane."""

    INFER = "infer"
    PREDICT = "predict"
    DECIDE = "decide"
    SERVER_LIVE = "server_live"
    SERVER_READY = "server_ready"
    SERVER_METADATA = "server_metadata"
    MODEL_READY = "model_ready"
    MODEL_METADATA = "model_metadata"
    FEEDBACK = "feedback"
    FEEDBACK_STATE = "feedback_state"
    METRICS = "metrics"


FAST: Final = frozenset({Action.INFER, Action.PREDICT, Action.DECIDE})


class Route(msgspec.Struct, frozen=True):
    """pattern: of the decoded path; its groups `project`, `version` and `id` are the arguments"""

    method: str
    pattern: str
    action: Action
    permission: Permission | None = None


_MODEL: Final = "/v2/models/(?P<project>[^/]+)"
_VERSION: Final = "(?:/versions/(?P<version>[^/]+))?"
_PROJECT: Final = "/v1/projects/(?P<project>[^/:]+)"

ROUTES: Final[tuple[Route, ...]] = (
    Route("POST", f"{_MODEL}{_VERSION}/infer", Action.INFER, Permission.INFER),
    Route("POST", f"{_PROJECT}:predict", Action.PREDICT, Permission.INFER),
    Route("POST", f"{_PROJECT}:decide", Action.DECIDE, Permission.DECIDE),
    Route("GET", "/v2/health/live", Action.SERVER_LIVE, Permission.PUBLIC),
    Route("GET", "/v2/health/ready", Action.SERVER_READY, Permission.PUBLIC),
    Route("GET", "/v2/?", Action.SERVER_METADATA, Permission.PUBLIC),
    Route("GET", f"{_MODEL}{_VERSION}/ready", Action.MODEL_READY, Permission.INFER),
    Route("GET", f"{_MODEL}{_VERSION}/?", Action.MODEL_METADATA, Permission.INFER),
    Route("POST", "/v1/feedback", Action.FEEDBACK, Permission.FEEDBACK),
    Route("GET", "/v1/feedback/(?P<id>.+)", Action.FEEDBACK_STATE, Permission.FEEDBACK),
    Route("GET", "/metrics", Action.METRICS, Permission.METRICS),
)


class Match(msgspec.Struct, frozen=True):
    """A path that found its route.

    version: None where the path names none
    route: name of the action, as counters have it
    """

    action: Action
    permission: Permission
    project: str = ""
    version: str | None = None
    id: str = ""
    route: str = ""


class Router:
    """Paths to routes. Raises at construction where a route declares no permission."""

    def __init__(self, routes: Sequence[Route] = ROUTES) -> None:
        check(routes)
        self._routes = [(route, re.compile(route.pattern)) for route in routes]

    def find(self, method: str, path: str) -> Match:
        """The route of a decoded path.

        Raises PointsmanError: NOT_FOUND, or METHOD_NOT_ALLOWED whose `allowed` names the methods.
        """
        allowed: set[str] = set()
        for route, pattern in self._routes:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if method == route.method or (method == "HEAD" and route.method == "GET"):
                assert route.permission is not None  # `check` has seen to it
                return Match(
                    route.action,
                    route.permission,
                    route=route.action.value,
                    **_arguments(found),
                )
            allowed.add(route.method)
        if allowed:
            raise MethodNotAllowedError(method, path, tuple(sorted(allowed)))
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"there is nothing at {path[:200]}",
            hint="the routes are in docs/reference/data-plane.md",
        )


class MethodNotAllowedError(PointsmanError):
    """The path exists, but not for this method. `allowed` is what the `allow` header says."""

    def __init__(self, method: str, path: str, allowed: tuple[str, ...]) -> None:
        super().__init__(
            Kind.METHOD_NOT_ALLOWED,
            f"{method} is not allowed on {path[:200]}",
            hint=f"use {' or '.join(allowed)}",
        )
        self.allowed = allowed


def check(routes: Sequence[Route]) -> None:
    """Raises PointsmanError(INVALID) naming every route that declares no permission."""
    bare = [f"{route.method} {route.pattern}" for route in routes if route.permission is None]
    if bare:
        raise PointsmanError(
            Kind.INVALID,
            f"routes without a declared permission: {', '.join(bare)}",
            hint="declare Permission.PUBLIC or the permission a data key needs",
        )


def decoded(raw: bytes) -> str:
    """The path of a request target: without its query, percent-escapes resolved.

    Raises PointsmanError(MALFORMED) for bytes that are no URL path in UTF-8.
    """
    path = raw.partition(b"?")[0].partition(b"#")[0]
    if path.startswith((b"http://", b"https://")):
        path = b"/" + path.split(b"/", 3)[3] if path.count(b"/") > 2 else b"/"
    try:
        text = urllib.parse.unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        text = ""
    if not text.startswith("/") or "\0" in text:
        raise PointsmanError(Kind.MALFORMED, "the request path is not valid")
    return text


def _arguments(found: "re.Match[str]") -> dict[str, str]:
    return {name: value for name, value in found.groupdict().items() if value is not None}
