"""How many decisions a day each variant would make, when a rollout's guardrails would decide, and
whether its split would draw units in the shares it promises.

Pure. The time is that of a challenger that does no harm: until its safety is shown.
"""

import math
from functools import partial
from typing import Final

import msgspec

from pointsman.controller.criteria import tested
from pointsman.decide.drawing import SplitForecast
from pointsman.decide.forecast import Forecast
from pointsman.domain.evidence import DENIED
from pointsman.judge import power
from pointsman.judge.power import EventPlan, MeanPlan
from pointsman.judge.sample_ratio import Draws, RatioState, Stage, stage_ratio, units_until_alarm
from pointsman.judge.spending import safety
from pointsman.judge.verdict import HEALTH_ALPHA
from pointsman.spec.events import event_of
from pointsman.spec.later import Bound
from pointsman.spec.models import DecisionMetric, Project

_DAY_MS: Final = 86_400_000


class Wait(msgspec.Struct, frozen=True):
    """Until a bound on denials is decided at the weight of this table.

    decisions, days: in four of five runs, of both arms; None where that may never be
    """

    metric: str
    share: float
    decisions: float | None
    days: float | None


LOST: Final = 0.05
"""The loss of units a plan names the time for: one in twenty of the challenger's."""

_ALPHA: Final = HEALTH_ALPHA / 3 / 2 / len(Stage)
"""What judging gives the sample ratio of one stage in a rollout's first epoch, at most of them."""


class Ratio(msgspec.Struct, frozen=True):
    """Units that the rollout's split would draw from the replayed traffic.

    shares: promised; expected, units: by variant, in the same order
    fair: whether a fair draw gives these units; None without any
    seen_after: units until a loss of `lost` of the challenger's units would be seen, in four of
        five runs; None where that may never be
    """

    split: SplitForecast
    expected: tuple[float, ...]
    fair: bool | None
    lost: float
    seen_after: int | None


def ratio(project: Project, forecast: Forecast) -> Ratio | None:
    """None without a rollout, or where its rule splits nothing between two variants yet."""
    rollout, split = project.spec.rollout, forecast.split
    if rollout is None or split is None:
        return None
    shares = dict(split.shares)
    ours, theirs = shares.get(rollout.variant, 0.0), shares.get(rollout.against, 0.0)
    if not ours or not theirs:
        return None
    # Intervals of 2^32 points: their shares add up to 1 but for rounding.
    chances = tuple(share for _, share in split.shares)
    state = RatioState((Draws(chances, split.units),)) if any(split.units) else RatioState()
    found = stage_ratio(Stage.ASSIGNED, state)
    return Ratio(
        split=split,
        expected=found.expected,
        fair=None if not state.draws else not found.alarms(_ALPHA),
        lost=LOST,
        seen_after=units_until_alarm(ours / (ours + theirs), LOST, _ALPHA),
    )


def per_day(forecast: Forecast) -> dict[str, float]:
    """Decisions a day by variant assigned, at the window's rate; empty where it has no length."""
    span_ms = forecast.last_ms - forecast.first_ms
    if span_ms <= 0:
        return {}
    return {arm: after * _DAY_MS / span_ms for arm, _, after in forecast.whole.arms if after}


def waits(project: Project, forecast: Forecast) -> tuple[Wait, ...]:
    """For each bound of the rollout on denials that logged answers say something about."""
    rollout, denied = project.spec.rollout, forecast.whole.denied
    if rollout is None or denied is None or not 0 < denied.before < 1:
        return ()
    daily = per_day(forecast)
    ours, theirs = daily.get(rollout.variant, 0.0), daily.get(rollout.against, 0.0)
    if not ours or not theirs:
        return ()
    found = []
    for bound in rollout.guardrails:
        metric = project.spec.metrics[bound.metric]
        if isinstance(metric, DecisionMetric) and event_of(metric.event).name == DENIED:
            wait = _wait(project, bound, denied.before, (ours, theirs))
            if wait is not None:
                found.append(wait)
    return tuple(found)


def _wait(project: Project, bound: Bound, rate: float, daily: tuple[float, float]) -> Wait | None:
    rollout = project.spec.rollout
    assert rollout is not None
    share = daily[0] / sum(daily)
    # As judging does: half of alpha is for all decisions, where slices have the other half.
    alpha = (1.0 - rollout.confidence) * (0.5 if bound.slices else 1.0)
    # And the sequence over all epochs, which is what usually decides, has its part of that.
    criteria = tested(project.spec, rollout, ()).criteria
    alpha *= safety(criteria.epochs).asymptotic
    if bound.relative:
        plan = EventPlan(rate, 1.0, 1.0 + bound.relative, share, alpha)
        chance = partial(power.event_power, plan)
    elif bound.absolute:
        deviation = math.sqrt(rate * (1.0 - rate))
        chance = partial(
            power.mean_power, MeanPlan(bound.absolute, deviation, share, criteria.tuning, alpha)
        )
    else:
        return None
    likely = power.forecast(chance, sum(daily))
    if likely is None:
        return Wait(bound.metric, share, None, None)
    return Wait(bound.metric, share, likely.likely, likely.likely_days)
