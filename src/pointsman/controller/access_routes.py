"""Tokens, data keys and the audit log over HTTP. Secrets are shown once, when they are made."""

from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import Depends, Query, Request
from sqlalchemy import Connection

from pointsman.controller.ledger import Ledger
from pointsman.controller.permissions import Permission, Principal, Route, caller
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import DEFAULT_TENANT, EVERY_TENANT, is_name
from pointsman.store import access, audit, secret
from pointsman.store.access import KeyRow, Role, Token
from pointsman.store.audit import Entry

_T = TypeVar("_T")
DATA_PERMISSIONS: Final = ("infer", "decide", "feedback", "pin", "metrics")
_OF_EVERY_TENANT: Final = ("metrics",)


async def _read(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_read)]
"""The raw body, read on the event loop; the endpoint itself then blocks a thread, not the loop."""


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/keys`. A pin passes by the rules, so it has to be asked for.

    tenant: `*` is for scrapers: every tenant's metrics, and nothing else
    """

    name: str
    tenant: str = DEFAULT_TENANT
    permissions: tuple[str, ...] = ("infer", "decide", "feedback")


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /v1/tokens`. tenant: empty = every tenant."""

    name: str
    role: Role = Role.VIEWER
    tenant: str = ""


class AccessRoutes:
    """Who may come in."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def routes(self) -> list[Route]:
        admin = Permission.ADMIN
        return [
            Route("GET", "/v1/keys", admin, self.keys),
            Route("POST", "/v1/keys", admin, self.create_key, 201),
            Route("POST", "/v1/keys/{key}:revoke", admin, self.revoke_key),
            Route("GET", "/v1/tokens", admin, self.tokens),
            Route("POST", "/v1/tokens", admin, self.create_token, 201),
            Route("POST", "/v1/tokens/{token}:revoke", admin, self.revoke_token),
            Route("GET", "/v1/audit", admin, self.audit),
            Route("GET", "/v1/audit:verify", admin, self.verify),
        ]

    def keys(self, request: Request) -> dict[str, Any]:
        with self._ledger.reading() as connection:
            found = access.keys(connection, caller(request).tenant)
        return {"keys": [_shown(key) for key in found]}

    def create_key(self, request: Request, body: Body) -> dict[str, Any]:
        wanted = _decoded(body, NewKey)
        who = caller(request)
        check_key(wanted.tenant, wanted.permissions)
        if not who.may_touch("" if wanted.tenant == EVERY_TENANT else wanted.tenant):
            raise PointsmanError(Kind.NOT_FOUND, f"no tenant {wanted.tenant!r}")
        made = secret.fresh_secret(secret.KEY_PREFIX)
        permissions = tuple(name for name in DATA_PERMISSIONS if name in wanted.permissions)
        row = KeyRow(made.id, made.digest, wanted.name, wanted.tenant, permissions, self._now())
        entry = _entry(who, wanted.tenant, f"key/{made.id}", "key.create", wanted.name)
        self._ledger.publish(entry, lambda connection: access.add_key(connection, row))
        return {**_shown(row), "key": made.text}

    def revoke_key(self, request: Request, key: str) -> dict[str, Any]:
        who = caller(request)

        def revoke(connection: Connection) -> None:
            if not access.revoke_key(connection, key, self._now(), who.tenant):
                raise PointsmanError(Kind.NOT_FOUND, f"no data key {key[:40]!r} in use")

        entry = _entry(who, who.tenant, f"key/{key[:40]}", "key.revoke", key[:40])
        new = self._ledger.publish(entry, revoke)
        return {"id": key, "revoked": True, "table": new.version}

    def tokens(self, request: Request) -> dict[str, Any]:
        who = caller(request)
        with self._ledger.reading() as connection:
            found = [token for token in access.tokens(connection) if who.may_touch(token.tenant)]
        return {"tokens": [_shown(token) for token in found]}

    def create_token(self, request: Request, body: Body) -> dict[str, Any]:
        wanted = _decoded(body, NewToken)
        who = caller(request)
        if wanted.tenant or who.tenant:
            _check_tenant(who, wanted.tenant)
        if who.tenant and wanted.role is Role.GATEWAY:
            raise PointsmanError(
                Kind.FORBIDDEN, "a gateway reads the tables of every tenant; yours is only one"
            )
        made = secret.fresh_secret(secret.TOKEN_PREFIX)
        row = Token(made.id, made.digest, wanted.name, wanted.role, wanted.tenant, self._now())
        entry = _entry(who, wanted.tenant, f"token/{made.id}", "token.create", wanted.name)
        self._ledger.note(entry, lambda connection: access.add_token(connection, row))
        return {**_shown(row), "token": made.text}

    def revoke_token(self, request: Request, token: str) -> dict[str, Any]:
        who = caller(request)

        def revoke(connection: Connection) -> None:
            found = access.find_token(connection, token)
            if found is None or not who.may_touch(found.tenant) or found.revoked_ms is not None:
                raise PointsmanError(Kind.NOT_FOUND, f"no token {token[:40]!r} in use")
            if found.role is Role.ADMIN and not found.tenant:
                _require_another_admin(connection, found)
            access.revoke_token(connection, token, self._now())

        entry = _entry(who, who.tenant, f"token/{token[:40]}", "token.revoke", token[:40])
        self._ledger.note(entry, revoke)
        return {"id": token, "revoked": True}

    def audit(
        self,
        request: Request,
        target: str = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        with self._ledger.reading() as connection:
            found = audit.entries(
                connection, target=target, tenant=caller(request).tenant, limit=limit
            )
        return {"entries": [msgspec.to_builtins(entry) for entry in found]}

    def verify(self) -> dict[str, Any]:
        with self._ledger.reading() as connection:
            report = audit.verify(connection)
        return {"ok": report.ok, **msgspec.structs.asdict(report)}

    def _now(self) -> int:
        return self._ledger.now_ms()


def _require_another_admin(connection: Connection, leaving: Token) -> None:
    others = [
        token
        for token in access.tokens(connection)
        if token.role is Role.ADMIN
        and not token.tenant
        and token.revoked_ms is None
        and token.id != leaving.id
    ]
    if not others:
        raise PointsmanError(
            Kind.CONFLICT,
            "this is the last admin token: revoking it would lock everybody out",
            hint="create another one first",
        )


def check_key(tenant: str, permissions: tuple[str, ...]) -> None:
    """Raises PointsmanError(INVALID) where there can be no such data key."""
    unknown = sorted(set(permissions) - set(DATA_PERMISSIONS))
    if unknown or not permissions:
        raise PointsmanError(
            Kind.INVALID,
            f"permissions: {', '.join(unknown) or 'none'} not among what a data key can have",
            hint=f"permissions are {', '.join(DATA_PERMISSIONS)}",
        )
    if tenant == EVERY_TENANT:
        if permissions != _OF_EVERY_TENANT:
            raise PointsmanError(
                Kind.INVALID,
                "tenant: a key of every tenant may do nothing but read metrics",
                hint="ask for the permission `metrics` alone, or name a tenant",
            )
    elif not is_name(tenant):
        raise PointsmanError(Kind.INVALID, f"tenant: not a name: {tenant[:80]!r}")


def _check_tenant(who: Principal, tenant: str) -> None:
    if not is_name(tenant):
        raise PointsmanError(Kind.INVALID, f"tenant: not a name: {tenant[:80]!r}")
    if not who.may_touch(tenant):
        raise PointsmanError(Kind.NOT_FOUND, f"no tenant {tenant!r}")


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise PointsmanError(Kind.MALFORMED, f"body: {error}") from None


def _shown(row: KeyRow | Token) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(row)
    del shown["digest"]
    return shown


def _entry(who: Principal, tenant: str, target: str, action: str, name: str) -> Entry:
    return Entry(who.actor, tenant, target, action, f"{action} {name} by {who.actor}")
