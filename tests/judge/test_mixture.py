"""Normal-mixture bounds: published values, e-value and bound agree, both sides mirror."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from pointsman.judge.mixture import (
    critical_one_sided,
    critical_one_sided_closed,
    critical_two_sided,
    for_degrees_of_freedom,
    from_degrees_of_freedom,
    log_e_one_sided,
    log_e_two_sided,
    rho_squared,
)

ks = st.floats(1e-4, 1e6)
zs = st.floats(-8, 8)
alphas = st.floats(1e-6, 0.4)


def test_the_two_sided_mixture_equals_the_published_reference():
    """confseq's unit tests (from an R implementation): v = v_opt = 100, alpha = 0.05."""
    rho = 1 / rho_squared(100, 0.05)

    assert rho == pytest.approx(12.60056, abs=1e-5)
    assert log_e_two_sided(10 / 10, 100 / rho) == pytest.approx(-0.6510052, abs=1e-6)
    assert 10 * critical_two_sided(100 / rho, 0.05) == pytest.approx(30.35209, abs=1e-5)


def test_the_one_sided_mixture_equals_the_published_reference():
    """confseq's unit tests: the one-sided tuning takes twice alpha."""
    k = 100 * rho_squared(100, 0.10)

    assert log_e_one_sided(10 / 10, k) == pytest.approx(-0.06502391, abs=1e-6)
    assert 10 * critical_one_sided(k, 0.05) == pytest.approx(27.66071, abs=1e-5)


@given(zs, ks)
def test_the_mixtures_are_integrals_of_likelihood_ratios(z, k):
    """The slow twin: integrate exp(m z - m^2/2) over the Gaussian the closed form came from."""
    scale = np.sqrt(k)
    m = np.linspace(0, min(12 * scale, 60), 40_001)
    weighted = np.exp(m * z - m * m / 2) * stats.norm.pdf(m, scale=scale)
    mirrored = np.exp(-m * z - m * m / 2) * stats.norm.pdf(m, scale=scale)

    one = 2 * integrate.simpson(weighted, x=m)
    two = integrate.simpson(weighted + mirrored, x=m)
    assert np.exp(log_e_one_sided(z, k)) == pytest.approx(one, rel=1e-5)
    assert np.exp(log_e_two_sided(z, k)) == pytest.approx(two, rel=1e-5)


@given(ks, alphas)
def test_a_bound_is_where_the_e_value_reaches_its_threshold(k, alpha):
    """Deciding by bound and deciding by e-value is one decision."""
    one, two = critical_one_sided(k, alpha), critical_two_sided(k, alpha)

    assert log_e_one_sided(one, k) == pytest.approx(np.log(1 / alpha), rel=1e-9, abs=1e-9)
    assert log_e_two_sided(two, k) == pytest.approx(np.log(1 / alpha), rel=1e-9, abs=1e-9)
    assert one <= critical_one_sided_closed(k, alpha) + 1e-9


def test_no_evidence_means_no_bound():
    """At the start the interval is the whole line, never a point."""
    assert np.isinf(critical_one_sided(0.0, 0.05))
    assert np.isinf(critical_two_sided(0.0, 0.05))


@given(st.floats(-30, 30), st.integers(5, 200))
def test_quantiles_of_t_and_normal_convert_both_ways(z, degrees):
    """A t quantile is wider than the normal one with the same tail, and converts back to it."""
    t = for_degrees_of_freedom(z, degrees)

    assert abs(t) >= abs(z) - 1e-9
    assert from_degrees_of_freedom(t, degrees) == pytest.approx(z, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, float("nan")])
def test_an_error_rate_outside_its_range_is_refused(alpha):
    """Also NaN, which compares false with everything."""
    with pytest.raises(ValueError, match="alpha"):
        critical_two_sided(1.0, alpha)
