"""Single rules of a tick that a story would hide: clocks, sizes, what is kept and what is given."""

import msgspec
import pytest
from msgspec.structs import replace
from tests.rollout.story import Story

from pointsman.rollout.machine import Event, Phase
from pointsman.rollout.observation import (
    Command,
    Counts,
    Finding,
    Judgement,
    Observation,
    Role,
    Verb,
    Verdict,
    Version,
)
from pointsman.rollout.plan import Publish
from pointsman.rollout.reconcile import reconcile
from pointsman.rollout.state import KEPT, State, decode, encode

MINUTE = 60_000
GOOD = Finding(Role.GUARDRAIL, "errors", Verdict.INCONCLUSIVE, value=0.0, bound=0.1, n=9)


def running(steps="5% 10m 50% 10m"):
    """A rollout at its first weight, live and with traffic."""
    story = Story()
    story.tell([f'rollout champion=12 challenger=13 steps="{steps}"'])
    story.tell(["tick"])
    story.tell(["live"])
    story.tell(["see decisions=100", "  errors inconclusive value=0.0 bound=0.1 n=100"])
    story.tell(["tick"])
    return story


@pytest.mark.parametrize("ahead_ms", [0, MINUTE, 10**9])
def test_gateways_whose_clock_is_ahead_do_not_shorten_or_lengthen_a_hold(ahead_ms):
    """What is live in the future is live now."""
    story = Story()
    story.tell(['rollout champion=12 challenger=13 steps="5% 10m 50% 10m"'])
    story.tell(["tick"])
    story.tell([f"live {ahead_ms}ms"])
    story.tell(["tick"])

    assert story.state.live_ms == story.now_ms
    assert story.state.entered_ms == story.now_ms


def test_gateways_whose_clock_is_behind_cannot_have_served_before_it_was_published():
    """Otherwise a hold would be over before it began."""
    story = Story()
    story.tell(['rollout champion=12 challenger=13 steps="5% 10m 50% 10m"'])
    story.tell(["tick"])
    published_ms = story.now_ms
    story.tell(["live -9d"])
    story.tell(["tick +1m"])

    assert story.state.live_ms == published_ms


def test_a_clock_that_goes_back_holds_and_breaks_nothing():
    """An hour back: the hold starts over in effect, and nothing is rolled back for it."""
    story = running()
    story.now_ms -= 60 * MINUTE
    plan = reconcile(story.terms, story.state, story.seen, story.now_ms)

    assert plan.state.phase is Phase.RUNNING
    assert plan.state.weight == 5
    assert not plan.effects


def test_a_plan_changes_nothing_it_was_given():
    """State, terms and observation are the same bytes after a tick that did a lot."""
    story = running()
    given = (story.terms, story.state, story.seen)
    before = [msgspec.json.encode(value) for value in given]
    plan = reconcile(*given, story.now_ms + 11 * MINUTE)

    assert plan.state.weight == 50 or plan.effects == ()
    assert [msgspec.json.encode(value) for value in given] == before


def test_a_state_survives_its_stored_form():
    """Weights exactly, and the same bytes for the same state."""
    story = running("0.1% 10m @ann 50% 10m")
    stored = encode(story.state)

    assert decode(stored) == story.state
    assert encode(decode(stored)) == stored
    assert str(story.state.weight) == "0.1"


def test_a_state_of_another_kind_is_refused():
    """Not read as something it is not."""
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"phase": "baking"}')


def test_what_is_kept_has_bounds():
    """A thousand pauses later the state is no larger than after a hundred."""
    story = running()
    for _ in range(300):
        story.tell(["pause by=ann"])
        story.tell(["resume by=ann"])
    size = len(encode(story.state))
    for _ in range(300):
        story.tell(["pause by=ann"])
        story.tell(["resume by=ann"])

    assert len(story.state.history) == KEPT
    assert len(encode(story.state)) < size * 1.1


def test_verdicts_are_kept_by_the_change_and_never_forgotten_altogether():
    """Since when a criterion is judged so, even where another one has flipped for days."""
    story = running()
    start_ms = story.now_ms
    steady = Finding(Role.GUARDRAIL, "steady", Verdict.INCONCLUSIVE, n=5)
    for round_ in range(3 * KEPT):
        flip = Verdict.PASS if round_ % 2 else Verdict.INCONCLUSIVE
        found = (GOOD, steady, replace(GOOD, metric="flips", verdict=flip))
        story.seen = replace(story.seen, judgement=Judgement(Verdict.INCONCLUSIVE, found))
        story.tell(["pause by=ann"] if round_ == 0 else ["tick +1m"])
    changes = [c for c in story.state.verdicts if c.metric == "steady"]

    assert [c.at_ms for c in changes] == [start_ms]
    assert len(story.state.verdicts) <= KEPT + 3


def test_two_findings_of_one_name_do_not_flip_at_every_tick():
    """The first one counts."""
    story = running()
    pair = (GOOD, replace(GOOD, verdict=Verdict.PASS))
    story.seen = replace(story.seen, judgement=Judgement(Verdict.INCONCLUSIVE, pair))
    story.tell(["tick"])
    again = reconcile(story.terms, story.state, story.seen, story.now_ms)

    assert not again.changed


def test_evidence_of_an_attempt_begins_after_the_epochs_before_it():
    """What the version of before did is no evidence about this one."""
    story = running()
    story.tell(["alias 14"])
    story.tell(["tick"])
    story.tell(["live"])
    zero_weight_epoch = story.seen.epoch
    story.tell(["tick +2h"])

    assert story.state.target == Version("14")
    assert story.state.phase is Phase.RUNNING
    assert story.state.after_epoch == zero_weight_epoch


def test_minima_count_this_step_and_not_the_one_before_at_the_same_weight():
    """A second analysis asks for decisions of its own."""
    story = running("5% 1m+100dec @ann 1m+100dec 50% 1m")
    story.tell(["tick +2m"])
    story.tell(["approve by=ann"])
    assert story.state.position == 3
    assert story.state.baseline.decisions == 100
    story.tell(["see decisions=199", "  errors inconclusive value=0.0 bound=0.1 n=100"])
    story.tell(["tick +2m"])
    assert story.state.position == 3
    story.tell(["see decisions=200", "  errors inconclusive value=0.0 bound=0.1 n=100"])
    story.tell(["tick"])

    assert story.state.weight == 50


def test_orders_are_carried_out_in_the_order_they_were_given():
    """However they were read from the store; each is answered by its number."""
    story = running()
    orders = [
        Command(seq=3, verb=Verb.PAUSE, actor="ann"),
        Command(seq=1, verb=Verb.PAUSE, actor="ann"),
        Command(seq=2, verb=Verb.RESUME, actor="bob"),
    ]
    seen = replace(story.seen, commands=tuple(orders))
    plan = reconcile(story.terms, story.state, seen, story.now_ms)

    assert [(a.seq, a.accepted) for a in plan.answers] == [(1, True), (2, True), (3, True)]
    assert plan.state.phase is Phase.PAUSED
    assert plan.state.last_command == 3


def test_an_order_given_to_a_running_rollout_is_not_carried_out_on_its_end():
    """`retry` and harm in one tick: refused while it runs, then rolled back."""
    story = running()
    harm = replace(GOOD, verdict=Verdict.FAIL)
    seen = replace(
        story.seen,
        judgement=Judgement(Verdict.FAIL, (harm,)),
        commands=(Command(seq=1, verb=Verb.RETRY, actor="ann"),),
    )
    plan = reconcile(story.terms, story.state, seen, story.now_ms)

    assert [a.accepted for a in plan.answers] == [False]
    assert plan.state.phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("full", [False, True])
def test_nobody_promotes_past_a_shown_harm(full):
    """The order is refused, and the challenger is out in the same tick."""
    story = running()
    harm = replace(GOOD, verdict=Verdict.FAIL)
    seen = replace(
        story.seen,
        judgement=Judgement(Verdict.FAIL, (harm,)),
        commands=(Command(seq=1, verb=Verb.PROMOTE, actor="ann", full=full),),
    )
    plan = reconcile(story.terms, story.state, seen, story.now_ms)

    assert [a.accepted for a in plan.answers] == [False]
    assert plan.state.weight == 0
    assert plan.state.history[-1].event is Event.GUARDRAIL_BROKEN


def test_an_undo_after_somebody_changed_the_champion_is_refused():
    """It would take back what that person applied."""
    story = running("5% 1m")
    passed = replace(GOOD, verdict=Verdict.PASS)
    story.seen = replace(story.seen, judgement=Judgement(Verdict.PASS, (passed,)))
    story.tell(["tick +2m"])
    story.tell(["live"])
    story.tell(["tick"])
    assert story.state.phase is Phase.SUCCEEDED
    story.seen = replace(story.seen, champion=Version("15"))
    answer = story.tell(["undo by=ann"])

    assert answer == ["fraud: undo refused: champion is version 15 by now: undo its revision"]


def test_a_promotion_goes_back_to_what_served_before_it_and_not_before_the_rollout():
    """An apply in mid-ramp changed the champion; an abort must not bring the older one back."""
    story = running("5% 1m")
    story.seen = replace(story.seen, champion=Version("12.1"))
    passed = replace(GOOD, verdict=Verdict.PASS)
    story.seen = replace(story.seen, judgement=Judgement(Verdict.PASS, (passed,)))
    story.tell(["tick +2m"])
    assert story.state.phase is Phase.PROMOTING
    story.tell(["abort by=ann"])

    assert story.asked_pin == Version("12.1")


def test_whoever_tries_again_cannot_approve_it():
    """Two people means two people."""
    story = running("5% 1m @approver 50% 1m")
    story.tell(["abort by=bea"])
    story.tell(["retry by=bea"])
    story.tell(["live"])
    story.tell(["promote by=ann"])
    story.tell(["live"])
    story.tell(["see decisions=100", "  errors inconclusive value=0.0 bound=0.1 n=100"])
    story.tell(["tick +2m"])

    assert "somebody else must agree" in story.tell(["approve by=bea as=approver"])[0]
    assert story.tell(["approve by=carl as=approver"])[0].startswith("accepted")


def test_wanted_weights_are_given_at_every_tick_and_published_once():
    """So that whoever publishes past the rollout is put right, and nobody else is disturbed."""
    story = running()
    first = reconcile(story.terms, story.state, story.seen, story.now_ms)
    idle = Observation(champion=Version("12"), candidate=None, epoch=1, counts=Counts())
    nothing = reconcile(story.terms, None, idle, story.now_ms)

    assert dict(first.weights) == {"champion": 95, "challenger": 5}
    assert not any(isinstance(effect, Publish) for effect in first.effects)
    assert dict(nothing.weights) == {"champion": 100, "challenger": 0}


def test_every_field_of_the_state_is_explained():
    """Its docstring is the only manual the store's readers have."""
    unexplained = [name for name in State.__struct_fields__ if f"{name}" not in State.__doc__]

    assert set(unexplained) <= {"phase", "approvals", "verdicts", "history", "ended"}
