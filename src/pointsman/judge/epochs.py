"""Tests of several epochs as one, valid however much the epochs have in common.

An epoch has one share. When the next one begins, sticky units come back: their place on the
allocation was drawn once, so what that draw made of them shows in each epoch again, and evidence of
two epochs is not that of twice as many draws. Within an epoch a unit counts once and its draw is as
good as new. So each epoch is tested by itself, the k-th with 1 / (k (k + 1)) of the error, which is
known beforehand and adds up to 1 however many come (Bonferroni; needs no independence).

An effect that is bounded in one epoch is taken to be bounded: bounds are of the effect that epochs
have in common, as are those of an average over them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

_State = TypeVar("_State")


def part(number: int) -> float:
    """Of the error that the k-th epoch may use, from 1 on."""
    return 1.0 / (number * (number + 1))


def lower_bound(
    epochs: Sequence[_State], bound: Callable[[_State, float], float], alpha: float
) -> float:
    """The largest of the epochs' lower bounds, each at its part of alpha.

    epochs: in the order they began, at least one
    """
    return max(bound(state, alpha * share) for share, state in _parts(epochs))


def upper_bound(
    epochs: Sequence[_State], bound: Callable[[_State, float], float], alpha: float
) -> float:
    """The smallest of the epochs' upper bounds."""
    return min(bound(state, alpha * share) for share, state in _parts(epochs))


def log_e(epochs: Sequence[_State], log_e_of: Callable[[_State], float]) -> float:
    """ln of the largest e-value, each times its epoch's part; -inf without any epoch.

    It reaches ln(1/alpha) exactly where an epoch by itself rejects at its part of alpha. Never more
    than the weighted mean of the e-values, which is one whatever they have in common (Vovk & Wang
    2021, Ann. Statist. 49, section 3), so it is one too.
    """
    found = [log_e_of(state) + math.log(share) for share, state in _parts(epochs)]
    return max(found, default=-math.inf)


def _parts(epochs: Sequence[_State]) -> Iterator[tuple[float, _State]]:
    return ((part(number), state) for number, state in enumerate(epochs, 1))
