"""Hot rows as a replay takes them: the newest decisions of a project, in batches."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from pointsman.decide.answers import Answered, Logged
from pointsman.domain.decision import Value
from pointsman.store.evidence_schema import decision, shadow
from pointsman.store.rows import unsigned

BATCH: Final = 2_000
_SHADOWS_AT_ONCE: Final = 500

_context: Final = msgspec.json.Decoder(dict[str, Value])
_floats: Final = msgspec.json.Decoder(tuple[float, ...])


def newest(
    connection: Connection, project: str, last: int, since_ms: int = 0
) -> Iterator[list[Logged]]:
    """The newest `last` decisions of `tenant/project` made at `since_ms` or later, newest first.

    Batches of bounded size. The connection must stay open, and unused, while they are read.
    """
    query = (
        select(
            decision.c.id,
            decision.c.at_ms,
            decision.c.unit,
            decision.c.unit_hash,
            decision.c.context,
            decision.c.pin,
            decision.c.served,
            decision.c.version,
            decision.c.probabilities,
            decision.c.latency_us,
        )
        .where(decision.c.project == project, decision.c.at_ms >= since_ms)
        .order_by(decision.c.at_ms.desc(), decision.c.row.desc())
        .limit(last)
        .execution_options(yield_per=BATCH)
    )
    shadowed = connection.execute(select(shadow.c.decision_id).limit(1)).first() is not None
    for rows in connection.execute(query).partitions():
        beside = _shadows(connection, [row[0] for row in rows]) if shadowed else {}
        batch = []
        for identifier, at_ms, unit, hashed, context, pin, served, version, floats, us in rows:
            answers: tuple[Answered, ...] = ()
            if served and floats != "[]":
                answers = (Answered(served, version, _floats.decode(floats), us),)
            if identifier in beside:
                answers += tuple(beside[identifier])
            decoded = _context.decode(context)
            batch.append(Logged(identifier, at_ms, unit, unsigned(hashed), decoded, pin, answers))
        yield batch


def _shadows(connection: Connection, ids: list[str]) -> dict[str, list[Answered]]:
    """What shadows answered, by decision; those that failed are left out."""
    found: defaultdict[str, list[Answered]] = defaultdict(list)
    for start in range(0, len(ids), _SHADOWS_AT_ONCE):
        some = ids[start : start + _SHADOWS_AT_ONCE]
        rows = connection.execute(
            select(
                shadow.c.decision_id,
                shadow.c.variant,
                shadow.c.version,
                shadow.c.probabilities,
                shadow.c.latency_us,
            ).where(shadow.c.decision_id.in_(some), shadow.c.error == "")
        )
        for identifier, variant, version, floats, latency_us in rows:
            answer = Answered(variant, version, _floats.decode(floats), latency_us)
            found[identifier].append(answer)
    return found
