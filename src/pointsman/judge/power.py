"""How long until a verdict: the chance that a test decides by n decisions, before any are made.

The chance is that of the bound being crossed *at* n, so the chance of having crossed it by n is a
little larger: a plan that errs, errs on the long side.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import special

from pointsman.judge import mixture
from pointsman.judge.event import DEFAULT_PRIOR, EventPrior, log_e_above_many
from pointsman.judge.mean import Tuning
from pointsman.judge.mixture import Floats, check_alpha

_STRATA: Final = 64  # equally likely values of the champion's event count
_MOST_DECISIONS: Final = 1e12


class EventPlan(msgspec.Struct, frozen=True):
    """What is assumed of an event metric.

    rate: of the champion, per unit, in (0, 1)
    risk: true relative risk of the challenger, > 0
    bound: the relative risk to be refuted: harm is shown above it, safety below it
    share: of the challenger among the two, in (0, 1)
    """

    rate: float
    risk: float
    bound: float
    share: float
    alpha: float = 0.05


class MeanPlan(msgspec.Struct, frozen=True):
    """What is assumed of a mean.

    distance: true difference less the one to be refuted, in the metric's unit; its sign does not
        matter
    deviation: standard deviation of one decision; of a 0/1 metric sqrt(p (1 - p))
    share: of the challenger among the two, in (0, 1)
    """

    distance: float
    deviation: float
    share: float
    tuning: Tuning
    alpha: float = 0.05


class Forecast(msgspec.Struct, frozen=True):
    """Decisions of both arms, and days, until a verdict.

    median: half of the runs have decided by then; likely: the stated power has
    """

    median: float
    likely: float
    median_days: float
    likely_days: float


def event_power(plan: EventPlan, n: float, prior: EventPrior = DEFAULT_PRIOR) -> float:
    """Chance that the event e-process has decided at n units of both arms.

    n: with first events Poisson in both arms, as for rare events
    Source: the e-process of event.py, averaged over independent Poisson counts of both arms (a
    thinned Poisson process, Kingman (1993), Poisson Processes, section 5.1).
    Errors: ValueError for a plan outside its ranges, or a risk that is the bound itself.
    """
    check_alpha(plan.alpha)
    if not (0 < plan.rate < 1 and 0 < plan.share < 1 and min(plan.risk, plan.bound) > 0):
        raise ValueError(f"rate and share must be in (0, 1), risks above 0: {plan}")
    if plan.risk == plan.bound:
        raise ValueError("a risk equal to the bound is never told from it")
    share, bound = plan.share, plan.bound
    ours, theirs = n * share * plan.rate * plan.risk, n * (1.0 - share) * plan.rate
    if plan.risk < plan.bound:
        # Safety is harm with the arms swapped.
        share, bound, ours, theirs = 1.0 - share, 1.0 / bound, theirs, ours
    chances = (np.arange(_STRATA) + 0.5) / _STRATA
    needed = _fewest(_poisson_quantiles(chances, theirs), share, bound, plan.alpha, prior)
    # P(N >= k) of a Poisson count is the regularised lower incomplete gamma function at k.
    return float(special.gammainc(needed, ours).mean())


def _poisson_quantiles(chances: Floats, mean: float) -> Floats:
    """The least count of which P(N <= count) is at least each chance.

    Not scipy.stats, whose import takes longer than that of everything else a controller judges by.
    """
    above = np.ceil(special.pdtrik(chances, mean))
    below = np.maximum(above - 1.0, 0.0)
    quantiles: Floats = np.where(special.pdtr(below, mean) >= chances, below, above)
    return quantiles


def mean_power(plan: MeanPlan, n: float) -> float:
    """Chance that the confidence sequence of a difference has decided at n decisions of both arms.

    Phi(|distance| / error - z), z being the sequence's bound at n.
    Source: the normal law of the estimate, as Jennison & Turnbull (2000), section 3.1, have it, and
    the bound of Waudby-Smith et al. (2024), mixture.critical_one_sided.
    Errors: ValueError for a plan outside its ranges.
    """
    if not (0 < plan.share < 1 and plan.deviation > 0):
        raise ValueError(f"share must be in (0, 1), deviation above 0: {plan}")
    weight = plan.share * (1.0 - plan.share) * n
    critical = float(mixture.critical_one_sided(plan.tuning.k(4.0 * weight), plan.alpha))
    drift = abs(plan.distance) * math.sqrt(weight) / plan.deviation
    return float(special.ndtr(drift - critical))


def decisions_needed(power_at: Callable[[float], float], power: float) -> float | None:
    """Fewest decisions at which the chance reaches `power`; None where 1e12 do not.

    power_at: rises with its argument, but for the steps of small counts
    """
    if not 0.0 < power < 1.0:
        raise ValueError(f"power {power!r} is outside (0, 1)")
    high = 16.0
    while power_at(high) < power:
        high *= 2.0
        if high > _MOST_DECISIONS:
            return None
    low = high / 2.0
    while high - low > max(1.0, 1e-3 * high):
        middle = (low + high) / 2.0
        low, high = (low, middle) if power_at(middle) >= power else (middle, high)
    return math.ceil(high)


def forecast(
    power_at: Callable[[float], float], decisions_per_day: float, power: float = 0.8
) -> Forecast | None:
    """When a verdict may be expected; None where it may not.

    decisions_per_day: of both arms together, at the share that was planned with, > 0
    """
    if decisions_per_day <= 0:
        raise ValueError(f"{decisions_per_day!r} decisions a day never decide anything")
    median, likely = (decisions_needed(power_at, p) for p in (0.5, power))
    if median is None or likely is None:
        return None
    return Forecast(median, likely, median / decisions_per_day, likely / decisions_per_day)


def _fewest(others: Floats, share: float, bound: float, alpha: float, prior: EventPrior) -> Floats:
    """Fewest events of ours that decide against each number of the others'."""
    threshold = -math.log(alpha)

    def decides(count: Floats) -> npt.NDArray[np.bool_]:
        e = log_e_above_many(count[:, None], others[:, None], [share], bound, prior)
        return np.asarray(e >= threshold)

    low, high = np.zeros_like(others), np.full_like(others, 16.0)
    while not (enough := decides(high)).all():
        high = np.where(enough, high, 2.0 * high)
    while (high - low > 1.0).any():
        middle = np.floor((low + high) / 2.0)
        enough = decides(middle)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
