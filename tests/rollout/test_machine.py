"""The table of transitions, and the page that is drawn from it."""

import os
from itertools import product
from pathlib import Path

import pytest

from pointsman.domain.errors import Kind
from pointsman.rollout import diagram
from pointsman.rollout.machine import (
    INITIAL,
    MEANING,
    TERMINAL,
    TRANSITIONS,
    Event,
    IllegalEventError,
    Phase,
    after,
    legal,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "rollout.md"


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)))
def test_an_event_leads_where_the_table_says_or_is_refused(phase, event):
    """Looking up is all there is; what is not in the table says what is."""
    if event in TRANSITIONS[phase]:
        assert after(phase, event) is TRANSITIONS[phase][event]
        return
    with pytest.raises(IllegalEventError) as refused:
        after(phase, event)

    assert refused.value.kind is Kind.CONFLICT
    assert phase.value in refused.value.message
    assert all(other.value in refused.value.hint for other in legal(phase))


def test_every_phase_and_event_has_its_row():
    """A phase without a row would crash the tick that reaches it."""
    assert set(TRANSITIONS) == set(Phase)
    assert set(MEANING) == set(Event)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


def test_every_phase_can_be_reached():
    """From the first one, over the table alone."""
    reached, ahead = set(), [INITIAL]
    while ahead:
        phase = ahead.pop()
        if phase not in reached:
            reached.add(phase)
            ahead += TRANSITIONS[phase].values()

    assert reached == set(Phase)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in TERMINAL])
def test_there_is_a_way_back_from_everywhere_that_is_no_end(phase):
    """Harm, a person, a kill switch: each ends in no traffic, from any phase."""
    for event in (Event.GUARDRAIL_BROKEN, Event.ABORTED, Event.UNDONE, Event.STOPPED):
        assert after(phase, event) is Phase.ROLLED_BACK
    assert after(phase, Event.UNSERVABLE) is Phase.FAILED


def test_success_comes_out_of_a_promotion_and_out_of_nothing_else():
    """And a promotion out of `passed`, which the evidence alone can bring about."""
    into_success = [
        (phase, event)
        for phase, row in TRANSITIONS.items()
        for event, following in row.items()
        if following is Phase.SUCCEEDED
    ]
    into_promotion = [
        (phase, event)
        for phase, row in TRANSITIONS.items()
        for event, following in row.items()
        if following is Phase.PROMOTING
    ]

    assert into_success == [(Phase.PROMOTING, Event.SUCCEEDED)]
    assert into_promotion == [(Phase.RUNNING, Event.PASSED)]


@pytest.mark.parametrize("phase", sorted(TERMINAL))
def test_an_end_leads_only_to_another_attempt_or_back(phase):
    """What has ended never runs on."""
    following = set(TRANSITIONS[phase].values())

    assert following <= {Phase.PENDING, Phase.ROLLED_BACK}


def test_the_page_is_drawn_from_the_table():
    """docs/reference/rollout.md; after a change on purpose: POINTSMAN_REWRITE=1 pytest this."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(diagram.BEGIN)
    _, behind = rest.split(diagram.END)
    drawn = before + diagram.block() + behind
    if os.environ.get("POINTSMAN_REWRITE"):
        PAGE.write_text(drawn, encoding="utf-8")
        return

    assert drawn == page


def test_the_diagram_shows_every_way_between_two_phases():
    """Read back from its own lines."""
    arrows = {}
    for line in diagram.mermaid().splitlines()[2:]:
        ends, _, events = line.strip().partition(": ")
        start, _, end = ends.partition(" --> ")
        for event in filter(None, events.split(", ")):
            arrows[start, event] = end
    expected = {
        (phase.value, event.value): following.value
        for phase, row in TRANSITIONS.items()
        for event, following in row.items()
        if following is not phase
    }

    assert arrows == expected
