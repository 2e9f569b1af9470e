"""What comparison with the reference says is wrong."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from pointsman.alerts.condition import NOTHING_DONE, Condition
from pointsman.domain.alert import Kind

MOST: Final = 10
"""Columns that are told of one by one; where more drifted, it is one and the same thing."""


class Drifted(msgspec.Struct, frozen=True):
    """A column in an hour or day that is over, as the history tells it."""

    name: str
    psi: float
    bound: float
    n: int
    sentence: str


def drifted(
    project: str, found: Sequence[Drifted], window_ms: int, *, holds: bool
) -> Iterator[Condition]:
    """Columns that drifted, the furthest first. holds: a rollout does not grow meanwhile"""
    furthest = sorted(found, key=lambda one: (-one.psi, one.name))
    deed = "a rollout does not grow before a window without drift" if holds else NOTHING_DONE
    for one in furthest[:MOST]:
        yield Condition(
            Kind.DRIFT,
            one.sentence,
            subject=one.name,
            metric=f"population stability index of {one.name}",
            value=one.psi,
            bound=one.bound,
            window_ms=window_ms,
            n=one.n,
            deed=deed,
        )
    if rest := furthest[MOST:]:
        names = ", ".join(one.name for one in rest)
        sentence = f"{project}: {len(rest)} more columns drifted: {names}"
        yield Condition(Kind.DRIFT, sentence, subject="others", window_ms=window_ms, deed=deed)
