"""Plans that are over a limit, and who agreed to them. A plan never changes; its hash is its id."""

import msgspec
from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import sqlite

from pointsman.store.control_schema import plan, plan_approval


class Plan(msgspec.Struct, frozen=True):
    """A change and what it is over.

    body: which limits, as the controller encodes it
    author: who wants it, empty while only people who could not apply it have looked
    """

    hash: str
    project: str
    base: int
    body: bytes
    author: str
    at_ms: int


class Agreement(msgspec.Struct, frozen=True):
    """One person's approval."""

    hash: str
    actor: str
    reason: str
    at_ms: int


def put(connection: Connection, new: Plan) -> None:
    """Keeps a plan; the first of its hash stays, and its first author."""
    statement = sqlite.insert(plan).values(**msgspec.structs.asdict(new))
    connection.execute(statement.on_conflict_do_nothing())
    connection.execute(
        update(plan).where(plan.c.hash == new.hash, plan.c.author == "").values(author=new.author)
    )


def find(connection: Connection, project: str, digest: str) -> Plan | None:
    """The one plan whose hash begins so; None where none or several do."""
    found = connection.execute(
        select(plan)
        .where(plan.c.project == project, plan.c.hash.startswith(digest, autoescape=True))
        .limit(2)
    ).all()
    return Plan(**found[0]._asdict()) if len(found) == 1 else None


def of_base(connection: Connection, project: str, base: int) -> list[Plan]:
    """Plans made on one revision."""
    found = connection.execute(
        select(plan).where(plan.c.project == project, plan.c.base == base).order_by(plan.c.at_ms)
    )
    return [Plan(**row._asdict()) for row in found]


def agree(connection: Connection, new: Agreement) -> bool:
    """Whether that person had not agreed before."""
    statement = sqlite.insert(plan_approval).values(**msgspec.structs.asdict(new))
    return connection.execute(statement.on_conflict_do_nothing()).rowcount == 1


def agreements(connection: Connection, digest: str) -> list[Agreement]:
    """The first to agree first."""
    found = connection.execute(
        select(plan_approval)
        .where(plan_approval.c.hash == digest)
        .order_by(plan_approval.c.at_ms, plan_approval.c.actor)
    )
    return [Agreement(**row._asdict()) for row in found]
