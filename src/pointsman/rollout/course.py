"""Where a rollout is among its steps, and until when what it waits for lasts: for people to see."""

from enum import StrEnum
from typing import Final, assert_never

import msgspec

from pointsman.rollout import words
from pointsman.rollout.holds import Hold, Waiting
from pointsman.rollout.machine import Phase
from pointsman.rollout.state import State
from pointsman.rollout.terms import Analyse, Approve, SetWeight, Step, Terms

PROMOTION: Final = "promotion"


class Place(StrEnum):
    """Where a step is, seen from the rollout."""

    DONE = "done"
    NOW = "now"
    TO_COME = "to_come"
    ENDED = "ended"  # the attempt ended here


class Stop(msgspec.Struct, frozen=True):
    """One step, or the promotion behind the last one. text: what it asks for"""

    text: str
    place: Place


def stops(terms: Terms, state: State | None) -> tuple[Stop, ...]:
    """All steps in order and the promotion behind them.

    Of an attempt that was taken back, those it went through, and the one it ended at.
    """
    course = terms.steps if state is None else state.course
    texts = [*(_text(step) for step in course), PROMOTION]
    if state is None:
        return tuple(Stop(text, Place.TO_COME) for text in texts)
    here, at = _here(state)
    return tuple(
        Stop(text, Place.DONE if number < here else at if number == here else Place.TO_COME)
        for number, text in enumerate(texts)
    )


def until_ms(terms: Terms, state: State | None, hold: Hold, now_ms: int) -> int | None:
    """When a hold ends by itself, or the wait for it does, in Unix milliseconds.

    Missing decision data takes the challenger out by then. None where it is up to people or to
    evidence.
    """
    if state is None:
        return None
    match hold.kind:
        case Waiting.TIME:
            one = state.course[state.position]
            return state.entered_ms + one.hold_ms if isinstance(one, Analyse) else None
        case Waiting.COOLDOWN:
            return state.not_before_ms
        case Waiting.FREEZE:
            ends = [f.until_ms for f in terms.freezes if f.from_ms <= now_ms < f.until_ms]
            return max(ends, default=None)
        case Waiting.DATA:
            since = state.silent_since_ms
            return None if since is None else since + terms.no_data_deadline_ms
        case _:
            return None


def _here(state: State) -> tuple[int, Place]:
    match state.phase:
        case Phase.PENDING | Phase.RUNNING | Phase.PAUSED | Phase.PROMOTING:
            return state.position, Place.NOW
        case Phase.SUCCEEDED:
            return len(state.course) + 1, Place.DONE
        case Phase.ROLLED_BACK | Phase.FAILED:
            own = [one.position for one in state.history if one.attempt == state.attempt]
            return min(max(own, default=-1), len(state.course)), Place.ENDED
        case _:
            assert_never(state.phase)


def _text(step: Step) -> str:
    """`weight 5 %`, `analysis: 10 min, 500 decisions, 20 outcomes`, `approval by risk`."""
    match step:
        case SetWeight(weight):
            return f"weight {words.percent(weight)}"
        case Analyse(hold_ms, decisions, outcomes):
            asked = [words.span(hold_ms)] if hold_ms else []
            asked += [f"{decisions:,} decisions"] if decisions else []
            asked += [f"{outcomes:,} outcomes"] if outcomes else []
            return f"analysis: {', '.join(asked)}" if asked else "analysis"
        case Approve(by):
            return f"approval by {by}"
        case _:
            assert_never(step)
