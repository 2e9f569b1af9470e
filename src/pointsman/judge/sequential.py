"""Confidence sequences: intervals that stay valid at every look, however often one looks.

Two kinds. The exact one for proportions holds from the first observation on, if observations are
independent. The asymptotic one for means needs a burn-in, takes its variance between unit-hash
buckets, and so holds though the requests of one unit resemble each other.
"""

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Final

from msgspec.structs import replace

from pointsman.domain.evidence import LatencyHistogram, Moments, latency_edge
from pointsman.judge.figure import Answer, Figure, Interval, NoData
from pointsman.judge.mixture import critical_two_sided, for_degrees_of_freedom, rho_squared

ALPHA: Final = 0.05
EXPECTED_N: Final = 10_000
"""Where a mean's interval is tuned to be narrowest; within a factor of ten it matters little."""

MIN_N: Final = 100
MIN_BUCKETS: Final = 32
"""Burn-in of the asymptotic interval: below it the variance between buckets is not worth much."""

MIN_EVENTS: Final = 50
"""Below so many events, or non-events, exact methods only."""

_EXACT: Final = "exact at every look (beta-binomial mixture); takes observations as independent"
_ASYMPTOTIC: Final = "asymptotic at every look; variance between unit buckets"


def proportion(events: int, n: int, alpha: float = ALPHA) -> Answer:
    """Share of events among n independent observations, with an exact interval.

    Source: the mixture martingale of Robbins (1970) with a Beta(1/2, 1/2) prior; by Ville's
    inequality the set of p whose mixture stays below 1/alpha covers the truth at all n at once.
    Errors: ValueError unless 0 <= events <= n and 0 < alpha < 1.
    """
    _check(alpha)
    if not 0 <= events <= n:
        raise ValueError(f"{events} events of {n}")
    if n == 0:
        return NoData("there are no observations yet")
    low, high = _proportion_bounds(events, n, alpha)
    return Figure(events / n, n, Interval(low, high, alpha, _EXACT))


def mean(moments: Moments, alpha: float = ALPHA, expected_n: int = EXPECTED_N) -> Answer:
    """Mean of a value over decisions, with an interval that respects units.

    expected_n: decisions after which someone expects to conclude, fixed beforehand, >= 1
    Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (Ann. Statist. 2024, arXiv:2103.06476),
    theorem 2.2 and its tuning; the variance is that of a ratio of bucket totals.
    Errors: ValueError outside the ranges.
    """
    _check(alpha)
    if expected_n < 1:
        raise ValueError(f"expected_n is {expected_n}")
    n = sum(moments.n)
    if n == 0:
        return NoData("there are no observations yet")
    value = math.fsum(moments.total) / n
    return Figure(value, n, _mean_interval(moments, value, alpha, expected_n))


def rate(moments: Moments, alpha: float = ALPHA, expected_n: int = EXPECTED_N) -> Answer:
    """Mean of an event that is 0 or 1, by the exact method while events are rare.

    Each method has half of alpha, since which one answers depends on the data.
    Errors: ValueError outside the ranges.
    """
    n, events = sum(moments.n), round(math.fsum(moments.total))
    exact = proportion(events, n, alpha / 2)
    wide = mean(moments, alpha / 2, expected_n)
    frequent = min(events, n - events) >= MIN_EVENTS
    chosen = wide if frequent and _bounded(wide) else exact
    return _at(chosen, alpha)


def quantile(latencies: LatencyHistogram, q: float, alpha: float = ALPHA) -> Answer:
    """The latency that a share q of decisions does not exceed, in microseconds.

    Value and upper bound are upper edges of bins, the lower bound a lower edge: at most 1/32 off.
    The interval holds every latency x that the count of decisions at most x does not contradict.
    Source: as `proportion`, inverted; compare Howard & Ramdas (Bernoulli 2022), section 2.
    Errors: ValueError unless 0 < q < 1.
    """
    _check(alpha)
    if not 0.0 < q < 1.0:
        raise ValueError(f"q is {q}")
    n = sum(latencies.counts.values())
    if n == 0:
        return NoData("there are no observations yet")
    low_count, high_count = _plausible_counts(q, n, alpha)
    value = float(latency_edge(_bin_of_rank(latencies, math.ceil(q * n)) + 1) - 1)
    if low_count == 0 or high_count == n:
        return Figure(value, n, NoData(f"too few decisions to bound the {q:g} quantile", n))
    low = float(latency_edge(_bin_of_rank(latencies, low_count)))
    high = float(latency_edge(_bin_of_rank(latencies, high_count + 1) + 1) - 1)
    return Figure(value, n, Interval(low, high, alpha, _EXACT))


def share_above(latencies: LatencyHistogram, limit_us: int, alpha: float = ALPHA) -> Answer:
    """Share of decisions slower than a limit, up to the width of the limit's own bin (1/32).

    The limit's bin counts as slower, so that a slow service never looks fast.
    """
    n = sum(latencies.counts.values())
    slower = sum(
        count for index, count in latencies.counts.items() if latency_edge(index + 1) > limit_us + 1
    )
    return proportion(slower, n, alpha)


def asymptotic_radius(error: float, n: int, alpha: float, expected_n: int) -> float:
    """Half-width of the interval of an asymptotically normal estimate, valid at every look.

    error: standard error of the estimate from n observations
    Source: as `mean`.
    """
    return error * float(critical_two_sided(n * rho_squared(expected_n, alpha), alpha))


def _bounded(answer: Answer) -> bool:
    return isinstance(answer, Figure) and isinstance(answer.interval, Interval)


def _at(answer: Answer, alpha: float) -> Answer:
    """The answer with the error chance of the whole procedure instead of its half."""
    if isinstance(answer, Figure) and isinstance(answer.interval, Interval):
        return replace(answer, interval=replace(answer.interval, alpha=alpha))
    return answer


def _mean_interval(
    moments: Moments, value: float, alpha: float, expected_n: int
) -> Interval | NoData:
    n = sum(moments.n)
    filled = [
        (count, total) for count, total in zip(moments.n, moments.total, strict=True) if count
    ]
    if n < MIN_N or len(filled) < MIN_BUCKETS:
        return NoData(
            f"an interval needs at least {MIN_N} decisions of units in {MIN_BUCKETS} of 64 "
            f"buckets; there are {n} in {len(filled)}",
            n,
        )
    residuals = math.fsum((total - value * count) ** 2 for count, total in filled)
    variance = len(filled) / (len(filled) - 1) * residuals / (n * n)
    # Sums of floats leave dust; what is below it is no variation.
    if variance * n <= (1e-9 * value) ** 2:
        return NoData("all observations are equal so far", n)
    critical = critical_two_sided(n * rho_squared(expected_n, alpha), alpha)
    # The variance is itself an estimate, from that many buckets less one.
    radius = math.sqrt(variance) * float(for_degrees_of_freedom(critical, len(filled) - 1))
    return Interval(value - radius, value + radius, alpha, _ASYMPTOTIC)


def _log_mixture(events: int, n: int) -> float:
    """ln of the Beta(1/2, 1/2) mixture of likelihoods, B(events + 1/2, n - events + 1/2) / pi."""
    return (
        math.lgamma(events + 0.5)
        + math.lgamma(n - events + 0.5)
        - math.lgamma(n + 1)
        - math.log(math.pi)
    )


def _contradicts(events: int, n: int, p: float, alpha: float) -> bool:
    """Whether the mixture has beaten p by 1/alpha."""
    likelihood = 0.0
    if events:
        likelihood += events * math.log(p)
    if n - events:
        likelihood += (n - events) * math.log1p(-p)
    return _log_mixture(events, n) - likelihood >= -math.log(alpha)


def _proportion_bounds(events: int, n: int, alpha: float) -> tuple[float, float]:
    """The ends of the set of p not contradicted: an interval, since the mixture's lead is convex
    in p with its minimum at the observed share."""
    value = events / n

    def outside(p: float) -> bool:
        return p <= 0.0 or p >= 1.0 or _contradicts(events, n, p, alpha)

    low = 0.0 if events == 0 else _boundary(outside, 0.0, value)
    high = 1.0 if events == n else _boundary(outside, 1.0, value)
    return low, high


def _boundary(outside: Callable[[float], bool], out: float, inside: float) -> float:
    """Where `outside` turns, from the outer side: halves until the ends are neighbours."""
    middle = (out + inside) / 2
    while middle not in (out, inside):
        if outside(middle):
            out = middle
        else:
            inside = middle
        middle = (out + inside) / 2
    return out


def _plausible_counts(q: float, n: int, alpha: float) -> tuple[int, int]:
    """Smallest and largest count of n that does not contradict a share of q."""
    centre = round(q * n)
    low, high = centre, centre
    step = 1 << n.bit_length()
    while step:
        if low - step >= 0 and not _contradicts(low - step, n, q, alpha):
            low -= step
        if high + step <= n and not _contradicts(high + step, n, q, alpha):
            high += step
        step >>= 1
    return low, high


def _bin_of_rank(latencies: LatencyHistogram, rank: int) -> int:
    """The bin of the rank-th smallest latency, 1 <= rank <= n."""
    bins = sorted(latencies.counts)
    seen = accumulate(latencies.counts[index] for index in bins)
    return next(index for index, count in zip(bins, seen, strict=True) if count >= rank)


def _check(alpha: float) -> None:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}: it is a probability")
