"""What people ask for, and what becomes of it: done, or refused with the reason.

Each command is answered once, by its sequence number, however many controllers see it and however
often. `abort` and `undo` ask nothing of anybody; nothing here can skip what protects people.
"""

from typing import assert_never

from pointsman.rollout import words
from pointsman.rollout.holds import WAIVED, Hold, Waiting, approvers, holds, holds_to_promote
from pointsman.rollout.machine import TERMINAL, Event, IllegalEventError, Phase
from pointsman.rollout.observation import Command, Verb
from pointsman.rollout.plan import Answer
from pointsman.rollout.progress import advance, pass_to_promotion
from pointsman.rollout.state import Approval
from pointsman.rollout.terms import Approve
from pointsman.rollout.tick import Tick


class RefusedError(Exception):
    """Why a command is not carried out. Nothing has changed."""


def obey(tick: Tick, command: Command) -> None:
    """Carries a command out, or refuses it; either way it is answered and never seen again."""
    try:
        _carry_out(tick, command)
    except RefusedError as refusal:
        _answer(tick, command, accepted=False, text=str(refusal))
    except IllegalEventError as illegal:
        _answer(tick, command, accepted=False, text=illegal.message)
    else:
        _answer(tick, command, accepted=True, text=tick.sentence)
    tick.note(last_command=command.seq)


def refuse_without_rollout(project: str, command: Command) -> Answer:
    """The answer where there is nothing to command."""
    return Answer(command.seq, False, f"{project}: {command.verb.value} refused: no rollout yet")


def _answer(tick: Tick, command: Command, *, accepted: bool, text: str) -> None:
    if not accepted:
        text = f"{tick.terms.project}: {command.verb.value} refused: {text}"
    tick.answers.append(Answer(command.seq, accepted, text))


def _carry_out(tick: Tick, command: Command) -> None:
    because = f" ({command.reason})" if command.reason else ""
    by = f"by {command.actor}{because}"
    match command.verb:
        case Verb.PROMOTE:
            _promote(tick, command, by)
        case Verb.PAUSE:
            at = words.percent(tick.state.weight)
            tick.fire(Event.PAUSED, f"paused at {at} {by}", actor=command.actor)
        case Verb.RESUME:
            at = words.percent(tick.state.weight)
            tick.fire(Event.RESUMED, f"resumed at {at} {by}", actor=command.actor)
        case Verb.ABORT:
            _take_back(tick, Event.ABORTED, "aborted", command.actor, by)
        case Verb.UNDO:
            _take_back(tick, Event.UNDONE, "undone", command.actor, by)
        case Verb.RETRY:
            _retry(tick, command, by)
        case Verb.APPROVE:
            _approve(tick, command, by)
        case _:
            assert_never(command.verb)


def _promote(tick: Tick, command: Command, by: str) -> None:
    """To the next step, or past all of them, without what time alone would bring."""
    if tick.state.phase in TERMINAL or tick.state.phase is Phase.PROMOTING:
        raise RefusedError(f"the rollout is {tick.state.phase.value}")
    if command.full:
        _unless(holds_to_promote(tick.terms, tick.state, tick.seen, tick.now_ms))
    else:
        found = holds(tick.terms, tick.state, tick.seen, tick.now_ms)
        _unless([hold for hold in found if hold.kind not in WAIVED])
    if tick.state.phase is Phase.PAUSED:
        tick.fire(Event.RESUMED, f"resumed {by}", actor=command.actor)
    if command.full:
        pass_to_promotion(tick, by, actor=command.actor)
    else:
        advance(tick, by, actor=command.actor)


def _unless(found: list[Hold]) -> None:
    if found:
        raise RefusedError("it waits for " + "; ".join(hold.text for hold in found))


def _take_back(tick: Tick, event: Event, verb: str, actor: str, by: str) -> None:
    """All traffic back to the champion, and the champion back to its version if it had left it."""
    state, terms = tick.state, tick.terms
    where = f"{verb} at {words.percent(state.weight)} {by}"
    match state.phase:
        case Phase.PROMOTING:
            what = f"{verb} during promotion {by}: {terms.against} goes back to version"
            tick.end(event, f"{what} {state.champion.label}", actor=actor, pin=state.champion)
        case Phase.SUCCEEDED if event is Event.UNDONE:
            if tick.seen.champion != state.target:
                label = tick.seen.champion.label
                raise RefusedError(f"{terms.against} is version {label} by now: undo its revision")
            what = f"{verb} after its success {by}: {terms.against} goes back to version"
            tick.end(event, f"{what} {state.champion.label}", actor=actor, pin=state.champion)
            tick.move_alias(state.champion)
        case _:
            tick.end(event, where, actor=actor)


def _retry(tick: Tick, command: Command, by: str) -> None:
    """Another attempt, with what the alias points to now. The cool-down holds for it too."""
    target = tick.seen.candidate or tick.state.target
    if target == tick.seen.champion:
        raise RefusedError(f"version {target.label} is what {tick.terms.against} already serves")
    what = f"{words.version(tick.terms.variant, target)} is tried again {by}"
    tick.open(Event.RETRIED, target, what, actor=command.actor)
    tick.note(opened_by=command.actor)


def _approve(tick: Tick, command: Command, by: str) -> None:
    """Agreement to what waits for it now: an approval step, a step over the limit, or both."""
    state = tick.state
    asked = [
        hold
        for hold in holds(tick.terms, state, tick.seen, tick.now_ms)
        if hold.kind in {Waiting.APPROVAL, Waiting.LIMIT}
    ]
    if not asked:
        raise RefusedError("nothing waits for an approval now")
    if command.actor == state.opened_by:
        raise RefusedError(f"{command.actor} asked for this version, so somebody else must agree")
    positions: list[int] = []
    refusals: list[str] = []
    for hold in asked:
        position = state.position if hold.kind is Waiting.APPROVAL else state.position + 1
        why = _may_not(tick, command, hold, position)
        if why:
            refusals.append(why)
        else:
            positions.append(position)
    if not positions:
        raise RefusedError("; ".join(refusals))
    new = tuple(
        Approval(position, command.actor, command.roles, command.reason, tick.now_ms)
        for position in positions
    )
    where = " and ".join(words.step(state.course, position) for position in positions)
    tick.fire(
        Event.APPROVED,
        f"{where} approved {by}",
        actor=command.actor,
        approvals=(*state.approvals, *new),
    )


def _may_not(tick: Tick, command: Command, hold: Hold, position: int) -> str:
    """Why this person's agreement does not count here; empty where it does."""
    if hold.kind is Waiting.APPROVAL:
        one = tick.state.course[position]
        assert isinstance(one, Approve)
        named = one.by == command.actor or one.by in command.roles
        return "" if named else f"{command.actor} is not {one.by}"
    if not command.reason:
        return "a step over the limit needs a reason"
    if command.actor in approvers(tick.state, position):
        return f"{command.actor} has agreed already, and another person must"
    return ""
