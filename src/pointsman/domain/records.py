"""What a journal holds: records, written once, never changed.

Encoded as MessagePack arrays: fields are only ever appended, with defaults, so that old segments
stay readable. The tag is the record's kind.
"""

from typing import Final, Literal

import msgspec

from pointsman.domain.decision import Value

WITHHELD: Final = "withheld: another row of the request failed"
"""Ends the error of a row whose variant answered, in a request that was answered with an error."""
LATE: Final = "late"
"""Fault of a decision whose deadline had passed before its variant was asked."""
QUALITY: Final = "quality"
"""Fault of a decision whose row had a problem that is answered by `fallback`."""
_UNASKED: Final = frozenset({LATE, QUALITY})


class DecisionRecord(msgspec.Struct, frozen=True, array_like=True, tag="decision"):
    """One answered decision (one row of a request).

    id: decision id; rows of a many-row request are `<id>/<row>`
    at_ms: gateway wall clock when the request was read, Unix milliseconds, UTC
    project: `tenant/project`; digest: of the ProjectTable used; table: manifest version
    request_id: the protocol's own id, echoed and recorded, nothing more
    unit: as given, None where the request had none (assigned by its own id)
    bucket: the unit's hash on [0, 2^32) under the split's salt, -1 where nothing was drawn
    unit_hash: xxh3_64 of the unit (or of the id) without salt, for exposures, as an unsigned 64-bit
    assigned / served: variant names; served is empty where nothing could answer this row
    version: of the served variant
    reason: as decided; served_reason: `FALLBACK` where served is not assigned, else the same
    probabilities: in the project's class order; empty for `:decide`
    predicted: class; action: `deny` | `allow`; both empty for `:decide`
    latency_us: from last byte read to answer encoded
    features: the row as JSON bytes, as the models saw it: validated, what was imputed in its place;
        empty for `:decide`
    live: variants that were out, and `*` where the project was killed
    error: what went wrong on the way (fallback cause, condition error, `WITHHELD`), empty where
        nothing
    key: id of the data key used, empty on an open gateway
    fault: why the assigned variant gave no answer, whatever did instead: `timeout`, `late` (the
        deadline had passed before it was asked), `malformed` (no probabilities, NaN among them),
        `input` (it cannot take what the caller sent), `unavailable` (the model runner was not
        there), `quality` (the row had a problem that another variant answers), `error`; empty where
        it answered, and in records of before this field
    quality: problems of the row, each as `feature:problem:answer`; empty where there are none, and
        in records of before this field
    """

    id: str
    at_ms: int
    project: str
    digest: str
    table: int
    request_id: str
    unit: str | None
    bucket: int
    unit_hash: int
    context: dict[str, Value]
    rule: str
    epoch: int
    assigned: str
    served: str
    version: str
    reason: str
    served_reason: str
    propensity: float
    propensities: tuple[tuple[str, float], ...]
    probabilities: tuple[float, ...]
    predicted: str
    action: str
    latency_us: int
    cost: float
    features: bytes
    live: tuple[str, ...] = ()
    error: str = ""
    pin: str = ""
    idempotency_key: str = ""
    key: str = ""
    fault: str = ""
    quality: tuple[str, ...] = ()

    @property
    def unasked(self) -> bool:
        """Whether its variant was never asked, the deadline having passed or the row being unfit:
        no failure of its own. Whoever delayed it is charged for that elsewhere."""
        return self.fault in _UNASKED

    @property
    def withheld(self) -> bool:
        """Whether it has an answer that nobody got, since another row of its request failed."""
        return self.error.endswith(WITHHELD)


class ShadowRecord(msgspec.Struct, frozen=True, array_like=True, tag="shadow"):
    """A shadow's answer to a decided request, under the same id. `error` says why there is none."""

    id: str
    at_ms: int
    project: str
    digest: str
    variant: str
    version: str
    probabilities: tuple[float, ...]
    predicted: str
    action: str
    latency_us: int
    error: str = ""


OutcomeKind = Literal["label", "reward", "cost"]


class OutcomeRecord(msgspec.Struct, frozen=True, array_like=True, tag="outcome"):
    """One acknowledged piece of feedback: what became known about a decision.

    id: the caller's, or the hash of (decision, kind, value, at)
    value: class name for a label; finite number for a reward or cost
    at_ms: when it became known, as the caller says (default: received_ms)
    tenant: of the key that sent it
    """

    id: str
    decision_id: str
    kind: OutcomeKind
    value: str | float
    at_ms: int
    received_ms: int
    tenant: str
    key: str = ""


class OverrideRecord(msgspec.Struct, frozen=True, array_like=True, tag="override"):
    """A gateway's own act on live state: a kill switch or ejection set or lifted, and why.

    target: `tenant/project` or `tenant/project/variant`
    """

    at_ms: int
    target: str
    set: bool
    actor: str
    reason: str


Record = DecisionRecord | ShadowRecord | OutcomeRecord | OverrideRecord
