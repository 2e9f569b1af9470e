"""What status, explain and the lists of decisions read. Nothing here writes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, case, func, or_, select

from pointsman.domain import evidence
from pointsman.domain.evidence import Paired, Payload
from pointsman.domain.records import DecisionRecord, ShadowRecord
from pointsman.store import rows
from pointsman.store.evidence_schema import (
    cell,
    decision,
    feedback,
    gauge,
    outcome,
    shadow,
    traffic,
)
from pointsman.store.pulses import Pulse
from pointsman.store.rows import Piece

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS

_COMPARED: Final = (
    evidence.DENIED,
    evidence.ERROR,
    evidence.CORRECT,
    evidence.CONFUSION,
    evidence.SCORE,
    evidence.LOG_LOSS,
    evidence.BRIER,
    evidence.LATENCY,
    evidence.REWARD,
)
"""Metrics of the evidence that variants are compared by."""


class Line(msgspec.Struct, frozen=True):
    """Counts of decisions that have everything named here in common."""

    rule: str
    epoch: int
    assigned: str
    served: str
    version: str
    reason: str
    action: str
    decisions: int
    labelled: int
    rewarded: int


def lines(connection: Connection, project: str, since_ms: int = 0) -> list[Line]:
    """Traffic of a project, summed over hours and tables. since_ms: from that hour on"""
    keys = (
        traffic.c.rule,
        traffic.c.epoch,
        traffic.c.assigned,
        traffic.c.served,
        traffic.c.version,
        traffic.c.reason,
        traffic.c.action,
    )
    found = connection.execute(
        select(
            *keys,
            func.sum(traffic.c.decisions),
            func.sum(traffic.c.labelled),
            func.sum(traffic.c.rewarded),
        )
        .where(traffic.c.project == project, traffic.c.hour_ms >= since_ms)
        .group_by(*keys)
    )
    return [Line(*tuple(row)) for row in found]


def reasons(connection: Connection, project: str, since_ms: int) -> dict[str, int]:
    """Decisions by reason, from the hour of `since_ms` on."""
    found = connection.execute(
        select(traffic.c.reason, func.sum(traffic.c.decisions))
        .where(traffic.c.project == project, traffic.c.hour_ms >= since_ms - since_ms % _HOUR_MS)
        .group_by(traffic.c.reason)
    )
    return {row[0]: int(row[1]) for row in found}


def label_coverage(
    connection: Connection, since_ms: int, until_ms: int | None = None, project: str = ""
) -> dict[str, dict[str, float]]:
    """Share of decisions whose label is known, by project and by who served.

    since_ms: from that hour on; until_ms: of hours before that one; project: of this one alone
    """
    query = (
        select(
            traffic.c.project,
            traffic.c.served,
            func.sum(traffic.c.labelled),
            func.sum(traffic.c.decisions),
        )
        .where(traffic.c.hour_ms >= since_ms - since_ms % _HOUR_MS, traffic.c.served != "")
        .group_by(traffic.c.project, traffic.c.served)
    )
    if until_ms is not None:
        query = query.where(traffic.c.hour_ms < until_ms - until_ms % _HOUR_MS)
    if project:
        query = query.where(traffic.c.project == project)
    found: dict[str, dict[str, float]] = {}
    for name, served, labelled, decisions in connection.execute(query):
        found.setdefault(name, {})[served] = int(labelled) / max(int(decisions), 1)
    return found


def hours(connection: Connection, project: str, from_ms: int, until_ms: int) -> list[Pulse]:
    """Traffic of hours that begin in [from_ms, until_ms), in order of time."""
    keys = (traffic.c.hour_ms, traffic.c.rule, traffic.c.assigned, traffic.c.served)
    denied = case((traffic.c.action == "deny", traffic.c.decisions), else_=0)
    query = (
        select(
            *keys,
            func.sum(traffic.c.decisions),
            func.sum(denied),
            func.sum(traffic.c.latency_us),
        )
        .where(
            traffic.c.project == project,
            traffic.c.hour_ms >= from_ms - from_ms % _HOUR_MS,
            traffic.c.hour_ms < until_ms,
        )
        .group_by(*keys)
        .order_by(*keys)
    )
    return [Pulse(*tuple(row)) for row in connection.execute(query)]


def gauges(
    connection: Connection, project: str, since_ms: int = 0
) -> dict[tuple[str, str], dict[str, Payload]]:
    """By (variant served, version), then by metric: everything of the hours asked for, merged."""
    found = connection.execute(
        select(gauge.c.variant, gauge.c.version, gauge.c.metric, gauge.c.payload).where(
            gauge.c.project == project, gauge.c.hour_ms >= since_ms
        )
    )
    merged: dict[tuple[str, str], dict[str, Payload]] = {}
    for variant, version, metric, blob in found:
        known = merged.setdefault((variant, version), {})
        evidence.add(known, metric, evidence.decode(blob))
    return merged


def gauges_by_day(
    connection: Connection, project: str, metrics: Sequence[str]
) -> dict[tuple[str, str, int], dict[str, Payload]]:
    """By (variant served, version, start of the day), then by metric, merged."""
    found = connection.execute(
        select(
            gauge.c.variant, gauge.c.version, gauge.c.hour_ms, gauge.c.metric, gauge.c.payload
        ).where(gauge.c.project == project, gauge.c.metric.in_(metrics))
    )
    merged: dict[tuple[str, str, int], dict[str, Payload]] = {}
    for variant, version, hour_ms, metric, blob in found:
        known = merged.setdefault((variant, version, hour_ms - hour_ms % _DAY_MS), {})
        evidence.add(known, metric, evidence.decode(blob))
    return merged


def arms(  # noqa: PLR0913, PLR0917 - each is a part of what is asked for
    connection: Connection,
    project: str,
    rule: str,
    epoch: int,
    since_ms: int = 0,
    also: Iterable[str] = (),
) -> dict[str, dict[str, Payload]]:
    """By variant assigned, then by metric: evidence of one epoch of a rule, all slices together,
    merged.

    since_ms: of blocks that begin then or later; also: metrics besides those every project has
    """
    found = connection.execute(
        select(cell.c.variant, cell.c.metric, cell.c.payload).where(
            cell.c.project == project,
            cell.c.rule == rule,
            cell.c.epoch == epoch,
            cell.c.block_ms >= since_ms,
            cell.c.slice == "",
            cell.c.metric.in_((*_COMPARED, *also)),
        )
    )
    merged: dict[str, dict[str, Payload]] = {}
    for variant, metric, blob in found:
        known = merged.setdefault(variant, {})
        evidence.add(known, metric, evidence.decode(blob))
    return merged


class PairCell(msgspec.Struct, frozen=True):
    """One block's pairs of a variant that served and one that shadowed it.

    family: FLIPS or PAIRED
    """

    family: str
    block_ms: int
    slice: str
    payload: Paired


def pairs(  # noqa: PLR0913, PLR0917 - each names a part of what is asked for
    connection: Connection,
    project: str,
    rule: str,
    epochs: Sequence[int],
    served: str,
    shadow: str,
) -> Iterator[PairCell]:
    """Cells of pairs in some epochs of a rule, block by block."""
    families = {evidence.member(f, shadow): f for f in (evidence.FLIPS, evidence.PAIRED)}
    query = select(cell.c.metric, cell.c.block_ms, cell.c.slice, cell.c.payload).where(
        cell.c.project == project,
        cell.c.rule == rule,
        cell.c.epoch.in_(epochs),
        cell.c.variant == served,
        cell.c.metric.in_(list(families)),
    )
    for metric, block_ms, name, blob in connection.execute(query):
        payload = evidence.decode(blob)
        if isinstance(payload, Paired):
            yield PairCell(families[metric], block_ms, name, payload)


def find_decision(connection: Connection, decision_id: str) -> DecisionRecord | None:
    """The record, without its features; None while (or because) it is not in the hot rows."""
    found = connection.execute(select(decision).where(decision.c.id == decision_id)).first()
    return None if found is None else rows.decision_of(found)


class Filter(msgspec.Struct, frozen=True):
    """Which decisions are wanted; empty: any.

    variant: the one assigned; reason: of the assignment, or why another one served
    until_ms: made before; 0 = up to now
    """

    unit: str = ""
    variant: str = ""
    reason: str = ""
    until_ms: int = 0


EVERYTHING: Final = Filter()


def newest_decisions(
    connection: Connection, project: str, limit: int, wanted: Filter = EVERYTHING
) -> list[DecisionRecord]:
    """The newest first."""
    query = (
        select(decision)
        .where(decision.c.project == project)
        .order_by(decision.c.at_ms.desc(), decision.c.row.desc())
        .limit(limit)
    )
    if wanted.unit:
        query = query.where(decision.c.unit == wanted.unit)
    if wanted.variant:
        query = query.where(decision.c.assigned == wanted.variant)
    if wanted.until_ms:
        query = query.where(decision.c.at_ms < wanted.until_ms)
    if wanted.reason:
        either = (decision.c.reason == wanted.reason, decision.c.served_reason == wanted.reason)
        query = query.where(or_(*either))
    return [rows.decision_of(row) for row in connection.execute(query)]


def shadows(connection: Connection, decision_id: str) -> list[ShadowRecord]:
    found = connection.execute(select(shadow).where(shadow.c.decision_id == decision_id))
    return [rows.shadow_of(row) for row in found]


def feedback_about(connection: Connection, decision_id: str) -> list[Piece]:
    """Every piece of feedback about a decision, in the order it was received."""
    found = connection.execute(
        select(feedback)
        .where(feedback.c.decision_id == decision_id)
        .order_by(feedback.c.received_ms, feedback.c.row)
    )
    return [rows.piece_of(row) for row in found]


def find_feedback(connection: Connection, feedback_id: str, tenant: str = "") -> list[Piece]:
    """Every piece received under an id, of one tenant where one is named, the first received
    first."""
    query = select(feedback).where(feedback.c.id == feedback_id).order_by(feedback.c.received_ms)
    if tenant:
        query = query.where(feedback.c.tenant == tenant)
    return [rows.piece_of(row) for row in connection.execute(query)]


def outcomes(connection: Connection, decision_id: str) -> dict[str, Any]:
    """What is held to be true about a decision, by kind."""
    found = connection.execute(select(outcome).where(outcome.c.decision_id == decision_id))
    return {row.kind: rows.value_of(row.value) for row in found}
