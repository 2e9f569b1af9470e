"""The event e-process: exact at small counts, equal to its slow twins, mirrored, and additive."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from pointsman.judge.event import (
    EventBlock,
    EventPrior,
    EventState,
    estimate,
    fold,
    fold_all,
    interval,
    log_e_above,
    log_e_below,
    log_e_equal,
    lower_bound,
    merge,
    mirrored,
    upper_bound,
)

shares = st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 0.75])
blocks = st.builds(EventBlock, st.integers(0, 40), st.integers(0, 40), shares)
histories = st.lists(blocks, max_size=8)
risks = st.floats(0.2, 5.0)


def slow_likelihood_ratio(history, r, r0):
    """The twin: the product over events, block by block, in plain numbers."""
    product = 1.0
    for block in history:
        theta, theta0 = (v * block.share / (v * block.share + 1 - block.share) for v in (r, r0))
        product *= (theta / theta0) ** block.challenger
        product *= ((1 - theta) / (1 - theta0)) ** block.champion
    return product


def slow_e_above(history, r0, prior):
    """The twin: the mixture integral by adaptive quadrature."""

    def integrand(u):
        weight = 2 * stats.norm.pdf(u, scale=prior.spread)
        return slow_likelihood_ratio(history, r0 * math.exp(u), r0) * weight

    return sum(
        integrate.quad(integrand, a, b, limit=200)[0] for a, b in ((0, 0.3), (0.3, 1), (1, 8))
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(blocks, max_size=4), risks)
def test_the_e_value_is_the_integral_of_the_likelihood_product(history, risk):
    """Totals by share and fixed nodes lose nothing against the product over events."""
    prior = EventPrior()
    expected = slow_e_above(history, risk, prior)

    got = log_e_above(fold_all(history), risk, prior)
    assert got == pytest.approx(math.log(expected), rel=1e-6, abs=1e-6)


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([0.05, 0.5]), risks)
def test_at_the_priors_share_the_two_sided_value_is_a_ratio_of_betas(x, y, share, risk):
    """Closed form and quadrature are the same mixture: an empty second share forces the latter."""
    prior = EventPrior(share=share)
    state = EventState(((share, x, y),))
    other = EventState(((share, x, y), (0.7, 0, 0)))
    theta = risk * share / (risk * share + 1 - share)
    a, b = prior.pseudo_counts

    closed = special.betaln(x + a, y + b) - special.betaln(a, b)
    closed -= x * math.log(theta) + y * math.log1p(-theta)
    assert log_e_equal(state, risk, prior) == pytest.approx(closed, abs=1e-8)
    assert log_e_equal(other, risk, prior) == pytest.approx(closed, abs=1e-8)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5])
@pytest.mark.parametrize("events", [1, 3, 12])
def test_its_mean_is_one_at_the_hypothesis_at_every_count(share, events):
    """Exact at small counts: summed over all outcomes, and at most one for smaller risks."""
    outcomes = range(events + 1)
    e = np.exp([log_e_above(EventState(((share, x, events - x),)), 1.2) for x in outcomes])

    for risk in (0.3, 1.0, 1.2):
        theta = risk * share / (risk * share + 1 - share)
        mean = float(stats.binom.pmf(list(outcomes), events, theta) @ e)
        if risk == 1.2:
            assert mean == pytest.approx(1.0, abs=1e-9)
        else:
            assert mean < 1.0


@given(histories, histories)
def test_merging_is_adding(a, b):
    """Blocks fold in any order and any grouping to the same state."""
    assert merge(fold_all(a), fold_all(b)) == fold_all([*b, *a])


@settings(max_examples=40, deadline=None)
@given(histories, risks)
def test_swapping_the_arms_mirrors_everything(history, risk):
    """What is harm for one arm is relief for the other."""
    state = fold_all(history)
    other = mirrored(state)
    low, high = interval(state, 0.1)
    other_low, other_high = interval(other, 0.1)

    assert log_e_above(state, risk) == pytest.approx(log_e_below(other, 1 / risk), abs=1e-9)
    assert log_e_equal(state, risk) == pytest.approx(log_e_equal(other, 1 / risk), abs=1e-7)
    assert low == pytest.approx(0 if math.isinf(other_high) else 1 / other_high, rel=1e-9)
    assert other_low == pytest.approx(0 if math.isinf(high) else 1 / high, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(histories, risks, st.sampled_from([0.001, 0.05, 0.2]))
def test_the_bound_passes_a_risk_exactly_when_the_e_value_crosses(history, risk, alpha):
    """One decision, told two ways."""
    state = fold_all(history)
    e = log_e_above(state, risk)
    if abs(e + math.log(alpha)) < 1e-6:
        return

    assert (lower_bound(state, alpha) > risk) == (e > -math.log(alpha))


def test_no_events_bound_nothing():
    """Silence is neither harm nor relief."""
    state = fold(EventState(), EventBlock(0, 0, 0.5))

    assert log_e_above(state, 1.0) == pytest.approx(0.0, abs=1e-12)
    assert (lower_bound(state, 0.05), upper_bound(state, 0.05)) == (0.0, math.inf)
    assert estimate(state) is None


def test_a_share_of_nought_or_one_teaches_nothing():
    """There was no draw, so there is no evidence."""
    state = fold_all([EventBlock(0, 500, 0.0), EventBlock(500, 0, 1.0)])

    assert state == EventState()


def test_an_interval_narrows_to_the_truth_at_any_scale():
    """Ten million events at a 1 % share still integrate: the nodes follow the peak."""
    theta = 1.05 * 0.01 / (1.05 * 0.01 + 0.99)
    x = round(10_000_000 * theta)
    low, high = interval(EventState(((0.01, x, 10_000_000 - x),)), 0.05)

    assert 1.03 < low < 1.05 < high < 1.07


def test_the_estimate_is_the_ratio_of_rates_at_one_share():
    """30 against 20 events at half and half is a risk of 1.5."""
    assert estimate(fold_all([EventBlock(30, 20, 0.5)])) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("block", "message"),
    [(EventBlock(-1, 0, 0.5), "negative"), (EventBlock(1, 0, 1.5), "share")],
)
def test_impossible_blocks_are_refused(block, message):
    """A wrong share would make a wrong test; it never gets in."""
    with pytest.raises(ValueError, match=message):
        fold(EventState(), block)
