"""Counts in fixed bins by stretches of time: fine ones for a week, days for longer.

Counts of one kind and key have one length for good, and add up.
"""

import zlib
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, select, tuple_

from pointsman.store import bulk
from pointsman.store.evidence_schema import sketch

Counts = npt.NDArray[np.int64]
Kind = Literal["features", "scores"]

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
KEPT_MS: Final[dict[int, int]] = {HOUR_S: 8 * DAY_S * 1000, DAY_S: 400 * DAY_S * 1000}
"""How long stretches of each length are kept."""


class Key(msgspec.Struct, frozen=True):
    """What is counted, and when. key: a reference's id, or `variant:version`"""

    project: str
    kind: Kind
    key: str
    at_ms: int


class Sketch(msgspec.Struct, frozen=True):
    """One stretch. at_ms: its start; n: rows that were counted"""

    key: str
    at_ms: int
    n: int
    counts: Counts


def add(connection: Connection, changes: Mapping[Key, tuple[int, Counts]]) -> None:
    """Adds rows and counts to the stretches of both lengths that they fall into.

    Counts of another length than those that are there replace them: they are of other bins.
    """
    sums: dict[tuple[str, str, str, int, int], tuple[int, Counts]] = {}
    for key, (n, counts) in changes.items():
        for step_s in KEPT_MS:
            start = key.at_ms - key.at_ms % (step_s * 1000)
            place = (key.project, key.kind, key.key, step_s, start)
            sums[place] = _sum(sums.get(place), n, counts)
    if not sums:
        return
    columns = list(sketch.primary_key.columns)
    for chunk in bulk.chunks(list(sums)):
        query = select(sketch).where(tuple_(*columns).in_(chunk))
        for project, kind, name, step_s, start, n, body in connection.execute(query).all():
            place = (project, kind, name, step_s, start)
            known = (int(n), _unpacked(body))
            if len(known[1]) == len(sums[place][1]):
                sums[place] = _sum(known, *sums[place])
    rows = [(*place, n, _packed(counts)) for place, (n, counts) in sums.items()]
    bulk.insert(connection, sketch, rows, "replace")


def read(
    connection: Connection,
    project: str,
    kind: Kind,
    span: tuple[int, int, int],
    keys: Iterable[str],
) -> list[Sketch]:
    """Stretches of these keys in order of time.

    span: their length in seconds, and from and until when they begin, Unix milliseconds
    """
    step_s, from_ms, until_ms = span
    query = (
        select(sketch.c.key, sketch.c.at_ms, sketch.c.n, sketch.c.counts)
        .where(
            sketch.c.project == project,
            sketch.c.kind == kind,
            sketch.c.key.in_(list(keys)),
            sketch.c.step_s == step_s,
            sketch.c.at_ms >= from_ms,
            sketch.c.at_ms < until_ms,
        )
        .order_by(sketch.c.at_ms, sketch.c.key)
    )
    return [Sketch(k, at, n, _unpacked(body)) for k, at, n, body in connection.execute(query)]


def keys_of(connection: Connection, project: str, kind: Kind) -> list[str]:
    """Every key there is."""
    query = (
        select(sketch.c.key)
        .where(sketch.c.project == project, sketch.c.kind == kind)
        .distinct()
        .order_by(sketch.c.key)
    )
    return list(connection.scalars(query))


def delete_old(connection: Connection, now_ms: int) -> int:
    """How many stretches went that were kept for long enough."""
    return sum(
        connection.execute(
            delete(sketch).where(sketch.c.step_s == step_s, sketch.c.at_ms < now_ms - kept_ms)
        ).rowcount
        for step_s, kept_ms in KEPT_MS.items()
    )


def _sum(known: tuple[int, Counts] | None, n: int, counts: Counts) -> tuple[int, Counts]:
    return (n, counts) if known is None else (known[0] + n, known[1] + counts)


def _packed(counts: Counts) -> bytes:
    return zlib.compress(counts.astype("<i8").tobytes(), 1)


def _unpacked(body: bytes) -> Counts:
    return np.frombuffer(zlib.decompress(body), "<i8").astype(np.int64)
