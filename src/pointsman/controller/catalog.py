"""What the ingester has to know of the table that decided: its classes, horizons and slices."""

from typing import Final, Literal

import msgspec
from sqlalchemy import select

from pointsman.controller.housekeeping import HotRetention
from pointsman.controller.join import IngestProject
from pointsman.controller.ledger import Ledger
from pointsman.decide.allocation import shares
from pointsman.domain.errors import PointsmanError
from pointsman.domain.events import Event
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import FeatureType, ProjectTable
from pointsman.runtime.blobs import BlobStore
from pointsman.spec import canonical
from pointsman.spec.events import event_of
from pointsman.spec.models import ClassifierMetric, Metric, OperationalMetric, Project
from pointsman.spec.scalars import parse_duration
from pointsman.store import revisions
from pointsman.store.control_schema import revision

_OF_OLD: Final = frozenset({"denied", "error", "latency"})
"""Events with cells of their own."""


class Catalog:
    """Looks tables up by the digest that records carry. Every table ever published is kept."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._known: dict[tuple[str, str], IngestProject] = {}

    def lookup(self, project: str, digest: str) -> IngestProject | None:
        """What the table of that digest declares; None for one that is not known here."""
        key = (project, digest)
        if key not in self._known:
            found = self._read(project, digest)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]

    def _read(self, project: str, digest: str) -> IngestProject | None:
        with self._ledger.reading() as connection:
            spec = connection.execute(
                select(revision.c.spec)
                .where(revision.c.project == project, revision.c.table_digest == digest)
                .limit(1)
            ).scalar()
        if spec is None:
            return None
        try:
            table = msgspec.json.decode(self._blobs.read(digest), type=ProjectTable)
        except (PointsmanError, msgspec.DecodeError):
            return None
        return described(canonical.parse(spec), table)


def retentions(ledger: Ledger) -> dict[str, HotRetention]:
    """How long each project that is served wants its decisions kept."""
    with ledger.reading() as connection:
        active = revisions.active(connection)
    wanted = {found.project: canonical.parse(found.spec).spec.retention for found in active}
    return {
        name: HotRetention(kept.hot, kept.max_bytes, kept.archive) for name, kept in wanted.items()
    }


def described(project: Project, table: ProjectTable) -> IngestProject:
    """What a spec and its table say about outcomes."""
    outcomes = project.spec.outcomes
    return IngestProject(
        classes=table.classes,
        positive=table.positive,
        label_horizon_ms=outcomes.label.horizon if outcomes.label else None,
        reward_horizon_ms=outcomes.reward.horizon if outcomes.reward else None,
        slices=sliced_by(project),
        shares={
            rule.name: tuple(sorted(shares(rule.allocation).items()))
            for rule in table.rules
            if rule.allocation is not None
        },
        shadowed={rule.name: rule.shadows for rule in table.rules if rule.shadows},
        events=other_events(project),
        champion=next(v.version for v in table.variants if v.name == CHAMPION),
        watched=watched(project, table),
        reference=project.spec.drift.reference,
        slow_us=tuple(sorted({b for m in project.spec.metrics.values() for b in _slow_us(m)})),
    )


def watched(project: Project, table: ProjectTable) -> dict[str, Literal["number", "category"]]:
    """Features that are watched for drift, in the table's order, and what they are."""
    chosen = project.spec.drift.features
    named = {FeatureType.STRING, FeatureType.BOOLEAN}
    return {
        feature.name: "category" if feature.type in named else "number"
        for feature in table.features
        if not chosen or feature.name in chosen
    }


def sliced_by(project: Project) -> tuple[str, ...]:
    """Attributes by whose values evidence is kept too, in the order they are named."""
    rollout = project.spec.rollout
    bounds = (*rollout.guardrails, *rollout.signals) if rollout is not None else ()
    wanted = (*project.spec.metrics.values(), *bounds)
    return tuple({name: None for one in wanted for name in one.slices})


def other_events(project: Project) -> tuple[Event, ...]:
    """Events of the project's metrics that are kept for first exposures alone, in order."""
    found = {
        event_of(metric.event)
        for metric in project.spec.metrics.values()
        if not isinstance(metric, ClassifierMetric)
    }
    return tuple(sorted(event for event in found if event.kind not in _OF_OLD))


def _slow_us(metric: Metric) -> tuple[int, ...]:
    """The latency beyond which it counts an answer, in microseconds; nothing for other metrics."""
    bound = slow_us(metric) if isinstance(metric, OperationalMetric) else 0
    return (bound,) if bound else ()


def slow_us(metric: OperationalMetric) -> int:
    """The bound of `latency > DURATION`, in microseconds; 0 for errors."""
    _, _, duration = metric.event.partition("latency > ")
    return parse_duration(duration) * 1000 if duration else 0
