"""The exact bound for values in [0, 1]: published values, slow twin, supermartingale, mirror."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import integrate

from pointsman.domain.evidence import Moments
from pointsman.judge.bounded import (
    BoundedState,
    GammaExponential,
    fold,
    log_e_above,
    log_e_below,
    lower_bound,
    mirrored,
    upper_bound,
)
from pointsman.judge.mean import MeanBlock


def moments(values):
    """The cell of these values, each of a unit of its own."""
    cell = Moments()
    for unit, value in enumerate(values):
        cell.observe(unit, float(value))
    return cell


def test_the_mixture_equals_the_published_reference():
    """confseq's unit tests (from an R implementation): v_opt = 100, c = 2."""
    mixture = GammaExponential(v_opt=100, c=2)

    assert mixture.log_m(10, 100) == pytest.approx(-0.2490165, abs=1e-6)
    assert mixture.log_m(33.02017, 100) == pytest.approx(math.log(20), abs=1e-5)


@given(st.floats(-5, 40), st.floats(0.1, 60), st.floats(0.5, 3))
def test_the_mixture_is_an_integral_of_exponential_supermartingales(s, v, c):
    """The slow twin: exp(t s - v psi(t)), psi(t) = (-ln(1 - ct) - ct) / c^2, over its gamma."""
    mixture = GammaExponential(v_opt=10, c=c)
    prior = mixture.rho / c**2
    assume(c * s + v + mixture.rho > 1e-3)

    def log_weight(t):
        # Truncated gamma in 1 - ct, as in the proof of Proposition 9.
        return (prior - 1) * math.log1p(-c * t) - prior * (1 - c * t)

    def psi(t):
        return (-math.log1p(-c * t) - c * t) / c**2

    shift = max(t * s - v * psi(t) for t in np.linspace(0, 0.999 / c, 400))
    top = (1 - 1e-12) / c
    norm = integrate.quad(lambda t: math.exp(log_weight(t)), 0, top, limit=200)[0]
    total = integrate.quad(
        lambda t: math.exp(t * s - v * psi(t) + log_weight(t) - shift), 0, top, limit=200
    )[0]

    assert mixture.log_m(s, v) == pytest.approx(shift + math.log(total / norm), abs=1e-4)


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_its_mean_is_at_most_one_without_an_effect(share):
    """Summed over every outcome of a first block of one decision, then of a second one."""
    rate, mean = 0.3, 0.0
    outcomes = [
        (a, y, (share if a else 1 - share) * (rate if y else 1 - rate))
        for a in (0, 1)
        for y in (0, 1)
    ]
    for a, y, chance in outcomes:
        once = fold(BoundedState(), block([y] if a else [], [] if a else [y], share))
        for b, z, more in outcomes:
            twice = fold(once, block([z] if b else [], [] if b else [z], share))
            mean += chance * more * math.exp(log_e_above(twice, 0.0))

    assert mean <= 1.0


def block(challenger, champion, share):
    return MeanBlock(moments(challenger), moments(champion), share)


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.sampled_from([0.05, 0.5, 0.8]),
)
def test_swapping_the_arms_mirrors_the_bounds(a, b, share):
    """Folding the mirrored cells is mirroring the folded state."""
    one = fold(BoundedState(), block(a, b, share))
    other = fold(BoundedState(), block(b, a, 1 - share))

    assert other.s == pytest.approx(mirrored(one).s, abs=1e-9)
    assert lower_bound(one, 0.1) == pytest.approx(-upper_bound(other, 0.1), abs=1e-9)
    assert log_e_above(one, 0.1) == pytest.approx(log_e_below(other, -0.1), abs=1e-6)


def test_forty_decisions_of_a_broken_challenger_are_enough():
    """At a 1 % share, 60 denials of 100 against 5 % are harm before any approximation holds."""
    state = BoundedState()
    for _ in range(10):
        state = fold(state, block([1] * 6 + [0] * 4, [1] * 50 + [0] * 940, 0.01))

    assert lower_bound(state, 0.05) > 0.05


def test_nothing_seen_bounds_nothing():
    """The whole range, never a point."""
    assert (lower_bound(BoundedState(), 0.05), upper_bound(BoundedState(), 0.05)) == (-1.0, 1.0)


def test_values_outside_their_range_are_refused():
    """An unbounded cost must not enter a bound for bounded values."""
    with pytest.raises(ValueError, match="not all in"):
        fold(BoundedState(), block([3.0], [0.0], 0.5))
