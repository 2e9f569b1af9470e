"""What `/metrics` of the controller says of each project.

Labels are names that people gave (projects, variants) and closed sets, so there are no more series
than there are of those.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import Connection

from pointsman.controller.ledger import Ledger
from pointsman.controller.rollout_view import RolloutViews
from pointsman.controller.status import Statuses
from pointsman.judge.verdict import Code
from pointsman.rollout.machine import Phase
from pointsman.rollout.observation import Verdict
from pointsman.spec import canonical
from pointsman.spec.models import Drift
from pointsman.store import outbox, overview, published, references, revisions
from pointsman.store.revisions import Revision

_DAY_MS: Final = 86_400_000
_USUAL_DRIFT: Final = Drift()
PROJECT_PHASES: Final = ("serving", "updating", "degraded", "killed", "published")
UNBELIEVED: Final = {
    Code.SAMPLE_RATIO: "sample_ratio",
    Code.LABEL_COVERAGE: "label_coverage",
    Code.PROPENSITY: "propensity",
    Code.SELECTIVE_LABELS: "selective_labels",
}
"""Why a rollout's evidence cannot be believed, as labels have it."""

_FAMILIES: Final = {
    "pointsman_project_phase": (
        "1 for the phase a project is in, 0 for the others: `pointsman status` says why.",
        "phase",
    ),
    "pointsman_target_share": (
        "Share of units a variant should have under the project's last rule.",
        "variant",
    ),
    "pointsman_actual_share": (
        "Share of the past five minutes' decisions that a variant served.",
        "variant",
    ),
    "pointsman_labels_known_ratio": (
        "Share of the past day's decisions whose label is known, by the variant that served.",
        "variant",
    ),
    "pointsman_labels_matured_ratio": (
        "The same of the day that ended one label horizon ago: what is missing there stays so.",
        "variant",
    ),
    "pointsman_kill_switches": ("Kill switches that are set at the controller.", ""),
    "pointsman_drifted_columns": (
        "Inputs and answers that drifted in the newest hour or day that is over.",
        "",
    ),
    "pointsman_outbox_pending": (
        "What has been decided and is not done yet: tables, aliases, notifications.",
        "",
    ),
    "pointsman_rollout_phase": (
        "1 for the phase a rollout is in, 0 for the others.",
        "variant phase",
    ),
    "pointsman_rollout_verdict": (
        "1 for the last verdict on a rollout, 0 for the others.",
        "variant verdict",
    ),
    "pointsman_rollout_weight": (
        "Share of units a rollout's variant is to have now.",
        "variant",
    ),
    "pointsman_rollout_evidence_unsound": (
        "1 where a rollout's evidence cannot be believed, by why.",
        "variant why",
    ),
    "pointsman_rollout_step_timestamp_seconds": (
        "When the rollout's present step began, Unix time.",
        "variant",
    ),
    "pointsman_rollout_event_timestamp_seconds": (
        "When the last thing happened to a rollout, by what it was; Unix time.",
        "variant event",
    ),
}


class ProjectMetrics:
    """From what the loops know already: no evidence is read for it."""

    def __init__(self, ledger: Ledger, statuses: Statuses, views: RolloutViews) -> None:
        self._ledger = ledger
        self._statuses = statuses
        self._views = views

    def collect(self, tenant: str) -> Iterator[Metric]:
        """tenant: of whose projects; empty = of all"""
        families = {
            name: GaugeMetricFamily(name, text, labels=["project", *labels.split()])
            for name, (text, labels) in _FAMILIES.items()
        }
        found = self._statuses.overview(tenant)
        now_ms = self._ledger.now_ms()
        with self._ledger.reading() as connection:
            known = overview.label_coverage(connection, now_ms - _DAY_MS)
            horizons = {
                one.project: horizon
                for one in revisions.active(connection, tenant)
                if (horizon := _label_horizon_ms(one.spec)) is not None
            }
            matured = {
                name: overview.label_coverage(
                    connection, now_ms - horizon - _DAY_MS, now_ms - horizon, name
                ).get(name, {})
                for name, horizon in horizons.items()
            }
            drifted = {
                one.project: _drifted(connection, one, now_ms)
                for one in revisions.active(connection, tenant)
            }
            left = {one["project"]: len(outbox.left(connection, one["project"])) for one in found}
            switches = Counter(
                "/".join(one.target.split("/")[:2]) for one in published.kill_switches(connection)
            )
        for one in found:
            name = one["project"]
            _each(families["pointsman_target_share"], name, one["target"])
            _each(families["pointsman_actual_share"], name, one["actual"] or {})
            _each(families["pointsman_labels_known_ratio"], name, known.get(name, {}))
            _each(families["pointsman_labels_matured_ratio"], name, matured.get(name, {}))
            _one_of(families["pointsman_project_phase"], [name], PROJECT_PHASES, one["phase"])
            families["pointsman_kill_switches"].add_metric([name], switches[name])
            families["pointsman_drifted_columns"].add_metric([name], drifted.get(name, 0))
            families["pointsman_outbox_pending"].add_metric([name], left[name])
            rollout = self._views.glance(name)
            if rollout is not None:
                _rollout(families, name, rollout)
        yield from families.values()


def _rollout(
    families: Mapping[str, GaugeMetricFamily], name: str, rollout: Mapping[str, Any]
) -> None:
    about = [name, rollout["variant"]]
    families["pointsman_rollout_weight"].add_metric(about, rollout["weight"])
    _one_of(families["pointsman_rollout_phase"], about, Phase, rollout["phase"])
    _one_of(families["pointsman_rollout_verdict"], about, Verdict, rollout["verdict"])
    unsound = families["pointsman_rollout_evidence_unsound"]
    for code, why in UNBELIEVED.items():
        unsound.add_metric([*about, why], float(code in rollout["codes"]))
    step = families["pointsman_rollout_step_timestamp_seconds"]
    step.add_metric(about, rollout["entered_ms"] / 1000)
    if rollout["event"]:
        event = families["pointsman_rollout_event_timestamp_seconds"]
        event.add_metric([*about, rollout["event"]], rollout["event_ms"] / 1000)


def _each(family: GaugeMetricFamily, project: str, shares: Mapping[str, float]) -> None:
    for variant, share in shares.items():
        family.add_metric([project, variant], share)


def _one_of(
    family: GaugeMetricFamily, about: list[str], all_of: Iterable[str | StrEnum], true: str
) -> None:
    for one in all_of:
        family.add_metric([*about, str(one)], float(str(one) == true))


def _drifted(connection: Connection, revision: Revision, now_ms: int) -> int:
    wanted = _USUAL_DRIFT
    if b'"drift"' in revision.spec:
        wanted = canonical.parse(revision.spec).spec.drift
    since = wanted.newest_over_ms(now_ms)
    return len({one.name for one in references.alarms(connection, revision.project, since)})


def _label_horizon_ms(spec: bytes) -> int | None:
    if b'"outcomes"' not in spec:
        return None  # most declare none, and are not worth parsing at every scrape
    label = canonical.parse(spec).spec.outcomes.label
    return None if label is None else label.horizon
