"""Chances of arms: closed forms and quadrature beside slow twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from pointsman.learn.bandit import best_chances, discounted, inverse_gap, top_two, with_floor

counts = st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 200_000)), min_size=1,
                  max_size=6)  # fmt: skip


@pytest.mark.parametrize(
    "arms",
    [
        [(0, 0), (0, 0)],
        [(3, 1), (2, 5)],
        [(900, 100), (880, 120)],
        [(5, 0), (40_000, 20_000)],
        [(100_000, 100_000), (100_300, 99_700)],
        [(7, 300_000), (9, 310_000)],
    ],
)
def test_of_two_arms_the_chance_is_the_known_sum(arms):
    """P(p2 > p1) as the finite sum over the second arm's successes (Evan Miller, 2009)."""
    (s1, f1), (s2, f2) = arms
    a, b, c, d = s1 + 1, f1 + 1, s2 + 1, f2 + 1
    i = np.arange(c)
    logs = (special.betaln(a + i, d + b) - np.log(d + i) - special.betaln(1 + i, d)
            - special.betaln(a, b))  # fmt: skip
    known = math.fsum(np.exp(logs))

    assert best_chances([s1, s2], [f1, f2])[1] == pytest.approx(known, abs=1e-9)


@pytest.mark.parametrize(
    "arms", [[(3, 9), (5, 9), (1, 0), (0, 4)], [(400, 9_600), (1, 20), (430, 9_570)]]
)
def test_of_many_arms_the_chance_is_what_draws_say(arms):
    """A million draws of each posterior, within four standard errors."""
    rng, n = np.random.default_rng(1), 1_000_000
    drawn = np.array([rng.beta(1 + s, 1 + f, n) for s, f in arms])
    share = np.bincount(drawn.argmax(axis=0), minlength=len(arms)) / n
    found = np.array(best_chances(*zip(*arms, strict=True)))

    assert (np.abs(found - share) <= 4 * np.sqrt(found * (1 - found) / n) + 1e-9).all()


@given(counts)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_chances_are_a_distribution_and_follow_the_arms(arms):
    """Whatever the counts, from none to sharp; the order of the arms does not matter."""
    found = best_chances(*zip(*arms, strict=True))
    turned = best_chances(*zip(*reversed(arms), strict=True))

    assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)
    assert min(found) >= 0.0
    assert found == pytest.approx(turned[::-1], abs=1e-9)


def test_the_quadrature_needs_no_normalising():
    """What it integrates to before it is made to add up to 1, at sharp posteriors of many arms."""
    rng = np.random.default_rng(4)
    for scale in (1, 100, 10_000, 1_000_000):
        s, f = rng.integers(0, scale, (2, 5))
        whole = math.fsum(
            best_chances([s[k], *np.delete(s, k)], [f[k], *np.delete(f, k)])[0] for k in range(5)
        )
        assert whole == pytest.approx(1.0, abs=1e-9)


def test_top_two_is_what_resampling_gives():
    """Play the leader with one half, else draw until another one leads."""
    rng, p, n = np.random.default_rng(2), [0.7, 0.2, 0.1, 0.0], 400_000
    played = np.zeros(4)
    for leader, times in enumerate(rng.multinomial(n, p)):
        kept = rng.binomial(times, 0.5)
        played[leader] += kept
        others = np.delete(p, leader) / (1 - p[leader])
        played += np.insert(rng.multinomial(times - kept, others), leader, 0)
    found = np.array(top_two(p))

    assert (np.abs(found - played / n) <= 4 * np.sqrt(found * (1 - found) / n)).all()
    assert found[0] <= 0.5
    assert top_two([1.0, 0.0, 0.0]) == (0.5, 0.25, 0.25)
    assert top_two([1.0]) == (1.0,)


def test_inverse_gaps_are_their_formula():
    """Uniform at gamma 0; the best arm takes the rest."""
    assert inverse_gap([1.0, 0.5, 0.0], 0.0) == pytest.approx([1 / 3] * 3)
    assert inverse_gap([0.0, 1.0, 0.5], 4.0) == pytest.approx([1 / 7, 1 - 1 / 7 - 1 / 5, 1 / 5])
    with pytest.raises(ValueError, match="finite"):
        inverse_gap([math.nan, 0.0], 1.0)


@given(st.integers(1, 8), st.floats(-0.5, 1.5), st.integers(0, 1 << 30))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_floor_is_added(arms, floor, seed):
    """No chance is below it, and an arm without weight has exactly that; clipping to it and scaling
    back to 1 does not keep it."""
    weights = np.random.default_rng(seed).dirichlet([0.3] * arms)
    found = with_floor(weights, floor)
    least = min(max(floor, 0.0), 1 / arms)

    assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)
    assert min(found) >= least - 1e-15
    alone = [1.0] + [0.0] * (arms - 1)
    assert with_floor(alone, floor)[1:] == (least,) * (arms - 1)


def test_clipping_to_a_floor_does_not_keep_it():
    """The way that is not taken, on weights of three arms."""
    clipped = np.maximum([0.98, 0.02, 0.0], 0.05)

    assert (clipped / clipped.sum()).min() < 0.05
    assert min(with_floor([0.98, 0.02, 0.0], 0.05)) == 0.05


def test_what_is_no_distribution_is_refused():
    """Weights, counts and memories outside their ranges."""
    for call in (
        lambda: with_floor([0.5, 0.4], 0.1),
        lambda: with_floor([1.5, -0.5], 0.1),
        lambda: best_chances([], []),
        lambda: best_chances([1, 2], [1]),
        lambda: best_chances([-1], [0]),
        lambda: discounted([1.0], 0.0),
    ):
        with pytest.raises(ValueError, match=r"must|outside"):
            call()


def test_discounted_counts_find_an_arm_that_became_better():
    """After a swap of rates, memory of 20 periods follows within 40; counts for ever do not."""
    rng, stale, fresh = np.random.default_rng(3), np.zeros((2, 2)), np.zeros((2, 2))
    for period in range(240):
        rates = (0.6, 0.4) if period < 200 else (0.4, 0.6)
        won = rng.binomial(50, rates)
        stale += [won, 50 - won]
        kept = np.array([discounted(row, 0.95) for row in fresh])
        fresh = kept + np.array([won, 50 - won])

    assert best_chances(*fresh)[1] > 0.95
    assert best_chances(*stale)[1] < 0.05
