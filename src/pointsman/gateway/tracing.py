"""Tracing of the request path: decided at the head, written down for requests that are sampled.

Where tracing is off nothing here exists, and the header of the caller is passed on (`passed_on`).
Where it is on, a request that is not sampled costs the draw. One that is sampled costs a few
readings of the clock; its spans are made after the answer, in the exporting thread.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from xxhash import xxh3_64_intdigest

from pointsman.gateway import telling
from pointsman.gateway.counters import Counters
from pointsman.gateway.telling import Answered, Asked, Refused, Shadowed, Told
from pointsman.telemetry.context import SAMPLED, Context, header_lines, parse
from pointsman.telemetry.outlet import FAILED, FULL, Outlet
from pointsman.telemetry.sampling import Sampler
from pointsman.telemetry.spans import fresh_span

if TYPE_CHECKING:
    from pointsman.domain.errors import PointsmanError
    from pointsman.gateway.served import Member
    from pointsman.gateway.work import Job, Row

_logger = logging.getLogger(__name__)
DROPPED: Final = "pointsman_telemetry_dropped"
_UNINTERRUPTED_NS: Final = 10_000
GONE: Final = "client_gone"
"""error.type of a request whose client left before it was answered."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """One call of a variant on behalf of a sampled request.

    rows: of the batch, those of other requests included; failed: why it gave nothing, as one word
    """

    member: "Member"
    rows: int
    began_ns: int
    ended_ns: int
    failed: str


class Trace(msgspec.Struct, gc=False):
    """A sampled request, while it is under way. Times are of `time.perf_counter_ns`.

    parent: span id of the caller, empty where the trace begins here
    """

    trace: str
    span: str
    parent: str
    state: str
    decide_ns: int = 0
    decided_ns: int = 0
    calls: list[Call] = []


def passed_on(headers: Mapping[bytes, bytes], id_: str) -> str:
    """Header lines of an answer where nothing is traced: the caller's context as it came; else one
    derived from the decision id, not sampled."""
    traceparent = headers.get(b"traceparent")
    if traceparent is not None:
        given = parse(traceparent, headers.get(b"tracestate"))
        if given is not None:
            return header_lines(given.trace, given.span, given.flags, given.state)
    text = id_.replace("-", "")
    return f"traceparent: 00-{text}-{text[16:]}-00\r\n"


def named(job: "Job") -> dict[str, str]:
    """What a log line about a request ends in (`logs`)."""
    trace = job.trace
    if trace is None:
        return {"job": job.id}
    return {"job": job.id, "trace": trace.trace, "span": trace.span}


class Tracing:
    """One worker's. Everything but `dropped` runs on its event loop."""

    def __init__(
        self,
        sampler: Sampler,
        outlet: Callable[[Callable[[str, int], None]], Outlet],
        counters: Counters,
        unit: Callable[[str, str], str] = telling.no_unit,
    ) -> None:
        """outlet: made with what is to be called for each loss; unit: what events say of a unit,
        from project and unit"""
        self._sampler = sampler
        self._values = counters.values
        self._lost = {why: counters.index(DROPPED, (("reason", why),)) for why in (FULL, FAILED)}
        self.outlet = outlet(self.dropped)
        self._unit = unit
        self._offset_ns = time.time_ns() - time.perf_counter_ns()

    def dropped(self, why: str, count: int) -> None:
        # Each reason has a word of its own, since each is counted by a thread of its own.
        self._values[self._lost[why]] += count

    def begin(self, headers: Mapping[bytes, bytes], id_: str) -> tuple[str, Trace | None]:
        """Header lines for the answer, and what is written down; None for a request that is not
        sampled.

        A trace that begins here is named by the first half of the decision id, which is its time,
        and a hash of it: identifiers made in the same millisecond are alike, and samplers read the
        low bits.
        """
        traceparent = headers.get(b"traceparent")
        if traceparent is not None:
            given = parse(traceparent, headers.get(b"tracestate"))
            if given is not None:
                return self._continue(given)
        low = xxh3_64_intdigest(id_.encode()) or 1
        trace = f"{id_[:8]}{id_[9:13]}{id_[14:18]}{low:016x}"
        if not self._sampler.takes(low):
            return f"traceparent: 00-{trace}-{low:016x}-00\r\n", None
        span = fresh_span()
        return header_lines(trace, span, SAMPLED, ""), Trace(trace, span, "", "")

    def _continue(self, given: Context) -> tuple[str, Trace | None]:
        trace, flags, state = given.trace, given.flags, given.state
        if not self._sampler.follows(given):
            return header_lines(trace, given.span, flags, state), None
        span = fresh_span()
        lines = header_lines(trace, span, flags | SAMPLED, state)
        return lines, Trace(trace, span, given.span, state)

    def called(
        self,
        member: "Member",
        rows: Sequence["Row"],
        began_ns: int,
        ended_ns: int,
        failed: str = "",
    ) -> None:
        """Writes one call down for every sampled request with a row in it."""
        before: Trace | None = None
        for row in rows:
            trace = row.job.trace
            # Rows of a request come one after the other.
            if trace is not None and trace is not before:
                before = trace
                call = Call(member, len(rows), began_ns, ended_ns, failed)
                trace.calls.append(call)

    def finished(self, job: "Job", status: int, failed: str = "") -> None:
        """Tells of a sampled request that has its answer. Called before the job is closed.

        status: of the answer, 0 where there was nobody left to take it; failed: kind of the error
        """
        trace = job.trace
        if trace is None:
            return
        rows = job.rows
        asked = [
            Asked(row.id, row.unit, row.decision, row.member, row.tried, row.fault)
            for row in rows[: telling.MOST_ROWS]
        ]
        ended_ns = time.perf_counter_ns()
        done = Answered(
            trace, job.route, job.served, job.id, len(rows), asked, status, failed, job.logged,
            job.received_ns, ended_ns, self._offset(), self._unit,
        )  # fmt: skip
        self._tell(done)
        if status >= 500:
            _logger.warning("%s ended in %d (%s)", job.route, status, failed, extra=named(job))
        else:
            _logger.debug("%s answered with %d", job.route, status, extra=named(job))

    def shadowed(
        self,
        watched: Sequence[tuple[str, Trace]],
        member: "Member",
        began_ns: int,
        ended_ns: int,
        failed: str,
    ) -> None:
        """Tells of one call of a shadow. watched: decision ids of the sampled rows among those it
        was shown, and their traces"""
        offset_ns = self._offset()
        self._tell(Shadowed(watched, member, began_ns + offset_ns, ended_ns + offset_ns, failed))

    def refused(
        self,
        headers: Mapping[bytes, bytes],
        route: str,
        project: str,
        error: "PointsmanError",
        status: int,
    ) -> None:
        """Tells of a request that was refused before it was decided, where its caller's trace is
        sampled; one without a caller leaves no trace."""
        given = parse(headers.get(b"traceparent"), headers.get(b"tracestate"))
        if given is None or not self._sampler.follows(given):
            return
        self._tell(Refused(given, route, project, error.kind.value, status, time.time_ns()))

    def _offset(self) -> int:
        """What makes Unix nanoseconds of `perf_counter_ns`. A reading that was interrupted half-way
        would shift a span away from its neighbours, so it is left out."""
        before = time.perf_counter_ns()
        now = time.time_ns()
        after = time.perf_counter_ns()
        if after - before < _UNINTERRUPTED_NS:
            self._offset_ns = now - (before + after) // 2
        return self._offset_ns

    def _tell(self, what: Told) -> None:
        self.outlet.tell(what.signals)
