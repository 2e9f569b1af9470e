"""`status`: what it says of decisions that no rule could make, and what it costs to look."""

import time

import msgspec
import pytest
from tests.controller.rollout_world import DAY, HOUR, NAME, World, started

from pointsman.controller.rollcall import RollCall
from pointsman.controller.status import Statuses
from pointsman.domain.decision import Reason
from pointsman.journal.codec import encode_record
from pointsman.store import overview
from pointsman.store.database import reader


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def test_evidence_that_takes_long_to_read_is_shown_again_for_a_while(world, monkeypatch):
    """As long as ten readings take, so that a screen that is watched keeps no processor busy; what
    came in meanwhile is shown after that."""
    statuses = Statuses(world.ledger, world.projects, RollCall(world.reports), world.blobs, list)
    started(world)
    real, reads = overview.arms, []

    def slow(*arguments):
        time.sleep(0.3)
        reads.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(overview, "arms", slow)

    def seen():
        arms = statuses.status(NAME)["rules"][0]["arms"]
        return sum(arm["figures"]["denied"]["n"] for arm in arms if "figures" in arm)

    before = seen()
    world.traffic(300)
    at_once, read_at_once = seen(), len(reads)
    time.sleep(3.6)

    assert (at_once, read_at_once) == (before, 1)
    assert seen() == before + 300
    assert len(reads) == 2


def undecided(world, records):
    """The same decisions, of other units, where a condition could not be evaluated."""
    again = [
        msgspec.structs.replace(
            record, id=f"{record.id}-x", assigned="champion", served="champion", reason="DEFAULT",
            served_reason="DEFAULT", error="request.amount: no such attribute",
        )
        for record in records
    ]  # fmt: skip
    world.writer.append([encode_record(record) for record in again])
    world.ingest()


def test_decisions_that_no_rule_could_make_are_told_for_a_day(world):
    """With how many of how many, and the command that lists them; they are reason DEFAULT."""
    statuses = Statuses(world.ledger, world.projects, RollCall(world.reports), world.blobs, list)
    records = world.traffic(190)
    before = statuses.status(NAME)
    undecided(world, records[:10])

    status = statuses.status(NAME)
    world.pass_time(DAY + HOUR)
    later = statuses.status(NAME)

    assert (before["troubles"], before["reasons_24h"]) == ([], {"SPLIT": 190})
    assert status["reasons_24h"] == {"SPLIT": 190, "DEFAULT": 10}
    (said,) = status["troubles"]
    assert said.startswith("10 of 200 decisions of the past 24 hours (5.0%) went to the champion")
    assert (later["troubles"], later["reasons_24h"]) == ([], {})


def test_decisions_are_listed_by_unit_variant_and_reason(world):
    """Together where several are named; a reason is that of the assignment, or of who served."""
    records = world.traffic(200, errors={"champion": 0.1})
    undecided(world, records[:3])

    def ids(**wanted):
        with reader(world.engine).connect() as connection:
            found = overview.newest_decisions(connection, NAME, 1000, overview.Filter(**wanted))
        return {record.id for record in found}

    fallen = {record.id for record in records if record.served_reason == "FALLBACK"}
    assert fallen
    assert ids(reason=Reason.FALLBACK) == fallen
    assert ids(variant="challenger") == {r.id for r in records if r.assigned == "challenger"}
    assert ids(reason=Reason.DEFAULT) == {f"{record.id}-x" for record in records[:3]}
    assert ids(unit=records[0].unit) == {records[0].id, f"{records[0].id}-x"}
    assert ids(unit=records[0].unit, reason=Reason.DEFAULT) == {f"{records[0].id}-x"}
