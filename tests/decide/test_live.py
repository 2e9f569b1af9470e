"""From kill switches to a live state, and to a record and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.decide.live import check_switch, from_record, live_of, recorded
from pointsman.domain.decision import NOTHING_LIVE, Live
from pointsman.domain.errors import Kind, PointsmanError


@pytest.mark.parametrize(
    ("switches", "live"),
    [
        ([], NOTHING_LIVE),
        (["default/p"], Live(killed=True)),
        (["default/p/night", "default/p/challenger"], Live(out=("challenger", "night"))),
        (["default/p", "default/p/night"], Live(killed=True, out=("night",))),
        (["other/p", "default/q", "other/p/night"], NOTHING_LIVE),
        (["default/p/ghost", "default/p/champion"], NOTHING_LIVE),
    ],
)
def test_switches_of_a_project_become_its_live_state(make, switches, live):
    """Only switches of this project and its variants are heeded, never one on the champion; the
    order in which they were set does not matter."""
    table = make.table(make.rule())

    assert live_of(table, switches) == live_of(table, reversed(switches)) == live


def test_nothing_live_is_one_object(make):
    """Without a switch the shared value comes back, which `decide` knows by identity."""
    assert live_of(make.table(make.rule()), ["default/q"]) is NOTHING_LIVE


@given(st.booleans(), st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(tuple))
def test_a_record_holds_the_live_state(killed, out):
    """What a record says of the live state gives the same value back."""
    live = Live(killed=killed, out=out)

    assert from_record(recorded(live)) == live


def test_a_switch_on_a_variant_that_is_not_there_is_refused(make):
    """Whoever kills a variant by a wrong name hears of it, with the right ones."""
    with pytest.raises(PointsmanError) as caught:
        check_switch(make.table(make.rule()), "nihgt")

    assert caught.value.kind is Kind.NOT_FOUND
    assert "night" in caught.value.hint


def test_a_switch_on_the_champion_is_refused(make):
    """Killing what everything falls back to is not possible; the hint says what is."""
    with pytest.raises(PointsmanError) as caught:
        check_switch(make.table(make.rule()), "champion")

    assert caught.value.kind is Kind.INVALID
    assert "undo" in caught.value.hint


def test_a_switch_on_another_variant_is_fine(make):
    """Any variant but the champion can be killed."""
    assert check_switch(make.table(make.rule()), "night") is None
