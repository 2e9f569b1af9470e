"""One step forward: called where nothing holds, by time or by a person."""

from typing import assert_never

from pointsman.rollout import words
from pointsman.rollout.machine import Event, Phase
from pointsman.rollout.state import NOTHING
from pointsman.rollout.terms import Analyse, Approve, SetWeight
from pointsman.rollout.tick import Tick


def advance(tick: Tick, by: str = "", *, actor: str = "") -> None:
    """Begins the next step, or the promotion after the last one.

    by: who let it go on, as the sentence ends; empty where the evidence did
    """
    state = tick.state
    following = state.position + 1
    if following >= len(state.course):
        pass_to_promotion(tick, by, actor=actor)
        return
    event = Event.STARTED if state.phase is Phase.PENDING else Event.ADVANCED
    one = state.course[following]
    where = words.step(state.course, following)
    if isinstance(one, SetWeight):
        growth = f"{words.percent(state.weight)} to {words.percent(one.weight)}"
        newcomer = words.version(tick.terms.variant, state.target)
        what = f"{newcomer} goes from {growth}{_cause(tick, by)}"
    else:
        what = f"at {words.percent(state.weight)}, {where} begins{_cause(tick, by)}"
    tick.enter(event, following, what, actor=actor)


def pass_to_promotion(tick: Tick, by: str = "", *, actor: str = "") -> None:
    """Pins the champion to the new version; its own variant then needs no traffic."""
    state = tick.state
    what = f"{tick.terms.against} is pinned to version {state.target.label}{_cause(tick, by)}"
    tick.fire(
        Event.PASSED,
        what,
        actor=actor,
        # What an undo goes back to: what serves now, which an apply may have changed meanwhile.
        champion=tick.seen.champion,
        weight=NOTHING,
        position=len(state.course),
        waiting=(),
        silent_since_ms=None,
    )
    tick.publish(NOTHING, state.target)


def _cause(tick: Tick, by: str) -> str:
    """What let it go on: a person, or the minima that were met and what the evidence shows."""
    if by:
        return f", {by}"
    if tick.state.weight == 0:
        return ""
    judgement = tick.seen.judgement
    # What could not be measured, as a signal whose labels are not there, let nothing grow.
    measured = [
        found for found in (judgement.findings if judgement else ()) if found.value is not None
    ]
    shown = words.findings(measured) if measured else "no harm is shown"
    return f": {'; '.join([*_met(tick), shown])}"


def _met(tick: Tick) -> list[str]:
    """What the step that is over had asked for, as it came."""
    state, counts = tick.state, tick.seen.counts
    one = state.course[state.position]
    match one:
        case Analyse():
            came = [words.span(tick.now_ms - state.entered_ms)]
            decisions = counts.decisions - state.baseline.decisions
            came.append(f"{decisions:,} decisions")
            if one.min_outcomes:
                came.append(f"{counts.outcomes - state.baseline.outcomes:,} outcomes")
            return [", ".join(came)]
        case Approve():
            agreed = [a.actor for a in state.approvals if a.position == state.position]
            return [f"approved by {', '.join(agreed)}"]
        case SetWeight():
            return []
        case _:
            assert_never(one)
