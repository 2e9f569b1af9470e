"""A decision comes out the same from its record and its table, or says what does not."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.decide.allocation import initial
from pointsman.decide.engine import decide
from pointsman.decide.hashing import unit_hash
from pointsman.decide.live import recorded
from pointsman.decide.replay import Difference, replay
from pointsman.decide.table import load
from pointsman.domain.decision import NOTHING_LIVE, Live
from pointsman.domain.records import DecisionRecord
from pointsman.domain.table import SPACE

RECORD = msgspec.msgpack.Decoder(DecisionRecord)


def record_of(project, live, request, served=None):
    """The record a gateway writes, through its encoding and back."""
    decision = decide(project, live, request)
    served = decision.assigned if served is None else served
    record = DecisionRecord(
        id=request.id,
        at_ms=1,
        project="default/p",
        digest=project.digest,
        table=1,
        request_id="",
        unit=request.unit,
        bucket=decision.bucket,
        unit_hash=unit_hash(request.id if request.unit is None else request.unit),
        context=dict(request.context),
        rule=decision.rule,
        epoch=decision.epoch,
        assigned=decision.assigned,
        served=served,
        version="3" if served else "",
        reason=decision.reason,
        served_reason=decision.reason if served in ("", decision.assigned) else "FALLBACK",
        propensity=decision.propensity,
        propensities=decision.propensities,
        probabilities=(),
        predicted="",
        action="",
        latency_us=1,
        cost=0.0,
        features=b"",
        live=recorded(live),
        error=decision.error,
        pin=request.pin or "",
    )
    return RECORD.decode(msgspec.msgpack.encode(record))


@pytest.fixture
def project(make):
    """Conditions, holdout, three arms, a fallback."""
    split = initial({"champion": 50, "challenger": 30, "night": 20})
    return load(
        make.table(
            make.rule("big", when="request.amount > 100.0", use="night"),
            make.rule(allocation=split, holdout=SPACE // 10, fallback=("rules-only",)),
        )
    )


@given(
    unit=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    amount=st.none() | st.floats(0, 200),
    killed=st.booleans(),
    out=st.sampled_from([(), ("night",), ("challenger", "night")]),
    pin=st.sampled_from([None, "night", "challenger:3"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_decision_replays(make, project, unit, amount, killed, out, pin):
    """Whatever led to a decision, its record gives it again without a difference."""
    request = make.request(unit=unit, pin=pin, amount=amount)

    assert replay(project, record_of(project, Live(killed=killed, out=out), request)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project", "default/q"),
        ("digest", "0" * 64),
        ("unit_hash", 1),
        ("rule", "big"),
        ("epoch", 8),
        ("bucket", 17),
        ("assigned", "rules-only"),
        ("reason", "PINNED"),
        ("propensity", 0.5),
        ("propensities", (("champion", 1.0),)),
        ("served_reason", "FALLBACK"),
        ("served", "nobody"),
    ],
)
def test_every_forged_field_is_found(make, project, field, value):
    """A record whose decision was changed afterwards differs in that field."""
    record = record_of(project, NOTHING_LIVE, make.request())
    forged = msgspec.structs.replace(record, **{field: value})
    found = replay(project, forged)

    assert str(value) in [d.recorded for d in found if d.field == field]


def test_the_live_state_is_part_of_the_record(make, project):
    """A record that lost its live state no longer comes out the same."""
    record = record_of(project, Live(killed=True), make.request())
    found = replay(project, msgspec.structs.replace(record, live=()))

    assert Difference("reason", "KILLED", "SPLIT") in found


def test_a_fallback_that_was_declared_may_serve(make, project):
    """Who served may be the assigned variant or a declared fallback, or nobody; no one else."""
    request = make.request()

    assert replay(project, record_of(project, NOTHING_LIVE, request, served="rules-only")) == []
    nobody = record_of(project, NOTHING_LIVE, request, served="")
    assert replay(project, nobody) == []
    assert replay(project, msgspec.structs.replace(nobody, served_reason="FALLBACK")) == []
    (difference,) = replay(project, record_of(project, NOTHING_LIVE, request, served="night"))
    assert difference.field == "served"


@pytest.mark.parametrize(
    ("live", "context"),
    [(Live(killed=True), {}), (NOTHING_LIVE, {"amount": None})],
)
def test_a_fallback_may_serve_whatever_sent_a_request_to_the_champion(make, live, context):
    """A record of a fallback's answer under a kill switch or an erring condition replays."""
    project = load(
        make.table(make.rule(when="request.amount > 1.0", fallback=("rules-only", "night")))
    )
    record = record_of(project, live, make.request(**context), served="rules-only")

    assert (record.assigned, record.served_reason) == ("champion", "FALLBACK")
    assert replay(project, record) == []


def test_a_pin_that_the_table_does_not_know_is_a_difference(make, project):
    """A record with a pin of another version does not come from this table."""
    record = record_of(project, NOTHING_LIVE, make.request(pin="night"))
    (difference,) = replay(project, msgspec.structs.replace(record, pin="night:9"))

    assert (difference.field, difference.recorded) == ("pin", "night:9")
