"""One request on its way through the pipeline, and its rows, each a decision of its own."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from pointsman.domain.decision import Decision, Live, Value
from pointsman.domain.errors import PointsmanError

if TYPE_CHECKING:
    from pointsman.gateway.served import Member, Served
    from pointsman.gateway.tracing import Trace

Values = tuple[Value, ...]


class Reply(Protocol):
    """Where an answer goes: the connection's side of one request.

    disconnected: whether the client has left
    """

    disconnected: bool

    def respond(self, status: int, head: str, body: bytes) -> None:
        """Sends the answer; called exactly once. head: header lines, each ended by CRLF."""


class Fault(StrEnum):
    """Why the assigned variant gave no answer; its value is what the record says."""

    NONE = ""
    TIMEOUT = "timeout"
    LATE = "late"  # the deadline had passed before it was asked
    MALFORMED = "malformed"  # what it answered are no probabilities, NaN among them
    INPUT = "input"  # it cannot take what the caller sent
    UNAVAILABLE = "unavailable"  # the model runner, or a place in its queue, was not there
    QUALITY = "quality"  # it was not asked: the row has a problem that another variant answers
    ERROR = "error"


class Row(msgspec.Struct, gc=False):
    """One decision.

    id: of the decision; `<job id>/<row>` where the request has several
    values, features: in the order of the project's features, and as JSON for the record
    member: who is asked now: the assigned variant, then its fallbacks
    tried: how many have been asked
    scores: probabilities in class order, None until somebody answered
    chosen: position of the predicted class
    error: everything that went wrong on the way, for the record
    fault: why the assigned variant did not answer, whatever did instead
    quality: problems of the row and their answers, as the record has them
    """

    job: "Job"
    id: str
    unit: str | None
    context: dict[str, Value]
    decision: Decision
    values: Values
    features: bytes
    member: "Member"
    tried: int = 1
    scores: list[float] | None = None
    chosen: int = -1
    error: str = ""
    fault: Fault = Fault.NONE
    quality: tuple[str, ...] = ()


class Job(msgspec.Struct, gc=False):
    """One request.

    deadline: in event-loop time, seconds
    received_ns: `time.perf_counter_ns` when the last byte had arrived
    encode: from the finished job to (header lines, body)
    many: whether rows are decided as `<id>/<row>`
    form: what `encode` needs to know of the request besides
    packing: content encoding the client takes for large answers, empty for none
    waiting: rows without an answer; 0 from the start where only the decision is asked for
    logged: False where the journal could not take the records and the project goes on without
    failure: why there is no answer: of several rows' failures, the first
    dropped: the client left before all rows were scored
    trace_lines: header lines of the answer: its trace context
    trace: what is written down of a sampled request
    """

    reply: Reply
    route: str
    served: "Served"
    live: Live
    id: str
    request_id: str
    pin: str
    key: str
    idempotency_key: str
    trace_lines: str
    at_ms: int
    received_ns: int
    deadline: float
    encode: Callable[["Job"], tuple[str, bytes]]
    many: bool = False
    form: Any = None
    packing: str = ""
    rows: list[Row] = msgspec.field(default_factory=list)
    waiting: int = 0
    logged: bool = True
    failure: PointsmanError | None = None
    dropped: bool = False
    latency_us: int = 0
    trace: "Trace | None" = None

    def close(self) -> None:
        """Breaks the cycle of job and rows, which no collector would."""
        self.rows = []
