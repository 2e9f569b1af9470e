"""One tick in the making: the state so far, and what it has led to.

The only place where a rollout's state is replaced. Every event goes through the table first, so
an illegal one raises before anything has changed.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from pointsman.rollout.machine import INITIAL, Event, Phase, after
from pointsman.rollout.observation import (
    Counts,
    Finding,
    Judgement,
    Observation,
    Role,
    Version,
)
from pointsman.rollout.plan import Answer, Effect, Notify, Publish, Record, SetAlias
from pointsman.rollout.state import (
    BEFORE_THE_FIRST,
    KEPT,
    NOTHING,
    Ended,
    State,
    Transition,
    VerdictChange,
)
from pointsman.rollout.terms import SetWeight, Terms

TOLD: Final = frozenset(
    {
        Event.STARTED,
        Event.BLINDED,
        Event.PASSED,
        Event.SUCCEEDED,
        Event.GUARDRAIL_BROKEN,
        Event.DATA_MISSING,
        Event.STOPPED,
        Event.UNSERVABLE,
        Event.WITHDRAWN,
        Event.ABORTED,
        Event.UNDONE,
    }
)
"""Events the owner is notified of; the others are in the history."""


class Tick:
    """terms, seen, now_ms: as given, never changed; the rest grows."""

    def __init__(self, terms: Terms, state: State, seen: Observation, now_ms: int) -> None:
        self.terms = terms
        self.state = state
        self.seen = seen
        self.now_ms = now_ms
        self.effects: list[Effect] = []
        self.answers: list[Answer] = []
        self.sentence = ""

    def note(self, **changes: Any) -> None:
        """Remembers something that is no event."""
        self.state = replace(self.state, **changes)

    def fire(self, event: Event, what: str, *, actor: str = "", **changes: Any) -> None:
        """Moves the state by an event, with everything that changes along with it.

        what: the sentence without the project's name
        Errors: IllegalEventError, with nothing changed.
        """
        following = after(self.state.phase, event)
        before = self.state
        self.state = replace(before, phase=following, **changes)
        self._recorded(event, before.phase, before.weight, what, actor)

    def open(self, event: Event, target: Version, what: str, *, actor: str) -> None:
        """Begins another attempt, from nothing but the numbers that must not repeat.

        Errors: IllegalEventError, with nothing changed.
        """
        before = self.state
        phase = after(before.phase, event)
        had = before.weight
        self.state = opened(self.terms, self.seen, self.now_ms, target, before)
        assert self.state.phase is phase
        self._recorded(event, before.phase, had, what, actor)
        if had > 0:
            self.publish(NOTHING)

    def start(self, what: str, actor: str) -> None:
        """Records the very first opening of a project, which has no phase before it."""
        self._recorded(Event.OPENED, None, NOTHING, what, actor)

    def enter(self, event: Event, position: int, what: str, *, actor: str = "") -> None:
        """Begins the step at a position; a step that sets a weight publishes it."""
        one = self.state.course[position]
        fresh: dict[str, Any] = {"position": position, "waiting": ()}
        if isinstance(one, SetWeight):
            if self.state.weight == 0:
                fresh["after_epoch"] = self.seen.epoch
            self.fire(event, what, actor=actor, weight=one.weight, **fresh)
            self.publish(one.weight)
            return
        fresh |= {"entered_ms": self.now_ms, "baseline": self._counted()}
        self.fire(event, what, actor=actor, **fresh)

    def end(self, event: Event, what: str, *, actor: str = "", pin: Version | None = None) -> None:
        """Takes all traffic from the variant and ends the attempt.

        pin: the version the champion goes back to, where it had been pinned to the new one
        """
        had = self.state.weight
        last = self.state.publication if self.state.first else 0
        done = Ended(self.state.target, event, self.state.first, last)
        ended = (*self.state.ended, done)[-KEPT:]
        self.fire(
            event,
            what,
            actor=actor,
            weight=NOTHING,
            position=BEFORE_THE_FIRST,
            waiting=(),
            silent_since_ms=None,
            not_before_ms=self.now_ms + self.terms.cooldown_ms,
            ended=ended,
        )
        if had > 0 or pin is not None:
            self.publish(NOTHING, pin)

    def publish(self, weight: Decimal, pin: Version | None = None) -> None:
        """Asks for a table with this weight, whose step begins once every gateway has it."""
        publication = self.state.publication + 1
        self.note(
            publication=publication,
            first=self.state.first or (publication if weight > 0 else 0),
            published_ms=self.now_ms,
            entered_ms=self.now_ms,
            live_ms=None,
            epoch=0,
            baseline=Counts(),
        )
        self.effects.append(Publish(publication, self.terms.weights(weight), pin))

    def move_alias(self, version: Version) -> None:
        if self.terms.alias:
            self.effects.append(SetAlias(self.terms.alias, version))

    def tell(self, what: str) -> None:
        """Notifies without an event: it waits for somebody."""
        self.effects.append(Notify(None, f"{self.terms.project}: {what}"))

    def learn(self, judgement: Judgement | None) -> None:
        """Keeps the verdicts that are not what they were, for people who ask since when."""
        known = {(c.role, c.metric, c.slice): c.verdict for c in self.state.verdicts}
        # The first finding of a criterion counts: two of one name would flip at every tick.
        found_first: dict[tuple[Role, str, str], Finding] = {}
        for found in judgement.findings if judgement is not None else ():
            found_first.setdefault((found.role, found.metric, found.slice), found)
        new = [
            VerdictChange(
                at_ms=self.now_ms,
                role=found.role,
                metric=found.metric,
                slice=found.slice,
                verdict=found.verdict,
                value=found.value,
                bound=found.bound,
                n=found.n,
            )
            for key, found in found_first.items()
            if known.get(key) is not found.verdict
        ]
        if new:
            self.note(verdicts=kept((*self.state.verdicts, *new)))

    def _counted(self) -> Counts:
        same = self.seen.epoch == self.state.epoch
        return self.seen.counts if same else Counts()

    def _recorded(
        self, event: Event, before: Phase | None, had: Decimal, what: str, actor: str
    ) -> None:
        self.sentence = f"{self.terms.project}: {what}"
        entry = Transition(
            at_ms=self.now_ms,
            attempt=self.state.attempt,
            event=event,
            before=before,
            after=self.state.phase,
            weight_before=had,
            weight=self.state.weight,
            position=self.state.position,
            actor=actor,
            sentence=self.sentence,
        )
        self.note(history=(*self.state.history, entry)[-KEPT:])
        self.effects.append(Record(entry))
        if event in TOLD:
            self.effects.append(Notify(event, self.sentence))


def opened(
    terms: Terms, seen: Observation, now_ms: int, target: Version, before: State | None
) -> State:
    """A fresh attempt with a version; numbers, cool-down and history go on from the one before."""
    fresh = State(
        number=0,
        attempt=1,
        phase=INITIAL,
        target=target,
        champion=seen.champion,
        course=terms.steps,
        position=BEFORE_THE_FIRST,
        weight=NOTHING,
        publication=0,
        published_ms=now_ms,
        entered_ms=now_ms,
        after_epoch=seen.epoch,
        opened_by=seen.author,
    )
    if before is None:
        return fresh
    # A rollout that was cut short by another one has a cool-down as well: an alias that flips
    # must not send a new version out at every turn.
    cut_short = now_ms + terms.cooldown_ms if before.weight > 0 else 0
    return replace(
        fresh,
        number=before.number,
        attempt=before.attempt + 1,
        publication=before.publication,
        not_before_ms=max(before.not_before_ms, cut_short),
        last_command=before.last_command,
        history=before.history,
        ended=before.ended,
    )


def kept(changes: Sequence[VerdictChange]) -> tuple[VerdictChange, ...]:
    """The newest, but always the last one of each criterion, which says what is known."""
    last = {(c.role, c.metric, c.slice): c for c in changes}
    recent = changes[-KEPT:]
    older = [c for c in last.values() if c not in recent]
    return (*older, *recent)
