"""Intervals that hold at every look, held against simulations whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from pointsman.domain.evidence import BUCKETS, LatencyHistogram, Moments
from pointsman.judge.figure import Figure, Interval, NoData
from pointsman.judge.mixture import critical_two_sided, rho_squared
from pointsman.judge.sequential import (
    MIN_BUCKETS,
    MIN_N,
    mean,
    proportion,
    quantile,
    rate,
    share_above,
)

ALPHA = 0.05
LOOKS = np.unique(np.geomspace(10, 4000, 40).astype(int))


def bound(runs, alpha=ALPHA):
    """The largest miss rate that a procedure at its nominal rate may show: two standard errors."""
    return alpha + 2 * math.sqrt(alpha * (1 - alpha) / runs)


def misses(answer, truth):
    """Whether an interval that is there does not hold the truth."""
    if isinstance(answer, NoData) or isinstance(answer.interval, NoData):
        return False
    return not answer.interval.low <= truth <= answer.interval.high


@pytest.mark.parametrize("p", [0.01, 0.3])
def test_exact_intervals_hold_at_every_look(p):
    """Of many runs looked at 40 times each, at most alpha ever miss; 1.96 standard errors, the
    usual interval, misses in more than 30 % of the same runs."""
    runs, random = 250, np.random.default_rng(17)
    missed = naive = 0
    for _ in range(runs):
        events = np.cumsum(random.random(LOOKS[-1]) < p)[LOOKS - 1]
        looks = list(zip(events.tolist(), LOOKS.tolist(), strict=True))
        missed += any(misses(proportion(k, n), p) for k, n in looks)
        naive += any(abs(k / n - p) > 1.96 * math.sqrt(k / n * (1 - k / n) / n) for k, n in looks)

    assert missed / runs <= bound(runs)
    assert naive / runs > 0.3


def test_the_mixture_is_the_integral_it_claims_to_be():
    """The closed form is the Beta(1/2, 1/2) average of the likelihood, so that its lead over the
    true p is a martingale: the bound is where the integral reaches 1/alpha times the likelihood."""
    events, n = 7, 40
    found = proportion(events, n).interval

    def beta(p):
        return p ** (events - 0.5) * (1 - p) ** (n - events - 0.5) / math.pi

    mixture, _ = integrate.quad(beta, 0, 1)
    for p in (found.low, found.high):
        likelihood = p**events * (1 - p) ** (n - events)
        assert mixture / likelihood == pytest.approx(1 / ALPHA, rel=1e-6)


@given(st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([0.2, 0.05, 0.001]))
def test_exact_intervals_are_intervals(n, share, alpha):
    """The bounds enclose the share, lie in [0, 1], and turn around with the events."""
    events = round(share * n)
    found = proportion(events, n, alpha)
    turned = proportion(n - events, n, alpha)
    low, high = found.interval.low, found.interval.high

    assert 0 <= low <= found.value <= high <= 1
    assert low < high
    assert (1 - turned.interval.high, 1 - turned.interval.low) == pytest.approx((low, high))


def test_no_event_is_not_no_chance():
    """Without an event the upper bound shrinks with n and never reaches 0."""
    highs = [proportion(0, n).interval.high for n in (1, 10, 100, 1000, 10**6)]

    assert highs == sorted(highs, reverse=True)
    assert 0 < highs[-1] < highs[0] < 1
    assert proportion(0, 1000).interval.low == 0
    assert proportion(1000, 1000).interval.high == 1


def clustered(random, units, requests_each):
    """(bucket, value) of every request: each unit has a level of its own, around 2."""
    levels = random.normal(1.0, 1.0, units).repeat(requests_each)
    buckets = random.integers(0, BUCKETS, units).repeat(requests_each)
    return buckets, levels + random.exponential(1.0, levels.size)


def moments_of(buckets, values):
    """What observing one by one gives, all at once."""
    return Moments(
        np.bincount(buckets, minlength=BUCKETS).tolist(),
        np.bincount(buckets, values, BUCKETS).tolist(),
        np.bincount(buckets, values**2, BUCKETS).tolist(),
    )


def test_intervals_of_means_hold_at_every_look_and_for_units_with_many_requests():
    """Each unit has its own level and about ten requests: between buckets, at most alpha of runs
    ever miss; by requests, the same interval misses in far more of them."""
    runs, random = 250, np.random.default_rng(18)
    looks = np.geomspace(300, 6000, 20).astype(int)
    missed = naive = 0
    for _ in range(runs):
        buckets, values = clustered(random, 600, 10)
        missed += any(misses(mean(moments_of(buckets[:n], values[:n])), 2.0) for n in looks)
        naive += any(
            abs(values[:n].mean() - 2.0)
            > critical_two_sided(n * rho_squared(10_000, ALPHA), ALPHA) * values[:n].std() / n**0.5
            for n in looks
        )

    assert missed / runs <= bound(runs)
    assert naive / runs > 0.3


def test_the_usual_interval_fails_where_this_one_holds():
    """With one request a unit, 100 looks with 1.96 standard errors miss in more than 30 % of
    runs, and this interval in at most alpha."""
    runs, random = 200, np.random.default_rng(19)
    looks = np.linspace(200, 20_000, 100).astype(int)
    missed = naive = 0
    for _ in range(runs):
        values = random.exponential(1.0, looks[-1])
        buckets = random.integers(0, BUCKETS, looks[-1])
        sums, squares = np.cumsum(values)[looks - 1], np.cumsum(values**2)[looks - 1]
        deviation = np.sqrt(squares / looks - (sums / looks) ** 2)
        naive += bool(np.any(np.abs(sums / looks - 1) > 1.96 * deviation / np.sqrt(looks)))
        missed += any(misses(mean(moments_of(buckets[:n], values[:n])), 1.0) for n in looks[::5])

    assert missed / runs <= bound(runs)
    assert naive / runs > 0.3


def test_few_buckets_widen_the_interval():
    """A variance from few buckets is itself uncertain: in standard errors between buckets, the
    interval is wider than that of a known variance, and the more so the fewer buckets there are."""
    n, radii = 2048, {}
    for filled in (32, 64):
        buckets = np.arange(n) % filled
        values = np.where(buckets % 2, 1.0, 3.0)
        interval = mean(moments_of(buckets, values)).interval
        error = math.sqrt(filled / (filled - 1)) / math.sqrt(filled)  # deviation 1 around 2
        radii[filled] = (interval.high - interval.low) / 2 / error

    known = critical_two_sided(n * rho_squared(10_000, ALPHA), ALPHA)
    assert radii[32] > radii[64] > known


def test_a_mean_without_enough_units_has_no_interval():
    """One unit's thousand requests, or few decisions, give a value and say why no interval."""
    one = Moments()
    for _ in range(1000):
        one.observe(3, 1.5)
    few = Moments()
    for unit in range(MIN_N - 1):
        few.observe(unit, unit)

    for found in (mean(one), mean(few)):
        assert isinstance(found.interval, NoData)
        assert str(MIN_BUCKETS) in found.interval.reason
    assert mean(one).value == 1.5


def test_equal_values_give_no_interval():
    """No variation is no certainty: a constant is reported without bounds, not with [x, x]."""
    same = Moments()
    for unit in range(1000):
        same.observe(unit, 0.1)

    assert mean(same).interval == NoData("all observations are equal so far", 1000)


def test_rates_are_exact_while_events_are_rare():
    """Below 50 events the exact method answers, above it the one that knows units."""
    rare, common, lonely = Moments(), Moments(), Moments()
    random = np.random.default_rng(20)
    for unit in range(3000):
        rare.observe(unit, float(unit % 100 == 0))
        common.observe(unit, float(random.random() < 0.2))
        lonely.observe(1, float(unit % 2))

    assert rate(rare).interval.method.startswith("exact")
    assert rate(common).interval.method.startswith("asymptotic")
    assert rate(lonely).interval.method.startswith("exact")
    assert {rate(m).interval.alpha for m in (rare, common, lonely)} == {ALPHA}
    assert rate(Moments()) == NoData("there are no observations yet")


def test_rates_hold_at_every_look():
    """Though the method changes on the way, at most alpha of the runs ever miss."""
    runs, random, p = 200, np.random.default_rng(21), 0.03
    looks = np.geomspace(50, 8000, 25).astype(int)
    missed = 0
    for _ in range(runs):
        values = (random.random(looks[-1]) < p).astype(float)
        buckets = random.integers(0, BUCKETS, looks[-1])
        missed += any(misses(rate(moments_of(buckets[:n], values[:n])), p) for n in looks)

    assert missed / runs <= bound(runs)


@pytest.mark.parametrize("q", [0.5, 0.99])
def test_quantiles_hold_at_every_look(q):
    """The true quantile is inside at every look, in all but alpha of the runs."""
    runs, random = 150, np.random.default_rng(22)
    truth = math.exp(8 + {0.5: 0.0, 0.99: 2.3263479}[q])
    looks = [50, 200, 500, 1000, 2000, 4000]
    missed = 0
    for _ in range(runs):
        histogram, start, wrong = LatencyHistogram(), 0, False
        values = random.lognormal(8, 1, looks[-1]).astype(int).tolist()
        for look in looks:
            for value in values[start:look]:
                histogram.observe(value)
            start = look
            wrong = wrong or misses(quantile(histogram, q), truth)
        missed += wrong

    assert missed / runs <= bound(runs)


def test_a_quantile_is_the_value_at_its_rank():
    """The value is the smallest latency that a share q does not exceed, up to its bin."""
    histogram = LatencyHistogram()
    for latency in range(1, 1001):
        histogram.observe(latency)
    found = quantile(histogram, 0.5)

    assert 500 <= found.value <= 500 * 33 / 32
    assert found.interval.low < 500 < found.interval.high


def test_too_few_decisions_do_not_bound_a_high_quantile():
    """The 99 % quantile of 20 decisions has a value and no bounds."""
    histogram = LatencyHistogram()
    for latency in range(20):
        histogram.observe(latency)

    assert isinstance(quantile(histogram, 0.99).interval, NoData)
    assert quantile(LatencyHistogram(), 0.5) == NoData("there are no observations yet")


def test_slow_decisions_are_a_share():
    """`latency > limit` counts decisions above the limit; the limit's own bin counts as slow."""
    histogram = LatencyHistogram()
    for latency in (10, 20, 30, 40):
        histogram.observe(latency)

    assert share_above(histogram, 20).value == 0.5
    assert share_above(histogram, 40).value == 0.0
    assert share_above(histogram, 0).value == 1.0
    assert isinstance(share_above(LatencyHistogram(), 5), NoData)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: proportion(3, 2),
        lambda: proportion(-1, 2),
        lambda: proportion(1, 2, alpha=0.0),
        lambda: mean(Moments(), alpha=1.0),
        lambda: mean(Moments(), expected_n=0),
        lambda: quantile(LatencyHistogram(), 1.0),
    ],
)
def test_values_out_of_range_are_refused(wrong):
    """Nonsense is an error, not an answer."""
    with pytest.raises(ValueError):
        wrong()


def test_answers_are_figures():
    """An answer carries its value, n and interval with the method in words."""
    found = proportion(5, 50)

    assert isinstance(found, Figure)
    assert isinstance(found.interval, Interval)
    assert (found.value, found.n, found.interval.alpha) == (0.1, 50, ALPHA)
    assert mean(Moments()) == NoData("there are no observations yet")
