"""One tick of a rollout: what is, what was seen, what time it is; what should be, and why.

Level-driven: a tick acts on what is so now, never on what it was told happened. So a missed tick
costs time and nothing else, and a second tick on the same observation changes nothing. Each growth
has to be served by every gateway before the step's own time begins, so that however long nobody
ticked, one tick grows one step.

The order within a tick: the file, what is served, people, harm, success, the registry, growth.
People come before harm so that an order given to a running rollout is not carried out on one that
has just been rolled back; nothing they can ask for gets past a shown harm.
"""

from typing import Final, assert_never

from pointsman.rollout import words
from pointsman.rollout.commands import obey, refuse_without_rollout
from pointsman.rollout.holds import ASKS_PEOPLE, QUIET_MS, Hold, harm, holds, silent
from pointsman.rollout.machine import TERMINAL, Event, Phase
from pointsman.rollout.observation import Counts, Health, Observation, Version
from pointsman.rollout.plan import Effect, Notify, Plan, Publish, Record, SetAlias
from pointsman.rollout.progress import advance
from pointsman.rollout.state import ALL, BEFORE_THE_FIRST, NOTHING, State
from pointsman.rollout.terms import SetWeight, Terms
from pointsman.rollout.tick import Tick, opened

_EXPOSED: Final = (Phase.RUNNING, Phase.PAUSED)

# A version that ended so is not tried again by itself, whatever an alias does.
_SETTLED: Final = frozenset(
    {
        Event.SUCCEEDED,
        Event.GUARDRAIL_BROKEN,
        Event.DATA_MISSING,
        Event.STOPPED,
        Event.UNSERVABLE,
        Event.ABORTED,
        Event.UNDONE,
    }
)


def reconcile(terms: Terms, state: State | None, seen: Observation, now_ms: int) -> Plan:
    """The plan of one tick: new state, wanted weights, effects, answers and one sentence.

    state: what was stored; None for a project that has had no rollout
    now_ms: Unix milliseconds, the same instant the observation was made at
    """
    if state is None and not _wanted(seen):
        return _nothing_yet(terms, seen)
    tick = Tick(terms, state or _first(terms, seen, now_ms), seen, now_ms)
    if state is None:
        tick.start(_newcomer(tick, tick.state.target), seen.author)
    _follow_the_file(tick)
    _look(tick)
    done = tick.state.last_command
    for command in sorted(seen.commands, key=lambda c: c.seq):
        if command.seq > done:
            obey(tick, command)
            done = command.seq
    halted = _protect(tick)
    _conclude(tick, halted)
    if _follow_the_registry(tick):
        halted = _protect(tick)
    _progress(tick, halted)
    return _plan(tick, state, halted)


def _first(terms: Terms, seen: Observation, now_ms: int) -> State:
    assert seen.candidate is not None
    return opened(terms, seen, now_ms, seen.candidate, None)


def _wanted(seen: Observation) -> bool:
    """Whether there is a version to roll out at all."""
    return seen.candidate is not None and seen.candidate != seen.champion


def _follow_the_file(tick: Tick) -> None:
    """Steps that changed in the file: on from the nearest weight below, never up by an edit."""
    state, steps = tick.state, tick.terms.steps
    if state.course == steps or state.phase in TERMINAL or state.phase is Phase.PROMOTING:
        return
    if state.phase is Phase.PENDING or state.weight == 0:
        # Nothing was begun that an index could be wrong about but approvals, which are asked anew.
        tick.note(course=steps, position=BEFORE_THE_FIRST, approvals=())
        return
    lower = [
        (index, one.weight)
        for index, one in enumerate(steps)
        if isinstance(one, SetWeight) and one.weight <= state.weight
    ]
    position, weight = lower[-1] if lower else (BEFORE_THE_FIRST, NOTHING)
    tick.fire(
        Event.REROUTED,
        f"the steps in the file changed: on from {words.percent(weight)}, "
        f"{words.step(steps, position)}",
        course=steps,
        position=position,
        weight=weight,
        approvals=(),
        waiting=(),
    )
    tick.publish(weight)


def _look(tick: Tick) -> None:
    """What is served by now, whose evidence it is, and whether data is there."""
    state, seen, now_ms = tick.state, tick.seen, tick.now_ms
    if state.phase in TERMINAL or state.phase is Phase.PENDING:
        return
    if state.phase not in _EXPOSED or state.weight == 0:
        tick.note(silent_since_ms=None)
        return
    if state.live_ms is None and seen.acknowledged >= state.publication:
        live_ms = min(max(seen.acknowledged_ms, state.published_ms), now_ms)
        tick.note(live_ms=live_ms, epoch=seen.epoch, entered_ms=live_ms, baseline=Counts())
        tick.note(position=_begun(state))
    elif state.live_ms is not None and seen.epoch != state.epoch:
        # Evidence of two epochs is never pooled, so the step's own counts begin again.
        tick.fire(
            Event.RESTARTED,
            f"{words.step(state.course, state.position)} counts anew: what is compared at "
            f"{words.percent(state.weight)} changed",
            epoch=seen.epoch,
            entered_ms=now_ms,
            live_ms=now_ms,
            baseline=Counts(),
        )
    if tick.state.live_ms is not None:
        tick.learn(seen.judgement)
        if seen.judgement is not None and seen.judgement.blind and not tick.state.blind:
            tick.fire(Event.BLINDED, seen.judgement.blind, blind=True)
    # What was published just now cannot have been judged yet.
    settled = now_ms - tick.state.published_ms >= QUIET_MS
    missing = settled and bool(silent(tick.terms, tick.state, seen, now_ms))
    since = tick.state.silent_since_ms
    if missing and since is None:
        # Not from when the data ended: a controller that was away must first get to see it.
        tick.note(silent_since_ms=now_ms)
    elif not missing and since is not None:
        tick.note(silent_since_ms=None)


def _begun(state: State) -> int:
    """The step that began by itself when a weight went live: what waits there, counts from then.

    Growth is not among them; it begins by an event.
    """
    following = state.position + 1
    more = following < len(state.course)
    waits = more and not isinstance(state.course[following], SetWeight)
    return following if waits else state.position


def _protect(tick: Tick) -> str:
    """Takes the challenger out where it has to be. Returns why it was not, where it would have."""
    state, seen = tick.state, tick.seen
    if state.phase in TERMINAL:
        return ""
    back = state.champion if state.phase is Phase.PROMOTING else None
    newcomer = words.version(tick.terms.variant, state.target)
    refusal = seen.refusal(state.target)
    if refusal:
        tick.end(Event.UNSERVABLE, f"gateways refuse {newcomer}: {refusal}", pin=back)
        return ""
    if seen.stopped and state.weight > 0:
        what = f"{_from(state)}: {newcomer} was stopped: {seen.stopped}"
        tick.end(Event.STOPPED, what)
        return ""
    event, why = _breach(tick)
    if event is None:
        return ""
    alone = state.phase is Phase.PROMOTING or state.weight >= ALL
    if alone and seen.champion_health is Health.UNHEALTHY:
        # The newcomer may be the only one that answers: nothing is gained by sending all traffic
        # back to a champion that does not. People decide, and `abort` still goes back at once.
        return f"halted: {why}, but {tick.terms.against} is unhealthy"
    tick.end(event, f"{_from(state)}: {why}", pin=back)
    return ""


def _breach(tick: Tick) -> tuple[Event | None, str]:
    """What the evidence, or its absence, demands of a rollout that has traffic."""
    state, terms = tick.state, tick.terms
    if state.phase not in _EXPOSED and state.phase is not Phase.PROMOTING:
        return None, ""
    broken = harm(tick.seen.judgement)
    if broken and (state.weight > 0 or state.phase is Phase.PROMOTING):
        return Event.GUARDRAIL_BROKEN, words.findings(broken)
    since = state.silent_since_ms
    if since is None:
        return None, ""
    gone = tick.now_ms - since
    had = state.live_ms is not None and tick.seen.counts.decisions > 0
    if gone < terms.no_data_deadline_ms and not (terms.no_data == "rollback" and had):
        return None, ""
    why = silent(terms, state, tick.seen, tick.now_ms)
    how_long = f" for {words.span(gone)}" if gone >= 1000 else ""
    return Event.DATA_MISSING, f"decision data is missing{how_long}: {why}"


def _conclude(tick: Tick, halted: str) -> None:
    """A promotion that every gateway serves, by a healthy champion, has succeeded."""
    if halted or tick.state.phase is not Phase.PROMOTING:
        return
    if holds(tick.terms, tick.state, tick.seen, tick.now_ms):
        return
    label, back = tick.state.target.label, tick.state.champion.label
    if tick.seen.champion != tick.state.target:
        # Somebody published past the promotion. What a person did last stands.
        now = f"{tick.terms.against} is version {tick.seen.champion.label} by somebody's hand"
        tick.end(Event.UNDONE, f"rolled back during promotion of version {label}: {now}")
        return
    tick.end(Event.SUCCEEDED, f"succeeded: {tick.terms.against} is version {label} now, was {back}")
    tick.move_alias(tick.state.target)


def _follow_the_registry(tick: Tick) -> bool:
    """Another version to roll out: from the beginning. A person's pause outranks an alias.

    Returns: whether another attempt was opened.
    """
    state, seen = tick.state, tick.seen
    candidate = seen.candidate
    if candidate is None or state.phase in {Phase.PAUSED, Phase.PROMOTING}:
        return False
    if candidate == seen.champion:
        if state.phase not in TERMINAL:
            label = seen.champion.label
            what = f"{tick.terms.variant} points to version {label} again, the {tick.terms.against}"
            tick.end(Event.WITHDRAWN, f"withdrawn: {what}'s own")
        return False
    if state.phase not in TERMINAL and candidate == state.target:
        return False
    last = next((end for end in reversed(state.ended) if end.version == candidate), None)
    if last is not None and last.event in _SETTLED:
        if state.phase not in TERMINAL:
            how = last.event.value.replace("_", " ")
            what = f"points to version {candidate.label} again, which ended before ({how})"
            tick.end(Event.WITHDRAWN, f"withdrawn: {tick.terms.variant} {what}")
        return False
    tick.open(Event.OPENED, candidate, _newcomer(tick, candidate), actor=seen.author)
    return True


def _progress(tick: Tick, halted: str) -> None:
    """As far as nothing holds; a growth holds by itself until it is served everywhere."""
    if halted:
        return
    while tick.state.phase in {Phase.PENDING, Phase.RUNNING}:
        if holds(tick.terms, tick.state, tick.seen, tick.now_ms):
            return
        advance(tick)


def _plan(tick: Tick, before: State | None, halted: str) -> Plan:
    found = holds(tick.terms, tick.state, tick.seen, tick.now_ms)
    asking = {hold.kind: hold for hold in found if hold.kind in ASKS_PEOPLE}
    kinds = tuple(sorted({hold.kind.value for hold in found} | ({"halted"} if halted else set())))
    if kinds != tick.state.waiting:
        new = set(kinds) - set(tick.state.waiting)
        if halted and "halted" in new:
            tick.tell(halted)
        for kind, hold in asking.items():
            if kind.value in new and not halted:
                tick.tell(_waits(tick.state, (hold,)))
        tick.note(waiting=kinds)
    if tick.state != before:
        tick.note(number=tick.state.number + 1)
    sentence = tick.sentence or f"{tick.terms.project}: {_now(tick.state, found, halted)}"
    return Plan(
        expects=before.number if before is not None else 0,
        state=tick.state,
        weights=tick.terms.weights(tick.state.weight),
        effects=tuple(sorted(tick.effects, key=_turn)),
        answers=tuple(tick.answers),
        holds=found,
        sentence=sentence,
    )


def _turn(effect: Effect) -> int:
    """What is done before what: the audit entry, the table, the alias, and people last."""
    match effect:
        case Record():
            return 0
        case Publish():
            return 1
        case SetAlias():
            return 2
        case Notify():
            return 3
        case _:
            assert_never(effect)


def _nothing_yet(terms: Terms, seen: Observation) -> Plan:
    what = f"nothing to roll out: {terms.variant} has no version but the {terms.against}'s own"
    return Plan(
        expects=0,
        state=None,
        weights=terms.weights(NOTHING),
        effects=(),
        answers=tuple(refuse_without_rollout(terms.project, command) for command in seen.commands),
        holds=(),
        sentence=f"{terms.project}: {what}",
    )


def _now(state: State, found: tuple[Hold, ...], halted: str) -> str:
    """What it is doing, where nothing has happened."""
    if halted:
        return halted
    if state.phase in TERMINAL:
        return state.history[-1].sentence.partition(": ")[2] if state.history else state.phase.value
    return _waits(state, found)


def _waits(state: State, found: tuple[Hold, ...]) -> str:
    texts = "; ".join(hold.text for hold in found)
    if state.phase is Phase.PROMOTING:
        return f"promoting version {state.target.label}, waits for {texts}"
    where = words.step(state.course, state.position)
    return f"{state.phase.value} at {words.percent(state.weight)}, {where}, waits for {texts}"


def _from(state: State) -> str:
    if state.phase is Phase.PROMOTING:
        return f"rolled back during promotion to version {state.champion.label}"
    return f"rolled back from {words.percent(state.weight)}"


def _newcomer(tick: Tick, target: Version) -> str:
    name = words.version(tick.terms.variant, target)
    return f"{name} is to be rolled out against version {tick.seen.champion.label}"
