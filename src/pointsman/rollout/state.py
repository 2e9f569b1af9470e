"""What is remembered of a rollout between two ticks: all of it, and nothing that can be observed.

Times are Unix milliseconds, UTC. Weights are percent of the rule's split.
"""

from decimal import Decimal
from typing import Final

import msgspec

from pointsman.rollout.machine import Event, Phase
from pointsman.rollout.observation import Counts, Role, Verdict, Version
from pointsman.rollout.terms import Step

NOTHING: Final = Decimal(0)
ALL: Final = Decimal(100)

BEFORE_THE_FIRST: Final = -1
"""Position of a rollout whose first step has not begun."""

KEPT: Final = 100
"""Transitions, verdict changes and ends that are kept here; the audit log keeps all of them."""


class Approval(msgspec.Struct, frozen=True):
    """One person's agreement. position: index of the step agreed to, len(steps) = the promotion"""

    position: int
    actor: str
    roles: tuple[str, ...]
    reason: str
    at_ms: int


class VerdictChange(msgspec.Struct, frozen=True):
    """From when on a criterion was judged so, in this attempt."""

    at_ms: int
    role: Role
    metric: str
    slice: str
    verdict: Verdict
    value: float | None
    bound: float | None
    n: int


class Transition(msgspec.Struct, frozen=True):
    """One entry of history, and of the audit log.

    before: None for the first rollout of a project
    weight_before, weight: of the variant, wanted
    actor: who asked for it; empty where the machine acted by itself
    sentence: what happened and why, for people
    """

    at_ms: int
    attempt: int
    event: Event
    before: Phase | None
    after: Phase
    weight_before: Decimal
    weight: Decimal
    position: int
    actor: str
    sentence: str


class Ended(msgspec.Struct, frozen=True):
    """How an attempt with a version ended.

    first, last: publications that its traffic came by, both included; zeros where it had none
    """

    version: Version
    event: Event
    first: int = 0
    last: int = 0


class State(msgspec.Struct, frozen=True):
    """A rollout.

    number: goes up with every change; the store writes a new state only over the one it came
        from (compare-and-swap), so that two controllers at once cannot both act
    attempt: which rollout of this project, from 1
    target: the version that grows; champion: what `against` served when it was opened, and what
        it goes back to
    course: the steps this position is an index into; a changed file is noticed by it
    position: index of the step that has begun, -1 before the first
    weight: percent the variant is to have now
    publication: number of the last publish that was asked for; it is live when every gateway has
        acknowledged it
    first: number of the publish that gave this attempt its first traffic; 0 until then
    published_ms: when the last one was asked for
    entered_ms: from when the step's own time counts
    live_ms: from when every gateway had the weight; None until then
    epoch: the rule's epoch in which it is live; 0 until then
    after_epoch: only later epochs hold evidence of this attempt
    baseline: counts of the epoch when the step's own time began
    not_before_ms: end of the cool-down
    silent_since_ms: from when decision data has been missing; None while it is there
    opened_by: who asked for this version; that person's approval does not count
    blind: whether it was said of this attempt that labels bear no claim
    waiting: kinds of holds that were true at the last tick, so that people are told once
    last_command: commands up to this sequence number are done
    """

    number: int
    attempt: int
    phase: Phase
    target: Version
    champion: Version
    course: tuple[Step, ...]
    position: int
    weight: Decimal
    publication: int
    published_ms: int
    entered_ms: int
    after_epoch: int
    first: int = 0
    live_ms: int | None = None
    epoch: int = 0
    baseline: Counts = Counts()
    not_before_ms: int = 0
    silent_since_ms: int | None = None
    opened_by: str = ""
    blind: bool = False
    approvals: tuple[Approval, ...] = ()
    waiting: tuple[str, ...] = ()
    last_command: int = 0
    verdicts: tuple[VerdictChange, ...] = ()
    history: tuple[Transition, ...] = ()
    ended: tuple[Ended, ...] = ()


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(State)


def encode(state: State) -> bytes:
    """Canonical bytes: equal exactly for equal states."""
    return _encoder.encode(state)


def decode(stored: bytes) -> State:
    """The state back from its stored form. Raises msgspec.ValidationError on anything else."""
    return _decoder.decode(stored)
