"""Sample ratios at every stage: slow twin, order-free, causes found, coverage and audit."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.judge.sample_ratio import (
    Coverage,
    Draws,
    RatioState,
    Stage,
    audit_propensities,
    coverage_log_e,
    dirichlet_log_e,
    first_alarm,
    fold,
    log_e,
    merge,
    stage_ratio,
    units_until_alarm,
)

ALPHA = 0.001
vectors = st.sampled_from([(0.01, 0.99), (0.05, 0.95), (0.5, 0.5)])
draws = st.builds(Draws, vectors, st.tuples(st.integers(0, 300), st.integers(0, 300)))


def state_of(*rows):
    state = RatioState()
    for row in rows:
        state = fold(state, row)
    return state


def slow_dirichlet(sequence, probabilities, concentration):
    """The twin: multiply the predictive chance of each unit over its promised chance, in order."""
    seen, product = np.zeros(len(probabilities)), 1.0
    for arm in sequence:
        predicted = concentration * probabilities[arm] + seen[arm]
        product *= predicted / (concentration + seen.sum()) / probabilities[arm]
        seen[arm] += 1
    return math.log(product)


@given(st.lists(st.integers(0, 2), max_size=60), st.floats(1, 500))
def test_the_mixture_is_the_product_of_predictions_in_any_order(sequence, concentration):
    """So counts are enough, and a block may be folded as a whole."""
    p = (0.2, 0.3, 0.5)
    counts = [sequence.count(arm) for arm in range(3)]

    got = dirichlet_log_e(counts, p, concentration)
    assert got == pytest.approx(slow_dirichlet(sequence, p, concentration), abs=1e-8)
    assert got == pytest.approx(slow_dirichlet(sorted(sequence), p, concentration), abs=1e-8)


@settings(deadline=None, max_examples=30)
@given(st.lists(draws, max_size=5), st.lists(draws, max_size=5))
def test_merging_is_adding(a, b):
    """Workers and blocks do not show."""
    assert merge(state_of(*a), state_of(*b)) == state_of(*b, *a)


@settings(deadline=None, max_examples=30)
@given(st.lists(draws, min_size=1, max_size=5))
def test_the_order_of_arms_does_not_matter(rows):
    """Renaming the arms renames nothing else."""
    turned = [Draws(row.probabilities[::-1], row.counts[::-1]) for row in rows]

    assert log_e(state_of(*rows)) == pytest.approx(log_e(state_of(*turned)), abs=1e-7)


def test_a_loss_that_lasts_through_a_ramp_is_seen_though_no_step_sees_it():
    """The challenger loses 8 % of its units before they are logged, at 1, 5, 10 and 25 %."""
    rows = []
    for share in (0.01, 0.05, 0.10, 0.25):
        kept = share * 0.92
        n = 12_000
        rows.append(Draws((share, 1 - share), (round(n * kept), round(n * (1 - share)))))
    single = [log_e(state_of(row)) for row in rows]

    assert max(single) < math.log(1 / ALPHA)
    assert log_e(state_of(*rows)) > math.log(1 / ALPHA)


def test_the_first_stage_that_alarms_names_the_cause():
    """Assignment and serving are sound; a crash loses the challenger's records."""
    sound = state_of(Draws((0.1, 0.9), (2_000, 18_000)))
    lossy = state_of(Draws((0.1, 0.9), (1_600, 18_000)))
    found = first_alarm(
        {
            Stage.LABELLED: lossy,
            Stage.LOGGED: lossy,
            Stage.SERVED: sound,
            Stage.ASSIGNED: sound,
        },
        ALPHA,
    )

    assert found.stage is Stage.LOGGED
    assert found.observed == (1_600, 18_000)
    assert found.expected == pytest.approx((1_960, 17_640))


def test_no_units_are_no_alarm():
    """And no all-clear either: the stage is simply not there."""
    assert first_alarm({Stage.ASSIGNED: RatioState()}, ALPHA) is None
    assert stage_ratio(Stage.ASSIGNED, RatioState()).log_e == 0.0


@pytest.mark.parametrize(("labelled", "alarm"), [((1_000, 9_000), False), ((850, 9_000), True)])
def test_labels_that_arrive_for_one_arm_less_often_alarm(labelled, alarm):
    """Of 2,000 and 18,000 units half have a label; or the challenger's only 42.5 %."""
    e = coverage_log_e([Coverage(0.1, 2_000, 18_000, *labelled)])

    assert (e > math.log(20)) == alarm


def test_nearly_complete_labels_are_told_by_what_is_missing():
    """99.5 % against 97 %: hardly a difference in labels, a sixfold one in gaps."""
    e = coverage_log_e([Coverage(0.5, 5_000, 5_000, 4_850, 4_975)])

    assert e > math.log(1 / ALPHA)


def test_impossible_counts_are_refused():
    """Labels without units, probabilities that are none."""
    with pytest.raises(ValueError, match="labelled"):
        coverage_log_e([Coverage(0.5, 1, 1, 2, 0)])
    with pytest.raises(ValueError, match="add up"):
        audit_propensities([Draws((0.5, 0.6), (1, 1))])
    with pytest.raises(ValueError, match="negative"):
        fold(RatioState(), Draws((0.5, 0.5), (-1, 1)))


def test_the_audit_falls_only_when_the_log_lies():
    """An e-value that grows with evidence of a lie and shrinks with evidence of truth."""
    lies = [audit_propensities([Draws((0.5, 0.5), (55 * n, 45 * n))]) for n in (1, 10, 100)]
    truths = [audit_propensities([Draws((0.5, 0.5), (50 * n, 50 * n))]) for n in (1, 10, 100)]

    assert all(a < b for a, b in pairwise(lies))
    assert all(a > b for a, b in pairwise(truths))


@pytest.mark.parametrize(("share", "lost"), [(0.1, 0.2), (0.5, 0.2), (0.5, 0.1)])
def test_a_loss_is_seen_by_then_in_about_four_of_five_runs(share, lost):
    """Units drawn and lost at random, a hundred times; and at a third of them it is seldom seen."""
    dice = np.random.default_rng(5)
    until = units_until_alarm(share, lost, ALPHA)
    seen = {}
    for n in (until, until // 3):
        ours = dice.binomial(n, share, 100)
        kept = dice.binomial(ours, 1 - lost)
        seen[n] = sum(
            log_e(state_of(Draws((share, 1 - share), (int(k), int(n - o))))) >= -math.log(ALPHA)
            for k, o in zip(kept, ours, strict=True)
        )
    assert 68 <= seen[until] <= 92
    assert seen[until // 3] < 30
