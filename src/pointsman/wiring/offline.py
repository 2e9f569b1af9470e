"""What can be done to a data directory without a controller: new secrets, and proofs."""

import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from pointsman.controller.access_routes import check_key
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.journal.verify import verify
from pointsman.store import access, audit, published
from pointsman.store.access import KeyRow, Role, Token
from pointsman.store.audit import Entry
from pointsman.store.database import DATABASE_FILE, open_database, reader
from pointsman.store.secret import KEY_PREFIX, TOKEN_PREFIX, fresh_secret


def create_token(data: Path, name: str, role: str, tenant: str) -> dict[str, Any]:
    """A fresh token, valid at once; for who has lost the admin token and owns the directory."""
    if role not in {known.value for known in Role}:
        raise PointsmanError(
            Kind.INVALID,
            f"there is no role {role!r}",
            hint=f"roles are {', '.join(known.value for known in Role)}",
        )
    made = fresh_secret(TOKEN_PREFIX)
    token = Token(made.id, made.digest, name, Role(role), tenant, _now())
    entry = Entry(
        "owner of the data directory",
        tenant,
        f"token/{made.id}",
        "token.create",
        f"token.create {name}, without the controller",
    )
    engine = _opened(data)
    try:
        with engine.begin() as connection:
            audit.append(connection, _now(), entry)
            access.add_token(connection, token)
    finally:
        engine.dispose()
    return {"id": made.id, "token": made.text, "role": role, "tenant": tenant, "name": name}


def create_key(data: Path, name: str, tenant: str, permissions: tuple[str, ...]) -> dict[str, Any]:
    """A fresh data key, in the table of the next start; needed before the first start beyond
    loopback. Raises PointsmanError(INVALID) where there can be no such key."""
    check_key(tenant, permissions)
    made = fresh_secret(KEY_PREFIX)
    key = KeyRow(made.id, made.digest, name, tenant, permissions, _now())
    entry = Entry(
        "owner of the data directory",
        tenant,
        f"key/{made.id}",
        "key.create",
        f"key.create {name}, without the controller",
    )
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = open_database(data / DATABASE_FILE)
    try:
        with engine.begin() as connection:
            audit.append(connection, _now(), entry)
            access.add_key(connection, key)
            published.publish(connection, _now(), entry.action)
    finally:
        engine.dispose()
    return {
        "id": made.id,
        "key": made.text,
        "tenant": tenant,
        "permissions": list(permissions),
        "name": name,
    }


def has_data_keys(data: Path) -> bool:
    """Whether any data key is in use."""
    if not (data / DATABASE_FILE).exists():
        return False
    engine = _opened(data)
    try:
        with reader(engine).connect() as connection:
            return bool(access.active_data_keys(connection))
    finally:
        engine.dispose()


def verify_all(data: Path) -> dict[str, Any]:
    """Whether journal and audit log are as they were written, with lines for people."""
    journal = verify(data / "journal")
    lines = [
        f"journal {stream.stream}: {stream.records} records in {stream.batches} batches, "
        f"{stream.segments} segments" + ("" if stream.anchored else " (older ones retired)")
        for stream in journal.streams
    ]
    if not journal.ok:
        lines.append(f"journal: {journal.first_bad}")
    engine = _opened(data)
    try:
        with reader(engine).connect() as connection:
            log = audit.verify(connection)
    finally:
        engine.dispose()
    lines.append(f"audit log: {log.entries} entries, head {log.head[:16]}")
    if not log.ok:
        lines.append(f"audit log: {log.problem}")
    return {
        "ok": journal.ok and log.ok,
        "journal": {"ok": journal.ok, "first_bad": journal.first_bad},
        "audit": {"ok": log.ok, "entries": log.entries, "head": log.head, "problem": log.problem},
        "lines": lines,
    }


def _opened(data: Path) -> Engine:
    path = data / DATABASE_FILE
    if not path.exists():
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"{data} is no data directory: there is no {DATABASE_FILE} in it",
            hint="every start of `pointsman serve` prints the one it uses",
        )
    return open_database(path)


def _now() -> int:
    return time.time_ns() // 1_000_000
