"""What a tick answers: the new state, what should be, and what has to be done about it."""

from decimal import Decimal

import msgspec

from pointsman.rollout.holds import Hold
from pointsman.rollout.machine import Event
from pointsman.rollout.observation import Version
from pointsman.rollout.state import State, Transition

Weights = tuple[tuple[str, Decimal], ...]
"""(variant, weight) in order of name; relative, exact, made for `decide.allocation.reallocate`."""


class Record(msgspec.Struct, frozen=True, tag="record"):
    """Write this into the audit log, in the transaction that writes the state."""

    transition: Transition


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """Publish a table with these weights of the rule.

    publication: acknowledged by a gateway once it serves this or a later one; publishing the same
        one again changes nothing
    pin: what `against` is to serve from now on; None leaves it as it is
    """

    publication: int
    weights: Weights
    pin: Version | None = None


class SetAlias(msgspec.Struct, frozen=True, tag="set_alias"):
    """Move an alias of the registry: after a success, so once every gateway serves the new
    champion, or back again together with an `undo`."""

    alias: str
    version: Version


class Notify(msgspec.Struct, frozen=True, tag="notify"):
    """Tell the owner. event: None where it waits for a person and nothing has happened"""

    event: Event | None
    sentence: str


Effect = Record | Publish | SetAlias | Notify


class Answer(msgspec.Struct, frozen=True):
    """What became of a command."""

    seq: int
    accepted: bool
    sentence: str


class Plan(msgspec.Struct, frozen=True):
    """The outcome of one tick.

    The caller's duties, in this order:
    1. Write `state` over the one numbered `expects`, with the records, the answers and all other
       effects as outbox entries, in one transaction. If another state is there, throw the plan
       away and tick again: nothing of it has happened.
    2. Carry out the outbox in order, each entry until it succeeded: publish before alias before
       notification. Every entry may be carried out twice.
    3. If the published table has other weights than `weights` although nothing is left in the
       outbox (somebody published past the rollout), publish these.

    expects: number of the state it came from; 0 where there was none
    weights: what the rule's split should be now, whatever was published
    holds: what it waits for, empty where it waits for nothing
    sentence: the one thing to say: what happened, else what it waits for
    """

    expects: int
    state: State | None
    weights: Weights
    effects: tuple[Effect, ...]
    answers: tuple[Answer, ...]
    holds: tuple[Hold, ...]
    sentence: str

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self.state is not None and self.state.number != self.expects
