"""The controller's object graph, and its process: `python -m pointsman.wiring.control`."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import Connection, Engine
from starlette.types import ASGIApp

from pointsman.alerts.of_serving import Behind
from pointsman.controller import app, asking, process
from pointsman.controller.access_routes import AccessRoutes
from pointsman.controller.alerting import Alerting, Links
from pointsman.controller.aliases import Aliases
from pointsman.controller.archiving import Archiver
from pointsman.controller.arrivals import Arrivals
from pointsman.controller.asking import Asking
from pointsman.controller.breakdown import Breakdowns
from pointsman.controller.candidate import Workshop
from pointsman.controller.catalog import Catalog, retentions
from pointsman.controller.dashboard_routes import DashboardRoutes
from pointsman.controller.deeds import Deeds
from pointsman.controller.drift_routes import DriftRoutes
from pointsman.controller.drifting import Drifts, Teller
from pointsman.controller.estimates import Estimates
from pointsman.controller.explanation import Explanations
from pointsman.controller.export_routes import ExportRoutes
from pointsman.controller.exporting import Exports
from pointsman.controller.feed import Feed
from pointsman.controller.gateway_routes import GatewayRoutes
from pointsman.controller.housekeeping import Housekeeping, SegmentRetention
from pointsman.controller.ingest import Ingester
from pointsman.controller.intake import Intake
from pointsman.controller.ledger import Ledger
from pointsman.controller.lookout import Lookout, Machinery
from pointsman.controller.metrics import ControllerMetrics
from pointsman.controller.news import News, Stamp
from pointsman.controller.overview_routes import OverviewRoutes
from pointsman.controller.permissions import Authenticator
from pointsman.controller.picture_routes import PictureRoutes
from pointsman.controller.process import Loop
from pointsman.controller.project_metrics import ProjectMetrics
from pointsman.controller.project_routes import ProjectRoutes
from pointsman.controller.projects import Projects
from pointsman.controller.quality_routes import QualityRoutes
from pointsman.controller.reachable import Reachable
from pointsman.controller.registered import Registered
from pointsman.controller.report_routes import ReportRoutes
from pointsman.controller.reports import Reports
from pointsman.controller.rollcall import RollCall
from pointsman.controller.rollout_routes import RolloutRoutes
from pointsman.controller.rollout_view import RolloutViews
from pointsman.controller.rollouts import Rollouts
from pointsman.controller.shadow_routes import ShadowRoutes
from pointsman.controller.shadowing import Shadowing
from pointsman.controller.status import Statuses
from pointsman.controller.switches import Switches
from pointsman.controller.system_routes import SystemRoutes
from pointsman.controller.timeline import Timelines
from pointsman.controller.watch import Watch
from pointsman.dashboard import STATIC
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.journal.writer import Limits
from pointsman.runtime import scoring
from pointsman.runtime.blobs import BlobStore
from pointsman.store import access, audit, published
from pointsman.store.access import Role, Token
from pointsman.store.audit import Entry
from pointsman.store.database import DATABASE_FILE, DataLock, open_database, when_full
from pointsman.supervisor import GIVE_UP
from pointsman.wiring import logs, settings, sources
from pointsman.wiring.alerting import Alerts
from pointsman.wiring.checkup import Background, Checkup
from pointsman.wiring.handover import Handover, Ready, say_ready, taken_over
from pointsman.wiring.settings import Settings
from pointsman.wiring.telemetry import Telemetry

INGEST_S: Final = 0.2
KEEP_S: Final = 60.0
ARCHIVE_S: Final = 10.0
FOLLOW_S: Final = 0.5
ROLLOUT_S: Final = 1.0
COMPARE_S: Final = 20.0
PROFILE_S: Final = 5.0


class SystemClock:
    """The wall clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Controller:
    """Everything the controller consists of. `close` gives the data directory up."""

    def __init__(self, wanted: Settings, handover: Handover) -> None:
        self.lock = DataLock(wanted.data)
        try:
            self.engine = open_database(wanted.data / DATABASE_FILE)
            clock = SystemClock()
            self.feed = Feed(None)
            ledger = Ledger(self.engine, self.feed, clock)
            self.created = _first_start(ledger, handover)
            base = (self.engine, self.feed, ledger, clock)
            self.links = Links(wanted.dashboard_url)
            self.telemetry = Telemetry(wanted)
            outside = (self.links, self.telemetry)
            self.loops, self.news, app = _graph(wanted, handover, base, outside)
            self.app = self.telemetry.around(app)
        except BaseException:
            self.lock.close()
            raise

    def close(self) -> None:
        self.telemetry.close()
        self.engine.dispose()
        self.lock.close()


def _graph(
    wanted: Settings,
    handover: Handover,
    base: tuple[Engine, Feed, Ledger, SystemClock],
    outside: tuple[Links, Telemetry],
) -> tuple[list[Loop], News, ASGIApp]:
    engine, feed, ledger, clock = base
    links, telemetry = outside
    blobs = BlobStore(wanted.blobs)
    registries, local = sources.registries(wanted)
    known = sources.Sources(registries, local)
    preparer = sources.Preparer(known, blobs, engine, clock, wanted)
    workshop = Workshop(known.resolve, preparer.prepare, blobs, preparer.known)
    archiver = Archiver(
        wanted.data, engine, lambda: retentions(ledger), gather_ms=wanted.archive_gather
    )
    asked = asking.Limits(model=scoring.Limits(memory_bytes=wanted.prepare_memory))
    asker = Asking(wanted.data, ledger, blobs, archiver.workbench, asked)
    projects = Projects(ledger, workshop, blobs, asker)
    aliases = Aliases(ledger, projects, known.resolve)
    arrivals = Arrivals(ledger)
    switches = Switches(ledger, projects)
    workers = RollCall(wanted.data / "gateway" / "workers")
    journal = wanted.data / "journal"
    intake = Intake(Ingester(journal, engine, Catalog(ledger, blobs)))
    segments = SegmentRetention(wanted.journal_keep, wanted.journal_max)
    keeper = Housekeeping(
        wanted.data, engine, lambda: retentions(ledger), segments, archive=archiver
    )
    watch = Watch(ledger, projects, workers, lambda: intake.caught_up_ms)
    deeds = Deeds(ledger, projects, known, sources.notifier(wanted, clock))
    rollouts = Rollouts(ledger, watch, deeds, telemetry.witness)
    ingesting = Loop("ingest", intake.turn, INGEST_S)
    keeping = Loop("housekeeping", lambda: keeper.sweep().more, KEEP_S)
    archiving = Loop("archive", lambda: archiver.turn().more, ARCHIVE_S)
    watching = Loop("registries", lambda: _look(known, arrivals, aliases), wanted.poll_s)
    following = Loop("following", aliases.follow, FOLLOW_S)
    growing = Loop("rollouts", rollouts.turn, ROLLOUT_S)
    telling = Loop("outbox", deeds.others, ROLLOUT_S)
    drifts = Drifts(ledger, projects)
    comparing = Loop("drift", Teller(ledger, drifts).turn, COMPARE_S)
    registered = Loop("profiles", Registered(ledger, projects, known).turn, PROFILE_S)
    loops = [
        ingesting,
        watching,
        following,
        growing,
        telling,
        keeping,
        archiving,
        comparing,
        registered,
    ]
    reachable = Reachable({registry.name: registry.check for registry in registries})
    machinery = Machinery(
        partial(_behind, wanted, intake, clock.now_ms()),
        lambda: {loop.name: loop.failing for loop in loops},
        lambda: reachable.errors,
    )
    alerts = Alerts(wanted, ledger, clock, Lookout(ledger, watch, workers, machinery), links)
    loops += alerts.loops(reachable)
    when_full(engine, lambda: _make_room(keeper, keeping))
    views = RolloutViews(ledger, watch, rollouts, clock.now_ms)
    verbs = RolloutRoutes(rollouts, views, workers, feed)
    statuses = Statuses(ledger, projects, workers, blobs, lambda: _troubles(intake, loops, alerts))
    explanations = Explanations(ledger, blobs, archiver.workbench)
    exports = Exports(wanted.data, ledger, blobs, archiver.workbench)
    background = Background(loops, intake, keeper.ballast)
    checkup = Checkup(wanted, engine, workers, background, registries)
    news = News(lambda: _stamp(ledger, intake, alerts.alerting))
    measured = ProjectMetrics(ledger, statuses, views)
    routes = [
        *ProjectRoutes(projects, switches, aliases, verbs, workers).routes(),
        *verbs.routes(),
        *OverviewRoutes(statuses, explanations, projects, views).routes(),
        *PictureRoutes(Timelines(ledger, projects), Breakdowns(ledger, projects)).routes(),
        *DriftRoutes(ledger, projects, drifts, Estimates(ledger, projects)).routes(),
        *DashboardRoutes(STATIC).routes(),
        *ControllerMetrics(wanted.data, ledger, measured, intake, loops).routes(),
        *alerts.routes(),
        *ShadowRoutes(Shadowing(ledger, projects)).routes(),
        *QualityRoutes(ledger, projects).routes(),
        *ExportRoutes(exports).routes(),
        *ReportRoutes(Reports(wanted.data / "reports", ledger, projects)).routes(),
        *AccessRoutes(ledger).routes(),
        *GatewayRoutes(feed, blobs, explanations.feedback).routes(),
        *SystemRoutes(
            checkup.facts, checkup.probes(), sources.webhooks(wanted, clock), watching.nudge, news
        ).routes(),
    ]
    authenticator = Authenticator(engine, handover.gateway_digest)
    hosts = {*wanted.admin_host_names, wanted.admin_host}
    return loops, news, app.build(routes, authenticator, hosts)


def _first_start(ledger: Ledger, handover: Handover) -> bool:
    """Creates the admin token where there is none, and a first table; whether the token was taken.

    With a table of no projects, gateways are ready before the first `apply`.
    """
    with ledger.reading() as connection:
        known = published.latest(connection)
        locked = not any(
            token.role is Role.ADMIN and not token.tenant and token.revoked_ms is None
            for token in access.tokens(connection)
        )
    if locked and handover.admin_id:
        token = Token(
            handover.admin_id,
            handover.admin_digest,
            "first admin",
            Role.ADMIN,
            "",
            ledger.now_ms(),
        )
        entry = Entry(
            "pointsman", "", f"token/{token.id}", "token.create", "first start: admin token created"
        )
        ledger.note(entry, lambda connection: access.add_token(connection, token))
    if known is None:
        entry = Entry("pointsman", "", "table", "start", "first start: an empty table published")
        ledger.publish(entry, _nothing)
    else:
        ledger.resume(known)
    return locked and bool(handover.admin_id)


def _stamp(ledger: Ledger, intake: Intake, alerting: Alerting) -> Stamp:
    with ledger.reading() as connection:
        return Stamp(audit.newest(connection), intake.records, alerting.changes)


def _behind(wanted: Settings, intake: Intake, started_ms: int) -> Behind:
    """How ingestion stands, and whether gateways of this machine can record."""
    journal = wanted.data / "journal"
    free = shutil.disk_usage(journal).free if journal.exists() else None
    needed = Limits().low_water_bytes
    unreadable = intake.troubles.unreadable
    return Behind(intake.caught_up_ms, started_ms, unreadable, free, needed)


def _make_room(keeper: Housekeeping, keeping: Loop) -> None:
    """Somebody met a full disk: housekeeping gives up its reserve at once."""
    keeper.relieve()
    keeping.nudge()


def _troubles(intake: Intake, loops: Sequence[Loop], alerts: Alerts) -> list[str]:
    """What whoever looks at any project should know of this controller."""
    failing = ", ".join(loop.name for loop in loops if loop.failing)
    said = [f"background work fails: {failing}; see `pointsman doctor`"] if failing else []
    return said + intake.troubles.sentences() + alerts.deliveries.troubles()


def _look(known: sources.Sources, arrivals: Arrivals, aliases: Aliases) -> bool:
    """One look at the registries."""
    seen = known.watch(arrivals.models() | aliases.models())
    arrivals.look(seen)
    return aliases.look(seen)


def _nothing(_: Connection) -> None:
    """The table is published as it is."""


def run(wanted: Settings) -> None:
    """Runs the controller until it is told to stop. Ends the process where it cannot start."""
    logs.configure(wanted.log_level)
    handover = taken_over()
    try:
        controller = Controller(wanted, handover)
    except PointsmanError as error:
        sys.stderr.write(f"{error.message}\n  hint: {error.hint}\n")
        raise SystemExit(GIVE_UP if error.kind is Kind.CONFLICT else 1) from None
    except OSError as error:
        sys.stderr.write(f"{wanted.data}: {error.strerror}\n")
        raise SystemExit(1) from None
    try:
        child = bool(handover.gateway_digest)
        listener = process.listen(wanted.admin_host, wanted.admin_port, shared=child)
        port = int(listener.getsockname()[1])
        say_ready(wanted.run, Ready(os.getpid(), port, controller.created))
        controller.links.at = controller.links.at or _address(wanted.admin_host, port)
        waited_for = (controller.feed, controller.news)
        asyncio.run(process.serve(controller.app, listener, waited_for, controller.loops))
    except OSError as error:
        where = f"{wanted.admin_host}:{wanted.admin_port}"
        sys.stderr.write(f"{where}: {error.strerror}\n  hint: see --admin-port\n")
        raise SystemExit(1) from None
    finally:
        controller.close()


def _address(host: str, port: int) -> str:
    """Where the dashboard is reached from this machine."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - to say, not to bind
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


if __name__ == "__main__":
    run(settings.load())
