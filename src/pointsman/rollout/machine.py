"""The phases of a rollout and every way from one to another.

Everything that decides which phase follows which lives in this file, and the file decides nothing
else: the rest of `rollout` asks whether an event is legal and looks up where it leads. An event
that has no entry is refused before anything has changed. The diagram in docs/reference/rollout.md
is drawn from the tables below, so it cannot say otherwise.

A phase says who has to act; a position in the steps is no phase. An event that leads back to its
own phase is in the table all the same, since it is recorded like any other.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pointsman.domain.errors import Kind, PointsmanError


class Phase(StrEnum):
    """Where a rollout is."""

    PENDING = "pending"  # opened; the challenger has no traffic yet
    RUNNING = "running"  # growing step by step, or waiting for what the step asks for
    PAUSED = "paused"  # held by a person, at its weight; guardrails still act
    PROMOTING = "promoting"  # the champion is being pinned to the new version
    SUCCEEDED = "succeeded"  # the new version is the champion
    ROLLED_BACK = "rolled_back"  # the challenger has no traffic; a healthy end
    FAILED = "failed"  # the new version cannot be served at all


class Event(StrEnum):
    """What happens to a rollout."""

    OPENED = "opened"
    STARTED = "started"
    ADVANCED = "advanced"
    APPROVED = "approved"
    RESTARTED = "restarted"
    REROUTED = "rerouted"
    BLINDED = "blinded"
    PAUSED = "paused"
    RESUMED = "resumed"
    PASSED = "passed"
    SUCCEEDED = "succeeded"
    GUARDRAIL_BROKEN = "guardrail_broken"
    DATA_MISSING = "data_missing"
    STOPPED = "stopped"
    UNSERVABLE = "unservable"
    WITHDRAWN = "withdrawn"
    ABORTED = "aborted"
    UNDONE = "undone"
    RETRIED = "retried"


INITIAL: Final = Phase.PENDING
"""A rollout begins here, by `opened`."""

TERMINAL: Final = frozenset({Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.FAILED})
"""The ends. A rollout that has ended can be opened anew; its version is then another attempt."""

# Each of these takes all traffic from the challenger, from wherever it is.
_WAYS_BACK: Final = {
    Event.GUARDRAIL_BROKEN: Phase.ROLLED_BACK,
    Event.DATA_MISSING: Phase.ROLLED_BACK,
    Event.STOPPED: Phase.ROLLED_BACK,
    Event.ABORTED: Phase.ROLLED_BACK,
    Event.UNDONE: Phase.ROLLED_BACK,
    Event.UNSERVABLE: Phase.FAILED,
}

TRANSITIONS: Final[Mapping[Phase, Mapping[Event, Phase]]] = MappingProxyType(
    {
        Phase.PENDING: {
            Event.STARTED: Phase.RUNNING,
            Event.APPROVED: Phase.PENDING,
            Event.PAUSED: Phase.PAUSED,
            Event.OPENED: Phase.PENDING,
            Event.WITHDRAWN: Phase.ROLLED_BACK,
            **_WAYS_BACK,
        },
        Phase.RUNNING: {
            Event.ADVANCED: Phase.RUNNING,
            Event.APPROVED: Phase.RUNNING,
            Event.RESTARTED: Phase.RUNNING,
            Event.REROUTED: Phase.RUNNING,
            Event.BLINDED: Phase.RUNNING,
            Event.PAUSED: Phase.PAUSED,
            Event.PASSED: Phase.PROMOTING,
            Event.OPENED: Phase.PENDING,
            Event.WITHDRAWN: Phase.ROLLED_BACK,
            **_WAYS_BACK,
        },
        # No event that grows: a person said stop, so only a person says go. New versions wait too.
        Phase.PAUSED: {
            Event.APPROVED: Phase.PAUSED,
            Event.RESTARTED: Phase.PAUSED,
            Event.REROUTED: Phase.PAUSED,
            Event.BLINDED: Phase.PAUSED,
            Event.RESUMED: Phase.RUNNING,
            **_WAYS_BACK,
        },
        # One publish, already decided: it can be taken back and not held.
        Phase.PROMOTING: {
            Event.SUCCEEDED: Phase.SUCCEEDED,
            **_WAYS_BACK,
        },
        Phase.SUCCEEDED: {
            Event.UNDONE: Phase.ROLLED_BACK,
            Event.OPENED: Phase.PENDING,
        },
        Phase.ROLLED_BACK: {
            Event.RETRIED: Phase.PENDING,
            Event.OPENED: Phase.PENDING,
        },
        Phase.FAILED: {
            Event.RETRIED: Phase.PENDING,
            Event.OPENED: Phase.PENDING,
        },
    }
)

MEANING: Final[Mapping[Event, str]] = MappingProxyType(
    {
        Event.OPENED: "a new version is there to be rolled out",
        Event.STARTED: "the first step begins",
        Event.ADVANCED: "a step has what it asked for, and the next one begins",
        Event.APPROVED: "a person agrees",
        Event.RESTARTED: "champion, variant or rule changed: the step counts its evidence anew",
        Event.REROUTED: "the steps in the file changed: it goes on from the nearest one below",
        Event.BLINDED: "labels come for one action only, so nothing is claimed by them",
        Event.PAUSED: "a person holds it",
        Event.RESUMED: "a person lets it go on",
        Event.PASSED: "every guardrail is shown to hold: the champion is pinned to the new version",
        Event.SUCCEEDED: "every gateway serves the new champion: the alias moves",
        Event.GUARDRAIL_BROKEN: "harm is shown",
        Event.DATA_MISSING: "no decision data for as long as `noDataDeadline`",
        Event.STOPPED: "a kill switch or a gateway's own guard took the challenger out",
        Event.UNSERVABLE: "gateways refuse the version",
        Event.WITHDRAWN: "the alias moved back to the champion's version",
        Event.ABORTED: "a person aborts",
        Event.UNDONE: "a person takes it back, even after its success",
        Event.RETRIED: "a person tries again after an end",
    }
)


class IllegalEventError(PointsmanError):
    """An event its phase has no entry for. Nothing has changed."""


def after(phase: Phase, event: Event) -> Phase:
    """The phase an event leads to.

    Errors: IllegalEventError (CONFLICT) where the table has no entry.
    """
    following = TRANSITIONS[phase].get(event)
    if following is None:
        raise IllegalEventError(
            Kind.CONFLICT,
            f"a rollout that is {phase.value} cannot be {event.value}",
            hint=f"from {phase.value} it can be {', '.join(legal(phase))}",
        )
    return following


def legal(phase: Phase) -> tuple[Event, ...]:
    """What may happen in a phase, in the table's order."""
    return tuple(TRANSITIONS[phase])
