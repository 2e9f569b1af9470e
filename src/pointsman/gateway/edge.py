"""What connections hand their requests to: finds routes, keeps the table, counts answers."""

import logging
from email.utils import formatdate

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.gateway.counters import Counters
from pointsman.gateway.errors import INTERNAL, STATUS
from pointsman.gateway.exchange import Exchange
from pointsman.gateway.heads import KnownHeads
from pointsman.gateway.intake import Intake
from pointsman.gateway.pipeline import Pipeline
from pointsman.gateway.routes import FAST, Match, Router, decoded
from pointsman.gateway.served import Table
from pointsman.gateway.settings import Limits
from pointsman.gateway.tracing import Tracing
from pointsman.gateway.work import Job

_logger = logging.getLogger(__name__)


class Edge:
    """One worker's.

    table: replaced as a whole; `Table` says what it holds
    common: header lines of every answer (the date), renewed once a second
    buffered: body bytes of requests that are not answered yet
    now: event-loop time, renewed ten times a second: fine enough for idle connections
    tracing: None where requests are not traced
    ready: whether new requests should come here; False before a table is loaded and while draining
    """

    def __init__(
        self, limits: Limits, intake: Intake, pipeline: Pipeline, counters: Counters, table: Table
    ) -> None:
        self.limits = limits
        self.table = table
        self.router = Router()
        self.heads = KnownHeads()
        self.common = ""
        self.now = 0.0
        self.ready = False
        self.draining = False
        self.buffered = 0
        self._intake = intake
        self._pipeline = pipeline
        self._counters = counters
        self.tracing: Tracing | None = None
        self._requests: dict[tuple[str, int], int] = {}
        self.head_too_large = PointsmanError(
            Kind.TOO_LARGE,
            f"the request line and headers are longer than {limits.head_bytes} bytes",
            hint="send fewer or shorter headers",
        )
        self.body_too_large = PointsmanError(
            Kind.TOO_LARGE,
            f"the body is longer than {limits.batch_bytes} bytes",
            hint="split the request",
        )
        pipeline.edge = self
        self.renew_date(0.0)

    def renew_date(self, now_s: float) -> None:
        """Called once a second."""
        self.common = f"date: {formatdate(now_s, usegmt=True)}\r\n"
        self.heads.make_room()

    def swap(self, table: Table) -> None:
        """Serves from this table; requests in flight keep the one they were decided by."""
        self.table = table
        self._pipeline.table = table.version

    def match_fast(self, method: bytes, target: bytes) -> Match | None:
        """The fast-lane route of an unusual target: escaped, with a query, of an unknown project.

        None leaves the request, and what is wrong with it, to the slow lane.
        """
        try:
            match = self.router.find(method.decode("ascii"), decoded(target))
        except PointsmanError:
            return None
        return match if match.action in FAST else None

    def accept(self, exchange: Exchange) -> None:
        """Takes a complete fast-lane request; its answer comes in this turn or a later one."""
        match = exchange.match
        assert match is not None  # canned exchanges do not come here
        try:
            job = self._intake.read(self.table, match, exchange.headers, exchange.body, exchange)
            exchange.body = b""
            if self._pipeline.pending_rows + len(job.rows) > self.limits.pending_rows:
                if job.trace is not None and self.tracing is not None:
                    self.tracing.finished(job, 503, Kind.OVERLOADED.value)
                job.close()
                self.answered(match.route, 503)
                exchange.refuse(self._overloaded(), job.trace_lines)
            else:
                self._pipeline.submit(job)
        except PointsmanError as error:
            status = STATUS[error.kind]
            self.answered(match.route, status)
            if self.tracing is not None:
                self.tracing.refused(exchange.headers, match.route, match.project, error, status)
            exchange.refuse(error)
        except Exception:
            _logger.exception("a request could not be read")
            self.answered(match.route, 500)
            if self.tracing is not None:
                self.tracing.refused(exchange.headers, match.route, match.project, INTERNAL, 500)
            exchange.refuse(INTERNAL)

    def no_room(self) -> PointsmanError:
        return PointsmanError(
            Kind.OVERLOADED,
            f"requests that wait hold more than {self.limits.buffered_bytes} bytes",
            hint="send again after the time in retry-after, or add workers",
        )

    def _overloaded(self) -> PointsmanError:
        return PointsmanError(
            Kind.OVERLOADED,
            f"{self._pipeline.pending_rows} rows are waiting already",
            hint="send again after the time in retry-after, or add workers",
        )

    def refuse(self, job: Job, error: PointsmanError) -> None:
        """Answers a job that has no answer, under its decision id."""
        status = STATUS[error.kind]
        self.answered(job.route, status)
        exchange = job.reply
        assert isinstance(exchange, Exchange)
        exchange.refuse(error, f"x-decision-id: {job.id}\r\n{job.trace_lines}")

    def answered(self, route: str, status: int) -> None:
        """Counts an answer."""
        place = self._requests.get((route, status))
        if place is None:
            labels = (("route", route), ("status", str(status)))
            place = self._counters.index("pointsman_requests", labels)
            self._requests[route, status] = place
        self._counters.values[place] += 1

    def refused(self, status: int) -> None:
        """Counts a request that was refused before its route was known."""
        self.answered("none", status)

    def timed_out(self, phase: str) -> None:
        self._counters.add("pointsman_client_timeouts", (("phase", phase),))

    def connection_refused(self) -> None:
        self._counters.add("pointsman_connections_refused")
