"""From what a sampled request left behind to its spans and events. Runs in the exporting thread.

Values are never told: no feature, nothing of the context, no message that may quote them. A unit
only as the operator chose.

Names: OpenTelemetry's semantic conventions for HTTP servers and for feature flags
(https://opentelemetry.io/docs/specs/semconv/feature-flags/feature-flags-events/); what they have no
word for begins with `pointsman.`.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from pointsman.domain.decision import Decision, Reason
from pointsman.domain.table import Runtime
from pointsman.telemetry.context import Context
from pointsman.telemetry.spans import Attributes, Event, Signal, Span, SpanKind, fresh_span

if TYPE_CHECKING:
    from pointsman.gateway.served import Member, Served
    from pointsman.gateway.tracing import Call, Trace

MOST_ROWS: Final = 16
"""Rows of one request that have events of their own; a span says how many there were."""
EVALUATION: Final = "feature_flag.evaluation"
ROUTES: Final = {
    "infer": "/v2/models/{project}/infer",
    "predict": "/v1/projects/{project}:predict",
    "decide": "/v1/projects/{project}:decide",
}
REASONS: Final[dict[Reason, str]] = {
    Reason.RULE: "targeting_match",
    Reason.SPLIT: "split",
    Reason.BANDIT: "split",
    Reason.ENSEMBLE: "static",
    Reason.PINNED: "pinned",
    Reason.HOLDOUT: "split",
    Reason.FALLBACK: "default",
    Reason.KILLED: "disabled",
    Reason.DEFAULT: "default",
}
"""Our reasons in the words of the conventions; a pin has none. `pointsman.reason` is exact."""

Unit = Callable[[str, str], str]


def no_unit(_project: str, _unit: str) -> str:
    """Units are not told."""
    return ""


def plain_unit(_project: str, unit: str) -> str:
    """The unit as it came."""
    return unit


def hashed_unit(project: str, unit: str) -> str:
    """BLAKE2b-128 of project, NUL, unit, as hex: the same unit has the same within a project, and
    another in another. Whoever can guess units can check a guess."""
    return hashlib.blake2b(f"{project}\0{unit}".encode(), digest_size=16).hexdigest()


UNITS: Final[dict[str, Unit]] = {"none": no_unit, "hashed": hashed_unit, "plain": plain_unit}


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One row of a sampled request: what was decided, and who answered."""

    id: str
    unit: str | None
    decision: Decision
    member: "Member"
    tried: int
    fault: str


class Answered(msgspec.Struct, frozen=True):
    """A sampled request that is over. Times by `perf_counter_ns`; offset_ns makes them Unix's."""

    trace: "Trace"
    route: str
    served: "Served"
    id: str
    rows: int
    asked: Sequence[Asked]
    status: int
    failed: str
    logged: bool
    began_ns: int
    ended_ns: int
    offset_ns: int
    unit: Unit

    def signals(self) -> Iterator[Signal]:
        trace = self.trace
        yield self._server()
        if trace.decided_ns:
            yield self._decide()
        for call in trace.calls:
            yield self._call(call)
        for one in self.asked:
            yield self._evaluation(one)

    def _server(self) -> Span:
        trace, table = self.trace, self.served.table
        said: Attributes = http(self.route, self.status)
        said |= {
            "pointsman.project": table.project,
            "pointsman.tenant": table.tenant,
            "pointsman.decision_id": self.id,
            "pointsman.rows": self.rows,
        }
        if self.asked:
            first = self.asked[0]
            said["pointsman.variant"] = first.member.name
            said["pointsman.version"] = first.member.variant.version
            said["pointsman.reason"] = reason(first).value
        if not self.logged:
            said["pointsman.unlogged"] = True
        if self.failed:
            said["error.type"] = self.failed
        ours = self.status >= 500 or self.status == 0
        return Span(
            f"POST {ROUTES[self.route]}",
            trace.trace,
            trace.span,
            trace.parent,
            self.began_ns + self.offset_ns,
            self.ended_ns + self.offset_ns,
            SpanKind.SERVER,
            said,
            # As the conventions have it: what the caller did wrong is no error of the server's.
            self.failed if ours else "",
            remote=True,
            state=trace.state,
        )

    def _decide(self) -> Span:
        said: Attributes = {
            "pointsman.project": self.served.table.project,
            "pointsman.table.digest": self.served.digest,
        }
        if self.asked:
            decision = self.asked[0].decision
            said |= {
                "pointsman.rule": decision.rule,
                "pointsman.assigned": decision.assigned,
                "pointsman.propensity": decision.propensity,
            }
        return self._child("decide", (self.trace.decide_ns, self.trace.decided_ns), said)

    def _call(self, call: "Call") -> Span:
        member = call.member
        said = about(member) | {"pointsman.batch.rows": call.rows}
        if call.failed:
            said["error.type"] = call.failed
        times = (call.began_ns, call.ended_ns)
        made = self._child(f"call {member.name}", times, said, call.failed)
        return msgspec.structs.replace(made, kind=kind_of(member))

    def _child(self, name: str, times: tuple[int, int], said: Attributes, failed: str = "") -> Span:
        trace, offset = self.trace, self.offset_ns
        began, ended = times
        return Span(
            name,
            trace.trace,
            fresh_span(),
            trace.span,
            began + offset,
            ended + offset,
            attributes=said,
            failed=failed,
            state=trace.state,
        )

    def _evaluation(self, one: Asked) -> Event:
        decided, table = one.decision, self.served.table
        said: Attributes = {
            "feature_flag.key": table.project,
            "feature_flag.provider.name": "pointsman",
            "feature_flag.set.id": table.tenant,
            "feature_flag.version": str(table.number),
            "feature_flag.result.variant": decided.assigned,
            "feature_flag.result.reason": "error" if decided.error else REASONS[decided.reason],
            "pointsman.decision_id": one.id,
            "pointsman.propensity": decided.propensity,
            "pointsman.rule": decided.rule,
            "pointsman.reason": decided.reason.value,
            "pointsman.served": one.member.name,
            "pointsman.version": one.member.variant.version,
        }
        if decided.error:
            said["error.type"] = "condition"
        if one.fault:
            said["pointsman.fault"] = str(one.fault)
        unit = "" if one.unit is None else self.unit(self.served.key, one.unit)
        if unit:
            said["feature_flag.context.id"] = unit
        at_ns = (self.trace.decided_ns or self.ended_ns) + self.offset_ns
        return Event(EVALUATION, at_ns, said, self.trace.trace, self.trace.span)


class Shadowed(msgspec.Struct, frozen=True):
    """One call of a shadow: a span in the trace of each sampled request it was shown.

    began_ns, ended_ns: Unix nanoseconds
    """

    watched: Sequence[tuple[str, "Trace"]]
    member: "Member"
    began_ns: int
    ended_ns: int
    failed: str

    def signals(self) -> Iterator[Signal]:
        for id_, trace in self.watched:
            said = about(self.member) | {"pointsman.decision_id": id_}
            if self.failed:
                said["error.type"] = self.failed
            yield Span(
                f"shadow {self.member.name}",
                trace.trace,
                fresh_span(),
                trace.span,
                self.began_ns,
                self.ended_ns,
                kind_of(self.member),
                said,
                self.failed,
                state=trace.state,
            )


class Refused(msgspec.Struct, frozen=True):
    """A request of a sampled trace that nothing was decided about."""

    parent: Context
    route: str
    project: str
    failed: str
    status: int
    at_ns: int

    def signals(self) -> Iterator[Signal]:
        said = http(self.route, self.status)
        said |= {"pointsman.project": self.project, "error.type": self.failed}
        yield Span(
            f"POST {ROUTES[self.route]}",
            self.parent.trace,
            fresh_span(),
            self.parent.span,
            self.at_ns,
            self.at_ns,
            SpanKind.SERVER,
            said,
            self.failed if self.status >= 500 else "",
            remote=True,
            state=self.parent.state,
        )


Told = Answered | Shadowed | Refused


def http(route: str, status: int) -> Attributes:
    """What the conventions ask of an HTTP server's span."""
    said: Attributes = {"http.request.method": "POST", "http.route": ROUTES[route]}
    said["url.scheme"] = "http"
    if status:
        said["http.response.status_code"] = status
    return said


def about(member: "Member") -> Attributes:
    variant = member.variant
    return {
        "pointsman.variant": member.name,
        "pointsman.version": variant.version,
        "pointsman.runtime": variant.runtime.value,
    }


def kind_of(member: "Member") -> SpanKind:
    """A native model is another process; the others answer in ours."""
    return SpanKind.CLIENT if member.variant.runtime is Runtime.NATIVE else SpanKind.INTERNAL


def reason(one: Asked) -> Reason:
    """`FALLBACK` where another than the assigned variant answered, else as decided."""
    return one.decision.reason if one.tried == 1 else Reason.FALLBACK
