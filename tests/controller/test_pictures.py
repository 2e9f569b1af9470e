"""What pictures are drawn from: traffic over time, looks at the evidence, and what is behind it."""

from itertools import pairwise

import msgspec
import pytest
from tests.controller.rollout_world import (
    DAY,
    FILE,
    HOUR,
    MINUTE,
    NAME,
    SECOND,
    World,
    promoted,
    started,
)

from pointsman.controller.breakdown import Breakdowns
from pointsman.controller.looks import GROWN, is_news
from pointsman.controller.timeline import Timelines
from pointsman.domain.errors import PointsmanError
from pointsman.store import looks, pulses
from pointsman.store.database import reader

SLICED = FILE.replace(
    "denied: {kind: decision, event: denied}",
    "denied: {kind: decision, event: denied, slices: [country]}",
).replace("classes: [ok, fraud]", "classes: [ok, fraud]\n  positive: fraud").replace(
    "decision: {deny: [fraud]}", "decision: {deny: [fraud]}\n  outcomes: {label: {horizon: 1d}}"
)  # fmt: skip


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def sliced(tmp_path):
    made = World(tmp_path, SLICED)
    yield made
    made.close()


def timeline(world, **query):
    return Timelines(world.ledger, world.projects).of(NAME, **query)


def test_traffic_is_counted_by_ten_seconds_with_the_share_it_should_have_had(world):
    """Every decision is in one stretch, by who served and by who was assigned."""
    started(world)
    records = world.traffic(300)
    world.pass_time(30 * SECOND)
    records += world.traffic(200, errors={"challenger": 1.0})

    found = timeline(world)
    columns = found["rules"]["default"]

    assert found["step_ms"] == 10 * SECOND
    assert found["rule"] == "default"
    for kind in ("assigned", "served"):
        for variant in ("champion", "challenger"):
            told = sum(columns[variant][kind])
            assert told == sum(getattr(one, kind) == variant for one in records)
    busy = [at for at, n in enumerate(columns["champion"]["served"]) if n]
    assert busy[1] - busy[0] == 3
    assert found["starts"][busy[0]] == records[0].at_ms - records[0].at_ms % (10 * SECOND)
    assert sum(columns["champion"]["denied"]) == sum(
        one.action == "deny" and one.served == "champion" for one in records
    )
    assert columns["champion"]["latency_us"][busy[0]] == 2_000
    assert found["targets"][-1]["rules"]["default"] == pytest.approx(
        {"challenger": 0.1, "champion": 0.9}
    )
    assert found["events"][0]["action"] == "apply"
    assert any("goes from 0 % to 10 %" in event["sentence"] for event in found["events"])


def test_long_ranges_are_told_in_long_stretches_and_count_the_same(world):
    """Ten seconds for three hours, five minutes for two weeks, hours for longer."""
    started(world)
    world.traffic(250)
    world.pass_time(2 * HOUR)
    world.traffic(150)
    now = world.clock.ms + 1

    def told(span):
        found = timeline(world, from_ms=now - span, until_ms=now)
        columns = found["rules"].get("default", {})
        return found["step_ms"], sum(sum(one["served"]) for one in columns.values())

    assert told(MINUTE) == (10 * SECOND, 150)
    assert told(3 * HOUR) == (30 * SECOND, 400)
    assert told(DAY) == (5 * MINUTE, 400)
    assert told(60 * DAY) == (4 * HOUR, 400)


@pytest.mark.parametrize("wrong", [{"from_ms": 5, "until_ms": 5}, {"from_ms": 0}])
def test_a_range_that_is_none_is_refused(world, wrong):
    with pytest.raises(PointsmanError, match="no range of up to 400 days"):
        timeline(world, **wrong)


def test_stretches_go_when_they_are_old(world):
    """Fine ones after three hours, coarse ones after two weeks."""
    started(world)
    world.traffic(100)

    def left(after_ms):
        with world.engine.begin() as connection:
            pulses.delete_old(connection, world.clock.ms + after_ms)
            return [
                sum(one.decisions for one in pulses.read(connection, NAME, step_s, 0, 1 << 60))
                for step_s in (10, 300)
            ]

    assert left(3 * HOUR - MINUTE) == [100, 100]
    assert left(3 * HOUR + MINUTE) == [0, 100]
    assert left(14 * DAY + HOUR) == [0, 0]


def test_looks_show_how_the_evidence_narrowed(world):
    """Each criterion, from its first data to the verdict that promoted it; with n and its bound."""
    promoted(world)

    found = Timelines(world.ledger, world.projects).looks(NAME)
    denied = next(one for one in found["criteria"] if one["metric"] == "denied")

    assert (found["attempt"], found["attempts"]) == (1, [1])
    assert (denied["role"], denied["slice"], denied["unit"]) == ("guardrail", "", "points")
    assert denied["verdict"][0] != "pass"
    assert denied["verdict"][-1] == "pass"
    assert set(denied["bound"]) == {0.1}
    assert denied["at_ms"] == sorted(set(denied["at_ms"]))
    widths = [
        high - low
        for low, high in zip(denied["low"], denied["high"], strict=True)
        if low is not None and high is not None
    ]
    assert widths[-1] < widths[0] / 2


def test_only_looks_that_say_something_new_are_kept():
    """The first with data, one where the verdict or the bound changed, and each twentieth more."""
    one = looks.Look(
        "guardrail", "denied", "", 0, "inconclusive", 0.0, -1.0, 1.0, 0.1, "points", 0, 0
    )
    kept = []
    n = 0
    while n < 100_000:
        n += 7
        now = msgspec.structs.replace(one, at_ms=n, n=n, n_champion=9 * n)
        before = kept[-1] if kept else None
        if before is None or is_news(before, now):
            kept.append(now)

    assert len(kept) < 300
    assert all(b.n >= a.n * GROWN for a, b in pairwise(kept[5:]))
    assert is_news(
        kept[-1], msgspec.structs.replace(kept[-1], at_ms=kept[-1].at_ms + 1, verdict="pass")
    )
    assert not is_news(kept[-1], msgspec.structs.replace(kept[-1], at_ms=kept[-1].at_ms + 1))


def test_another_controller_keeps_a_look_twice_and_shows_it_once(world):
    """What was kept last is remembered by each loop for itself."""
    started(world)
    world.traffic(200)
    world.tick()
    first = Timelines(world.ledger, world.projects).looks(NAME)
    world.rollouts = world.controller()
    world.traffic(1)
    world.tick()

    again = Timelines(world.ledger, world.projects).looks(NAME)
    for one in (first, again):
        for criterion in one["criteria"]:
            assert len(criterion["at_ms"]) == len(set(criterion["at_ms"]))


def test_behind_the_figures_are_slices_scores_latency_and_cost(sliced):
    """Of what the split drew in the present epoch, each adding up to its whole."""
    started(sliced)
    records = sliced.traffic(
        2_000, deny={"challenger/FR": 0.9}, label={"champion": 0.9, "challenger": 0.8}
    )
    found = Breakdowns(sliced.ledger, sliced.projects).of(NAME)
    (rule,) = found["rules"]

    assert found["positive"] == "fraud"
    assert [one["slice"] for one in rule["slices"]] == ["country=DE", "country=FR"]
    for variant in ("champion", "challenger"):
        mine = [one for one in records if one.assigned == variant]
        n = [one["variants"][variant]["denied"]["n"] for one in rule["slices"]]
        assert sum(n) == len(mine)
        bins = rule["reliability"][variant]["bins"]
        assert sum(one["share"]["n"] for one in bins) == len(mine)
        assert [one["score"] for one in bins] == sorted(one["score"] for one in bins)
        assert 0.0 <= rule["reliability"][variant]["calibration_error"] < 0.5
        heat = rule["latency"][variant]
        assert sum(map(sum, heat["counts"])) == len(mine)
        (row,) = [at for at in range(len(heat["edges_us"])) if any(c[at] for c in heat["counts"])]
        assert heat["edges_us"][row] <= 2_000 < heat["edges_us"][row] * 1.5
        assert rule["cost"][variant]["decisions"] == len(mine)
    worst = rule["slices"][1]["variants"]
    assert worst["challenger"]["denied"]["value"] > worst["champion"]["denied"]["value"] + 0.4


def test_a_heat_map_has_no_more_columns_than_can_be_seen(sliced):
    """However long an epoch is."""
    started(sliced)
    for _ in range(60):
        sliced.traffic(5)
        sliced.pass_time(HOUR)

    (rule,) = Breakdowns(sliced.ledger, sliced.projects).of(NAME)["rules"]
    heat = rule["latency"]["champion"]

    assert len(heat["columns"]) <= 48
    assert heat["width_ms"] % (5 * MINUTE) == 0
    assert (
        sum(map(sum, heat["counts"]))
        + sum(map(sum, rule["latency"].get("challenger", {"counts": []})["counts"]))
        == 300
    )


def test_looks_are_deleted_with_the_evidence_they_are_of(world):
    promoted(world)
    with world.engine.begin() as connection:
        gone = looks.delete_old(connection, world.clock.ms + 1)
    with reader(world.engine).connect() as connection:
        assert looks.attempts(connection, NAME) == []
    assert gone > 0
