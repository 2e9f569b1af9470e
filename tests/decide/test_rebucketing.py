"""The Monte-Carlo target of re-bucketing, beside the usual ways that fail on the same units."""

from collections import Counter
from itertools import accumulate

import pytest

from pointsman.decide.allocation import initial, lookup, moved, reallocate
from pointsman.decide.hashing import hash32, hash64

UNITS = 100_000
CHANGES = [
    ({"a": 95, "b": 5}, {"a": 90, "b": 10}),
    ({"a": 90, "b": 5, "c": 5}, {"a": 80, "b": 10, "c": 10}),
    ({"a": 95, "b": 5}, {"a": 95, "b": 10}),
    ({"a": 50, "b": 30, "c": 20}, {"a": 20, "b": 35, "c": 45}),
]


def cumulative(weights, unit):
    """The usual way: each arm's range begins where the one before it ends."""
    point = hash32("salt", unit) / 2**32 * sum(weights.values())
    ends = accumulate(weights.values())
    return next(arm for arm, end in zip(weights, ends, strict=True) if point < end)


def modulo(weights, unit):
    """The other usual way: the hash modulo the sum of the weights."""
    point = hash64("salt", unit) % sum(weights.values())
    ends = accumulate(weights.values())
    return next(arm for arm, end in zip(weights, ends, strict=True) if point < end)


def moves(before, after):
    """Units by (arm before, arm after), of those that move."""
    pairs = Counter((before(f"u{i}"), after(f"u{i}")) for i in range(UNITS))
    return {pair: count for pair, count in pairs.items() if pair[0] != pair[1]}


def least(old, new):
    """Half the sum of the absolute differences of shares."""
    shares = [{arm: w / sum(ws.values()) for arm, w in ws.items()} for ws in (old, new)]
    return 0.5 * sum(abs(shares[1].get(a, 0) - shares[0].get(a, 0)) for a in {**old, **new})


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_9_a_change_moves_half_the_sum_of_the_differences(old, new):
    """As a share of 100,000 units, but for their own noise; and no unit moves between two arms that
    both grow, or into one that shrinks."""
    one = initial(old)
    two = reallocate(one, new)
    found = moves(
        lambda u: lookup(one, hash32("salt", u)), lambda u: lookup(two, hash32("salt", u))
    )
    share, expected = sum(found.values()) / UNITS, least(old, new)
    noise = 3 * (expected * (1 - expected) / UNITS) ** 0.5

    # Of the space itself, to 1/2^32 for each arm; of units that hash into it, to their noise.
    exact = moved(one, two) / 2**32
    assert exact == pytest.approx(expected, abs=len(new) / 2**32)
    assert share == pytest.approx(expected, abs=noise)
    grows = {arm for arm in new if new[arm] / sum(new.values()) >= old[arm] / sum(old.values())}
    assert all(before not in grows and after in grows for before, after in found)


def test_9_the_usual_ways_move_more_and_between_arms_that_grow():
    """On the same units: ranges one after the other move units between two arms that both grow, and
    a modulo moves nearly three times the minimum where the total changes."""
    old, new = CHANGES[1]
    ranges = moves(lambda u: cumulative(old, u), lambda u: cumulative(new, u))
    assert sum(ranges.values()) / UNITS > 1.4 * least(old, new)
    assert ranges["b", "c"] > 0.04 * UNITS

    old, new = CHANGES[2]
    remainders = moves(lambda u: modulo(old, u), lambda u: modulo(new, u))
    assert sum(remainders.values()) / UNITS > 2.5 * least(old, new)
