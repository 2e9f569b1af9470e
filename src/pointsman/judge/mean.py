"""Difference and ratio of two means, anytime-valid, through ramps and drift.

Each decision contributes, with A = 1 for the challenger, pi its share and c = pi (1 - pi),

    P = (1 - pi) A (Y - m1) + c m1            with mean c mu1, whatever m1 is
    N = pi (1 - A) (Y - m0) + c m0            with mean c mu0, whatever m0 is

the augmented inverse-propensity scores of both means, scaled by c so that a 1 % step with its huge
inverse propensities does not drown the rest (overlap weights). Their sums over blocks estimate
mu1 = sum P / sum c and mu0 = sum N / sum c over the *same* decisions: a block has one share, so
nothing is ever pooled across a weight change. The baselines m come from earlier blocks and, for
each half of the unit buckets, from the other half of its own block; they only reduce variance.

Variance is taken twice, between decisions and between the 64 unit-hash buckets, and the wider
counts: buckets see that the requests of a sticky unit resemble each other, within an epoch and
from one to the next, decisions are exact where they do not. Sums of epochs with the same units
are correlated more than those of fresh draws, which makes a crossing at some look rarer (Slepian).

Sources: Waudby-Smith et al. (2024), Ann. Statist. 52, 2613-2640, section 3 (AIPW sequences);
Robins, Rotnitzky, Zhao (1994) for the scores; Li, Morgan, Zaslavsky (2018), JASA, for overlap
weights; Cameron & Miller (2015), J. Human Resources, section II, for variance between clusters.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from pointsman.domain.evidence import BUCKETS, Moments
from pointsman.judge import mixture
from pointsman.judge.mixture import Floats

_MEMORY: Final = 1_000.0  # decisions after which an old block's say in the baseline has halved
_SHRINK: Final = 20.0  # decisions' worth of both arms' mean in each arm's baseline
_MIN_BUCKETS: Final = 16
_ZEROS: Final = (0.0,) * BUCKETS
_PARITY: Final = np.arange(BUCKETS) % 2
_FARTHEST_RATIO: Final = 1e6


class MeanBlock(msgspec.Struct, frozen=True):
    """One matured block of one epoch.

    share: chance of the challenger among the two, in [0, 1]; 0 and 1 add nothing
    """

    challenger: Moments
    champion: Moments
    share: float


class MeanState(msgspec.Struct, frozen=True):
    """All blocks folded so far; a fixed size, however many there were.

    p, n, c: sums of P, N and c by unit bucket
    products: sums over decisions of PP, NN, PN, Pc, Nc, cc
    counts: decisions of challenger, champion
    totals: plain sums of Y of challenger, champion (for burn-in rules, never for an estimate)
    baseline: discounted decisions and sums of Y: challenger's two, champion's two
    """

    p: tuple[float, ...] = _ZEROS
    n: tuple[float, ...] = _ZEROS
    c: tuple[float, ...] = _ZEROS
    products: tuple[float, ...] = (0.0,) * 6
    counts: tuple[int, int] = (0, 0)
    totals: tuple[float, float] = (0.0, 0.0)
    baseline: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


class Contrast(msgspec.Struct, frozen=True):
    """Estimate of mu1 - factor * mu0.

    challenger, champion: estimates of mu1 and mu0
    difference: of the contrast, in the metric's unit
    error: standard error between decisions; bucket_error: between buckets, `degrees` of freedom
    effective_n: 4 * sum of c: equals n at half and half, less at unequal shares
    """

    challenger: float
    champion: float
    difference: float
    error: float
    bucket_error: float
    degrees: int
    effective_n: float


class Tuning(msgspec.Struct, frozen=True):
    """Where the sequence is tightest.

    n_star: effective n at which a decision is expected, fixed before the start
    alpha: one-sided error it is tightest for
    """

    n_star: float
    alpha: float = 0.05

    @classmethod
    def expecting(cls, decisions: float, share: float, alpha: float = 0.05) -> "Tuning":
        """For a decision expected at so many decisions of both arms, most of them at this share."""
        return cls(4.0 * share * (1.0 - share) * decisions, alpha)

    def k(self, effective_n: float, *, sides: int = 1) -> float:
        """n rho^2; one-sided sequences are tuned at twice alpha."""
        alpha = min(2.0 * self.alpha, 0.99) if sides == 1 else self.alpha
        return effective_n * mixture.rho_squared(self.n_star, alpha)


def fold(state: MeanState, block: MeanBlock) -> MeanState:
    """The state with one more matured block; fold each block once.

    Errors: ValueError for a share outside [0, 1].
    """
    if not 0.0 <= block.share <= 1.0:
        raise ValueError(f"share {block.share!r} is outside [0, 1]")
    challenger, champion = _arrays(block.challenger), _arrays(block.champion)
    if block.share in (0.0, 1.0) or not (challenger[0].sum() + champion[0].sum()):
        return state
    scores = _Scores.of(block.share, challenger, champion, _baselines(state, challenger, champion))
    counts = (int(challenger[0].sum()), int(champion[0].sum()))
    totals = (float(challenger[1].sum()), float(champion[1].sum()))
    return MeanState(
        p=_added(state.p, scores.p),
        n=_added(state.n, scores.n),
        c=_added(state.c, scores.c),
        products=_added(state.products, scores.products),
        counts=(state.counts[0] + counts[0], state.counts[1] + counts[1]),
        totals=(state.totals[0] + totals[0], state.totals[1] + totals[1]),
        baseline=_remembered(state.baseline, counts, totals),
    )


def levels(state: MeanState) -> tuple[float, float] | None:
    """Estimates of mu1 and mu0, whether or not anything varies; None without both arms."""
    weight = math.fsum(state.c)
    if weight <= 0.0 or min(state.counts) == 0:
        return None
    return math.fsum(state.p) / weight, math.fsum(state.n) / weight


def contrast(state: MeanState, factor: float = 1.0) -> Contrast | None:
    """The estimate of mu1 - factor * mu0; None where there is no variance to judge it by.

    factor 1 is the difference of means; 1 + margin tests a relative margin without dividing by a
    mean that may be near 0 (Fieller 1954).
    """
    weight = math.fsum(state.c)
    if weight <= 0.0 or min(state.counts) == 0:
        return None
    mu1, mu0 = math.fsum(state.p) / weight, math.fsum(state.n) / weight
    difference = mu1 - factor * mu0
    pp, nn, pn, pc, nc, cc = state.products
    between_decisions = (
        pp
        - 2 * factor * pn
        + factor**2 * nn
        - 2 * difference * (pc - factor * nc)
        + difference**2 * cc
    )
    c = np.array(state.c)
    residual = np.array(state.p) - factor * np.array(state.n) - difference * c
    filled = int(np.count_nonzero(c))
    # Sums of floats leave dust; what is below it is no variation.
    if filled < _MIN_BUCKETS or between_decisions <= 1e-12 * (pp + factor**2 * nn):
        return None
    between_buckets = filled / (filled - 1) * float(residual @ residual)
    return Contrast(
        challenger=mu1,
        champion=mu0,
        difference=difference,
        error=math.sqrt(between_decisions) / weight,
        bucket_error=math.sqrt(between_buckets) / weight,
        degrees=filled - 1,
        effective_n=4.0 * weight,
    )


def log_e_above(found: Contrast, margin: float, tuning: Tuning) -> float:
    """ln of the e-value against "the contrast is at most `margin`".

    Asymptotic: not to be acted on before the burn-in, 50 events an arm.
    """
    z = _z(found, found.difference - margin)
    return float(mixture.log_e_one_sided(z, tuning.k(found.effective_n)))


def log_e_below(found: Contrast, margin: float, tuning: Tuning) -> float:
    """ln of the e-value against "the contrast is at least `margin`"."""
    z = _z(found, margin - found.difference)
    return float(mixture.log_e_one_sided(z, tuning.k(found.effective_n)))


def one_sided_radius(found: Contrast, alpha: float, tuning: Tuning) -> float:
    """Distance from the estimate to a one-sided bound that holds at every look, but for alpha."""
    return _radius(found, mixture.critical_one_sided(tuning.k(found.effective_n), alpha))


def two_sided_radius(found: Contrast, alpha: float, tuning: Tuning) -> float:
    """Half-width of the confidence sequence that holds at every look, but for alpha."""
    k = tuning.k(found.effective_n, sides=2)
    return _radius(found, mixture.critical_two_sided(k, alpha))


def ratio_bounds(state: MeanState, alpha: float, tuning: Tuning) -> tuple[float, float]:
    """One-sided lower and upper bounds of mu1 / mu0, each at alpha, for means that cannot be < 0.

    (0, inf) where nothing bounds it, as when the champion's mean may be 0.
    Source: Fieller (1954): the factors whose contrast is compatible with 0.
    """
    at_one = contrast(state)
    if at_one is None or at_one.champion <= 0.0:
        return 0.0, math.inf
    middle = max(at_one.challenger / at_one.champion, 0.0)

    def above(factor: float) -> bool:
        """Whether the contrast at this factor is shown to be above 0."""
        found = contrast(state, factor)
        return found is not None and found.difference > one_sided_radius(found, alpha, tuning)

    def below(factor: float) -> bool:
        found = contrast(state, factor)
        return found is not None and -found.difference > one_sided_radius(found, alpha, tuning)

    return factors_between(above, below, middle)


def factors_between(
    above: Callable[[float], bool], below: Callable[[float], bool], middle: float
) -> tuple[float, float]:
    """Smallest and largest factor, at least 0, at which neither `above` nor `below` is shown.

    above, below: whether the contrast at a factor is shown to be above, below 0; at `middle`
    neither is. The largest is infinity where `below` is never shown.
    """
    low = _turn(above, 0.0, middle) if above(0.0) else 0.0
    far = max(2.0 * middle, 2.0)
    while not below(far):
        if far >= _FARTHEST_RATIO:
            return low, math.inf
        far *= 2.0
    return low, _turn(below, far, middle)


class _Scores(msgspec.Struct, frozen=True):
    """Sums of P, N, c over one block, by bucket, and of their products."""

    p: Floats
    n: Floats
    c: Floats
    products: Floats

    @classmethod
    def of(
        cls, share: float, challenger: Floats, champion: Floats, baselines: tuple[Floats, Floats]
    ) -> "_Scores":
        """challenger, champion: rows n, total, squares by bucket; baselines: m1, m0 by bucket."""
        c, m1, m0 = share * (1.0 - share), *baselines
        (n1, y1, yy1), (n0, y0, yy0) = challenger, champion
        # P is a1 Y + b1 for the challenger's decisions and c m1 for the champion's; N mirrors it.
        a1, b1 = 1.0 - share, (c - (1.0 - share)) * m1
        a0, b0 = share, (c - share) * m0
        p1, n0_ = a1 * y1 + b1 * n1, a0 * y0 + b0 * n0
        pp = a1 * a1 * yy1 + 2 * a1 * b1 * y1 + b1 * b1 * n1 + (c * m1) ** 2 * n0
        nn = a0 * a0 * yy0 + 2 * a0 * b0 * y0 + b0 * b0 * n0 + (c * m0) ** 2 * n1
        pn = p1 * (c * m0) + n0_ * (c * m1)
        p, n, weight = p1 + c * m1 * n0, n0_ + c * m0 * n1, c * (n1 + n0)
        products = [pp.sum(), nn.sum(), pn.sum(), c * p.sum(), c * n.sum(), c * weight.sum()]
        return cls(p, n, weight, np.array(products))


def _baselines(state: MeanState, challenger: Floats, champion: Floats) -> tuple[Floats, Floats]:
    """m1 and m0 for each bucket, from earlier blocks and the other half of the buckets."""
    past_n1, past_y1, past_n0, past_y0 = state.baseline
    m1, m0 = np.empty(BUCKETS), np.empty(BUCKETS)
    for half in (0, 1):
        other = half != _PARITY
        n1 = past_n1 + challenger[0][other].sum()
        y1 = past_y1 + challenger[1][other].sum()
        n0 = past_n0 + champion[0][other].sum()
        y0 = past_y0 + champion[1][other].sum()
        both = (y1 + y0) / (n1 + n0) if n1 + n0 else 0.0
        m1[~other] = (y1 + _SHRINK * both) / (n1 + _SHRINK)
        m0[~other] = (y0 + _SHRINK * both) / (n0 + _SHRINK)
    return m1, m0


def _remembered(
    baseline: tuple[float, float, float, float],
    counts: tuple[int, int],
    totals: tuple[float, float],
) -> tuple[float, float, float, float]:
    keep = _MEMORY / (_MEMORY + counts[0] + counts[1])
    return (
        keep * baseline[0] + counts[0],
        keep * baseline[1] + totals[0],
        keep * baseline[2] + counts[1],
        keep * baseline[3] + totals[1],
    )


def _z(found: Contrast, distance: float) -> float:
    """The smaller of both standardised distances, so the wider of both variances."""
    by_decision = distance / found.error
    if not found.bucket_error:
        return by_decision
    by_bucket = distance / found.bucket_error
    return min(
        by_decision, float(mixture.from_degrees_of_freedom(by_bucket, found.degrees)), key=abs
    )


def _radius(found: Contrast, critical: Floats) -> float:
    by_bucket = float(mixture.for_degrees_of_freedom(critical, found.degrees))
    return max(found.error * float(critical), found.bucket_error * by_bucket)


def _turn(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """The last point from `inside` towards `outside` where it still holds, to 1e-12."""
    for _ in range(60):
        middle = (inside + outside) / 2
        if holds(middle):
            inside = middle
        else:
            outside = middle
        if abs(outside - inside) <= 1e-12 * max(1.0, abs(inside)):
            break
    return inside


def _arrays(moments: Moments) -> Floats:
    return np.array([moments.n, moments.total, moments.squares], float)


def _added(a: Sequence[float], b: Floats) -> tuple[float, ...]:
    return tuple((np.asarray(a) + b).tolist())
