"""What people are shown of a rollout's steps, and until when it waits."""

from decimal import Decimal

import pytest
from msgspec.structs import replace
from tests.rollout.story import steps_of
from tests.rollout.world import MINUTE, World

from pointsman.rollout.course import Place, stops, until_ms
from pointsman.rollout.holds import Hold, Waiting
from pointsman.rollout.machine import Event, Phase
from pointsman.rollout.terms import Freeze

STEPS = "5% 10m+500dec @approver 50% 1h+20out"
TEXTS = [
    "weight 5 %",
    "analysis: 10 min, 500 decisions",
    "approval by approver",
    "weight 50 %",
    "analysis: 1 h, 20 outcomes",
    "promotion",
]


@pytest.fixture
def world():
    made = World(seed=0, calm=True)
    made.terms = replace(made.terms, steps=steps_of(STEPS), max_step=None, freezes=())
    made.commit(made.plan())
    return made


def places(world, **changes):
    state = None if world.state is None else replace(world.state, **changes)
    found = stops(world.terms, state)
    assert [one.text for one in found] == TEXTS
    return "".join({"done": "d", "now": "n", "to_come": "-", "ended": "x"}[o.place] for o in found)


@pytest.mark.parametrize(
    ("phase", "position", "shown"),
    [
        (Phase.PENDING, -1, "------"),
        (Phase.RUNNING, 0, "n-----"),
        (Phase.RUNNING, 4, "ddddn-"),
        (Phase.PAUSED, 2, "ddn---"),
        (Phase.PROMOTING, 5, "dddddn"),
        (Phase.SUCCEEDED, 5, "dddddd"),
    ],
)
def test_every_step_is_done_or_now_or_to_come(world, phase, position, shown):
    """The promotion is the last one."""
    assert places(world, phase=phase, position=position) == shown


def test_before_anything_was_opened_all_steps_are_to_come():
    """They are those of the file."""
    world = World(seed=0)

    assert {one.place for one in stops(world.terms, None)} == {Place.TO_COME}


def test_an_attempt_that_was_taken_back_shows_where_it_ended(world):
    """Though it has no position any more; steps of earlier attempts are no part of it."""
    before, number = world.state.history[-1], world.state.attempt
    reached = [
        replace(before, attempt=number - 1, position=4),
        replace(before, attempt=number, position=1, weight=Decimal(5)),
        replace(before, attempt=number, position=-1, event=Event.GUARDRAIL_BROKEN),
    ]

    assert places(world, phase=Phase.ROLLED_BACK, position=-1, history=tuple(reached)) == "dx----"


def test_what_ends_by_itself_says_when(world):
    """Time of a step, the cool-down, a freeze, and missing data; nothing that waits for people."""
    now = world.now_ms
    state = replace(
        world.state,
        position=1,
        entered_ms=now - 4 * MINUTE,
        not_before_ms=now + 7,
        silent_since_ms=now - MINUTE,
    )
    terms = replace(
        world.terms, freezes=(Freeze(now - 1, now + 9, ""), Freeze(now + 20, now + 30, ""))
    )
    ends = {kind: until_ms(terms, state, Hold(kind, ""), now) for kind in Waiting}

    assert {kind: at - now for kind, at in ends.items() if at is not None} == {
        Waiting.TIME: 6 * MINUTE,
        Waiting.COOLDOWN: 7,
        Waiting.FREEZE: 9,
        Waiting.DATA: 9 * MINUTE,
    }
    assert until_ms(terms, None, Hold(Waiting.TIME, ""), now) is None
