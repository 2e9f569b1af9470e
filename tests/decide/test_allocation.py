"""Splits are persisted cut points; a weight change moves the fewest units there can be."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.decide.allocation import (
    flows,
    initial,
    intervals_of,
    lookup,
    moved,
    problems,
    reallocate,
    shares,
    widths,
    widths_of,
)
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import SPACE, Allocation

arms = st.sampled_from(["a", "b", "c", "champion", "d", "e"])
weight = st.one_of(
    st.integers(0, 1000),
    st.decimals(0, 100, places=3),
    st.floats(0, 1e6, allow_subnormal=False).filter(lambda w: w == 0 or w > 1e-6),
)
weightings = st.dictionaries(arms, weight, min_size=1, max_size=6).filter(
    lambda weights: any(w > 0 for w in weights.values())
)
histories = st.lists(weightings, min_size=1, max_size=6)


def after(history):
    """The allocation that a history of weights leads to."""
    allocation = initial(history[0])
    for weights in history[1:]:
        allocation = reallocate(allocation, weights)
    return allocation


def exact(value):
    """The decimal a person wrote."""
    return Fraction(Decimal(repr(value)) if isinstance(value, float) else value)


def slow_lookup(allocation, point):
    """The twin: walk the intervals."""
    arm = allocation.arms[0]
    for cut, owner in zip(allocation.cuts, allocation.arms, strict=True):
        if cut <= point:
            arm = owner
    return arm


def slow_widths(weights):
    """The twin: deal the points left over one by one to whoever is owed most."""
    total = sum(exact(w) for w in weights.values())
    quota = {arm: exact(w) * SPACE / total for arm, w in weights.items()}
    points = {arm: quota[arm].numerator // quota[arm].denominator for arm in quota}
    owed = {arm: quota[arm] - points[arm] for arm in quota}
    while sum(points.values()) < SPACE:
        lucky = min(arm for arm in owed if owed[arm] == max(owed.values()))
        points[lucky] += 1
        owed[lucky] = Fraction(-1)
    return points


def slow_reallocate(owners, target):
    """The twin, point by point, on a list that says who owns each point of a small space."""
    owners = list(owners)
    names = sorted({*owners, *target})
    change = {arm: target.get(arm, 0) - owners.count(arm) for arm in names}
    before = list(owners)
    for giver in names:
        for taker in names:
            while change[giver] < 0 < change[taker]:
                places = [i for i, o in enumerate(before) if o == giver and owners[i] == giver]
                owners[places[0] if taker < giver else places[-1]] = taker
                change[giver] += 1
                change[taker] -= 1
    return owners


@given(weightings)
def test_widths_are_the_largest_remainder(weights):
    """Widths are exact quotas rounded by largest remainder, ties in order of name."""
    assert widths(weights) == dict(sorted(slow_widths(weights).items()))


@given(weightings)
def test_widths_cover_the_space(weights):
    """Widths add up to 2^32 and none is a whole point away from its exact share."""
    total = sum(exact(w) for w in weights.values())
    points = widths(weights)

    assert sum(points.values()) == SPACE
    for arm, value in weights.items():
        assert abs(points[arm] - exact(value) * SPACE / total) < 1


@given(weightings)
def test_zero_is_zero_and_all_is_all(weights):
    """A weight of 0 has no interval; an arm with all the weight has the whole space."""
    arms_in = set(initial(weights).arms)

    assert arms_in <= {arm for arm, value in weights.items() if value > 0}
    if len([value for value in weights.values() if value > 0]) == 1:
        assert initial(weights).cuts == (0,)


@given(histories)
def test_allocations_are_sound(history):
    """Whatever the history, intervals cover the space without gaps and neighbours differ."""
    allocation = after(history)

    assert problems(allocation) == []
    assert all(start < end for start, end, _ in intervals_of(allocation))
    assert sum(end - start for start, end, _ in intervals_of(allocation)) == SPACE


@given(histories, weightings)
def test_widths_are_those_of_the_weights_whatever_was_before(history, weights):
    """After a change the widths are exactly those of the new weights."""
    wanted = {arm: points for arm, points in widths(weights).items() if points}

    assert widths_of(reallocate(after(history), weights)) == wanted


@given(histories, weightings)
def test_a_change_moves_the_minimum(history, weights):
    """Exactly half the sum of the absolute differences of the widths moves."""
    before = after(history)
    now = reallocate(before, weights)
    old, new = widths_of(before), widths_of(now)
    differences = sum(abs(old.get(arm, 0) - new.get(arm, 0)) for arm in {*old, *new})

    assert moved(before, now) * 2 == differences


@given(histories, weightings)
def test_whoever_grows_keeps_everyone(history, weights):
    """Nobody leaves an arm that grows or stays, and nobody joins one that shrinks or stays."""
    before = after(history)
    now = reallocate(before, weights)
    old, new = widths_of(before), widths_of(now)

    for leaving, joining in (pair for pair in flows(before, now) if pair[0] != pair[1]):
        assert new.get(leaving, 0) < old[leaving]
        assert new[joining] > old.get(joining, 0)


@given(histories, weightings, st.integers(0, SPACE - 1))
def test_growing_a_challenger_keeps_who_is_in_it(history, weights, point):
    """The same for one unit, by looking it up."""
    before = after(history)
    now = reallocate(before, weights)
    arm = lookup(before, point)

    if widths_of(now).get(arm, 0) >= widths_of(before)[arm]:
        assert lookup(now, point) == arm


@given(histories)
def test_the_same_weights_again_change_nothing(history):
    """Applying the same weights twice, in any scale, is applying them once."""
    allocation = after(history)
    last = history[-1]

    assert reallocate(allocation, last) == allocation
    assert reallocate(allocation, {arm: exact_decimal(w) * 2 for arm, w in last.items()}) == (
        allocation
    )


def exact_decimal(value):
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8), st.integers(0, 1000))
def test_two_arms_depend_on_the_weights_alone(steps, last):
    """With two arms no history shows: stepping down and up again brings the same units back."""
    history = [{"champion": 1000 - step, "challenger": step} for step in [*steps, last]]

    assert after(history) == initial(history[-1])


@given(histories)
def test_undo_is_the_stored_allocation(history):
    """Restoring the allocation of before puts every unit back; weights alone might not."""
    before = after(history)
    now = reallocate(before, {"a": 1, "z": 2})
    restored = Allocation(before.cuts, before.arms)

    assert moved(before, restored) == 0
    assert moved(now, restored) == moved(before, now)


@given(histories, st.integers(0, SPACE - 1))
def test_lookup_finds_the_interval(history, point):
    """A bisect and a walk agree, on any point and at every cut."""
    allocation = after(history)
    edges = {p for cut in allocation.cuts for p in (cut - 1, cut, cut + 1) if 0 <= p < SPACE}

    for at in {point, 0, SPACE - 1, *edges}:
        assert lookup(allocation, at) == slow_lookup(allocation, at)


@given(
    st.lists(st.sampled_from("abcd"), min_size=16, max_size=16),
    st.lists(st.sampled_from("abcde"), min_size=16, max_size=16),
)
def test_reallocation_order_is_as_documented(owners, wanted):
    """Givers and takers meet in order of name, low points to earlier arms, high to later ones."""
    block = SPACE // 16
    cuts = [i for i in range(16) if i == 0 or owners[i] != owners[i - 1]]
    before = Allocation(tuple(i * block for i in cuts), tuple(owners[i] for i in cuts))
    target = {arm: wanted.count(arm) for arm in set(wanted)}
    now = reallocate(before, target)

    assert [lookup(now, i * block) for i in range(16)] == slow_reallocate(owners, target)
    assert all(cut % block == 0 for cut in now.cuts)


def test_shares_are_exact():
    """Shares are multiples of 2^-32, which floats hold exactly, and add up to 1."""
    found = shares(initial({"champion": 90, "challenger": 10}))

    assert sum(found.values()) == 1
    assert found == {"challenger": 429496730 / SPACE, "champion": 3865470566 / SPACE}


def test_an_arm_can_come_and_go():
    """A removed arm gives up all it has; a new one takes only what the others give."""
    two = initial({"a": 50, "b": 50})
    three = reallocate(two, {"a": 50, "b": 25, "c": 25})
    back = reallocate(three, {"a": 50, "b": 50})

    assert flows(two, three) == {
        ("a", "a"): SPACE // 2,
        ("b", "b"): SPACE // 4,
        ("b", "c"): SPACE // 4,
    }
    assert back == two


def test_neighbours_are_merged():
    """Intervals of one arm that touch are one interval, so tables do not grow without need."""
    allocation = initial({"a": 1, "b": 1, "c": 2})

    assert reallocate(allocation, {"a": 1, "c": 3}) == Allocation((0, SPACE // 4), ("a", "c"))


def test_a_float_means_the_decimal_it_prints_as():
    """0.1 and 0.2 are one third and two thirds, not the binary fractions near them."""
    assert widths({"a": 0.1, "b": 0.2}) == widths({"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({}, "weights add up to 0"),
        ({"a": 0, "b": 0.0}, "weights add up to 0"),
        ({"a": -1, "b": 2}, "the weight of a is -1"),
        ({"a": 1, "b": float("nan")}, "the weight of b is nan"),
        ({"a": float("inf")}, "the weight of a is inf"),
        ({"a": Decimal("1e999999")}, "the weight of a is 1E+999999"),
        ({"a": Decimal("1e-999999"), "b": 1}, "the weight of a is 1E-999999"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights, says):
    """Weights are finite, not negative and not all 0."""
    with pytest.raises(PointsmanError) as caught:
        initial(weights)

    assert caught.value.kind is Kind.INVALID
    assert caught.value.message == says
    assert caught.value.hint


@pytest.mark.parametrize(
    ("cuts", "owners", "says"),
    [
        ((), (), ["the first cut point is not 0"]),
        ((1,), ("a",), ["the first cut point is not 0"]),
        ((0, 5), ("a",), ["2 cut points for 1 arms"]),
        ((0, 5, 5), ("a", "b", "a"), ["cut points do not ascend"]),
        ((0, 9, 3), ("a", "b", "a"), ["cut points do not ascend"]),
        ((0, SPACE), ("a", "b"), ["the last cut point is not below 2^32"]),
        ((0, 7), ("a", "a"), ["neighbouring intervals have the same arm"]),
        ((0, 7), ("a", "b"), []),
    ],
)
def test_unsound_allocations_are_named(cuts, owners, says):
    """An allocation from outside is checked, and all that is wrong is said."""
    assert problems(Allocation(cuts, owners)) == says


def test_a_long_history_stays_small():
    """A thousand weight changes of three arms leave few intervals, so lookups stay fast."""
    history = [{"a": 1 + i % 7, "b": 1 + i % 11, "c": 1 + i % 13} for i in range(1000)]
    allocation = after(history)

    assert len(allocation.cuts) < 40
    assert all(a < b for a, b in pairwise(allocation.cuts))
