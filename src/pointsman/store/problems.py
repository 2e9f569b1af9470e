"""Rows with problems, counted from the hot decisions that name them."""

from collections import Counter

import msgspec
from sqlalchemy import Connection, func, select

from pointsman.domain.quality import ROW, Problem, parts
from pointsman.store.evidence_schema import decision

_notes = msgspec.json.Decoder(tuple[str, ...])


class Counted(msgspec.Struct, frozen=True):
    """How many rows had which problem, by the variant assigned.

    rows: those with any, by variant
    problems: by feature (`*` for the row and for what is no feature), problem, answer, variant
    """

    rows: dict[str, int]
    problems: dict[tuple[str, str, str, str], int]


def count(connection: Connection, project: str, since_ms: int, until_ms: int) -> Counted:
    """What hot rows say about decisions of `[since_ms, until_ms)`."""
    found = connection.execute(
        select(decision.c.assigned, decision.c.quality, func.count())
        .where(
            decision.c.project == project,
            decision.c.at_ms >= since_ms,
            decision.c.at_ms < until_ms,
            decision.c.quality != "",
        )
        .group_by(decision.c.assigned, decision.c.quality)
    )
    rows: Counter[str] = Counter()
    problems: Counter[tuple[str, str, str, str]] = Counter()
    for variant, noted, times in found:
        rows[variant] += times
        for feature, problem, answer in map(parts, _notes.decode(noted)):
            known = ROW if problem == Problem.EXTRA else feature
            problems[known, problem, answer, variant] += times
    return Counted(dict(rows), dict(problems))
