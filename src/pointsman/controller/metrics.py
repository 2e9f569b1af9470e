"""`/metrics` of the controller: what is decided here, beside what gateways count themselves."""

from collections.abc import Iterator, Sequence
from typing import Final

from fastapi import Request, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pointsman.controller.intake import Intake
from pointsman.controller.ledger import Ledger
from pointsman.controller.permissions import Permission, Route, caller
from pointsman.controller.process import Loop
from pointsman.controller.rollout_view import RolloutViews
from pointsman.controller.status import Statuses
from pointsman.rollout.machine import Phase
from pointsman.rollout.observation import Verdict
from pointsman.store import outbox, overview

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_DAY_MS: Final = 86_400_000
_TROUBLES: Final = ("faults", "unconfigured", "unmerged")


class ControllerMetrics:
    """Made anew for each scrape, from what the loops know already: no evidence is read for it.

    Labels are names that people gave (projects, variants) and closed sets, so there are no more
    series than there are of those.
    """

    def __init__(
        self,
        ledger: Ledger,
        statuses: Statuses,
        views: RolloutViews,
        intake: Intake,
        loops: Sequence[Loop],
    ) -> None:
        self._ledger = ledger
        self._statuses = statuses
        self._views = views
        self._intake = intake
        self._loops = loops

    def routes(self) -> list[Route]:
        return [Route("GET", "/metrics", Permission.READ, self.scrape)]

    def scrape(self, request: Request) -> Response:
        """As scrapers ask for it, with a token of role `viewer`."""
        body = self.exposition(caller(request).tenant)
        return Response(body, media_type=CONTENT_TYPE)

    def exposition(self, tenant: str = "") -> bytes:
        """In Prometheus' text format; of one tenant's projects where one is named."""
        return bytes(generate_latest(_Collected(list(self._collect(tenant)))))

    def _collect(self, tenant: str) -> Iterator[Metric]:
        yield from self._background()
        yield from self._projects(tenant)

    def _background(self) -> Iterator[Metric]:
        lag_ms = max(self._ledger.now_ms() - self._intake.caught_up_ms, 0)
        known = self._intake.caught_up_ms > 0
        yield GaugeMetricFamily(
            "pointsman_ingest_lag_seconds",
            "How long ago everything in the journal had been taken in; NaN until it first was.",
            value=lag_ms / 1000 if known else float("nan"),
        )
        yield CounterMetricFamily(
            "pointsman_ingested_records",
            "Records taken in since this process started.",
            value=self._intake.records,
        )
        troubles = CounterMetricFamily(
            "pointsman_ingest_troubles",
            "What could not be taken in as it should, by kind.",
            labels=["kind"],
        )
        for kind in _TROUBLES:
            troubles.add_metric([kind], getattr(self._intake.troubles, kind))
        yield troubles
        failing = GaugeMetricFamily(
            "pointsman_loop_failing",
            "Whether background work failed at its last turn (1) or not (0).",
            labels=["loop"],
        )
        for loop in self._loops:
            failing.add_metric([loop.name], float(bool(loop.failing)))
        yield failing

    def _projects(self, tenant: str) -> Iterator[Metric]:
        target = GaugeMetricFamily(
            "pointsman_target_share",
            "Share of units a variant should have under the project's last rule.",
            labels=["project", "variant"],
        )
        labelled = GaugeMetricFamily(
            "pointsman_labels_known_ratio",
            "Share of the past day's decisions whose label is known, by the variant that served.",
            labels=["project", "variant"],
        )
        pending = GaugeMetricFamily(
            "pointsman_outbox_pending",
            "What has been decided and is not done yet: tables, aliases, notifications.",
            labels=["project"],
        )
        phase = GaugeMetricFamily(
            "pointsman_rollout_phase",
            "1 for the phase a rollout is in, 0 for the others.",
            labels=["project", "variant", "phase"],
        )
        verdict = GaugeMetricFamily(
            "pointsman_rollout_verdict",
            "1 for the last verdict on a rollout, 0 for the others.",
            labels=["project", "variant", "verdict"],
        )
        weight = GaugeMetricFamily(
            "pointsman_rollout_weight",
            "Share of units a rollout's variant is to have now.",
            labels=["project", "variant"],
        )
        found = self._statuses.overview(tenant)
        with self._ledger.reading() as connection:
            known = overview.label_coverage(connection, self._ledger.now_ms() - _DAY_MS)
            left = {one["project"]: len(outbox.left(connection, one["project"])) for one in found}
        for one in found:
            name = one["project"]
            for variant, share in one["target"].items():
                target.add_metric([name, variant], share)
            for variant, share in known.get(name, {}).items():
                labelled.add_metric([name, variant], share)
            pending.add_metric([name], left[name])
            rollout = self._views.glance(name)
            if rollout is None:
                continue
            variant = rollout["variant"]
            weight.add_metric([name, variant], rollout["weight"])
            for one_phase in Phase:
                phase.add_metric([name, variant, one_phase], float(one_phase == rollout["phase"]))
            for said in Verdict:
                verdict.add_metric([name, variant, said], float(said == rollout["verdict"]))
        yield from (target, labelled, pending, phase, verdict, weight)


class _Collected:
    """What prometheus-client's exposition asks for its families."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
