"""Who may come in: admin tokens and data-plane keys, stored as digests, looked up by their id."""

from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update

from pointsman.domain.table import DataKey
from pointsman.store.control_schema import admin_token, data_key


class Role(StrEnum):
    """What a token is for. Permissions of each stand with the admin API."""

    ADMIN = "admin"
    OPERATOR = "operator"
    APPROVER = "approver"
    VIEWER = "viewer"
    GATEWAY = "gateway"


class Token(msgspec.Struct, frozen=True):
    """An admin token as stored. tenant: empty = every tenant."""

    id: str
    digest: str
    name: str
    role: Role
    tenant: str
    created_ms: int
    revoked_ms: int | None = None


class KeyRow(msgspec.Struct, frozen=True):
    """A data-plane key as stored."""

    id: str
    digest: str
    name: str
    tenant: str
    permissions: tuple[str, ...]
    created_ms: int
    revoked_ms: int | None = None


def add_token(connection: Connection, token: Token) -> None:
    connection.execute(insert(admin_token).values(**msgspec.to_builtins(token)))


def find_token(connection: Connection, token_id: str) -> Token | None:
    row = connection.execute(select(admin_token).where(admin_token.c.id == token_id)).mappings()
    found = row.first()
    return None if found is None else _token(dict(found))


def tokens(connection: Connection) -> list[Token]:
    rows = connection.execute(select(admin_token).order_by(admin_token.c.created_ms)).mappings()
    return [_token(dict(row)) for row in rows]


def revoke_token(connection: Connection, token_id: str, at_ms: int) -> bool:
    """Whether there was one to revoke."""
    changed = connection.execute(
        update(admin_token)
        .where(admin_token.c.id == token_id, admin_token.c.revoked_ms.is_(None))
        .values(revoked_ms=at_ms)
    )
    return changed.rowcount > 0


def add_key(connection: Connection, key: KeyRow) -> None:
    values = msgspec.structs.asdict(key)
    connection.execute(
        insert(data_key).values(**{**values, "permissions": " ".join(key.permissions)})
    )


def keys(connection: Connection, tenant: str = "") -> list[KeyRow]:
    query = select(data_key).order_by(data_key.c.created_ms)
    if tenant:
        query = query.where(data_key.c.tenant == tenant)
    return [_key(dict(row)) for row in connection.execute(query).mappings()]


def revoke_key(connection: Connection, key_id: str, at_ms: int, tenant: str = "") -> bool:
    """Whether there was one to revoke (of this tenant, where one is named)."""
    query = update(data_key).where(data_key.c.id == key_id, data_key.c.revoked_ms.is_(None))
    if tenant:
        query = query.where(data_key.c.tenant == tenant)
    return connection.execute(query.values(revoked_ms=at_ms)).rowcount > 0


def active_data_keys(connection: Connection) -> tuple[DataKey, ...]:
    """The keys gateways accept, as the manifest carries them."""
    return tuple(
        DataKey(key.id, key.digest, key.tenant, key.permissions)
        for key in keys(connection)
        if key.revoked_ms is None
    )


def any_data_key(connection: Connection) -> bool:
    """Whether a data key was ever made, revoked ones included."""
    return connection.execute(select(data_key.c.id).limit(1)).first() is not None


def _token(row: dict[str, Any]) -> Token:
    return Token(**{**row, "role": Role(row["role"])})


def _key(row: dict[str, Any]) -> KeyRow:
    return KeyRow(**{**row, "permissions": tuple(row["permissions"].split())})
