"""One metric's evidence as an effect with bounds, whatever kind of evidence it is.

Every kind answers the same question: how much larger is the challenger's metric, at least and at
most? Each bound holds at every look at once, but for alpha, though the same units come back in
every epoch (spending.py). e_value.py tells the same as e-values.
"""

import math
from typing import Final, assert_never

import msgspec

from pointsman.judge import apart, event, mean, paired, quantile, rates, ratio
from pointsman.judge.kinds import (
    Effect,
    Events,
    Means,
    MetricEvidence,
    Pairs,
    Quantiles,
    Ratios,
    Unknown,
)
from pointsman.judge.labels import Labels, selection
from pointsman.judge.mean import Contrast, Tuning
from pointsman.judge.quantile import BetaBinomial
from pointsman.judge.rates import RateState
from pointsman.judge.ratio import Jackknife
from pointsman.judge.spending import Spending, safety

MIN_EVENTS: Final = 50
"""Events and non-events in each arm before a normal approximation of a 0/1 metric may act."""

MIN_N: Final = 100
"""Decisions in each arm before a normal approximation of any other metric may act."""


SAFETY: Final = safety(1)
"""Where nothing is said of the epochs there will be."""


def effect(
    evidence: MetricEvidence,
    tuning: Tuning,
    alpha: float,
    *,
    relative: bool,
    spending: Spending = SAFETY,
) -> Effect | Unknown:
    """The effect with one-sided bounds, each at alpha.

    spending: how alpha is divided where a bound is the tightest of several
    Errors: ValueError for an absolute effect of Events, which know no rates.
    """
    match evidence:
        case Events():
            if not relative:
                raise ValueError("events bound a relative risk; give Means for an absolute margin")
            return _of_events(evidence, tuning, alpha, spending)
        case Means():
            return _of_either_mean(evidence, tuning, alpha, spending, relative=relative)
        case Ratios():
            return _of_either_ratio(evidence, tuning, alpha, spending, relative=relative)
        case Quantiles():
            return _of_quantiles(evidence, alpha, relative=relative)
        case Pairs():
            return _of_pairs(evidence, alpha, relative=relative)
        case _:
            assert_never(evidence)


def _of_events(
    evidence: Events, tuning: Tuning, alpha: float, spending: Spending
) -> Effect | Unknown:
    if min(evidence.units) == 0:
        return Unknown("no units in one of the arms", evidence.units, empty=True)
    risk = event.estimate(evidence.whole)
    exact = alpha if evidence.means is None else alpha * spending.exact
    lower, upper = apart.risk_bounds(evidence.epochs, exact, spending)
    found = Effect(
        estimate=None if risk is None else risk - 1.0,
        lower=lower - 1.0,
        upper=upper - 1.0,
        challenger=None,
        champion=None,
        n=evidence.units,
        method="event e-process of each epoch, exact",
    )
    if evidence.means is None:
        return found
    means = Means(evidence.means, binary=True)
    normal = _relative_of_means(means, tuning, alpha * spending.asymptotic)
    if isinstance(normal, Unknown):
        return found
    return msgspec.structs.replace(
        found,
        lower=max(lower - 1.0, normal.lower),
        upper=min(upper - 1.0, normal.upper),
        method="event e-process of each epoch and asymptotic confidence sequence (Fieller)",
    )


def _of_either_mean(
    evidence: Means, tuning: Tuning, alpha: float, spending: Spending, *, relative: bool
) -> Effect | Unknown:
    n = evidence.state.counts
    if min(n) == 0:
        return Unknown("no decisions in one of the arms", n, empty=True)
    if evidence.rates is not None:
        plain, part = msgspec.structs.replace(evidence, rates=None), alpha * spending.asymptotic
        normal = _of_either_mean(plain, tuning, part, spending, relative=relative)
        levels = mean.levels(evidence.state)
        return _with_rates(normal, evidence.rates, levels, alpha, spending, relative=relative)
    if relative and evidence.events is not None:
        return _of_events(evidence.events, tuning, alpha, spending)
    if relative:
        return _relative_of_means(evidence, tuning, alpha)
    return _of_means(evidence, tuning, alpha, spending)


def _of_either_ratio(
    evidence: Ratios, tuning: Tuning, alpha: float, spending: Spending, *, relative: bool
) -> Effect | Unknown:
    if evidence.rates is None:
        return _of_ratios(evidence, tuning, alpha, relative=relative)
    normal = _of_ratios(evidence, tuning, alpha * spending.asymptotic, relative=relative)
    levels = ratio.levels(evidence.blocks, evidence.statistic)
    return _with_rates(normal, evidence.rates, levels, alpha, spending, relative=relative)


def _with_rates(  # noqa: PLR0913 - each is a part of one bound
    normal: Effect | Unknown,
    exact: tuple[RateState, ...],
    levels: tuple[float, float] | None,
    alpha: float,
    spending: Spending,
    *,
    relative: bool,
) -> Effect | Unknown:
    """The tightest of the normal bound, of every labelled decision, and the exact one, of first
    exposures.

    normal: at its part of alpha; levels: of every labelled decision
    The exact bound goes no further than what all decisions say on average: it knows nothing of the
    later ones of a unit.
    """
    if levels is None or not any(map(rates.known, exact)):
        return normal
    one, two = levels
    estimate = None if relative and two <= 0.0 else one / two - 1.0 if relative else one - two
    lower, upper = apart.rate_bounds(exact, alpha * spending.exact, spending, relative=relative)
    middle = (math.inf if one > 0.0 else math.nan) if estimate is None else estimate
    lower, upper = min(lower, middle), max(upper, middle)
    method = "exact two-sample test of rates in each epoch"
    if isinstance(normal, Unknown):
        return Effect(estimate, lower, upper, one, two, normal.n, method)
    return msgspec.structs.replace(
        normal,
        lower=max(lower, normal.lower),
        upper=min(upper, normal.upper),
        method=f"{method} and {normal.method}",
    )


def _of_means(
    evidence: Means, tuning: Tuning, alpha: float, spending: Spending
) -> Effect | Unknown:
    found = after_burn_in(evidence)
    exact = evidence.exact
    n = evidence.state.counts
    if exact is None:
        if isinstance(found, Unknown):
            return found
        radius = mean.one_sided_radius(found, alpha, tuning)
        return _normal(found, radius, n, "asymptotic confidence sequence")
    # Which of the two answers depends on the data, so each has its part of alpha from the start.
    lower, upper = apart.difference_bounds(exact, alpha * spending.exact, spending)
    if isinstance(found, Unknown):
        c = math.fsum(one.c for one in exact)
        middle = math.fsum(one.s for one in exact) / c if c else None
        return Effect(
            middle, lower, upper, None, None, n, "empirical Bernstein of each epoch, exact"
        )
    radius = mean.one_sided_radius(found, alpha * spending.asymptotic, tuning)
    normal = _normal(found, radius, n, "")
    return msgspec.structs.replace(
        normal,
        lower=max(lower, normal.lower),
        upper=min(upper, normal.upper),
        method="empirical Bernstein of each epoch and asymptotic confidence sequence",
    )


def _relative_of_means(evidence: Means, tuning: Tuning, alpha: float) -> Effect | Unknown:
    found = after_burn_in(evidence)
    if isinstance(found, Unknown):
        return found
    if found.champion <= 0.0:
        return Unknown("the champion's mean is not above 0", evidence.state.counts, empty=False)
    low, high = mean.ratio_bounds(evidence.state, alpha, tuning)
    estimate = found.challenger / found.champion - 1.0
    return Effect(
        estimate,
        low - 1.0,
        high - 1.0,
        found.challenger,
        found.champion,
        evidence.state.counts,
        "asymptotic confidence sequence (Fieller)",
    )


def _of_ratios(
    evidence: Ratios, tuning: Tuning, alpha: float, *, relative: bool
) -> Effect | Unknown:
    arms = zip(*((b.challenger, b.champion) for b in evidence.blocks), strict=True)
    counts = [sum(sum(cells.counts) for cells in arm) for arm in arms]
    n = (counts[0], counts[1]) if counts else (0, 0)
    if min(n) == 0:
        return Unknown("no labelled decisions in one of the arms", n, empty=True)
    both = ratio.jackknife(evidence.blocks, evidence.statistic)
    found = None if both is None else both.contrast()
    if both is None or found is None:
        return Unknown(f"too few labels of each kind for {evidence.statistic.name}", n, empty=False)
    method = "asymptotic confidence sequence (jackknife over unit buckets)"
    plain = _normal(found, mean.one_sided_radius(found, alpha, tuning), n, method)
    if not relative:
        return plain
    if found.champion <= 0.0:
        return Unknown("the champion's value is not above 0", n, empty=False)
    return _relative_of_ratios(both, plain, tuning, alpha)


def _relative_of_ratios(both: Jackknife, plain: Effect, tuning: Tuning, alpha: float) -> Effect:
    """The factors whose contrast is compatible with 0, as for means."""
    middle = both.challenger / both.champion

    def shown(factor: float, sign: float) -> bool:
        found = both.contrast(factor)
        if found is None:
            return False
        return sign * found.difference > mean.one_sided_radius(found, alpha, tuning)

    low, high = mean.factors_between(lambda f: shown(f, 1.0), lambda f: shown(f, -1.0), middle)
    return msgspec.structs.replace(plain, estimate=middle - 1.0, lower=low - 1.0, upper=high - 1.0)


def _of_quantiles(evidence: Quantiles, alpha: float, *, relative: bool) -> Effect | Unknown:
    counts = [[sum(arm.counts.values()) for arm in epoch] for epoch in evidence.epochs]
    n = (sum(one for one, _ in counts), sum(two for _, two in counts))
    if min(n) == 0:
        return Unknown("no latencies in one of the arms", n, empty=True)
    using = BetaBinomial(evidence.p, evidence.t_opt, alpha)
    found = quantile.difference(evidence.epochs, using, alpha, relative=relative)
    return Effect(
        estimate=found.estimate,
        lower=found.lower,
        upper=found.upper,
        challenger=found.challenger,
        champion=found.champion,
        n=n,
        method="beta-binomial bounds of each quantile, exact",
    )


def _of_pairs(evidence: Pairs, alpha: float, *, relative: bool) -> Effect | Unknown:
    why = unusable(evidence)
    if why is not None:
        return why
    gained = paired.gains(evidence.pairs, evidence.worth)
    average, level = gained.mean, gained.level
    assert average is not None
    assert level is not None
    n = (gained.n, gained.n)
    method = "betting on pairs (sequential McNemar), exact"
    found = Effect(
        estimate=average,
        lower=paired.lower_bound(gained, alpha),
        upper=paired.upper_bound(gained, alpha),
        challenger=level + average,
        champion=level,
        n=n,
        method=method,
    )
    if not relative:
        return found
    if level <= 0.0 or min(min(row) for row in evidence.worth.table) < 0.0:
        return Unknown("the champion's value is not above 0", n, empty=False)

    def shown(factor: float, *, above: bool) -> bool:
        return log_e_of_pairs(evidence, factor, 0.0, above=above) >= -math.log(alpha)

    middle = (level + average) / level
    low, high = mean.factors_between(
        lambda f: shown(f, above=True), lambda f: shown(f, above=False), middle
    )
    return msgspec.structs.replace(found, estimate=middle - 1, lower=low - 1, upper=high - 1)


def unusable(evidence: Pairs) -> Unknown | None:
    """Why the pairs bear no claim; None where they do."""
    n = paired.gains(evidence.pairs, evidence.worth).n
    answered = sum(evidence.pairs.flips.values())
    if not answered:
        return Unknown("no request was answered by both", (0, 0), empty=True)
    chosen = selection(evidence.coverage, may_deny=evidence.may_deny)
    if chosen.labels is not Labels.OPEN:
        return Unknown(chosen.text, (n, n), empty=False, selective=True)
    if not n:
        return Unknown("no pair of answers has a label yet", (0, 0), empty=True)
    return None


def log_e_of_pairs(evidence: Pairs, factor: float, margin: float, *, above: bool) -> float:
    gained = paired.gains(evidence.pairs, evidence.worth, factor)
    return (paired.log_e_above if above else paired.log_e_below)(gained, margin)


def after_burn_in(evidence: Means) -> Contrast | Unknown:
    state = evidence.state
    if evidence.binary:
        pairs = zip(state.counts, state.totals, strict=True)
        rarer = min(min(total, n - total) for n, total in pairs)
        if rarer < MIN_EVENTS:
            why = f"{rarer:.0f} events in an arm; {MIN_EVENTS} are needed before a normal bound"
            return Unknown(why, state.counts, empty=False)
    elif min(state.counts) < MIN_N:
        why = f"{min(state.counts)} decisions in an arm; {MIN_N} are needed before a normal bound"
        return Unknown(why, state.counts, empty=False)
    found = mean.contrast(state)
    if found is None:
        return Unknown("the values do not vary yet", state.counts, empty=False)
    return found


def _normal(found: Contrast, radius: float, n: tuple[int, int], method: str) -> Effect:
    low, high = found.difference - radius, found.difference + radius
    if not math.isfinite(radius):
        low, high = -math.inf, math.inf
    return Effect(found.difference, low, high, found.challenger, found.champion, n, method)
