"""Several epochs as one test: each by itself, with a part of the error that is known beforehand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.judge import epochs, event
from pointsman.judge.event import EventState

COUNTS = st.integers(0, 60)
ROWS = st.tuples(st.tuples(st.just(0.3), COUNTS, COUNTS))
EPOCHS = st.lists(st.builds(EventState, ROWS), min_size=1, max_size=4)


def test_the_parts_of_all_epochs_are_the_whole_however_many_come():
    """A half, a sixth, a twelfth: never more than 1, and nearly all of it in the end."""
    parts = [epochs.part(k) for k in range(1, 1_000)]

    assert parts[:3] == [1 / 2, 1 / 6, 1 / 12]
    assert 0.99 < math.fsum(parts) < 1.0


@settings(deadline=None)
@given(EPOCHS, st.floats(0.01, 0.2), st.floats(0.3, 3.0))
def test_a_risk_is_rejected_where_one_epoch_rejects_it_at_its_part(found, alpha, risk):
    """Bounds and e-values say the same, and what is in one epoch is of no account in another."""
    alone = [
        event.log_e_above(state, risk) >= -math.log(alpha * epochs.part(number))
        for number, state in enumerate(found, 1)
    ]

    together = epochs.log_e(found, lambda state: event.log_e_above(state, risk))
    bound = epochs.lower_bound(found, event.lower_bound, alpha)

    assert (together >= -math.log(alpha)) == any(alone)
    assert (bound > risk) == any(alone) or bound == pytest.approx(risk)


@settings(deadline=None)
@given(EPOCHS)
def test_an_epoch_that_begins_costs_nothing_that_is_known(found):
    """Bounds only get tighter: an empty epoch changes none of them."""
    more = [*found, EventState()]

    for bound, of in (
        (epochs.lower_bound, event.lower_bound),
        (epochs.upper_bound, event.upper_bound),
    ):
        assert bound(more, of, 0.05) == bound(found, of, 0.05)


def test_no_epoch_says_nothing():
    assert epochs.log_e([], lambda _: 0.0) == -math.inf
