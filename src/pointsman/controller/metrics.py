"""`/metrics` of the controller: what is decided here, beside what gateways count themselves."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from fastapi import Request, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

import pointsman
from pointsman.controller import lag
from pointsman.controller.intake import Intake
from pointsman.controller.ledger import Ledger
from pointsman.controller.permissions import Permission, Route, caller
from pointsman.controller.process import Loop
from pointsman.controller.project_metrics import ProjectMetrics
from pointsman.store import journal_state, published

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_TROUBLES: Final = ("faults", "unconfigured", "unmerged")


class ControllerMetrics:
    """Made anew for each scrape.

    data: the data directory
    """

    def __init__(
        self,
        data: Path,
        ledger: Ledger,
        projects: ProjectMetrics,
        intake: Intake,
        loops: Sequence[Loop],
    ) -> None:
        self._data = data
        self._ledger = ledger
        self._projects = projects
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
        yield from self._process()
        yield from self._ingest()
        yield self._outcomes(tenant)
        yield from self._projects.collect(tenant)

    def _process(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "pointsman_build_info",
            "1; the version is in the label.",
            labels=["component", "version"],
        )
        build.add_metric(["controller", pointsman.__version__], 1)
        yield build
        with self._ledger.reading() as connection:
            newest = published.latest(connection)
        yield GaugeMetricFamily(
            "pointsman_published_table_version",
            "Version of the newest table; gateways say which one they serve from.",
            value=0 if newest is None else newest.version,
        )
        yield GaugeMetricFamily(
            "pointsman_data_free_bytes",
            "Room left on the disk of the data directory.",
            value=shutil.disk_usage(self._data).free,
        )
        failing = GaugeMetricFamily(
            "pointsman_loop_failing",
            "Whether background work failed at its last turn (1) or not (0).",
            labels=["loop"],
        )
        for loop in self._loops:
            failing.add_metric([loop.name], float(bool(loop.failing)))
        yield failing

    def _ingest(self) -> Iterator[Metric]:
        intake = self._intake
        lag_ms = max(self._ledger.now_ms() - intake.caught_up_ms, 0)
        known = intake.caught_up_ms > 0
        yield GaugeMetricFamily(
            "pointsman_ingest_lag_seconds",
            "How long ago everything in the journal had been taken in; NaN until it first was.",
            value=lag_ms / 1000 if known else float("nan"),
        )
        with self._ledger.reading() as connection:
            positions = journal_state.load_positions(connection)
        behind = GaugeMetricFamily(
            "pointsman_ingest_lag_bytes",
            "Bytes of a gateway worker's journal that are not taken in yet.",
            labels=["stream"],
        )
        for stream, size in lag.behind(self._data / "journal", positions).items():
            behind.add_metric([stream], size)
        yield behind
        yield GaugeMetricFamily(
            "pointsman_journal_streams_unreadable",
            "Journals of gateway workers that cannot be read.",
            value=len(intake.troubles.unreadable),
        )
        records = CounterMetricFamily(
            "pointsman_ingested_records",
            "Records taken in since this process started, by what they are.",
            labels=["kind"],
        )
        for kind, count in intake.taken_in.items():
            records.add_metric([kind], count)
        yield records
        troubles = CounterMetricFamily(
            "pointsman_ingest_troubles",
            "What could not be taken in as it should, by kind.",
            labels=["kind"],
        )
        for kind in _TROUBLES:
            troubles.add_metric([kind], getattr(intake.troubles, kind))
        yield troubles

    def _outcomes(self, tenant: str) -> Metric:
        family = CounterMetricFamily(
            "pointsman_outcomes",
            "Feedback by what became of it since this process started; project is empty where its "
            "decision is not known.",
            labels=["project", "state"],
        )
        for (project, state), count in sorted(self._intake.settled.items()):
            if not tenant or project.startswith(f"{tenant}/"):
                family.add_metric([project, state], count)
        return family


class _Collected:
    """What prometheus-client's exposition asks for its families."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
