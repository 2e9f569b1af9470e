"""Adds units up in the store by how far they came, and reads the sums."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, case, func, select
from sqlalchemy.dialects import sqlite

from pointsman.store.evidence_schema import headcount
from pointsman.store.payloads import Key

Of = Literal["split", "logged"]

Chances = tuple[tuple[str, float], ...]
"""Probability of each variant, by name; they add up to 1."""


class Heads(msgspec.Struct):
    """Units that came so far; each stage counts those of the ones before. Grows in place."""

    assigned: int = 0
    served: int = 0
    logged: int = 0
    labelled: int = 0


class Line(msgspec.Struct, frozen=True):
    """Units of one variant that were drawn with the same chances, in one epoch of a rule.

    heads: of all blocks; matured: of those that were over by the time that was asked for
    """

    epoch: int
    of: Of
    chances: Chances
    variant: str
    heads: Heads
    matured: Heads


_STAGES: Final = (
    headcount.c.assigned,
    headcount.c.served,
    headcount.c.logged,
    headcount.c.labelled,
)


def add(connection: Connection, changes: Mapping[Key, Heads]) -> None:
    """Adds to the counts, by values of the key columns; what is taken back is negative."""
    values = [
        (*key, heads.assigned, heads.served, heads.logged, heads.labelled)
        for key, heads in changes.items()
    ]
    if values:
        connection.exec_driver_sql(_ADD, values)


def lines(
    connection: Connection, project: str, rule: str, epochs: Sequence[int], matured_from: int
) -> list[Line]:
    """Sums over the blocks of each epoch, in order of epoch.

    matured_from: start of the first block that is not matured, Unix milliseconds
    """
    keys = (headcount.c.epoch, headcount.c.of, headcount.c.chances, headcount.c.variant)
    over = headcount.c.block_ms < matured_from
    sums: list[ColumnElement[int]] = [func.sum(stage) for stage in _STAGES]
    sums += [func.sum(case((over, stage), else_=0)) for stage in _STAGES]
    query = (
        select(*keys, *sums)
        .where(
            headcount.c.project == project,
            headcount.c.rule == rule,
            headcount.c.epoch.in_(epochs),
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    return [
        Line(
            epoch,
            of,
            msgspec.json.decode(chances, type=Chances),
            variant,
            Heads(*counts[:4]),
            Heads(*counts[4:]),
        )
        for epoch, of, chances, variant, *counts in connection.execute(query)
    ]


def _add_sql() -> str:
    statement = sqlite.insert(headcount)
    sums = {stage.name: stage + statement.excluded[stage.name] for stage in _STAGES}
    keys = list(headcount.primary_key.columns)
    statement = statement.on_conflict_do_update(index_elements=keys, set_=sums)
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


_ADD: Final = _add_sql()
