"""What was declared about a rollout, ready to be looked things up in: the spec without its syntax.

Made by `rollout.declared`; knows no pydantic, no time zones and no files.
"""

from decimal import Decimal
from typing import Final, Literal

import msgspec

NO_DATA_DEADLINE_MS: Final = 600_000
"""Without `noDataDeadline`: ten minutes, as long as people need to notice by themselves."""

COOLDOWN_MS: Final = 3_600_000
"""Without `cooldown`: an hour, so that an alias that flips cannot keep a version coming back."""


class SetWeight(msgspec.Struct, frozen=True, tag="set_weight"):
    """Give the variant so many percent, and wait until every gateway does."""

    weight: Decimal


class Analyse(msgspec.Struct, frozen=True, tag="analyse"):
    """Wait until all of this has been seen at the present weight, and no harm.

    hold_ms: from when the weight was live, or the step began
    min_decisions, min_outcomes: the variant's own, in this step
    """

    hold_ms: int = 0
    min_decisions: int = 0
    min_outcomes: int = 0


class Approve(msgspec.Struct, frozen=True, tag="approve"):
    """Wait for a person. by: a role, or somebody's name"""

    by: str


Step = SetWeight | Analyse | Approve


class Freeze(msgspec.Struct, frozen=True):
    """Nothing grows from `from_ms` until just before `until_ms`. text: for people"""

    from_ms: int
    until_ms: int
    text: str


class Terms(msgspec.Struct, frozen=True):
    """A rollout as declared.

    project: as sentences name it
    others: the rest of the split, (variant, initial weight) in order of name, `against` included
    guardrails, signals: names of their metrics
    no_data: what missing decision data does: hold until the deadline, or roll back at once where
        there had been some
    alias: moved on success; empty = none
    max_step: points of weight a step may add without approval; None = any
    approvals: people who must agree to a larger one
    """

    project: str
    variant: str
    against: str
    rule: str
    others: tuple[tuple[str, Decimal], ...]
    steps: tuple[Step, ...]
    guardrails: tuple[str, ...]
    signals: tuple[str, ...] = ()
    no_data: Literal["hold", "rollback"] = "hold"
    no_data_deadline_ms: int = NO_DATA_DEADLINE_MS
    cooldown_ms: int = COOLDOWN_MS
    alias: str = ""
    max_step: Decimal | None = None
    approvals: int = 1
    freezes: tuple[Freeze, ...] = ()

    def weights(self, weight: Decimal) -> tuple[tuple[str, Decimal], ...]:
        """Weights of the whole rule that give the variant this percentage, in order of name.

        The others keep their initial proportions among themselves. All of it is exact: with two
        arms these are percent, with more they are relative.
        """
        if len(self.others) == 1:
            (other, _), rest = self.others[0], 100 - weight
            return tuple(sorted([(other, rest), (self.variant, weight)]))
        total = sum((share for _, share in self.others), Decimal(0))
        scaled = [(arm, share * (100 - weight)) for arm, share in self.others]
        return tuple(sorted([*scaled, (self.variant, weight * total)]))
