"""Latency between variants, at every look: events over a limit first, quantiles where asked for.

"p99 at most 100 ms" is best asked as "at most 1 % slower than 100 ms": `slow_block` makes it the
event `latency > limit` for event.py, exact and safe through ramps and drift. The quantile tests
here compare whole quantiles where no limit is stated. They need latencies whose quantile does not
move within an epoch, so evidence is given epoch by epoch and never pooled. Averaged percentiles
are never tested.

Histogram bins only rename latencies by a rising function, so tests on bins are exact; bounds are
bin edges on the safe side, at most 1/32 off.

Source: Howard & Ramdas (2022), Bernoulli 28, 1704-1728; beta-binomial mixture from Howard, Ramdas,
McAuliffe, Sekhon (2021), Ann. Statist. 49, 1055-1080, Proposition 7.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from pointsman.domain.evidence import LatencyHistogram, latency_edge
from pointsman.judge.event import EventBlock
from pointsman.judge.mixture import Floats, check_alpha, rho_squared

_BAND: Final = 0.85  # A of the paper's band; C is solved for
_SMALLEST: Final = 1e-3  # floor of the mixture's tuning, relative to p (1 - p)


class BetaBinomial(msgspec.Struct, frozen=True):
    """Bets on a share of p among independent draws, two-sided.

    p: the share, in (0, 1)
    t_opt: draws at which its bound is tightest; alpha: error it is tightest for
    """

    p: float
    t_opt: float = 1_000.0
    alpha: float = 0.05

    @property
    def prior(self) -> tuple[float, float]:
        """Pseudo-counts below and not below: r/(1-p) and r/p, r = rho - p(1-p)."""
        variance = self.p * (1.0 - self.p)
        rho = 1.0 / rho_squared(self.t_opt * variance, self.alpha)
        r = max(rho - variance, _SMALLEST * variance)
        return r / (1.0 - self.p), r / self.p

    def log_e(self, count: npt.ArrayLike, n: npt.ArrayLike) -> Floats:
        """ln of the e-value against "each draw counts with chance p", at `count` of n; count may
        be fractional, as where a bound is sought between two counts."""
        a, b = self.prior
        count, n = np.asarray(count, float), np.asarray(n, float)
        likelihood = special.xlogy(count, self.p) + special.xlog1py(n - count, -self.p)
        mixed = special.betaln(a + count, b + n - count) - special.betaln(a, b)
        return np.asarray(mixed - likelihood)

    def least_surprising(self, n: int) -> float:
        """The count, between 0 and n, with the smallest e-value: near p n."""
        found = optimize.minimize_scalar(
            lambda count: float(self.log_e(count, n)),
            bounds=(0.0, float(n)),
            method="bounded",
            options={"xatol": 1e-6},
        )
        return float(found.x)


def slow_count(latencies: LatencyHistogram, limit_us: int) -> int:
    """Decisions slower than the limit; the limit's own bin counts as slow unless it ends there."""
    return sum(
        count for index, count in latencies.counts.items() if latency_edge(index + 1) > limit_us + 1
    )


def slow_block(
    challenger: LatencyHistogram, champion: LatencyHistogram, share: float, limit_us: int
) -> EventBlock:
    """The block's decisions over the limit, for event.py; of first exposures where units repeat."""
    return EventBlock(slow_count(challenger, limit_us), slow_count(champion, limit_us), share)


def rank_bounds(n: int, using: BetaBinomial, alpha: float) -> tuple[int, int]:
    """Ranks of the order statistics between which the p-quantile lies, at every n but for alpha.

    0 for the lower and n + 1 for the upper one where there are too few draws to bound it.
    Source: Howard & Ramdas (2022), Theorem 1: floor(n(p - u) + 1) and ceil(n(p + u)).
    """
    check_alpha(alpha)
    middle = using.least_surprising(n)

    def excess(count: float) -> float:
        return float(using.log_e(count, n)) + math.log(alpha)

    low = float(optimize.brentq(excess, 0.0, middle)) if excess(0.0) > 0 else -1.0
    high = float(optimize.brentq(excess, middle, float(n))) if excess(float(n)) > 0 else n + 1.0
    return math.floor(low) + 1, min(math.ceil(high), n + 1)


def quantile_bounds(
    latencies: LatencyHistogram, using: BetaBinomial, alpha: float
) -> tuple[int, float]:
    """Lower and upper bound, in microseconds, of the p-quantile; (0, inf) where there is none."""
    bins, counts = _sorted(latencies)
    ends = np.cumsum(counts)
    n = int(ends[-1]) if len(ends) else 0
    if not n:
        return 0, math.inf
    low, high = rank_bounds(n, using, alpha)
    lower = latency_edge(int(bins[np.searchsorted(ends, low)])) if low >= 1 else 0
    upper = math.inf
    if high <= n:
        upper = float(latency_edge(int(bins[np.searchsorted(ends, high)]) + 1) - 1)
    return lower, upper


class Difference(msgspec.Struct, frozen=True):
    """Challenger's quantile less champion's, or their quotient less 1.

    challenger, champion, estimate: of the last epoch in which both have latencies
    """

    estimate: float | None
    lower: float
    upper: float
    challenger: float | None
    champion: float | None


def difference(
    epochs: Sequence[tuple[LatencyHistogram, LatencyHistogram]],
    using: BetaBinomial,
    alpha: float,
    *,
    relative: bool = False,
) -> Difference:
    """Bounds of one lasting difference of p-quantiles, each at alpha, at every look.

    In each epoch both quantiles are bounded, half of the error each, and the k-th epoch has
    1 / (k (k + 1)) of it, so that the bounds of all of them hold at once and the tightest count.
    Quantiles themselves may move from epoch to epoch.
    Source: `quantile_bounds`; the union of errors.
    """
    low, high = -math.inf, math.inf
    estimate = one = two = None
    for number, (ours, theirs) in enumerate(epochs, 1):
        part = alpha / 2.0 / (number * (number + 1))
        (low1, high1), (low0, high0) = (quantile_bounds(arm, using, part) for arm in (ours, theirs))
        low = max(low, _apart(low1, high0, relative=relative))
        high = min(high, _apart(high1, low0, relative=relative))
        if ours.counts and theirs.counts:
            one, two = _middle(ours, using.p), _middle(theirs, using.p)
            estimate = _apart(one, two, relative=relative)
    return Difference(estimate, low, high, one, two)


def _apart(one: float, two: float, *, relative: bool) -> float:
    """How far `one` is above `two`, of which one at most is infinite."""
    if not relative:
        return one - two
    return one / two - 1.0 if two > 0.0 else math.inf


def _middle(latencies: LatencyHistogram, p: float) -> float:
    """The p-quantile of what was seen, as the upper edge of its bin."""
    bins, counts = _sorted(latencies)
    ends = np.cumsum(counts)
    at = int(bins[np.searchsorted(ends, math.ceil(p * ends[-1]))])
    return float(latency_edge(at + 1) - 1)


def log_e_equal(
    epochs: Sequence[tuple[LatencyHistogram, LatencyHistogram]], using: BetaBinomial
) -> float:
    """ln of an e-value against "both variants have the same p-quantile in each epoch".

    For any candidate x, both arms bet that more or fewer than p of them lie below x; the least
    that any x leaves of the product is a lower bound on what the true quantile leaves. Epochs
    multiply, each with a quantile of its own.
    Source: Howard & Ramdas (2022), Theorem 5.
    """
    return math.fsum(_log_e_of_epoch(one, two, using) for one, two in epochs)


def band_radius(n: float, alpha: float, start: float = 100.0) -> float:
    """Half-width of a band around the empirical distribution, at all latencies and all n >= start.

    0.85 sqrt((ln(1 + ln(n/start)) + C) / n); infinity below start.
    Source: Howard & Ramdas (2022), Theorem 2 (law of the iterated logarithm band).
    """
    check_alpha(alpha)
    if n < start:
        return math.inf
    constant = float(optimize.brentq(lambda c: _band_error(c) - alpha, 2.0, 200.0))
    return _BAND * math.sqrt((math.log1p(math.log(n / start)) + constant) / n)


def _band_error(constant: float) -> float:
    """Smallest bound on the band's error over the paper's free eta."""

    def bound(eta: float) -> float:
        slack = _BAND - math.sqrt(2.0 * (eta - 1.0) / constant)
        gamma2 = 2.0 / eta * slack * slack
        if slack <= 0 or gamma2 <= 1.0:
            return math.inf
        tail = 1.0 + 1.0 / ((gamma2 - 1.0) * math.log(eta))
        return 4.0 * math.exp(-gamma2 * constant) * tail

    etas = np.linspace(1.0, 2.0 * _BAND**2, 402)[1:-1]
    best = float(etas[np.argmin([bound(eta) for eta in etas])])
    step = float(etas[1] - etas[0])
    found = optimize.minimize_scalar(
        bound, bounds=(max(best - step, 1.0 + 1e-9), best + step), method="bounded"
    )
    return min(float(found.fun), 1e9)


def _log_e_of_epoch(one: LatencyHistogram, two: LatencyHistogram, using: BetaBinomial) -> float:
    (bins1, counts1), (bins2, counts2) = _sorted(one), _sorted(two)
    if not len(bins1) or not len(bins2):
        return 0.0
    candidates = np.union1d(bins1, bins2)
    left = _least(bins1, counts1, candidates, using) + _least(bins2, counts2, candidates, using)
    return float(left.min())


def _least(bins: Floats, counts: Floats, candidates: Floats, using: BetaBinomial) -> Floats:
    """The least an arm's bet can be at each candidate, whichever of its ties lie below."""
    ends = np.concatenate([[0.0], np.cumsum(counts)])
    n = int(ends[-1])
    below = ends[np.searchsorted(bins, candidates, "left")]
    up_to = ends[np.searchsorted(bins, candidates, "right")]
    return using.log_e(np.clip(using.least_surprising(n), below, up_to), n)


def _sorted(latencies: LatencyHistogram) -> tuple[Floats, Floats]:
    bins = sorted(latencies.counts)
    return np.array(bins, float), np.array([latencies.counts[index] for index in bins], float)
