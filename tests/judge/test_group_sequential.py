"""Lan-DeMets bounds: published values, the error they promise, and their twin by simulation."""

import numpy as np
import pytest
from scipy import stats

from pointsman.judge.group_sequential import Spending, bounds, crossing_probabilities, spent

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        (Spending.OBRIEN_FLEMING, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        (Spending.POCOCK, (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)),
    ],
)
def test_five_equal_looks_have_the_published_bounds(spending, published):
    """Lan & DeMets at alpha = 0.05, two-sided, as tabulated: the tables are good to 1.2e-4."""
    assert bounds(FIFTHS, 0.05, spending) == pytest.approx(published, abs=1.2e-4)


def test_the_second_bound_solves_the_bivariate_normal_equation():
    """The twin, by another road: the tabulated 3.3569 is 3.3570119 when computed exactly."""
    first, second = bounds(FIFTHS, 0.05, Spending.OBRIEN_FLEMING)[:2]
    both = stats.multivariate_normal([0, 0], [[1, 0.5**0.5], [0.5**0.5, 1]])

    error = stats.norm.sf(second) - both.cdf([-first, -second])
    now, before = (spent(Spending.OBRIEN_FLEMING, 0.025, t) for t in (0.4, 0.2))
    assert error == pytest.approx(now - before, rel=1e-6)


def test_one_look_is_the_fixed_test():
    """With nothing to share, all error is spent at once."""
    assert bounds((1.0,), 0.05, Spending.OBRIEN_FLEMING) == pytest.approx((1.959964,), abs=1e-5)


@pytest.mark.parametrize("spending", list(Spending))
def test_the_error_spent_is_the_error_made(spending):
    """The recursion, run forward at these bounds, gives the spending function back."""
    fractions = (0.1, 0.35, 0.5, 1.0)
    made = np.cumsum(crossing_probabilities(fractions, bounds(fractions, 0.05, spending)))

    expected = [2 * spent(spending, 0.025, t) for t in fractions]
    assert made == pytest.approx(expected, abs=1e-6)


def test_crossing_probabilities_are_those_of_a_simulated_walk():
    """The slow twin: 200,000 walks with a drift, whichever side they leave on."""
    limits = bounds(FIFTHS, 0.05, Spending.POCOCK)
    rng = np.random.default_rng(3)
    steps = rng.normal(2.0 * 0.2, np.sqrt(0.2), (200_000, 5)).cumsum(axis=1)
    outside = np.abs(steps / np.sqrt(FIFTHS)) > limits
    first = np.where(outside.any(axis=1), outside.argmax(axis=1), 5)
    simulated = np.bincount(first, minlength=6)[:5] / len(first)

    computed = crossing_probabilities(FIFTHS, limits, drift=2.0)
    assert computed == pytest.approx(simulated, abs=0.004)


@pytest.mark.parametrize("fractions", [(), (0.5, 0.5), (0.5, 0.2), (0.5, 1.2), (0.0, 1.0)])
def test_looks_that_are_no_plan_are_refused(fractions):
    """Information has to rise, and to end at what was planned."""
    with pytest.raises(ValueError, match="must rise"):
        bounds(fractions, 0.05, Spending.POCOCK)
