"""Exact tests of each epoch apart, the tightest of which counts (spending.py says why)."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeVar

from pointsman.judge import bounded, event, rates
from pointsman.judge.bounded import BoundedState
from pointsman.judge.event import EventState
from pointsman.judge.rates import RateState
from pointsman.judge.spending import Spending

_KEPT: Final = 4_096
"""Bounds of epochs that are over are worked out once, not at every look."""

_State = TypeVar("_State", EventState, BoundedState, RateState)


def risk_bounds(
    epochs: Sequence[EventState], alpha: float, spending: Spending
) -> tuple[float, float]:
    """Lower and upper bound of one lasting relative risk, each at alpha, at every look."""
    return _tightest(epochs, alpha, spending, _lower_risk, _upper_risk)


def difference_bounds(
    epochs: Sequence[BoundedState], alpha: float, spending: Spending
) -> tuple[float, float]:
    """Lower and upper bound of one lasting difference of means, each at alpha, at every look."""
    return _tightest(epochs, alpha, spending, _lower_difference, _upper_difference)


def rate_bounds(
    epochs: Sequence[RateState], alpha: float, spending: Spending, *, relative: bool
) -> tuple[float, float]:
    """Lower and upper bound of one lasting difference of a rate, or of its relative one (ratio less
    1), each at alpha, at every look."""
    if not relative:
        return _tightest(epochs, alpha, spending, rates.lower_bound, rates.upper_bound)
    found = [
        rates.ratio_bounds(one, alpha * spending.of_epoch(k)) for k, one in enumerate(epochs, 1)
    ]
    return max(low for low, _ in found) - 1.0, min(high for _, high in found) - 1.0


def log_e(epochs: Sequence[float], spending: Spending) -> float:
    """ln of the largest of the epochs' e-values times their parts.

    epochs: ln of each epoch's e-value, in order
    """
    return max(value + math.log(spending.of_epoch(k)) for k, value in enumerate(epochs, 1))


def _tightest(
    epochs: Sequence[_State],
    alpha: float,
    spending: Spending,
    lower: Callable[[_State, float], float],
    upper: Callable[[_State, float], float],
) -> tuple[float, float]:
    parts = [(one, alpha * spending.of_epoch(k)) for k, one in enumerate(epochs, 1)]
    return max(lower(*part) for part in parts), min(upper(*part) for part in parts)


@lru_cache(_KEPT)
def _lower_risk(state: EventState, alpha: float) -> float:
    return event.lower_bound(state, alpha)


@lru_cache(_KEPT)
def _upper_risk(state: EventState, alpha: float) -> float:
    return event.upper_bound(state, alpha)


@lru_cache(_KEPT)
def _lower_difference(state: BoundedState, alpha: float) -> float:
    return bounded.lower_bound(state, alpha)


@lru_cache(_KEPT)
def _upper_difference(state: BoundedState, alpha: float) -> float:
    return bounded.upper_bound(state, alpha)
