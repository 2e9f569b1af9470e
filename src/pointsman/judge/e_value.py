"""The effect of effect.py told as e-values, for criteria that are judged many at a time."""

import math
from collections.abc import Sequence
from typing import assert_never

import numpy as np

from pointsman.judge import apart, bounded, event, mean, rates, ratio
from pointsman.judge.effect import SAFETY, after_burn_in, effect, log_e_of_pairs, unusable
from pointsman.judge.kinds import (
    Events,
    Means,
    MetricEvidence,
    Pairs,
    Quantiles,
    Ratios,
    Unknown,
)
from pointsman.judge.mean import Contrast, Tuning
from pointsman.judge.spending import Spending


def log_e_beyond(  # noqa: PLR0913 - each is a part of one question
    evidence: MetricEvidence,
    tuning: Tuning,
    threshold: float,
    *,
    relative: bool,
    above: bool,
    spending: Spending = SAFETY,
) -> float | Unknown:
    """ln of the e-value against "the effect is at most `threshold`" (`above`), or "at least".

    Of exact tests it is the largest of the epochs' e-values times their parts of the error: no
    more than their weighted mean, and 1 / alpha or more at any look with a chance of alpha at most.

    Errors: as `effect`; ValueError for a relative threshold of -1 or less.
    """
    if relative and threshold <= -1.0:
        raise ValueError(f"a relative effect of {threshold!r} leaves nothing to compare")
    factor, margin = (1.0 + threshold, 0.0) if relative else (1.0, threshold)
    match evidence:
        case Events():
            if not relative:
                raise ValueError("events bound a relative risk; give Means for an absolute margin")
            return _log_e_of_events(evidence, tuning, factor, spending, above=above)
        case Means():
            return _log_e_of_means(
                evidence, tuning, (factor, margin), spending, relative=relative, above=above
            )
        case Ratios():
            return _log_e_of_ratios(evidence, tuning, (factor, margin), spending, above=above)
        case Quantiles():
            return _log_e_by_bounds(evidence, tuning, threshold, relative=relative, above=above)
        case Pairs():
            return unusable(evidence) or log_e_of_pairs(evidence, factor, margin, above=above)
        case _:
            assert_never(evidence)


def _log_e_by_bounds(
    evidence: Quantiles, tuning: Tuning, threshold: float, *, relative: bool, above: bool
) -> float | Unknown:
    """ln of 1 / (2 sqrt(p)), an e-value for whatever p-value; here the least alpha whose bound is
    beyond the threshold, to a factor of 2.

    Source: Vovk & Wang (2021), Ann. Statist. 49, section 2: calibrators from p to e.
    """
    p = 1.0
    while p > 1e-12:
        found = effect(evidence, tuning, p / 2.0, relative=relative)
        if isinstance(found, Unknown):
            return found
        if not (found.lower > threshold if above else found.upper < threshold):
            break
        p /= 2.0
    return -math.log(2.0) - 0.5 * math.log(p)


def _log_e(found: Contrast, margin: float, tuning: Tuning, *, above: bool) -> float:
    test = mean.log_e_above if above else mean.log_e_below
    return test(found, margin, tuning)


def _log_e_of_events(
    evidence: Events, tuning: Tuning, factor: float, spending: Spending, *, above: bool
) -> float:
    test = event.log_e_above if above else event.log_e_below
    exact = [test(one, factor) for one in evidence.epochs]
    if evidence.means is None:
        return apart.log_e(exact, spending)
    found = after_burn_in(Means(evidence.means, binary=True))
    if not isinstance(found, Unknown):
        found = mean.contrast(evidence.means, factor) or found
    return _log_e_of_both(exact, found, 0.0, tuning, spending, above=above)


def _log_e_of_means(  # noqa: PLR0913 - each is a part of one question
    evidence: Means,
    tuning: Tuning,
    at: tuple[float, float],
    spending: Spending,
    *,
    relative: bool,
    above: bool,
) -> float | Unknown:
    """at: factor and margin of the hypothesis"""
    factor, margin = at
    if relative and evidence.events is not None:
        return _log_e_of_events(evidence.events, tuning, factor, spending, above=above)
    found = after_burn_in(evidence)
    if not isinstance(found, Unknown):
        found = mean.contrast(evidence.state, factor) or found
    if evidence.rates is not None:
        exact = [rates.log_e(one, factor, margin, above=above) for one in evidence.rates]
        return _log_e_of_both(exact, found, margin, tuning, spending, above=above)
    if relative or evidence.exact is None:
        return found if isinstance(found, Unknown) else _log_e(found, margin, tuning, above=above)
    test = bounded.log_e_above if above else bounded.log_e_below
    exact = [test(one, margin) for one in evidence.exact]
    return _log_e_of_both(exact, found, margin, tuning, spending, above=above)


def _log_e_of_ratios(
    evidence: Ratios, tuning: Tuning, at: tuple[float, float], spending: Spending, *, above: bool
) -> float | Unknown:
    """at: as above"""
    factor, margin = at
    found = ratio.contrast(evidence.blocks, evidence.statistic, factor)
    few = Unknown("too few labels of each kind", (0, 0), empty=False)
    if evidence.rates is None:
        return few if found is None else _log_e(found, margin, tuning, above=above)
    exact = [rates.log_e(one, factor, margin, above=above) for one in evidence.rates]
    return _log_e_of_both(exact, found or few, margin, tuning, spending, above=above)


def _log_e_of_both(  # noqa: PLR0913 - each is a part of one question
    exact: Sequence[float],
    found: Contrast | Unknown,
    margin: float,
    tuning: Tuning,
    spending: Spending,
    *,
    above: bool,
) -> float:
    """The mean of both e-values by their parts of alpha; one that may not act yet counts 0."""
    parts = [math.log(spending.exact) + apart.log_e(exact, spending)] if exact else []
    if not isinstance(found, Unknown):
        parts.append(math.log(spending.asymptotic) + _log_e(found, margin, tuning, above=above))
    return float(np.logaddexp.reduce(parts)) if parts else -math.inf
