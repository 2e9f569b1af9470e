"""What inputs and answers of a project are compared with; and which drifts people were told of."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, delete, desc, func, select
from sqlalchemy.dialects import sqlite

from pointsman.store import bulk
from pointsman.store.control_schema import drift_alarm, reference, reference_row

REGISTRY: Final = "registry"
"""Actor of what came with a model's version; people's names have their token behind them."""
_UNDECLARED: Final = ("", REGISTRY)


class Reference(msgspec.Struct, frozen=True):
    """One reference. id: digest of its body; actor: who declared it, `REGISTRY` where it came with
    a version, empty where it was made of decisions

    version: of the champion it came with or that answered its rows, empty where it is nobody's
    body: as the room that judges wrote it
    """

    project: str
    id: str
    made_ms: int
    actor: str
    version: str
    body: bytes

    @property
    def declared(self) -> bool:
        """Whether a person did."""
        return self.actor not in _UNDECLARED


class Alarm(msgspec.Struct, frozen=True):
    """Something drifted. reference: compared with which; at_ms: start of the hour or day

    psi: its index, over bound; n: rows behind it
    """

    project: str
    reference: str
    at_ms: int
    name: str
    psi: float
    bound: float
    n: int
    sentence: str


_NEWEST: Final = (
    desc(reference.c.made_ms),
    desc(reference.c.actor == REGISTRY),
    reference.c.id,
)


def put(connection: Connection, new: Reference) -> None:
    """The reference from now on; an older one with the same content is the newest again."""
    statement = sqlite.insert(reference).values(**msgspec.structs.asdict(new))
    changed = {"made_ms": new.made_ms, "actor": new.actor}
    keys = list(reference.primary_key.columns)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def current(connection: Connection, project: str) -> Reference | None:
    """The newest that somebody declared, else the newest of a champion; of the same moment, that
    which came with it."""
    query = (
        select(reference)
        .where(reference.c.project == project)
        .order_by(reference.c.actor.in_(_UNDECLARED), *_NEWEST)
        .limit(1)
    )
    return _one(connection, query)


def undeclared(connection: Connection, project: str) -> Reference | None:
    """As `current`, were nothing declared."""
    query = select(reference).where(
        reference.c.project == project, reference.c.actor.in_(_UNDECLARED)
    )
    return _one(connection, query.order_by(*_NEWEST).limit(1))


def of_version(connection: Connection, project: str, version: str) -> Reference | None:
    """That which came with a champion, else the one that was made of its first decisions."""
    query = select(reference).where(
        reference.c.project == project,
        reference.c.actor.in_(_UNDECLARED),
        reference.c.version == version,
    )
    order = (desc(reference.c.actor == REGISTRY), desc(reference.c.made_ms))
    return _one(connection, query.order_by(*order).limit(1))


def registered(connection: Connection, project: str, version: str) -> list[Reference]:
    """Those that came with a version of that name, the newest first."""
    query = select(reference).where(
        reference.c.project == project,
        reference.c.actor == REGISTRY,
        reference.c.version == version,
    )
    found = connection.execute(query.order_by(desc(reference.c.made_ms)))
    return [Reference(**row) for row in found.mappings()]


def _one(connection: Connection, query: Select[Any]) -> Reference | None:
    found = connection.execute(query).mappings().first()
    return None if found is None else Reference(**found)


def gather(connection: Connection, project: str, version: str, bodies: Sequence[bytes]) -> int:
    """Keeps rows of which a reference is to be made; how many there are by now."""
    bulk.insert(connection, reference_row, [(project, version, body) for body in bodies])
    return gathered(connection, project, version)


def gathered(connection: Connection, project: str, version: str) -> int:
    """How many rows there are of which a reference is to be made."""
    chosen = (reference_row.c.project == project) & (reference_row.c.version == version)
    found = select(func.count()).select_from(reference_row).where(chosen)
    return connection.scalar(found) or 0


def take_gathered(connection: Connection, project: str, version: str) -> list[bytes]:
    """The rows, the first one first; they are gone, and so are those of other versions."""
    query = (
        select(reference_row.c.body)
        .where(reference_row.c.project == project, reference_row.c.version == version)
        .order_by(reference_row.c.row)
    )
    bodies = list(connection.scalars(query))
    connection.execute(delete(reference_row).where(reference_row.c.project == project))
    return bodies


def forget(connection: Connection, project: str) -> int:
    """How many declared ones went, so that what the champion has counts again."""
    chosen = (reference.c.project == project) & reference.c.actor.not_in(_UNDECLARED)
    return connection.execute(delete(reference).where(chosen)).rowcount


def told(connection: Connection, project: str, reference_id: str) -> set[tuple[int, str]]:
    """Days and names that people were told of."""
    query = select(drift_alarm.c.at_ms, drift_alarm.c.name).where(
        drift_alarm.c.project == project, drift_alarm.c.reference == reference_id
    )
    return {(at_ms, name) for at_ms, name in connection.execute(query)}


def alarms(connection: Connection, project: str, since_ms: int) -> list[Alarm]:
    """What people were told of, of stretches of time that begin then or later, by name."""
    query = (
        select(drift_alarm)
        .where(drift_alarm.c.project == project, drift_alarm.c.at_ms >= since_ms)
        .order_by(drift_alarm.c.at_ms, drift_alarm.c.name)
    )
    return [Alarm(**row) for row in connection.execute(query).mappings()]


def tell(connection: Connection, new: Sequence[Alarm]) -> None:
    """Remembers that people were told."""
    rows = [msgspec.structs.asdict(alarm) for alarm in new]
    connection.execute(sqlite.insert(drift_alarm).on_conflict_do_nothing(), rows)
