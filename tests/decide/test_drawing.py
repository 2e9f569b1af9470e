"""Whom a split would draw: each unit once, by its first draw; pins and holdouts told beside."""

from collections import Counter
from random import Random

import pytest
from tests.decide.test_forecast import by_country, project, rule, traffic, variant

from pointsman.decide.allocation import initial
from pointsman.decide.answers import Logged
from pointsman.decide.engine import decide
from pointsman.decide.forecast import Replay
from pointsman.decide.hashing import hash64
from pointsman.domain.decision import Live, Reason, Request

BEFORE = project([rule("default", use="champion")])


def followed(after, logged, live=Live()):  # noqa: B008 - a frozen value
    replay = Replay(BEFORE, after, live=(Live(), live))
    replay.follow("default")
    for start in range(0, len(logged), 97):
        replay.feed(logged[start : start + 97])
    return replay.forecast().split


@pytest.mark.parametrize("seed", range(6))
def test_units_are_those_of_deciding_each_request(seed):
    """Behind a condition and a holdout, with pins among them: equal to a slow count by `decide`."""
    draw = Random(seed)
    after = project(
        [
            rule("vip", use="champion", when="request.amount > 7.0"),
            rule("default", initial({"champion": 70, "challenger": 30}), holdout=1 << 29),
        ]
    )
    logged = [
        Logged(
            one.id,
            one.at_ms,
            one.unit,
            one.unit_hash,
            one.context,
            "challenger" if draw.random() < 0.2 else "",
            one.answers,
        )
        for one in traffic(BEFORE, 700, draw, by_country)
    ]
    found = followed(after, logged)

    became = {}
    pinned = set()
    for one in logged:
        decided = decide(after, Live(), Request(one.id, one.unit, one.context, one.pin or None))
        if decided.reason is Reason.PINNED:
            pinned.add(one.unit)
        elif decided.rule == "default":
            became[one.unit] = decided.assigned if decided.reason is Reason.SPLIT else "held"
    counts = Counter(became.values())
    assert dict(found.shares) == pytest.approx({"challenger": 0.3, "champion": 0.7})
    assert found.units == (counts["challenger"], counts["champion"])
    assert found.held_out == counts["held"] > 0
    assert found.pinned == len(pinned - became.keys()) > 0


def test_decisions_without_a_unit_are_drawn_each_by_itself():
    """They are counted, since what one caller sends is spread over the variants."""
    after = project([rule("default", initial({"champion": 50, "challenger": 50}))])
    logged = [Logged(f"d{n}", n, None, hash64("", f"d{n}"), {}, "", ()) for n in range(60)]
    found = followed(after, logged)
    assert (found.alone, sum(found.units)) == (60, 60)


def test_where_a_switch_keeps_a_variant_out_nothing_is_a_fair_draw():
    """As ingestion counts no unit then."""
    after = project(
        [rule("default", initial({"champion": 50, "challenger": 50}))],
        [variant("champion", "1"), variant("challenger", "2")],
    )
    logged = traffic(BEFORE, 100, Random(1), by_country)
    found = followed(after, logged, Live(out=("challenger",)))
    assert (found.out, found.units) == (("challenger",), (0, 0))


def test_a_rule_that_splits_nothing_is_not_followed():
    """Nor one that is not there."""
    assert followed(BEFORE, traffic(BEFORE, 10, Random(1), by_country)) is None
