"""Adds units up in the store by how far they came, and reads the sums."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from pointsman.store import bulk
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


DAY_MS: Final = 86_400_000

ALL_BLOCKS: Final = -1
"""Stands for a block where a line is the sum over all of them. Where it is the sum over a day, the
negative of the day's start does, which is never so near to 0."""

_FAR_MS: Final = 1 << 60

_STAGES: Final = (
    headcount.c.assigned,
    headcount.c.served,
    headcount.c.logged,
    headcount.c.labelled,
)


def add(connection: Connection, changes: Mapping[Key, Heads]) -> None:
    """Adds to the counts, by values of the key columns; what is taken back is negative.

    Sums over each day and over all blocks are kept beside them, so that reading adds up neither a
    long epoch nor a long horizon block by block.
    """
    sums: dict[Key, list[int]] = {}
    for (project, rule, epoch, block_ms, *rest), heads in changes.items():
        counts = (heads.assigned, heads.served, heads.logged, heads.labelled)
        at = int(block_ms)
        for block in (at, -(at - at % DAY_MS), ALL_BLOCKS):
            known = sums.setdefault((project, rule, epoch, block, *rest), [0] * len(counts))
            known[:] = [a + b for a, b in zip(known, counts, strict=True)]
    if sums:
        connection.exec_driver_sql(_ADD, [(*key, *counts) for key, counts in sums.items()])


def lines(
    connection: Connection, project: str, rule: str, epochs: Sequence[int], matured_from: int
) -> list[Line]:
    """Sums over the blocks of each epoch, in order of epoch.

    matured_from: start of the first block that is not matured, Unix milliseconds; reads the blocks
        of its day, and a sum for each day since
    """
    found: list[Line] = []
    begins = max(matured_from, 1)
    next_day = begins + -begins % DAY_MS
    block = headcount.c.block_ms
    is_young = block.between(begins, next_day - 1) | (block.between(-_FAR_MS, -next_day))
    for epoch in sorted(epochs):
        asked = (connection, project, rule, epoch)
        young = _sums(*asked, is_young)
        for (of, chances, variant), heads in _sums(
            *asked, headcount.c.block_ms == ALL_BLOCKS
        ).items():
            matured = _less(heads, young.get((of, chances, variant), Heads()))
            drawn = msgspec.json.decode(chances, type=Chances)
            found.append(Line(epoch, of, drawn, variant, heads, matured))
    return found


def _sums(
    connection: Connection, project: str, rule: str, epoch: int, blocks: ColumnElement[bool]
) -> dict[tuple[Of, str, str], Heads]:
    keys = (headcount.c.of, headcount.c.chances, headcount.c.variant)
    query = (
        select(*keys, *(func.sum(stage) for stage in _STAGES))
        .where(
            headcount.c.project == project,
            headcount.c.rule == rule,
            headcount.c.epoch == epoch,
            blocks,
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    return {
        (of, chances, variant): Heads(*counts)
        for of, chances, variant, *counts in connection.execute(query)
    }


def _less(a: Heads, b: Heads) -> Heads:
    return Heads(
        a.assigned - b.assigned,
        a.served - b.served,
        a.logged - b.logged,
        a.labelled - b.labelled,
    )


_ADD: Final = bulk.adding_sql(headcount)
