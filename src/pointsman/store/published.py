"""The published table: manifests of strictly increasing version, and the kill switches in them."""

import msgspec
from sqlalchemy import Connection, delete, desc, insert, select

from pointsman.domain.table import Manifest, TableRow, digest, encode
from pointsman.store import access, revisions
from pointsman.store.control_schema import kill_switch, published_table


class Published(msgspec.Struct, frozen=True):
    """A manifest as published. body: its canonical bytes; digest: their SHA-256."""

    version: int
    body: bytes
    digest: str


class KillSwitch(msgspec.Struct, frozen=True):
    """A kill switch set at the controller. target: `tenant/project[/variant]`."""

    target: str
    at_ms: int
    actor: str
    reason: str


def latest(connection: Connection) -> Published | None:
    """The newest manifest; None before anything was published."""
    row = connection.execute(
        select(published_table.c.version, published_table.c.manifest, published_table.c.digest)
        .order_by(desc(published_table.c.version))
        .limit(1)
    ).first()
    return None if row is None else Published(row.version, bytes(row.manifest), row.digest)


def publish(connection: Connection, at_ms: int, cause: str) -> Published:
    """The manifest of everything as it now stands, under the next version.

    Built from the rows of this very transaction, so that it can never be of another state.
    """
    last = latest(connection)
    version = 1 if last is None else last.version + 1
    rows = []
    for found in revisions.active(connection):
        tenant, name = found.project.split("/", 1)
        rows.append(TableRow(tenant, name, found.table_digest, found.number, found.blobs))
    manifest = Manifest(
        version=version,
        rows=tuple(rows),
        killed=tuple(switch.target for switch in kill_switches(connection)),
        data_keys=access.active_data_keys(connection),
        keyed=access.any_data_key(connection),
    )
    body = encode(manifest)
    connection.execute(
        insert(published_table).values(
            version=version, manifest=body, digest=digest(body), at_ms=at_ms, cause=cause
        )
    )
    return Published(version, body, digest(body))


def kill_switches(connection: Connection, project: str = "") -> list[KillSwitch]:
    """Every switch that is set, or those of one `tenant/project`, by target."""
    rows = connection.execute(select(kill_switch).order_by(kill_switch.c.target))
    found = [KillSwitch(**row) for row in rows.mappings()]
    return [
        switch
        for switch in found
        if not project or switch.target == project or switch.target.startswith(f"{project}/")
    ]


def set_kill_switch(connection: Connection, switch: KillSwitch) -> bool:
    """Whether it was not set before."""
    known = connection.execute(
        select(kill_switch.c.target).where(kill_switch.c.target == switch.target)
    ).first()
    if known is not None:
        return False
    connection.execute(insert(kill_switch).values(**msgspec.structs.asdict(switch)))
    return True


def lift_kill_switch(connection: Connection, target: str) -> bool:
    """Whether it had been set."""
    gone = connection.execute(delete(kill_switch).where(kill_switch.c.target == target))
    return gone.rowcount > 0
