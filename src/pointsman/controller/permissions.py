"""Who may do what at the admin API: every route names one permission, every token has a role."""

import hmac
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from fastapi import Depends, FastAPI, Request
from fastapi.routing import APIRoute
from sqlalchemy import Engine

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.store import access, secret
from pointsman.store.access import Role
from pointsman.store.database import reader


class Permission(StrEnum):
    """What a route asks of its caller."""

    PUBLIC = "public"  # anybody who reaches the port: health; and the webhook, which is signed
    READ = "read"
    WRITE = "write"  # apply, undo, kill: what changes who is served what
    APPROVE = "approve"  # agree to a step of a rollout that somebody else asked for
    EXPORT = "export"  # full records of decisions, features included
    ADMIN = "admin"  # tokens, data keys, the audit log
    GATEWAY = "gateway"  # the table and its blobs


GRANTS: Final[dict[Role, frozenset[Permission]]] = {
    Role.ADMIN: frozenset(
        {
            Permission.READ,
            Permission.WRITE,
            Permission.APPROVE,
            Permission.EXPORT,
            Permission.ADMIN,
        }
    ),
    Role.OPERATOR: frozenset(
        {Permission.READ, Permission.WRITE, Permission.APPROVE, Permission.EXPORT}
    ),
    Role.APPROVER: frozenset({Permission.READ, Permission.APPROVE}),
    Role.VIEWER: frozenset({Permission.READ}),
    Role.GATEWAY: frozenset({Permission.GATEWAY}),
}


class Principal(msgspec.Struct, frozen=True):
    """Who is calling. tenant: the only one the caller may touch; empty = all of them."""

    id: str
    name: str
    role: Role
    tenant: str = ""

    @property
    def actor(self) -> str:
        """How the audit log names the caller."""
        return f"{self.name} (token {self.id})" if self.id else self.name

    @property
    def acts_as(self) -> tuple[str, ...]:
        """What an `approval: {by: ...}` may call for: the role, or the caller's own name."""
        own = tuple(Role) if self.role is Role.ADMIN else (self.role,)
        return (*(role.value for role in own if role is not Role.GATEWAY), self.name)

    def may_touch(self, tenant: str) -> bool:
        return self.tenant in ("", tenant)


class Authenticator:
    """Knows callers by their bearer token.

    gateway_digest: of a token that lives only as long as this process and its gateways; it is
    checked without the database, so that gateways are served while that is away
    """

    def __init__(self, engine: Engine, gateway_digest: str = "") -> None:
        self._reader = reader(engine)
        self._gateway_digest = gateway_digest

    def who(self, authorization: str) -> Principal:
        """Raises PointsmanError(UNAUTHENTICATED), always with the same words."""
        scheme, _, text = authorization.partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise _unauthenticated()
        digest = secret.digest_of(text)
        if self._gateway_digest and hmac.compare_digest(digest, self._gateway_digest):
            return Principal("", "gateway", Role.GATEWAY)
        token_id = secret.id_of(text, secret.TOKEN_PREFIX)
        if not token_id:
            raise _unauthenticated()
        with self._reader.connect() as connection:
            token = access.find_token(connection, token_id)
        if (
            token is None
            or token.revoked_ms is not None
            or not hmac.compare_digest(token.digest, digest)
        ):
            raise _unauthenticated()
        return Principal(token.id, token.name, token.role, token.tenant)


class Route(msgspec.Struct, frozen=True):
    """One door of the API, and who may pass."""

    method: str
    path: str
    permission: Permission
    endpoint: Callable[..., Any]
    status: int = 200


def mount(app: FastAPI, routes: Sequence[Route], authenticator: Authenticator) -> None:
    """Adds the routes, each behind its permission."""
    for route in routes:
        app.add_api_route(
            route.path,
            route.endpoint,
            methods=[route.method],
            status_code=route.status,
            dependencies=[Depends(_Guard(route.permission, authenticator))],
            openapi_extra={"x-permission": route.permission.value},
            response_model=None,
        )


def require_declared(app: FastAPI) -> None:
    """Raises RuntimeError where any route of the application has no declared permission."""
    known = {permission.value for permission in Permission}
    naked = [
        str(getattr(route, "path", route))
        for route in app.routes
        if not isinstance(route, APIRoute)
        or (route.openapi_extra or {}).get("x-permission") not in known
        or not any(isinstance(d.dependency, _Guard) for d in route.dependencies)
    ]
    if naked:
        raise RuntimeError(f"routes without a declared permission: {', '.join(naked)}")


def caller(request: Request) -> Principal:
    """Who passed the guard of this request."""
    found = request.state.principal
    if not isinstance(found, Principal):
        raise _unauthenticated()
    return found


class _Guard:
    def __init__(self, permission: Permission, authenticator: Authenticator) -> None:
        self._permission = permission
        self._authenticator = authenticator

    def __call__(self, request: Request) -> None:
        if self._permission is Permission.PUBLIC:
            request.state.principal = Principal("", "anonymous", Role.VIEWER)
            return
        principal = self._authenticator.who(request.headers.get("authorization", ""))
        if self._permission not in GRANTS[principal.role]:
            raise PointsmanError(
                Kind.FORBIDDEN,
                f"a token of role {principal.role.value} lacks the permission "
                f"{self._permission.value}",
                hint="pointsman token create --role operator (or admin)",
            )
        tenant = request.path_params.get("tenant")
        if tenant is not None and not principal.may_touch(tenant):
            # The same answer as for a tenant that does not exist: who is here is nobody's business.
            raise PointsmanError(Kind.NOT_FOUND, f"no tenant {tenant!r}")
        request.state.principal = principal


def _unauthenticated() -> PointsmanError:
    return PointsmanError(
        Kind.UNAUTHENTICATED,
        "no valid token",
        hint="send `Authorization: Bearer TOKEN`; the CLI takes --token or POINTSMAN_TOKEN",
    )
