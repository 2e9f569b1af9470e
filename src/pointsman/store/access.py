"""Who may come in: admin tokens and data-plane keys, stored as digests, looked up by their id.

A secret is `<prefix>_<id>_<43 characters>` with 256 random bits; it is shown once, at creation.
High entropy needs no slow hash: what is stored is the BLAKE2b-256 of the whole text.
"""

import hashlib
import secrets
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select, update

from pointsman.domain.table import DataKey
from pointsman.store.control_schema import admin_token, data_key

TOKEN_PREFIX: Final = "pmt"  # noqa: S105 - a public prefix, for secret scanners
KEY_PREFIX: Final = "pmk"


class Role(StrEnum):
    """What a token is for. Permissions of each stand with the admin API."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"
    GATEWAY = "gateway"


class Secret(msgspec.Struct, frozen=True):
    """A fresh secret: the only moment its text exists outside its owner's hands."""

    id: str
    text: str
    digest: str


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


def fresh_secret(prefix: str) -> Secret:
    key_id = secrets.token_hex(4)
    text = f"{prefix}_{key_id}_{secrets.token_urlsafe(32)}"
    return Secret(key_id, text, digest_of(text))


def digest_of(text: str) -> str:
    """Hex BLAKE2b-256 of a secret."""
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def id_of(text: str, prefix: str) -> str:
    """The id inside a secret; empty where the text is not of this kind."""
    parts = text.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == prefix else ""


def add_token(connection: Connection, token: Token) -> None:
    connection.execute(insert(admin_token).values(**msgspec.to_builtins(token)))


def find_token(connection: Connection, token_id: str) -> Token | None:
    row = connection.execute(select(admin_token).where(admin_token.c.id == token_id)).mappings()
    found = row.first()
    return None if found is None else msgspec.convert(dict(found), Token)


def tokens(connection: Connection) -> list[Token]:
    rows = connection.execute(select(admin_token).order_by(admin_token.c.created_ms)).mappings()
    return [msgspec.convert(dict(row), Token) for row in rows]


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


def _key(row: dict[str, object]) -> KeyRow:
    permissions = str(row.pop("permissions"))
    return msgspec.convert({**row, "permissions": tuple(permissions.split())}, KeyRow)
