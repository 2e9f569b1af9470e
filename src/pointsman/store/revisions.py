"""Projects and their revisions: immutable, numbered without gaps, the newest one is what serves."""

from typing import Any

import msgspec
from sqlalchemy import Connection, desc, func, insert, select, update

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.store.control_schema import artifact, project, revision


class Revision(msgspec.Struct, frozen=True):
    """One state of a project: what was declared, and what it was resolved to.

    number: strictly increasing per project; parent: the number it replaced, 0 for the first
    digest: SHA-256 of `spec`, the canonical JSON
    cause: `apply`, `undo`, `accept` (a proposal), `follow` (an alias that moved),
        `rollout` (its weights or the promotion), `delete`
    restores: the number whose state `undo` brought back
    state: what was resolved (pinned versions, allocations, epochs), as the controller encodes it
    table_digest: of the project table compiled from it; blobs: all that a gateway needs beside it
    """

    project: str
    number: int
    digest: str
    parent: int
    cause: str
    spec: bytes
    state: bytes
    table_digest: str
    blobs: tuple[str, ...]
    at_ms: int
    actor: str
    reason: str
    restores: int | None = None


class ProjectRow(msgspec.Struct, frozen=True):
    """A project's place: its newest number, and whether it is served at all."""

    project: str
    tenant: str
    name: str
    number: int
    active: bool


def current(connection: Connection, name: str) -> Revision | None:
    """The revision a project serves from; None where it does not exist or was deleted."""
    row = project_row(connection, name)
    return get(connection, name, row.number) if row is not None and row.active else None


def project_row(connection: Connection, name: str) -> ProjectRow | None:
    found = connection.execute(select(project).where(project.c.project == name)).mappings().first()
    return None if found is None else ProjectRow(**found)


def get(connection: Connection, name: str, number: int) -> Revision | None:
    found = (
        connection.execute(
            select(revision).where(revision.c.project == name, revision.c.number == number)
        )
        .mappings()
        .first()
    )
    return None if found is None else _revision(dict(found))


def history(connection: Connection, name: str, limit: int = 100) -> list[Revision]:
    """The newest revisions first."""
    rows = connection.execute(
        select(revision)
        .where(revision.c.project == name)
        .order_by(desc(revision.c.number))
        .limit(limit)
    )
    return [_revision(dict(row)) for row in rows.mappings()]


def tables(connection: Connection, name: str, since: int, until: int) -> list[str]:
    """Digests of the tables of the revisions in between, in order; a table names its number, so no
    two are the same.

    since: the first number; until: just after the last one, 0 = no end
    """
    number = revision.c.number
    query = select(revision.c.table_digest).where(revision.c.project == name, number >= since)
    if until:
        query = query.where(number < until)
    return list(connection.scalars(query.order_by(number)))


def active(connection: Connection, tenant: str = "") -> list[Revision]:
    """The serving revision of every project (of one tenant, where one is named), by name."""
    query = (
        select(revision)
        .join(
            project,
            (project.c.project == revision.c.project) & (project.c.number == revision.c.number),
        )
        .where(project.c.active)
        .order_by(revision.c.project)
    )
    if tenant:
        query = query.where(project.c.tenant == tenant)
    return [_revision(dict(row)) for row in connection.execute(query).mappings()]


def commit(connection: Connection, new: Revision) -> None:
    """Makes `new` what the project serves from, if `new.parent` still is.

    Raises PointsmanError(CONFLICT) where somebody else was first; nothing is written then.
    """
    row = project_row(connection, new.project)
    stands = 0 if row is None else row.number
    if stands != new.parent or new.number != new.parent + 1:
        raise PointsmanError(
            Kind.CONFLICT,
            f"{new.project} is at revision {stands}, and this change was made to revision "
            f"{new.parent}",
            hint="plan again on the newest revision, then apply",
        )
    tenant, name = new.project.split("/", 1)
    serves = new.cause != "delete"
    if row is None:
        connection.execute(
            insert(project).values(
                project=new.project, tenant=tenant, name=name, number=new.number, active=serves
            )
        )
    else:
        connection.execute(
            update(project)
            .where(project.c.project == new.project)
            .values(number=new.number, active=serves)
        )
    values = msgspec.structs.asdict(new)
    connection.execute(insert(revision).values(**{**values, "blobs": " ".join(new.blobs)}))


def prepared(connection: Connection, key: str) -> str:
    """The digest of an artifact prepared under this key before; empty where there is none."""
    found = connection.execute(select(artifact.c.digest).where(artifact.c.key == key)).scalar()
    return "" if found is None else str(found)


def remember_prepared(
    connection: Connection, key: str, digest: str, source: str, at_ms: int
) -> None:
    known = connection.execute(
        select(func.count()).select_from(artifact).where(artifact.c.key == key)
    ).scalar_one()
    if known:
        connection.execute(
            update(artifact).where(artifact.c.key == key).values(digest=digest, at_ms=at_ms)
        )
    else:
        connection.execute(
            insert(artifact).values(key=key, digest=digest, source=source, at_ms=at_ms)
        )


def _revision(row: dict[str, Any]) -> Revision:
    return Revision(**{**row, "blobs": tuple(row["blobs"].split())})
