"""Rollouts and limits, and the blocks of the language whose engine comes later.

The latter are part of v1 and parse fully, so that a typo in them is reported like any other; then
`spec.checks` refuses each with "is not available yet". None of them is ever ignored.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from pointsman.spec.block import Block, Items
from pointsman.spec.scalars import (
    AttributeName,
    Condition,
    Milliseconds,
    Name,
    Percent,
    Sorted,
    Text,
    Weight,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Comparison = Annotated[
    str, StringConstraints(pattern=r"^(>=|<=|==|!=|>|<) -?[0-9]+(\.[0-9]+)?$", max_length=64)
]
Day = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class Backend(Block):
    """A remote server that runs variants."""

    kind: Literal[
        "open-inference",
        "triton",
        "kserve",
        "mlserver",
        "ray-serve",
        "mlflow",
        "sagemaker",
        "vertex-ai",
    ]
    url: Text
    timeout: Milliseconds | None = None


class Cache(Block):
    """Answers kept for the same request and decision."""

    ttl: Milliseconds


class Requires(Block):
    """What a model version must show before an alias move to it is even proposed."""

    max_age: Milliseconds | None = None
    tags: Annotated[dict[Text, Text], Sorted] = Field(default={})
    metrics: Annotated[dict[Text, Comparison], Sorted] = Field(default={})


class Bandit(Block):
    """Weights learned from outcomes, with exact propensities."""

    arms: Annotated[Items[Name], Field(min_length=2)]
    policy: Literal["thompson", "inverse-gap", "epsilon-greedy"]
    reward: Literal["label", "reward"]
    context: Items[AttributeName] = ()
    floor: Fraction = 0.0
    update: Milliseconds | None = None
    horizon: Milliseconds | None = None
    draw: Annotated[str, StringConstraints(pattern=r"^(decision|[0-9]{1,12}(ms|s|m|h|d|w))$")] = (
        "decision"
    )


class Ensemble(Block):
    """Several variants answer; their probabilities are combined."""

    members: Annotated[Items[Name], Field(min_length=2)]
    combine: Literal["average", "vote", "median"] = "average"
    weights: Literal["equal", "adaptive"] | Annotated[dict[Name, Weight], Sorted] = "equal"
    loss: Literal["log", "brier", "zero-one"] | None = None
    quorum: Annotated[int, Field(ge=1)] | None = None


class CascadeStep(Block):
    """One variant of a cascade; the next is asked unless `until` holds for the answer."""

    use: Name
    until: Condition | None = None


class Analysis(Block):
    """What must have been seen before the next step."""

    hold: Milliseconds | None = None
    min_decisions: Count | None = None
    min_outcomes: Count | None = None


class Approval(Block):
    """A person has to agree."""

    by: Text


class Step(Block):
    """One step of a rollout: exactly one of its keys."""

    set_weight: Percent | None = None
    analysis: Analysis | None = None
    approval: Approval | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise PydanticCustomError(
                "one_of", "must have exactly one of `setWeight`, `analysis`, `approval`"
            )
        return self


class Bound(Block):
    """A bound on the difference of one metric between challenger and champion."""

    metric: Name
    relative: float | None = None
    absolute: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    slices: Items[AttributeName] = ()

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        bounds = (self.relative, self.absolute, self.at_least, self.at_most)
        if sum(bound is not None for bound in bounds) != 1:
            raise PydanticCustomError(
                "one_of", "must have exactly one of `relative`, `absolute`, `atLeast`, `atMost`"
            )
        return self


class OnSuccess(Block):
    """What a finished rollout writes back to the registry."""

    set_alias: Name


class Rollout(Block):
    """How a challenger grows, and what stops it."""

    variant: Name
    against: Name = "champion"
    rule: Name
    steps: Annotated[Items[Step], Field(min_length=1)]
    guardrails: Items[Bound] = ()
    signals: Items[Bound] = ()
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    expected_decisions: Count | None = None
    on_no_data: Literal["hold", "rollback"] = "hold"
    no_data_deadline: Milliseconds | None = None
    cooldown: Milliseconds | None = None
    on_success: OnSuccess | None = None


class Freeze(Block):
    """Days on which nothing moves forward. Both ends included; never stops a rollback."""

    from_: Annotated[Day, Field(alias="from")]
    to: Day
    zone: Text = "UTC"


class Limits(Block):
    """Blast radius: a change over it needs a second approver."""

    max_step: Percent | None = None
    max_units_moved: Fraction | None = None
    max_deny_shift: Fraction | None = None
    freeze: Items[Freeze] = ()
    approvals: Annotated[int, Strict(), Field(ge=0, le=10)] = 1
