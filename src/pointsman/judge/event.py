"""Exact anytime-valid test of an event's relative risk, for shares that change.

Take units whose first event fell into a block, challenger's and champion's. A unit was assigned to
the challenger with chance `share` (among the two), whatever it would do. If the challenger
multiplies the risk by r, an event is the challenger's with chance

    theta(r) = r share / (r share + 1 - share),

so the events alone, without any denominator, bet on r. Valid at every count, every look and every
schedule of shares: traffic, base rate and shares may all drift.

What the caller must hold: several events of one sticky unit are one draw of the dice, not many,
so a unit counts once, by its first exposure; blocks are matured; shares are the assignment chances
of that block, not observed frequencies. A unit that comes back in a later epoch counts there again,
since its risk is compared among whom that epoch has, and is no fresh draw there: states of epochs
that share units are tested apart (apart.py), never added up.

Only totals by share matter, so states add, and judging costs the same at any number of blocks.

Sources: Lindon & Malek (2022), "Anytime-valid inference for multinomial count data", NeurIPS:
the time-inhomogeneous Bernoulli process; Ville (1939) for the thresholds; Robbins (1970) for
mixtures.
"""

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from pointsman.judge.mixture import Floats, check_alpha

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_DROP: Final = 40.0  # integrand below exp(-40) of its peak is left out: 1e-17 of the integral
_FARTHEST: Final = 60.0  # of ln r: past any risk there is
_STEPS: Final = 80
_WIDENINGS: Final = 60


class EventBlock(msgspec.Struct, frozen=True):
    """Units whose first event fell into one block.

    challenger, champion: units, by assigned variant
    share: chance of the challenger among the two when they were assigned, in [0, 1]
    """

    challenger: int
    champion: int
    share: float


class EventState(msgspec.Struct, frozen=True):
    """All blocks folded so far: (share, challenger's, champion's), one entry a share, by share."""

    by_share: tuple[tuple[float, int, int], ...] = ()

    @property
    def challenger(self) -> int:
        """Units of the challenger with an event."""
        return sum(row[1] for row in self.by_share)

    @property
    def champion(self) -> int:
        """Units of the champion with an event."""
        return sum(row[2] for row in self.by_share)


class EventPrior(msgspec.Struct, frozen=True):
    """Where the test looks for effects; any choice is valid, a near one is faster.

    spread: scale of the half-Gaussian over ln(r / r0) of the one-sided tests. 0.7 puts half of
        the mass on risks up to 1.6 times r0 and a third beyond twice.
    concentration: of the two-sided test's Beta over theta at `share`; 4 gives ln r a standard
        deviation of 0.75 at a share of one half; larger looks for smaller effects
    share: the share at which that Beta is conjugate and the two-sided e-value a closed form
    """

    spread: float = 0.7
    concentration: float = 4.0
    share: float = 0.5

    @property
    def pseudo_counts(self) -> tuple[float, float]:
        """The Beta's two parameters: the rarer arm has `concentration`, and ln r centres on 0."""
        rarer = min(self.share, 1.0 - self.share)
        scale = self.concentration / rarer
        return scale * self.share, scale * (1.0 - self.share)


DEFAULT_PRIOR: Final = EventPrior()


def fold(state: EventState, block: EventBlock) -> EventState:
    """The state with one more matured block. A share of 0 or 1 teaches nothing and adds nothing.

    Errors: ValueError for negative counts or a share outside [0, 1].
    """
    if block.challenger < 0 or block.champion < 0:
        raise ValueError(f"event counts {block.challenger}, {block.champion} must not be negative")
    if not 0.0 <= block.share <= 1.0:
        raise ValueError(f"share {block.share!r} is outside [0, 1]")
    return merge(state, EventState(((block.share, block.challenger, block.champion),)))


def merge(a: EventState, b: EventState) -> EventState:
    """Both states' blocks: adding is all there is to merging."""
    totals: dict[float, tuple[int, int]] = {}
    for share, challenger, champion in (*a.by_share, *b.by_share):
        if 0.0 < share < 1.0 and challenger + champion:
            x, y = totals.get(share, (0, 0))
            totals[share] = (x + challenger, y + champion)
    return EventState(tuple((share, *totals[share]) for share in sorted(totals)))


def fold_all(blocks: Iterable[EventBlock]) -> EventState:
    """The state of all of these blocks."""
    state = EventState()
    for block in blocks:
        state = fold(state, block)
    return state


def mirrored(state: EventState) -> EventState:
    """The same evidence with the arms swapped: what was r is 1/r."""
    rows = ((1.0 - share, y, x) for share, x, y in state.by_share)
    return EventState(tuple(sorted(rows)))


def log_e_above(state: EventState, risk: float, prior: EventPrior = DEFAULT_PRIOR) -> float:
    """ln of the e-value against "the relative risk is at most `risk`": large means harm.

    Also valid when the risk varies in time below `risk`. Falls as `risk` rises, because ln of the
    likelihood is concave in ln r and the mixture moves with the hypothesis.
    Source: Lindon & Malek (2022), the time-inhomogeneous Bernoulli process; Robbins (1970) for the
    mixture, here half-Gaussian over ln(r / risk).
    """
    shares, x, y = _columns(state)
    return float(log_e_above_many(x[None], y[None], shares, risk, prior)[0])


def log_e_below(state: EventState, risk: float, prior: EventPrior = DEFAULT_PRIOR) -> float:
    """ln of the e-value against "the relative risk is at least `risk`": large means no harm."""
    return log_e_above(mirrored(state), 1.0 / risk, prior)


def log_e_equal(state: EventState, risk: float = 1.0, prior: EventPrior = DEFAULT_PRIOR) -> float:
    """ln of the two-sided e-value against "the relative risk is `risk`".

    With all evidence at the prior's share it is the closed form
    B(x + a, y + b) / B(a, b) / (theta0^x (1 - theta0)^y); otherwise a quadrature.
    Source: Lindon & Malek (2022): the Dirichlet mixture for two arms.
    """
    _check_risk(risk)
    shares, x, y = _columns(state)
    null = _log_likelihood(x[None], y[None], _logits(shares), np.array([[math.log(risk)]]))[0, 0]
    a, b = prior.pseudo_counts
    norm = special.betaln(a, b)
    if all(share == prior.share for share in shares):
        return float(special.betaln(x.sum() + a, y.sum() + b) - norm - null)
    # The Beta is a likelihood of pseudo-counts at the prior's share: one more row of evidence.
    shares, x, y = np.append(shares, prior.share), np.append(x, a), np.append(y, b)
    return float(_log_mixture(x[None], y[None], _logits(shares))[0] - norm - null)


def lower_bound(state: EventState, alpha: float, prior: EventPrior = DEFAULT_PRIOR) -> float:
    """Smallest relative risk not rejected, 0 or more: above it with confidence 1 - alpha, at every
    look. It exceeds `risk` exactly when `log_e_above(state, risk)` reaches ln(1/alpha)."""
    check_alpha(alpha)
    if not state.challenger:
        return 0.0

    @cache
    def log_e(s: float) -> float:
        return log_e_above(state, math.exp(s), prior)

    return math.exp(_falling_root(log_e, alpha, *_expected(state)))


def upper_bound(state: EventState, alpha: float, prior: EventPrior = DEFAULT_PRIOR) -> float:
    """Largest relative risk not rejected, infinity where nothing bounds it."""
    low = lower_bound(mirrored(state), alpha, prior)
    return 1.0 / low if low else math.inf


def interval(
    state: EventState, alpha: float, prior: EventPrior = DEFAULT_PRIOR
) -> tuple[float, float]:
    """Confidence sequence for the relative risk: contains it at every look at once, but for alpha.

    Each end has half of alpha.
    """
    return lower_bound(state, alpha / 2, prior), upper_bound(state, alpha / 2, prior)


def estimate(state: EventState) -> float | None:
    """Maximum-likelihood relative risk; None while an arm has no event, for then there is none."""
    if not state.challenger or not state.champion:
        return None
    shares, x, y = _columns(state)
    logits = _logits(shares)

    def score(s: float) -> float:
        return float(x.sum() - ((x + y) * special.expit(s + logits)).sum())

    low, high = -1.0, 1.0
    while score(low) < 0:
        low *= 2
    while score(high) > 0:
        high *= 2
    return math.exp(float(optimize.brentq(score, low, high, xtol=1e-13)))


def log_e_above_many(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    shares: npt.ArrayLike,
    risk: float,
    prior: EventPrior = DEFAULT_PRIOR,
) -> Floats:
    """`log_e_above` of many states at once.

    x, y: challenger's and champion's events, shape (states, shares)
    shares: shape (shares,)
    Returns: shape (states,)
    """
    _check_risk(risk)
    x, y = np.asarray(x, float), np.asarray(y, float)
    logits = _logits(shares) + math.log(risk)
    null = _log_likelihood(x, y, logits, np.zeros((1, 1)))[:, 0]
    # ln of the half-Gaussian's constant, 2 / (spread sqrt(2 pi)).
    constant = 0.5 * math.log(2.0 / math.pi) - math.log(prior.spread)
    return _log_mixture(x, y, logits, floor=0.0, spread=prior.spread) + constant - null


def _log_mixture(
    x: Floats, y: Floats, logits: Floats, *, floor: float = -math.inf, spread: float = math.inf
) -> Floats:
    """ln of the integral over s >= floor of likelihood(s) exp(-s^2 / (2 spread^2)), by row.

    The integrand is log-concave: find its peak, then how far it reaches on either side, and put
    Gauss-Legendre nodes on both parts. Neither place needs to be exact.
    """
    n = x + y

    def slope_and_bend(s: Floats) -> tuple[Floats, Floats]:
        theta = special.expit(s[:, None] + logits)
        slope = x.sum(axis=1) - (n * theta).sum(axis=1) - s / spread**2
        return slope, (n * theta * (1.0 - theta)).sum(axis=1) + spread**-2

    def log_f(s: Floats) -> Floats:
        """s: shape (states, points)."""
        return _log_likelihood(x, y, logits, s) - 0.5 * (s / spread) ** 2

    low = np.full(len(x), max(floor, -_FARTHEST))
    high = np.full(len(x), _FARTHEST)
    mode = _peak(slope_and_bend, low, high)
    slope, bend = slope_and_bend(mode)
    peak = log_f(mode[:, None])[:, 0]
    # One e-fold of a straight flank or of a round top, whichever is nearer.
    unit = 1.0 / (np.abs(slope) + np.sqrt(bend) + 1e-300)
    total = np.zeros(len(x))
    for side, limit in ((-1.0, low), (1.0, high)):
        reach = unit.copy()
        for _ in range(_WIDENINGS):
            end = np.clip(mode + side * reach, low, high)
            short = (log_f(end[:, None])[:, 0] > peak - _DROP) & (end != limit)
            if not short.any():
                break
            reach = np.where(short, 1.5 * reach, reach)
        half = (end - mode) / 2
        values = log_f((mode + half)[:, None] + half[:, None] * _NODES)
        total += np.abs(half) * (np.exp(values - peak[:, None]) * _WEIGHTS).sum(axis=1)
    return np.asarray(peak + np.log(total))


def _peak(
    slope_and_bend: Callable[[Floats], tuple[Floats, Floats]], low: Floats, high: Floats
) -> Floats:
    """Where the falling slope is 0, or the end it points to: Newton, halving where that leaves."""
    at, left, right = np.clip(np.zeros_like(low), low, high), low, high
    for _ in range(_STEPS):
        slope, bend = slope_and_bend(at)
        close = np.abs(slope) <= 1e-2 * np.sqrt(bend)
        left, right = np.where(slope > 0, at, left), np.where(slope > 0, right, at)
        if (close | (right - left < 1e-12)).all():
            break
        new = at + slope / np.maximum(bend, 1e-300)
        new = np.where((new <= left) | (new >= right), (left + right) / 2, new)
        at = np.where(close, at, new)
    return at


def _log_likelihood(x: Floats, y: Floats, logits: Floats, s: Floats) -> Floats:
    """sum over shares of x ln theta + y ln(1 - theta), theta = expit(s + logit).

    x, y: shape (states, shares); s: shape (states, points), or (1, points) for all states alike
    Returns: shape (states, points)
    """
    at = s[..., None] + logits
    # ln(1 - theta) is ln(theta) less the log-odds: one transcendental instead of two.
    log_theta = special.log_expit(at)
    both = (x + y)[:, None, :] * log_theta - y[:, None, :] * at
    return np.asarray(both.sum(axis=-1))


def _expected(state: EventState) -> tuple[float, float]:
    """Between which ln of risks a bound is to be expected: 1 to 5 standard errors below the
    estimate, so that finding it costs the same however many events there are."""
    risk = estimate(state)
    if risk is None:
        return -1.0, 1.0
    shares, x, y = _columns(state)
    theta = special.expit(math.log(risk) + _logits(shares))
    error = 1.0 / math.sqrt(float(((x + y) * theta * (1.0 - theta)).sum()))
    return math.log(risk) - 5.0 * error, math.log(risk) - error


def _falling_root(log_e: Callable[[float], float], alpha: float, low: float, high: float) -> float:
    """Where a falling ln of an e-value reaches ln(1/alpha); -inf where it never gets there.

    low, high: where it is looked for first
    """
    step = high - low
    while log_e(low) + math.log(alpha) <= 0:
        if low <= -_FARTHEST:
            return -math.inf
        low, high, step = low - step, low, 2.0 * step
    while log_e(high) + math.log(alpha) >= 0:
        low, high, step = high, high + step, 2.0 * step
    return float(optimize.brentq(lambda s: log_e(s) + math.log(alpha), low, high, xtol=1e-12))


def _columns(state: EventState) -> tuple[Floats, Floats, Floats]:
    rows = np.array(state.by_share, float).reshape(-1, 3)
    return rows[:, 0], rows[:, 1], rows[:, 2]


def _logits(shares: npt.ArrayLike) -> Floats:
    return np.asarray(special.logit(np.asarray(shares, float)))


def _check_risk(risk: float) -> None:
    if not (risk > 0.0 and math.isfinite(risk)):
        raise ValueError(f"relative risk {risk!r} must be above 0 and finite")
