"""Latency: published values of the quantile tests, slow twins, and events over a limit."""

import math

import numpy as np
import pytest
from draws import at_most
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pointsman.domain.evidence import LatencyHistogram, merge
from pointsman.judge.event import fold_all, lower_bound
from pointsman.judge.quantile import (
    BetaBinomial,
    band_radius,
    difference,
    log_e_equal,
    quantile_bounds,
    rank_bounds,
    slow_block,
    slow_count,
)


def histogram(latencies):
    cell = LatencyHistogram()
    for latency in latencies:
        cell.observe(int(latency))
    return cell


def bins(values):
    """A histogram whose bins are these values: only their order matters to a test."""
    return LatencyHistogram({int(v): 1 for v in values})


@pytest.mark.parametrize(
    ("p", "shift", "published"),
    [
        (0.5, 70, 0.814704),
        (0.5, 85, 0.0838055),
        (0.5, 100, 0.0054947),
        (0.9, 55, 0.0340463),
    ],
)
def test_the_two_arm_test_equals_the_published_reference(p, shift, published):
    """confseq: 1..1000 against the same, shifted; t_opt = 100."""
    values = np.arange(1, 1001)
    e = log_e_equal([(bins(values), bins(values + shift))], BetaBinomial(p, t_opt=100))

    assert math.exp(-e) == pytest.approx(published, rel=1e-4)


def test_the_mixture_equals_the_published_reference():
    """confseq's unit tests: v_opt = 100, g = 0.2, h = 0.8; s = 10 at v = 100 is 135 of 625."""
    using = BetaBinomial(0.2, t_opt=625)

    assert using.log_e(0.2 * 625 + 10, 625) == pytest.approx(-0.6941012, abs=1e-6)
    assert using.log_e(0.2 * 625 + 31.4308, 625) == pytest.approx(math.log(20), abs=1e-4)


def test_the_band_equals_the_published_reference():
    """confseq's unit tests: t = 1000, t_min = 100, alpha = 0.05, A = 0.85."""
    assert band_radius(1_000, 0.05) == pytest.approx(0.08204769, abs=1e-6)
    assert math.isinf(band_radius(99, 0.05))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.99])
def test_the_bet_is_fair(p):
    """Summed over all counts, the e-value has mean one."""
    counts = np.arange(41)

    assert stats.binom.pmf(counts, 40, p) @ np.exp(
        BetaBinomial(p, t_opt=50).log_e(counts, 40)
    ) == pytest.approx(1.0)


@given(st.integers(1, 3_000), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([0.01, 0.1]))
def test_ranks_are_the_outermost_that_are_not_contradicted(n, p, alpha):
    """The twin: ask each count."""
    using = BetaBinomial(p)
    plausible = np.flatnonzero(using.log_e(np.arange(n + 1), n) < math.log(1 / alpha))
    low, high = rank_bounds(n, using, alpha)

    # Below the low-th order statistic lie fewer than every plausible count of "at most x".
    assert low == plausible.min() or (low == 0 and plausible.min() == 0)
    assert high == plausible.max() + 1


def test_quantile_bounds_hold_at_every_look():
    """20 looks a run: the median leaves its bounds in at most 5 % of the runs."""
    rng, runs, missed = np.random.default_rng(9), 150, 0
    using = BetaBinomial(0.5, t_opt=1_000)
    for _ in range(runs):
        total, outside = LatencyHistogram(), False
        for _ in range(20):
            total = merge(total, LatencyHistogram(_drawn(rng, 100)))
            low, high = quantile_bounds(total, using, 0.05)
            outside |= not low <= 1_500 <= high
        missed += outside

    assert at_most(missed / runs, 0.05, runs)


def _drawn(rng, n):
    """Latencies uniform on 1000..2000 us, by bin."""
    cell = histogram(rng.integers(1_000, 2_001, n))
    return cell.counts


def test_no_latencies_bound_nothing():
    """And bet nothing."""
    empty = LatencyHistogram()

    assert quantile_bounds(empty, BetaBinomial(0.5), 0.05) == (0, math.inf)
    assert quantile_bounds(histogram([5]), BetaBinomial(0.5), 0.05) == (0, math.inf)
    assert log_e_equal([(empty, histogram([5]))], BetaBinomial(0.5)) == 0.0


def test_epochs_of_different_load_are_not_pooled():
    """The challenger grew while the service got slower: pooled, it looks slow by itself."""
    rng = np.random.default_rng(10)
    quiet, busy = (lambda n: rng.integers(100, 200, n)), (lambda n: rng.integers(300, 400, n))
    epochs = [
        (histogram(quiet(100)), histogram(quiet(1_900))),
        (histogram(busy(1_000)), histogram(busy(1_000))),
    ]
    pooled = [tuple(merge(a, b) for a, b in zip(*epochs, strict=True))]
    using = BetaBinomial(0.5, t_opt=1_000)

    assert log_e_equal(epochs, using) < 0
    assert log_e_equal(pooled, using) > math.log(1_000)


def test_slower_than_a_limit_is_an_event_for_the_exact_test():
    """Twice as many requests over 100 ms at a 10 % share are shown to be more."""
    fast, slow = [20_000] * 980, [150_000] * 20
    champion = histogram((fast + slow) * 9)
    challenger = histogram([20_000] * 960 + [150_000] * 40)

    assert slow_count(champion, 100_000) == 180
    block = slow_block(challenger, champion, 0.1, 100_000)
    assert (block.challenger, block.champion) == (40, 180)
    assert lower_bound(fold_all([block]), 0.05) > 1.0


def bounds_of(epochs, *, p=0.9, alpha=0.05, relative=False):
    found = difference(epochs, BetaBinomial(p), alpha, relative=relative)
    return found.lower, found.upper


def test_a_lasting_difference_stays_within_its_bounds_at_every_look():
    """Two epochs whose latencies differ by a factor, the same 100 ms between arms: each bound errs
    in at most alpha; comparing sample quantiles by a fixed interval errs far more often."""
    rng, runs, alpha = np.random.default_rng(21), 60, 0.2
    above = below = naive = 0
    for _ in range(runs):
        hits, epochs, later = [False] * 3, [], np.array([[100_000], [0]])
        for scale in (100_000, 300_000):
            one, two, seen = LatencyHistogram(), LatencyHistogram(), [[], []]
            epochs.append((one, two))
            for _ in range(20):
                drawn = rng.gamma(4.0, scale / 4.0, (2, 60)) + later
                for arm, (cell, values) in enumerate(zip((one, two), drawn, strict=True)):
                    seen[arm].extend(values)
                    for value in values:
                        cell.observe(int(value))
                low, high = bounds_of(epochs, alpha=alpha)
                hits[0] |= low > 100_000
                hits[1] |= high < 100_000
                spans = [np.quantile(arm, [0.9 + s * 1.28 * np.sqrt(0.09 / len(arm))
                                           for s in (-1, 1)]) for arm in seen]  # fmt: skip
                hits[2] |= not spans[0][0] - spans[1][1] <= 100_000 <= spans[0][1] - spans[1][0]
        above, below, naive = above + hits[0], below + hits[1], naive + hits[2]

    assert at_most(above / runs, alpha, runs)
    assert at_most(below / runs, alpha, runs)
    assert naive / runs > alpha


def test_the_bounds_of_one_epoch_are_those_of_its_quantiles():
    """The slow twin: each arm bounded by itself, half of the first epoch's error each."""
    one, two = histogram(range(2_000, 4_000)), histogram(range(1_000, 3_000))
    (low1, high1), (low0, high0) = (
        quantile_bounds(arm, BetaBinomial(0.9), 0.0125) for arm in (one, two)
    )

    assert bounds_of([(one, two)]) == (low1 - high0, high1 - low0)
    assert bounds_of([(one, two)], relative=True) == (low1 / high0 - 1, high1 / low0 - 1)
    assert bounds_of([(LatencyHistogram(), two)])[1] == math.inf
