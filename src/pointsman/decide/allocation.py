"""Splits as persisted cut points over [0, 2^32), and weight changes that move the fewest units.

An allocation is the outcome of all weight changes so far, so it is stored, never recomputed from
the weights. `undo` restores the stored value of before. The rules, for other languages, are in
docs/conformance/README.md, with vectors.
"""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import SPACE, Allocation

Weight = int | float | Decimal
Weights = Mapping[str, Weight]

# Decimal exponents beyond this would make exact arithmetic slow, and no weight means them.
_LARGEST_EXPONENT: Final = 40


def widths(weights: Weights) -> dict[str, int]:
    """Points of each arm, in order of name, adding up to exactly 2^32.

    Largest remainder: every arm gets the whole part of its exact quota; the points left over go one
    each to the largest remainders, equal remainders in order of name. So a weight of 0 is always a
    width of 0, and an arm that has all the weight has all the points.
    Errors: INVALID without arms, without positive weight, or with a weight that is not a finite
    number of at least 0.
    """
    exact = {arm: _fraction(arm, weights[arm]) for arm in sorted(weights)}
    total = sum(exact.values(), Fraction(0))
    if total <= 0:
        raise PointsmanError(
            Kind.INVALID,
            "weights add up to 0",
            hint="give at least one variant a positive weight",
        )
    quotas = {arm: weight * SPACE / total for arm, weight in exact.items()}
    points = {arm: int(quota) for arm, quota in quotas.items()}
    left_over = SPACE - sum(points.values())
    by_remainder = sorted(quotas, key=lambda arm: (points[arm] - quotas[arm], arm))
    for arm in by_remainder[:left_over]:
        points[arm] += 1
    return points


def initial(weights: Weights) -> Allocation:
    """One interval for each arm with points, in order of name. Errors: as `widths`."""
    intervals: list[tuple[int, str]] = []
    start = 0
    for arm, width in widths(weights).items():
        if width:
            intervals.append((start, arm))
            start += width
    return _joined(intervals)


def reallocate(previous: Allocation, weights: Weights) -> Allocation:
    """The previous allocation with the fewest points moved that give these weights.

    Exactly half the sum of the absolute differences of the widths moves; an arm that grows keeps
    all it has. Arms that shrink (or vanish) give, arms that grow (or appear) take, both in order of
    name, the first giver filling the first taker. A giver gives its lowest points to a taker that
    comes before it by name, and its highest points to one that comes after. So with two arms the
    allocation depends on the weights alone, and whoever left with a step down comes back with the
    same step up.
    Errors: as `widths`.
    """
    target = widths(weights)
    owned: dict[str, deque[tuple[int, int]]] = defaultdict(deque)
    for start, end, arm in intervals_of(previous):
        owned[arm].append((start, end))
    change = {
        arm: target.get(arm, 0) - sum(end - start for start, end in owned[arm])
        for arm in sorted(owned.keys() | target.keys())
    }
    takers = deque((arm, points) for arm, points in change.items() if points > 0)
    taken: list[tuple[int, str]] = []
    for giver, points in change.items():
        giving = -points
        while giving > 0:
            taker, wanted = takers.popleft()
            amount = min(giving, wanted)
            taken += [(start, taker) for start in _take(owned[giver], amount, low=taker < giver)]
            giving -= amount
            if wanted > amount:
                takers.appendleft((taker, wanted - amount))
    kept = [(start, arm) for arm, spans in owned.items() for start, _ in spans]
    return _joined(kept + taken)


def lookup(allocation: Allocation, point: int) -> str:
    """The arm of a point on [0, 2^32)."""
    return allocation.arms[bisect_right(allocation.cuts, point) - 1]


def intervals_of(allocation: Allocation) -> list[tuple[int, int, str]]:
    """(start, end, arm) of each interval, ascending; the end is exclusive."""
    ends = (*allocation.cuts[1:], SPACE)
    return list(zip(allocation.cuts, ends, allocation.arms, strict=True))


def widths_of(allocation: Allocation) -> dict[str, int]:
    """Points of each arm that has any, in order of name; they add up to 2^32."""
    points: dict[str, int] = {}
    for start, end, arm in intervals_of(allocation):
        points[arm] = points.get(arm, 0) + end - start
    return dict(sorted(points.items()))


def shares(allocation: Allocation) -> dict[str, float]:
    """Share of each arm that has any: exact, since a multiple of 2^-32 is a float."""
    return {arm: points / SPACE for arm, points in widths_of(allocation).items()}


def flows(before: Allocation, after: Allocation) -> dict[tuple[str, str], int]:
    """Points by (arm before, arm after), those that stay included; they add up to 2^32."""
    points: dict[tuple[str, str], int] = defaultdict(int)
    bounds = sorted({*before.cuts, *after.cuts})
    for start, end in zip(bounds, [*bounds[1:], SPACE], strict=True):
        points[lookup(before, start), lookup(after, start)] += end - start
    return dict(sorted(points.items()))


def moved(before: Allocation, after: Allocation) -> int:
    """Points whose arm differs; of 2^32."""
    return sum(points for (old, new), points in flows(before, after).items() if old != new)


def problems(allocation: Allocation) -> list[str]:
    """What is wrong with an allocation that came from outside; empty when it is sound."""
    cuts, arms = allocation.cuts, allocation.arms
    found: list[str] = []
    if len(cuts) != len(arms):
        found.append(f"{len(cuts)} cut points for {len(arms)} arms")
    if not cuts or cuts[0] != 0:
        found.append("the first cut point is not 0")
    if any(a >= b for a, b in pairwise(cuts)):
        found.append("cut points do not ascend")
    if cuts and cuts[-1] >= SPACE:
        found.append("the last cut point is not below 2^32")
    if any(a == b for a, b in pairwise(arms)):
        found.append("neighbouring intervals have the same arm")
    return found


def _take(spans: deque[tuple[int, int]], amount: int, *, low: bool) -> list[int]:
    """Removes `amount` points from one end of an arm's spans; starts of what was removed, and of
    what a span was cut into, are enough to know it all again."""
    starts: list[int] = []
    while amount > 0:
        start, end = spans.popleft() if low else spans.pop()
        part = min(amount, end - start)
        amount -= part
        if low:
            starts.append(start)
            if part < end - start:
                spans.appendleft((start + part, end))
        else:
            starts.append(end - part)
            if part < end - start:
                spans.append((start, end - part))
    return starts


def _joined(intervals: list[tuple[int, str]]) -> Allocation:
    """An allocation from interval starts that cover the space; neighbours of one arm are merged."""
    cuts: list[int] = []
    arms: list[str] = []
    for start, arm in sorted(intervals):
        if not arms or arms[-1] != arm:
            cuts.append(start)
            arms.append(arm)
    return Allocation(tuple(cuts), tuple(arms))


def _fraction(arm: str, weight: Weight) -> Fraction:
    """A weight, exactly. A float means the decimal it prints as: 0.1 is one tenth."""
    decimal = Decimal(repr(weight)) if isinstance(weight, float) else Decimal(weight)
    if not decimal.is_finite() or decimal < 0:
        raise PointsmanError(
            Kind.INVALID,
            f"the weight of {arm} is {weight}",
            hint="a weight is a finite number of at least 0",
        )
    if decimal and abs(decimal.adjusted()) > _LARGEST_EXPONENT:
        raise PointsmanError(
            Kind.INVALID,
            f"the weight of {arm} is {weight}",
            hint="weights are relative: write them between 1e-40 and 1e40",
        )
    return Fraction(decimal)
