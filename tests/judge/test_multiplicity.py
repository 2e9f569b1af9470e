"""Shares of alpha add up; e-BH equals its definition and keeps its promise under dependence."""

import math

import numpy as np
import pytest
from draws import at_most
from hypothesis import given
from hypothesis import strategies as st

from pointsman.judge.multiplicity import (
    average_log_e,
    e_benjamini_hochberg,
    product_log_e,
    weighted_alpha,
)

logs = st.dictionaries(st.text("abcdefgh", min_size=1), st.integers(-20, 40).map(lambda v: v / 4))


@given(st.lists(st.floats(0, 100), min_size=1).filter(lambda w: sum(w) > 0))
def test_parts_of_alpha_add_up_to_alpha(weights):
    """And are in proportion to the weights."""
    parts = weighted_alpha(0.05, weights)

    assert math.fsum(parts) == pytest.approx(0.05)
    assert parts == pytest.approx([0.05 * w / math.fsum(weights) for w in weights])


@given(logs, st.sampled_from([0.01, 0.05, 0.3]))
def test_e_bh_is_its_definition(log_e, alpha):
    """The twin: the largest k such that k of the e-values reach K / (alpha k)."""
    size = len(log_e)
    counts = [
        k
        for k in range(1, size + 1)
        if sum(v >= math.log(size / alpha / k) - 1e-12 for v in log_e.values()) >= k
    ]
    level = math.log(size / alpha / max(counts)) if counts else math.inf

    expected = {name for name, v in log_e.items() if v >= level - 1e-12}
    assert e_benjamini_hochberg(log_e, alpha) == expected


def test_no_metrics_are_no_discoveries():
    """An empty scorecard proves nothing."""
    assert e_benjamini_hochberg({}, 0.05) == frozenset()


def test_false_discoveries_stay_rare_among_dependent_metrics():
    """Twenty metrics that share most of their noise, all without an effect."""
    rng, runs, false = np.random.default_rng(2), 4_000, 0
    for shared in rng.normal(size=runs):
        z = 0.9 * shared + math.sqrt(1 - 0.81) * rng.normal(size=20)
        found = e_benjamini_hochberg({str(i): 2 * v - 2 for i, v in enumerate(z)}, 0.1)
        false += bool(found)

    assert at_most(false / runs, 0.1, runs)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=6))
def test_averages_and_products_are_those_of_plain_numbers(log_e):
    """The logs are only there so that nothing overflows."""
    plain = np.exp(log_e)

    assert average_log_e(log_e) == pytest.approx(math.log(plain.mean()), abs=1e-9)
    assert product_log_e(log_e) == pytest.approx(math.log(plain.prod()), abs=1e-6)


@pytest.mark.parametrize("weights", [[], [0.0], [-1.0, 2.0], [math.inf]])
def test_weights_that_are_none_are_refused(weights):
    """Nobody gets a part of nothing."""
    with pytest.raises(ValueError, match="weight"):
        weighted_alpha(0.05, weights)
