"""What the registry moved under our feet: alias moves as proposals, and when each was last seen."""

import msgspec
from sqlalchemy import Connection, delete, desc, insert, select, update

from pointsman.store.control_schema import proposal, watch


class Proposal(msgspec.Struct, frozen=True):
    """An alias that points elsewhere than the version that serves.

    state: `open`, `accepted`, `dismissed`, `superseded` (the alias moved on), `refused` (the new
    version could not be served; `note` says why)
    """

    id: str
    project: str
    variant: str
    asked: str
    from_source: str
    to_source: str
    from_version: str
    to_version: str
    state: str
    note: str
    at_ms: int
    decided_ms: int | None = None
    decided_by: str = ""


class Watched(msgspec.Struct, frozen=True):
    """What a reference last resolved to. error: why the last look failed, or empty."""

    asked: str
    registry: str
    source: str
    seen_ms: int
    error: str


def add(connection: Connection, new: Proposal) -> None:
    """Opens a proposal; an open one for the same variant is superseded by it."""
    connection.execute(
        update(proposal)
        .where(
            proposal.c.project == new.project,
            proposal.c.variant == new.variant,
            proposal.c.state == "open",
        )
        .values(state="superseded", decided_ms=new.at_ms, decided_by="pointsman")
    )
    connection.execute(insert(proposal).values(**msgspec.structs.asdict(new)))


def find(connection: Connection, proposal_id: str) -> Proposal | None:
    found = (
        connection.execute(select(proposal).where(proposal.c.id == proposal_id)).mappings().first()
    )
    return None if found is None else Proposal(**found)


def latest(connection: Connection, project: str, variant: str) -> Proposal | None:
    """The newest proposal for a variant, whatever became of it."""
    found = (
        connection.execute(
            select(proposal)
            .where(proposal.c.project == project, proposal.c.variant == variant)
            .order_by(desc(proposal.c.at_ms), desc(proposal.c.id))
            .limit(1)
        )
        .mappings()
        .first()
    )
    return None if found is None else Proposal(**found)


def of_project(connection: Connection, project: str, state: str = "") -> list[Proposal]:
    """The newest first, in one state where one is named."""
    query = (
        select(proposal)
        .where(proposal.c.project == project)
        .order_by(desc(proposal.c.at_ms), desc(proposal.c.id))
        .limit(200)
    )
    if state:
        query = query.where(proposal.c.state == state)
    return [Proposal(**row) for row in connection.execute(query).mappings()]


def open_projects(connection: Connection) -> set[str]:
    """The projects with an open proposal."""
    query = select(proposal.c.project).where(proposal.c.state == "open").distinct()
    return set(connection.execute(query).scalars())


def settle(connection: Connection, proposal_id: str, settled: Proposal) -> bool:
    """Whether it was open until now. Only state, note and who decided are taken from `settled`."""
    changed = connection.execute(
        update(proposal)
        .where(proposal.c.id == proposal_id, proposal.c.state == "open")
        .values(
            state=settled.state,
            note=settled.note,
            decided_ms=settled.decided_ms,
            decided_by=settled.decided_by,
        )
    )
    return changed.rowcount > 0


def seen(connection: Connection, sight: Watched) -> None:
    """Keeps what a reference resolved to at the last look."""
    connection.execute(delete(watch).where(watch.c.asked == sight.asked))
    connection.execute(insert(watch).values(**msgspec.structs.asdict(sight)))


def watched(connection: Connection) -> dict[str, Watched]:
    """By reference as written."""
    rows = connection.execute(select(watch)).mappings()
    return {row["asked"]: Watched(**row) for row in rows}
