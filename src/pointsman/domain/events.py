"""Events of decisions that need no label: what they are called, and whether one happened.

One definition for the control plane, which reads records, and for the reference. Gateways count the
same from rows on their way (`gateway.tally`); a test holds both to each other.
"""

from typing import Final

import msgspec

from pointsman.domain.records import DecisionRecord

LIMITED: Final = frozenset({"latency", "cost", "score"})
"""Events that are a figure being above a limit."""

_OF_ANSWERS: Final = frozenset({"denied", "positive", "score", "cost", "latency"})
"""Events that only an answer can have."""


class Event(msgspec.Struct, frozen=True, order=True):
    """One kind of event.

    kind: `denied`, `positive`, `score`, `error`, `fallback`, `timeout`, `malformed`, `latency`,
        `cost`
    limit: microseconds of latency, cost of a request, probability of the positive class
    """

    kind: str
    limit: float = 0.0

    @property
    def name(self) -> str:
        """Equal for the same event: `malformed`, `score/0.9`, `latency/100000`."""
        return f"{self.kind}/{self.limit:.12g}" if self.kind in LIMITED else self.kind


def happened(
    event: Event, record: DecisionRecord, classes: tuple[str, ...], positive: str
) -> bool | None:
    """Whether the decision had the event; None where it could have none.

    `:decide` asked for no answer, and some are too late to be asked for one: nothing can be said of
    those. What a row that was withheld took is what the row that failed took.
    """
    failed = record.served != record.assigned
    if event.kind in _OF_ANSWERS:
        return _of_answer(event, record, classes, positive) if record.action else None
    if record.unasked or (not record.action and not failed):
        return None
    match event.kind:
        case "error":
            return failed
        case "fallback":
            return failed and bool(record.served)
        case "timeout":
            return record.fault == "timeout"
        case "malformed":
            return record.fault == "malformed"
        case _:
            return None


def _of_answer(
    event: Event, record: DecisionRecord, classes: tuple[str, ...], positive: str
) -> bool | None:
    match event.kind:
        case "denied":
            return record.action == "deny"
        case "positive":
            return record.predicted == positive
        case "score":
            known = positive in classes and len(record.probabilities) == len(classes)
            return record.probabilities[classes.index(positive)] > event.limit if known else None
        case "cost":
            return record.cost > event.limit
        case _:
            return None if record.withheld else record.latency_us > event.limit
