"""Differences of means from sums alone: their slow twins, units, ramps, mirrors and covariates."""

import math

import numpy as np
import pytest
from draws import at_most, binary_moments, cross_moments, moments
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.domain.evidence import BUCKETS, merge
from pointsman.judge import covariate
from pointsman.judge.covariate import CovariateState
from pointsman.judge.mean import (
    MeanBlock,
    MeanState,
    Tuning,
    contrast,
    fold,
    log_e_above,
    log_e_below,
    one_sided_radius,
    ratio_bounds,
    two_sided_radius,
)

TUNING = Tuning(n_star=10_000)
values = st.builds(
    lambda seed, n: np.random.default_rng(seed).normal(1, 2, n).tolist(),
    st.integers(0, 2**32),
    st.integers(24, 60),
)


def folded(blocks):
    state = MeanState()
    for block in blocks:
        state = fold(state, block)
    return state


def slow_scores(state, block, challenger, champion):
    """The twin: P and N of each decision, one at a time, with baselines found by their rule."""
    pi, c = block.share, block.share * (1 - block.share)
    past_n1, past_y1, past_n0, past_y0 = state.baseline
    rows = []
    arms = [(1, y, i % BUCKETS) for i, y in enumerate(challenger)]
    arms += [(0, y, i % BUCKETS) for i, y in enumerate(champion)]
    others = [[(a, v) for a, v, b in arms if b % 2 != half] for half in (0, 1)]
    for arm, y, bucket in arms:
        other = others[bucket % 2]
        n1 = past_n1 + sum(a for a, _ in other)
        y1 = past_y1 + sum(v for a, v in other if a)
        n0 = past_n0 + sum(1 - a for a, _ in other)
        y0 = past_y0 + sum(v for a, v in other if not a)
        both = (y1 + y0) / (n1 + n0) if n1 + n0 else 0.0
        m1, m0 = (y1 + 20 * both) / (n1 + 20), (y0 + 20 * both) / (n0 + 20)
        p = (1 - pi) * arm * (y - m1) + c * m1
        n = pi * (1 - arm) * (y - m0) + c * m0
        rows.append((bucket, p, n, c))
    return rows


@settings(max_examples=25, deadline=None)
@given(values, values, values, values, st.sampled_from([0.05, 0.5, 0.9]), st.floats(0.5, 2))
def test_sums_by_bucket_give_what_single_decisions_give(a, b, c, d, share, factor):
    """Estimate and both variances equal those over the list of decisions."""
    state, rows = MeanState(), []
    for challenger, champion, at in ((a, b, 0.5), (c, d, share)):
        block = MeanBlock(moments(challenger), moments(champion), at)
        rows += slow_scores(state, block, challenger, champion)
        state = fold(state, block)
    bucket, p, n, weight = map(np.array, zip(*rows, strict=True))
    difference = (p - factor * n).sum() / weight.sum()
    residual = p - factor * n - difference * weight
    by_bucket = np.bincount(bucket, residual, BUCKETS)
    filled = len(set(bucket.tolist()))

    found = contrast(state, factor)
    assert found.difference == pytest.approx(difference, rel=1e-9, abs=1e-9)
    assert found.error == pytest.approx(np.sqrt((residual**2).sum()) / weight.sum(), rel=1e-6)
    expected = np.sqrt(filled / (filled - 1) * (by_bucket**2).sum()) / weight.sum()
    assert found.bucket_error == pytest.approx(expected, rel=1e-6)
    assert found.degrees == filled - 1


@settings(max_examples=25, deadline=None)
@given(values, values, st.sampled_from([0.05, 0.5, 0.9]), st.floats(-2, 2))
def test_swapping_the_arms_mirrors_estimate_bounds_and_evidence(a, b, share, margin):
    """Nothing in the test prefers an arm."""
    one = contrast(folded([MeanBlock(moments(a), moments(b), share)]))
    other = contrast(folded([MeanBlock(moments(b), moments(a), 1 - share)]))
    if one is None or other is None:
        assert one is other
        return

    assert one.difference == pytest.approx(-other.difference, abs=1e-9)
    assert one_sided_radius(one, 0.05, TUNING) == pytest.approx(
        one_sided_radius(other, 0.05, TUNING), rel=1e-6
    )
    assert log_e_above(one, margin, TUNING) == pytest.approx(
        log_e_below(other, -margin, TUNING), rel=1e-6, abs=1e-6
    )


def test_a_block_cut_in_two_cells_is_the_same_block():
    """Cells merge before they are folded; workers do not show."""
    rng = np.random.default_rng(5)
    a, b, c = (binary_moments(rng, 400, 0.1) for _ in range(3))

    assert fold(MeanState(), MeanBlock(merge(a, b), c, 0.5)) == fold(
        MeanState(), MeanBlock(merge(b, a), c, 0.5)
    )


def test_the_bound_and_the_e_value_are_one_decision():
    """The e-value at the bound itself is exactly 1/alpha."""
    rng = np.random.default_rng(6)
    found = contrast(
        folded([MeanBlock(moments(rng.normal(1, 2, 900)), moments(rng.normal(0, 2, 900)), 0.5)])
    )
    low = found.difference - one_sided_radius(found, 0.05, TUNING)

    assert log_e_above(found, low, TUNING) == pytest.approx(math.log(20), rel=1e-6)


def test_ratio_bounds_hold_the_ratio_and_know_when_there_is_none():
    """Means of 3 and 2 are a ratio of 1.5; means around nought have no ratio."""
    rng = np.random.default_rng(7)
    state = folded(
        MeanBlock(moments(rng.exponential(3, 400)), moments(rng.exponential(2, 400)), 0.5)
        for _ in range(20)
    )
    nothing = folded(
        [MeanBlock(moments(rng.normal(0, 1, 100)), moments(rng.normal(0, 1, 100)), 0.5)]
    )

    low, high = ratio_bounds(state, 0.05, TUNING)
    assert 1.3 < low < 1.5 < high < 1.75
    assert ratio_bounds(nothing, 0.05, TUNING)[1] == math.inf


def test_no_variance_is_no_answer():
    """A thousand equal values are not a certainty (GrowthBook's [0, 0] is the counter-example)."""
    state = folded([MeanBlock(moments([0.0] * 500), moments([0.0] * 500), 0.5)])

    assert contrast(state) is None


def test_a_share_of_nought_or_one_adds_nothing():
    """There was no draw, so there is no difference to see."""
    cell = moments([1.0, 2.0])

    assert folded([MeanBlock(cell, moments([]), 1.0)]) == MeanState()


def test_requests_of_sticky_units_do_not_pass_for_independent():
    """20 requests a unit: a z between requests alarms too often, the sequence keeps to alpha."""
    rng, runs, naive, ours = np.random.default_rng(11), 120, 0, 0
    for _ in range(runs):
        rate = rng.beta(0.4, 3.6, 400)
        arm = rng.random(400) < 0.5
        state, sums = MeanState(), np.zeros((2, 3))
        alarmed = alarmed_naive = False
        for _ in range(20):
            y = rng.random(400) < rate
            units = np.arange(400)
            cells = [moments(y[arm == a], units[arm == a]) for a in (True, False)]
            state = fold(state, MeanBlock(*cells, 0.5))
            sums += [[sum(c.n), sum(c.total), sum(c.squares)] for c in cells]
            found = contrast(state)
            alarmed |= abs(found.difference) > two_sided_radius(found, 0.05, TUNING)
            alarmed_naive |= abs(found.difference / found.error) > 1.96
        naive, ours = naive + alarmed_naive, ours + alarmed

    assert at_most(ours / runs, 0.05, runs)
    assert naive / runs > 0.3


def test_a_covariate_narrows_the_interval_and_leaves_the_effect():
    """corr 0.9 should cut the standard error to sqrt(1 - 0.81) = 0.44 of itself."""
    rng = np.random.default_rng(13)
    plain, tight, state = MeanState(), MeanState(), CovariateState()
    for drift in np.linspace(0, 3, 30):
        x = rng.normal(5 + drift, 1, 600)
        arm = rng.random(600) < 0.3
        y = 2 * x + rng.normal(0, 2 * math.sqrt(1 / 0.81 - 1), 600) + 0.4 * arm
        cells = [cross_moments(y[arm == a], x[arm == a]) for a in (True, False)]
        plain = fold(plain, MeanBlock(moments(y[arm]), moments(y[~arm]), 0.3))
        tight = fold(tight, MeanBlock(*(covariate.adjusted(state, c) for c in cells), 0.3))
        state = covariate.fold(state, *cells)
    wide, narrow = contrast(plain), contrast(tight)

    assert state.theta == pytest.approx(2.0, abs=0.05)
    assert narrow.error / wide.error == pytest.approx(0.44, abs=0.05)
    assert narrow.difference == pytest.approx(0.4, abs=4 * narrow.error)


@given(values, st.floats(-3, 3), st.floats(-3, 3))
def test_adjusted_moments_are_the_moments_of_adjusted_values(y, slope, centre):
    """The twin: adjust each value, then add up."""
    x = [v * 0.5 + i % 3 for i, v in enumerate(y)]
    state = CovariateState(n=1, total=centre, within_xx=1.0, within_xy=slope)
    slow = moments([b - slope * (a - centre) for a, b in zip(x, y, strict=True)])

    fast = covariate.adjusted(state, cross_moments(y, x))
    assert fast.n == slow.n
    assert fast.total == pytest.approx(slow.total, abs=1e-8)
    assert fast.squares == pytest.approx(slow.squares, abs=1e-6)
