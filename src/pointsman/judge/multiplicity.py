"""Many metrics at once: who may take how much of the error, and what may be called a discovery.

Rollback is "any", promotion is "all" (intersection-union: Berger 1982, Technometrics 24,
295-300): one broken guardrail rolls back,
so they share alpha; promotion needs each of them shown non-inferior, so each may have alpha whole.
"""

import math
from collections.abc import Mapping, Sequence

from scipy import special

from pointsman.judge.mixture import check_alpha


def weighted_alpha(alpha: float, weights: Sequence[float]) -> tuple[float, ...]:
    """Each test's part of alpha: the chance that *any* of them errs stays at most alpha.

    weights: relative, 0 or more, at least one above 0
    Source: weighted Bonferroni, Holm (1979), Scand. J. Statist. 6, 65-70; needs no independence.
    """
    check_alpha(alpha)
    if not weights or min(weights) < 0 or not math.isfinite(total := math.fsum(weights)):
        raise ValueError(f"weights {tuple(weights)} must be finite and not negative")
    if total <= 0:
        raise ValueError("at least one weight must be above 0")
    return tuple(alpha * weight / total for weight in weights)


def e_benjamini_hochberg(log_e: Mapping[str, float], alpha: float) -> frozenset[str]:
    """The names whose hypotheses are rejected, with a false discovery rate of at most alpha.

    log_e: ln of an e-value for each name; they may depend on each other in any way
    The k-th largest counts when it reaches K / (alpha k); all at least as large then count.
    Source: Wang & Ramdas (2022), J. R. Stat. Soc. B 84, 822-852, section 4.
    """
    check_alpha(alpha)
    largest_first = sorted(log_e.values(), reverse=True)
    size = len(largest_first)
    reached = [
        value
        for rank, value in enumerate(largest_first, 1)
        if value >= math.log(size) - math.log(alpha) - math.log(rank)
    ]
    if not reached:
        return frozenset()
    # Ties count together, so that the order of names decides nothing.
    return frozenset(name for name, value in log_e.items() if value >= reached[-1])


def average_log_e(log_e: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """ln of the weighted mean of e-values: an e-value again, however they depend on each other.

    Source: Vovk & Wang (2021), Ann. Statist. 49, 1736-1754, section 3 (merging by averaging).
    Errors: ValueError without e-values or with impossible weights.
    """
    if not log_e:
        raise ValueError("there is no e-value to average")
    shares = weighted_alpha(0.5, [1.0] * len(log_e) if weights is None else weights)
    return float(special.logsumexp(log_e, b=[2.0 * share for share in shares]))


def product_log_e(log_e: Sequence[float]) -> float:
    """ln of the product of e-values: an e-value if each was built on the units of its own.

    Source: Vovk & Wang (2021), section 4.
    """
    return math.fsum(log_e)
