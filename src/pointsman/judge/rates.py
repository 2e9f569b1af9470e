"""Exact test of two rates, whatever they are: also where one of them is 0 or 1.

A rate is a share of labelled decisions: recall, precision, specificity, accuracy. F1 is one too, in
another unit: with J = TP / (TP + FP + FN) it is 2 J / (1 + J). Balanced accuracy is the mean of as
many as there are classes.

Of each arm, M(p) = B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) / (p^k (1 - p)^(n - k)) is a martingale if
its rate is p. Both arms' product is one if both rates are right, so its infimum over all pairs
(p1, p0) of a hypothesis "p1 - factor p0 is at most margin" is at most an e-value, at every look. ln
of it is convex in both units (F1's too), so that the infimum is where the hypothesis ends. Nothing
is estimated beside the rates, so nothing vanishes at 0 and 1.

What the caller must hold: decisions are independent draws, so first exposures of units, and a state
for each epoch that they come back in (apart.py). A rate is that of everybody an epoch draws; where
it moves within the epoch, alike in both arms, the test is not exact any more, but measured
(tests/judge/test_rates.py).

Sources: Turner, Ly, Gruenwald (2024), J. Stat. Plan. Inference 230 (two samples of 0/1, at every
look); Robbins (1970) and Krichevsky & Trofimov (1981) for the mixture; Wasserman, Ramdas,
Balakrishnan (2020), PNAS 117, for the infimum over a composite hypothesis.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from scipy import optimize, special

from pointsman.judge.mixture import check_alpha

_HALVINGS: Final = 50
_STEPS: Final = 60
_FARTHEST: Final = 1e6  # of a ratio
_LARGEST: Final = 1e6  # stands in for infinity where a root is looked for
_KEPT: Final = 4_096
_NO_PRIOR: Final = float(special.betaln(0.5, 0.5))


class Rates(msgspec.Struct, frozen=True):
    """How a metric is made of confusion counts.

    parts: of each rate, the cells that count and the cells it is taken over, by index; the metric
        is their mean
    f1: the rate is J, and the metric 2 J / (1 + J)
    """

    parts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    f1: bool = False

    def counted(self, challenger: Sequence[int], champion: Sequence[int]) -> "RateState":
        """What one block's counts of both arms say; none where an arm has no cell."""
        rows = []
        for top, bottom in self.parts:
            found: list[int] = []
            for counts in (challenger, champion):
                n = max(sum(counts[at] for at in bottom), 0) if counts else 0
                found += [min(max(sum(counts[at] for at in top), 0), n) if n else 0, n]
            rows.append((found[0], found[1], found[2], found[3]))
        return RateState(tuple(rows), self.f1)


class RateState(msgspec.Struct, frozen=True):
    """All blocks of one epoch; empty where there was none.

    parts: challenger's decisions that count, all of them, champion's that count, all of them
    """

    parts: tuple[tuple[int, int, int, int], ...] = ()
    f1: bool = False


def merge(a: RateState, b: RateState) -> RateState:
    """Both states' blocks, of the same epoch and metric."""
    if not a.parts or not b.parts:
        return a if a.parts else b
    rows = []
    for one, two in zip(a.parts, b.parts, strict=True):
        rows.append((one[0] + two[0], one[1] + two[1], one[2] + two[2], one[3] + two[3]))
    return RateState(tuple(rows), b.f1)


def known(state: RateState) -> bool:
    """Whether both arms have something to take every rate over."""
    return bool(state.parts) and all(n1 and n0 for _, n1, _, n0 in state.parts)


def log_e(state: RateState, factor: float, margin: float, *, above: bool) -> float:
    """ln of an e-value against "challenger's - factor * champion's is at most `margin`" (`above`),
    or "at least".

    factor: 0 or more
    -inf, which is an e-value of 0, where nothing can be told. Of several parts it is the largest at
    which their bounds, each with its part of the error, still add up beyond the margin.
    """
    if not known(state):
        return -math.inf
    if len(state.parts) == 1:
        return _log_e(state.parts[0], factor, margin, above=above, f1=state.f1)

    def beyond(bar: float) -> bool:
        bound = _bound(state, math.exp(-bar), factor, above=above)
        return bound > margin if above else bound < margin

    low, high = 1e-9, 1.0
    if not beyond(low):
        return -math.inf
    while beyond(high):
        if high > 500.0:
            return high
        low, high = high, 2.0 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) else (low, middle)
    return low


@lru_cache(_KEPT)
def lower_bound(state: RateState, alpha: float) -> float:
    """Smallest difference of the metric not rejected, at every look but for alpha; -1 where nothing
    bounds it."""
    return _bound(state, alpha, 1.0, above=True)


@lru_cache(_KEPT)
def upper_bound(state: RateState, alpha: float) -> float:
    """Largest difference of the metric not rejected; 1 where nothing bounds it."""
    return _bound(state, alpha, 1.0, above=False)


@lru_cache(_KEPT)
def ratio_bounds(state: RateState, alpha: float) -> tuple[float, float]:
    """Smallest and largest ratio of the metric not rejected, each at alpha; (0, inf) where nothing
    bounds it."""
    if not known(state):
        return 0.0, math.inf
    smooth = [
        tuple(_metric((k + 0.5) / (n + 1.0), f1=state.f1) for k, n in ((k1, n1), (k0, n0)))
        for k1, n1, k0, n0 in state.parts
    ]
    middle = math.fsum(one for one, _ in smooth) / math.fsum(two for _, two in smooth)

    def shown(factor: float, *, above: bool) -> float:
        """Above 0 where the contrast at this factor is shown to be above, or below, 0."""
        if len(state.parts) == 1:
            found = _log_e(state.parts[0], factor, 0.0, above=above, f1=state.f1)
            return _root(found) - math.sqrt(-math.log(alpha))
        bound = _bound(state, alpha, factor, above=above)
        return bound if above else -bound

    low, high, far = 0.0, math.inf, max(2.0 * middle, 2.0)
    if shown(0.0, above=True) > 0.0:
        low = _turn(lambda f: shown(f, above=True), 0.0, middle)
    while shown(far, above=False) <= 0.0 and far < _FARTHEST:
        far *= 2.0
    if far < _FARTHEST:
        high = _turn(lambda f: shown(f, above=False), far, middle)
    return low, high


def _turn(shown: Callable[[float], float], inside: float, outside: float) -> float:
    """Where it is no longer shown, between where it is and where it should not be."""
    if shown(outside) > 0.0:
        return outside
    return float(optimize.brentq(shown, inside, outside, xtol=1e-10))


def _bound(state: RateState, alpha: float, factor: float, *, above: bool) -> float:
    """Bound of challenger's - factor * champion's: the mean of the parts', each with its part of
    alpha."""
    check_alpha(alpha)
    if not known(state):
        return -factor if above else 1.0
    each = alpha / len(state.parts)
    bounds = [_bound_of(part, each, factor, above=above, f1=state.f1) for part in state.parts]
    return math.fsum(bounds) / len(bounds)


def _bound_of(
    part: tuple[int, int, int, int], alpha: float, factor: float, *, above: bool, f1: bool
) -> float:
    bar = math.sqrt(-math.log(alpha))
    k1, n1, k0, n0 = part
    inside = _metric(k1 / n1, f1=f1) - factor * _metric(k0 / n0, f1=f1)
    outside = -factor if above else 1.0

    def excess(margin: float) -> float:
        return _root(_log_e(part, factor, margin, above=above, f1=f1)) - bar

    if excess(outside) <= 0.0:
        return outside
    return float(optimize.brentq(excess, outside, inside, xtol=1e-10))


def _root(found: float) -> float:
    """ln e is nearly a square, and its root nearly a line, where a root is looked for."""
    return math.sqrt(min(max(found, 0.0), _LARGEST))


def _log_e(
    part: tuple[int, int, int, int], factor: float, margin: float, *, above: bool, f1: bool
) -> float:
    k1, n1, k0, n0 = part
    best1, best0 = _metric(k1 / n1, f1=f1), _metric(k0 / n0, f1=f1)
    mixed = _mixture(k1, n1) + _mixture(k0, n0)
    gap = best1 - factor * best0 - margin
    if (gap <= 0.0) if above else (gap >= 0.0):
        return mixed + _loss(k1, n1, best1, f1=f1) + _loss(k0, n0, best0, f1=f1)
    # Along the end of the hypothesis, challenger's = factor * champion's + margin.
    low, high = 0.0, 1.0
    if factor > 0.0:
        low, high = max(0.0, -margin / factor), min(1.0, (1.0 - margin) / factor)
    if low > high or not (factor > 0.0 or 0.0 <= margin <= 1.0):
        return math.inf  # no pair of rates is in the hypothesis
    ends = [best0, (best1 - margin) / factor if factor > 0.0 else best0]
    left, right = (min(max(end, low), high) for end in (min(ends), max(ends)))
    at = (left + right) / 2
    for _ in range(_STEPS):  # Newton, halving where that leaves
        slope, bend = _slope(k0, n0, at, f1=f1)
        more, bends = _slope(k1, n1, factor * at + margin, f1=f1)
        slope, bend = slope + factor * more, bend + factor * factor * bends
        left, right = (left, at) if slope > 0.0 else (at, right)
        # What is left to gain is half of slope^2 / bend.
        if right - left < 1e-13 or slope * slope <= 1e-14 * bend:
            break
        new = at - slope / bend if 0.0 < bend < math.inf else math.nan
        at = new if left < new < right else (left + right) / 2
    mine = min(max(factor * at + margin, 0.0), 1.0)
    return mixed + _loss(k1, n1, mine, f1=f1) + _loss(k0, n0, at, f1=f1)


def _metric(rate: float, *, f1: bool) -> float:
    return 2.0 * rate / (1.0 + rate) if f1 else rate


def _mixture(k: int, n: int) -> float:
    """ln of the mixture's probability of what was seen."""
    return float(special.betaln(k + 0.5, n - k + 0.5)) - _NO_PRIOR


def _loss(k: int, n: int, x: float, *, f1: bool) -> float:
    """-ln of the likelihood where the metric is x. Of F1 the rate is x / (2 - x)."""
    plain = -_times_log(k, x) - _times_log(n - k, 1.0 - x)
    return plain + n * math.log(2.0 - x) - (n - k) * math.log(2.0) if f1 else plain


def _slope(k: int, n: int, x: float, *, f1: bool) -> tuple[float, float]:
    """First and second derivative of `_loss`."""
    slope = bend = 0.0
    x = min(max(x, 1e-15), 1.0 - 1e-15)
    if k:
        slope, bend = -k / x, k / (x * x)
    if n - k:
        slope, bend = slope + (n - k) / (1.0 - x), bend + (n - k) / ((1.0 - x) * (1.0 - x))
    if f1:
        slope, bend = slope - n / (2.0 - x), bend - n / ((2.0 - x) * (2.0 - x))
    return slope, bend


def _times_log(k: int, x: float) -> float:
    if not k:
        return 0.0
    return k * math.log(x) if x > 0.0 else -math.inf
