"""Traffic by short stretches of time: fine ones for a few hours, coarse ones for longer."""

from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import Connection, delete, func, select

from pointsman.store import bulk
from pointsman.store.evidence_schema import pulse
from pointsman.store.payloads import Key

FINE_S: Final = 10
COARSE_S: Final = 300
_HOUR_MS: Final = 3_600_000
KEPT_MS: Final[dict[int, int]] = {FINE_S: 3 * _HOUR_MS, COARSE_S: 14 * 24 * _HOUR_MS}
"""How long stretches of each length are kept; by the hour, counts of traffic go back further."""


class Beats(msgspec.Struct):
    """Sums over the decisions of one stretch; grows in place."""

    decisions: int = 0
    denied: int = 0
    latency_us: int = 0


class Pulse(msgspec.Struct, frozen=True):
    """Decisions of one stretch that have all of this in common. at_ms: its start"""

    at_ms: int
    rule: str
    assigned: str
    served: str
    decisions: int
    denied: int
    latency_us: int


def add(connection: Connection, changes: Mapping[Key, Beats]) -> None:
    """Adds to the sums, by (project, time, rule, assigned, served); time: start of a fine stretch,
    Unix milliseconds."""
    sums: dict[Key, list[int]] = {}
    for (project, at, *rest), beats in changes.items():
        counts = (beats.decisions, beats.denied, beats.latency_us)
        for step_s in KEPT_MS:
            start = int(at) - int(at) % (step_s * 1000)
            known = sums.setdefault((project, step_s, start, *rest), [0] * len(counts))
            known[:] = [a + b for a, b in zip(known, counts, strict=True)]
    if sums:
        connection.exec_driver_sql(_ADD, [(*key, *counts) for key, counts in sums.items()])


def read(
    connection: Connection, project: str, step_s: int, from_ms: int, until_ms: int
) -> list[Pulse]:
    """Stretches of that length that begin in [from_ms, until_ms), in order of time."""
    query = (
        select(
            pulse.c.at_ms,
            pulse.c.rule,
            pulse.c.assigned,
            pulse.c.served,
            pulse.c.decisions,
            pulse.c.denied,
            pulse.c.latency_us,
        )
        .where(
            pulse.c.project == project,
            pulse.c.step_s == step_s,
            pulse.c.at_ms >= from_ms,
            pulse.c.at_ms < until_ms,
        )
        .order_by(pulse.c.at_ms, pulse.c.rule, pulse.c.assigned, pulse.c.served)
    )
    return [Pulse(*tuple(row)) for row in connection.execute(query)]


def recent(connection: Connection, since_ms: int) -> dict[str, dict[str, int]]:
    """Decisions of every project by who served, of fine stretches that begin then or later."""
    query = (
        select(pulse.c.project, pulse.c.served, func.sum(pulse.c.decisions))
        .where(pulse.c.step_s == FINE_S, pulse.c.at_ms >= since_ms, pulse.c.served != "")
        .group_by(pulse.c.project, pulse.c.served)
    )
    found: dict[str, dict[str, int]] = {}
    for project, served, decisions in connection.execute(query):
        found.setdefault(project, {})[served] = int(decisions)
    return found


def answered(
    connection: Connection, project: str, since_ms: int, now_ms: int
) -> list[tuple[str, str, int]]:
    """Decisions of a project by (assigned, served; empty where nobody did), of stretches that begin
    then or later: fine ones, or coarse ones where fine ones are not kept for so long."""
    step_s = FINE_S if now_ms - since_ms <= KEPT_MS[FINE_S] else COARSE_S
    query = (
        select(pulse.c.assigned, pulse.c.served, func.sum(pulse.c.decisions))
        .where(pulse.c.project == project, pulse.c.step_s == step_s, pulse.c.at_ms >= since_ms)
        .group_by(pulse.c.assigned, pulse.c.served)
    )
    return [(row[0], row[1], int(row[2])) for row in connection.execute(query)]


def delete_old(connection: Connection, now_ms: int) -> int:
    """How many stretches went that were kept for long enough."""
    return sum(
        connection.execute(
            delete(pulse).where(pulse.c.step_s == step_s, pulse.c.at_ms < now_ms - kept_ms)
        ).rowcount
        for step_s, kept_ms in KEPT_MS.items()
    )


_ADD: Final = bulk.adding_sql(pulse)
