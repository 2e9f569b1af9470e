"""Events of decisions: which decisions have them, and which could have none."""

import msgspec
import pytest

from pointsman.domain.events import Event, happened
from pointsman.domain.records import WITHHELD, DecisionRecord

CLASSES = ("no", "yes")
ANSWERED = DecisionRecord(
    id="d", at_ms=0, project="default/loan", digest="ab" * 32, table=1, request_id="", unit="anna",
    bucket=0, unit_hash=0, context={}, rule="default", epoch=1, assigned="challenger",
    served="challenger", version="3", reason="SPLIT", served_reason="SPLIT", propensity=0.5,
    propensities=(), probabilities=(0.25, 0.75), predicted="yes", action="deny", latency_us=1500,
    cost=0.5, features=b"{}",
)  # fmt: skip
FELL_BACK = msgspec.structs.replace(
    ANSWERED, served="champion", served_reason="FALLBACK", fault="malformed"
)
FAILED = msgspec.structs.replace(
    ANSWERED, served="", predicted="", action="", probabilities=(), fault="timeout"
)
DECIDED_ONLY = msgspec.structs.replace(ANSWERED, predicted="", action="", probabilities=())


@pytest.mark.parametrize(
    ("event", "answered", "fell_back", "failed"),
    [
        (Event("denied"), True, True, None),
        (Event("positive"), True, True, None),
        (Event("score", 0.7), True, True, None),
        (Event("score", 0.75), False, False, None),
        (Event("cost", 0.4), True, True, None),
        (Event("cost", 0.5), False, False, None),
        (Event("latency", 1499), True, True, None),
        (Event("latency", 1500), False, False, None),
        (Event("error"), False, True, True),
        (Event("fallback"), False, True, False),
        (Event("timeout"), False, False, True),
        (Event("malformed"), False, True, False),
        (Event("unheard-of"), None, None, None),
    ],
)
def test_an_event_happened_did_not_or_could_not(event, answered, fell_back, failed):
    """Answers alone can be denied or slow; who did not answer failed; `:decide` is neither."""
    said = [happened(event, r, CLASSES, "yes") for r in (ANSWERED, FELL_BACK, FAILED)]

    assert said == [answered, fell_back, failed]
    assert happened(event, DECIDED_ONLY, CLASSES, "yes") is None


def test_a_withheld_answer_says_nothing_of_latency():
    """It took what the row that failed took; what it came to still counts."""
    withheld = msgspec.structs.replace(ANSWERED, error=WITHHELD)

    assert happened(Event("latency", 1), withheld, CLASSES, "yes") is None
    assert happened(Event("denied"), withheld, CLASSES, "yes") is True


def test_events_are_named_by_what_they_are():
    """Equal names are counted together, so a limit is part of one."""
    names = [Event("score", 0.9).name, Event("latency", 1e5).name, Event("timeout").name]

    assert names == ["score/0.9", "latency/100000", "timeout"]
