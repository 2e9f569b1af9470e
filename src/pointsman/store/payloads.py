"""Adds payloads up in the store: evidence cells, gauges, counts of traffic, first exposures."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Final

import msgspec
from sqlalchemy import Connection, Table, or_, select, tuple_
from sqlalchemy.dialects import sqlite

from pointsman.domain import evidence
from pointsman.domain.evidence import CrossMoments, Moments, Paired, Payload
from pointsman.store import bulk
from pointsman.store.evidence_schema import cell, exposure, gauge, stratum, traffic
from pointsman.store.rows import signed, unsigned

Key = tuple[str | int, ...]
"""Values of a table's key columns, in order."""


class Exposure(msgspec.Struct, frozen=True, order=True):
    """When and how a unit first met a rule in an epoch."""

    at_ms: int
    decision_id: str
    variant: str
    propensity: float


class Counts(msgspec.Struct):
    """Sums over the decisions of one line of traffic; grows in place."""

    decisions: int = 0
    labelled: int = 0
    rewarded: int = 0
    latency_us: int = 0


def add_cells(connection: Connection, *changes: Mapping[Key, Payload]) -> list[Key]:
    """Merges changes into evidence cells; the keys of those that could not be merged."""
    return _merge(connection, cell, changes)


def add_gauges(connection: Connection, *changes: Mapping[Key, Payload]) -> list[Key]:
    """Merges changes into gauges; the keys of those that could not be merged."""
    return _merge(connection, gauge, changes)


class Wanted(msgspec.Struct, frozen=True):
    """Cells of one epoch of a rule.

    from_ms, until_ms: of blocks that begin in [from_ms, until_ms)
    attributes: by whose values slices are read too, besides the whole
    """

    project: str
    rule: str
    epoch: int
    variants: tuple[str, ...]
    metrics: tuple[str, ...]
    from_ms: int
    until_ms: int
    attributes: frozenset[str] = frozenset()


def read_cells(connection: Connection, wanted: Wanted) -> list[tuple[int, str, str, str, Payload]]:
    """(block, variant, slice, metric, payload), in the order of their keys."""
    names = [cell.c.slice == ""]
    names += [cell.c.slice.startswith(f"{a}=", autoescape=True) for a in wanted.attributes]
    rows = connection.execute(
        select(cell.c.block_ms, cell.c.variant, cell.c.slice, cell.c.metric, cell.c.payload)
        .where(
            cell.c.project == wanted.project,
            cell.c.rule == wanted.rule,
            cell.c.epoch == wanted.epoch,
            cell.c.block_ms >= wanted.from_ms,
            cell.c.block_ms < wanted.until_ms,
            cell.c.variant.in_(wanted.variants),
            or_(*names),
            cell.c.metric.in_(wanted.metrics),
        )
        .order_by(cell.c.block_ms, cell.c.variant, cell.c.slice, cell.c.metric)
    )
    return [(*row[:-1], evidence.decode(row[-1])) for row in rows]


def slice_names(connection: Connection) -> list[tuple[str, str]]:
    """Project and name of every slice that has cells."""
    named = select(cell.c.project, cell.c.slice).where(cell.c.slice != "").distinct()
    return [(row.project, row.slice) for row in connection.execute(named)]


def add_traffic(connection: Connection, changes: Mapping[Key, Counts]) -> None:
    """Adds counts to lines of traffic."""
    values = [
        (*key, c.decisions, c.labelled, c.rewarded, c.latency_us) for key, c in changes.items()
    ]
    if values:
        connection.exec_driver_sql(_ADD_TRAFFIC, values)


def exposures_at(
    connection: Connection, keys: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], tuple[int, str]]:
    """Time and decision of the exposures at these (stratum, unsigned unit hash) that are kept."""
    by_stratum: dict[int, list[int]] = {}
    for number, unit in keys:
        by_stratum.setdefault(number, []).append(signed(unit))
    found: dict[tuple[int, int], tuple[int, str]] = {}
    for number, units in by_stratum.items():
        query = select(exposure.c.unit_hash, exposure.c.at_ms, exposure.c.decision_id).where(
            exposure.c.stratum == number, bulk.among(exposure.c.unit_hash, units)
        )
        for unit, at_ms, decision_id in connection.execute(query):
            found[number, unsigned(unit)] = (at_ms, decision_id)
    return found


def add_exposures(connection: Connection, first: Mapping[tuple[int, int], Exposure]) -> None:
    """Keeps the earlier one of each (stratum, unsigned unit hash)."""
    values = [
        (number, signed(unit), e.at_ms, e.decision_id, e.variant, e.propensity)
        for (number, unit), e in first.items()
    ]
    if values:
        connection.exec_driver_sql(_ADD_EXPOSURE, values)


def stratum_number(connection: Connection, project: str, rule: str, epoch: int) -> int:
    """The number exposures know a (project, rule, epoch) by; given to a new one here."""
    known = select(stratum.c.number).where(
        stratum.c.project == project, stratum.c.rule == rule, stratum.c.epoch == epoch
    )
    number = connection.scalar(known)
    if number is None:
        added = stratum.insert().values(project=project, rule=rule, epoch=epoch)
        number = connection.scalar(added.returning(stratum.c.number))
    return int(number or 0)


def _merge(
    connection: Connection, table: Table, changes: Sequence[Mapping[Key, Payload]]
) -> list[Key]:
    keys = list(dict.fromkeys(key for change in changes for key in change))
    stored = _load(connection, table, keys)
    merged: list[tuple[str | int | bytes, ...]] = []
    refused: list[Key] = []
    for key in keys:
        payloads = [change[key] for change in changes if key in change]
        try:
            if key in stored:
                payloads.insert(0, evidence.decode(stored[key]))
            whole = reduce(evidence.merge, payloads)
        except (ValueError, msgspec.DecodeError):
            refused.append(key)
            continue
        merged.append((*key, evidence.encode(_tidy(whole))))
    bulk.insert(connection, table, merged, "replace")
    return refused


def _tidy(payload: Payload) -> Payload:
    """The payload with exact zeros where nothing is counted: sums of floats do not cancel."""
    match payload:
        case Moments():
            _clear(payload.n, payload.total, payload.squares)
        case CrossMoments():
            _clear(payload.n, payload.total, payload.squares, payload.covariate)
            _clear(payload.n, payload.covariate_squares, payload.cross)
        case Paired():
            if not payload.scored:
                payload.shift = payload.shift_squares = 0.0
            if not payload.flips:
                payload.distance = 0.0
    return payload


def _clear(counts: list[int], *sums: list[float]) -> None:
    for bucket, n in enumerate(counts):
        if n == 0:
            for column in sums:
                column[bucket] = 0.0


def _load(connection: Connection, table: Table, keys: Iterable[Key]) -> dict[Key, bytes]:
    key_columns = list(table.primary_key.columns)
    found: dict[Key, bytes] = {}
    for chunk in bulk.chunks(keys):
        query = select(table).where(tuple_(*key_columns).in_(chunk))
        for row in connection.execute(query):
            values: Sequence[object] = tuple(row)
            found[values[:-1]] = values[-1]  # type: ignore[index,assignment]  # by the schema
    return found


def _add_exposure_sql() -> str:
    statement = sqlite.insert(exposure)
    new = statement.excluded
    earlier = tuple_(new.at_ms, new.decision_id) < tuple_(exposure.c.at_ms, exposure.c.decision_id)
    changed = {c.name: new[c.name] for c in exposure.columns if not c.primary_key}
    statement = statement.on_conflict_do_update(
        index_elements=list(exposure.primary_key.columns), set_=changed, where=earlier
    )
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


_ADD_TRAFFIC: Final = bulk.adding_sql(traffic)
_ADD_EXPOSURE: Final = _add_exposure_sql()
