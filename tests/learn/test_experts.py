"""Weights of an ensemble: regret bounds on adversarial sequences, and labels in any order."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.learn.experts import (
    ETA_BRIER,
    ETA_LOG_LOSS,
    SCALE,
    Losses,
    ada_hedge,
    add,
    brier,
    exponential,
    fixed_share,
    hedge_eta,
    log_loss,
)


def of(rows):
    """Losses of one round each."""
    found = Losses(len(rows[0]))
    for at, row in enumerate(rows):
        found = add(found, at, row)
    return found


def test_exponential_weights_are_their_formula():
    """exp(-eta L), normalised; without losses all are alike."""
    found = exponential(of([[0.5, 1.0, 0.0], [0.5, 1.0, 0.25]]), 2.0)
    raw = np.exp([-2.0, -4.0, -0.5])

    assert found == pytest.approx(raw / raw.sum(), abs=1e-9)
    assert exponential(Losses(4), 1.0) == (0.25,) * 4


def test_one_that_is_always_wrong_has_no_weight_left_and_no_overflow():
    """A hundred thousand labels; differences of losses are exact whole numbers."""
    worst = {0: (0, 100_000 * SCALE)}

    assert exponential(Losses(2, worst), 1.0) == (1.0, 0.0)
    # Mixing cost half of it, so the rate is ln 2 / 50,000 and the worse one keeps a fourth as much.
    assert ada_hedge(Losses(2, worst)) == pytest.approx((0.8, 0.2))


def test_ada_hedge_is_its_slow_twin():
    """Round by round from the paper's definitions, with logs of plain sums."""
    rows = np.random.default_rng(5).uniform(-2, 3, (60, 4))
    total, delta, weights = np.zeros(4), 0.0, None
    for loss in [*rows, None]:
        if delta == 0.0:
            weights = (total == total.min()) / (total == total.min()).sum()
        else:
            eta = math.log(4) / delta
            raw = np.exp(-eta * (total - total.min()))
            weights = raw / raw.sum()
        if loss is None:
            break
        if delta == 0.0:
            mix = loss[weights > 0].min()
        else:
            mix = -math.log(float(weights @ np.exp(-eta * loss))) / eta
        delta += max(float(weights @ loss) - mix, 0.0)
        total = total + loss

    assert ada_hedge(of(rows)) == pytest.approx(weights, abs=1e-6)


def test_fixed_share_follows_a_best_member_that_changes():
    """Twenty periods after the change it has most of the weight; without sharing it has none."""
    rows = [[0.0, 1.0]] * 200 + [[1.0, 0.0]] * 20
    shared = fixed_share(of(rows), 1.0, 0.01)

    assert shared[1] > 0.9
    assert exponential(of(rows), 1.0)[1] < 1e-6
    assert fixed_share(of(rows), 1.0, 0.0) == pytest.approx(exponential(of(rows), 1.0), abs=1e-9)
    assert min(fixed_share(of(rows[:200]), 1.0, 0.01)) > 0.005


rows = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.floats(0.0, 40.0), min_size=3, max_size=3)),
    max_size=30,
)


@given(rows, st.integers(0, 1 << 30))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_weights_do_not_depend_on_when_labels_came(told, seed):
    """Late, in any order, corrected in between: to the last bit the same weights."""
    dice = random.Random(seed)
    ordered, shuffled = Losses(3), Losses(3)
    for period, values in told:
        ordered = add(ordered, period, values)
    mistakes = [(p, [v + 1.5 for v in values]) for p, values in told[::3]]
    events = [(1, *t) for t in told] + [(1, *m) for m in mistakes]
    dice.shuffle(events)
    later = [(-1, *m) for m in mistakes]
    for times, period, values in events + dice.sample(later, len(later)):
        shuffled = add(shuffled, period, values, times)

    for weigh in (
        lambda found: exponential(found, ETA_LOG_LOSS),
        ada_hedge,
        lambda found: fixed_share(found, 0.5, 0.05),
    ):
        assert weigh(ordered) == weigh(shuffled)


def test_losses_that_are_none_are_refused():
    """Of another number of members, or not finite."""
    for values in ([1.0], [1.0, math.inf]):
        with pytest.raises(ValueError, match="must be finite"):
            add(Losses(2), 0, values)
    with pytest.raises(ValueError, match="outside"):
        fixed_share(Losses(2), 1.0, 1.5)


def test_a_loss_is_what_the_answer_was_worth():
    """Log loss is bounded; the Brier score of two classes is the square of the miss."""
    assert log_loss(0.25) == pytest.approx(math.log(4))
    assert log_loss(0.0) == pytest.approx(53 * math.log(2))
    assert brier((0.3, 0.7), 1) == pytest.approx(0.09)
    assert brier((0.0, 0.0, 1.0), 0) == pytest.approx(1.0)
    assert hedge_eta(8, 100) == pytest.approx(math.sqrt(8 * math.log(8) / 100))
    assert ETA_BRIER == 0.5
