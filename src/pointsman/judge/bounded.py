"""Difference of means of values in [0, 1], exact before any normal approximation can be trusted.

Each decision contributes e = (A - pi)(Y - m), with A = 1 for the challenger, pi its share and m a
baseline fixed before the block. Its mean is pi (1 - pi) times the difference of means whatever m,
traffic and drift are, and it lies in [-1, 1]. So for S = sum (e - pi (1 - pi) delta) and
V = sum e^2 the gamma-exponential mixture below is a supermartingale wherever the difference is at
most delta: an empirical-Bernstein bound with no tuning in time, from sums alone.

What the caller must hold: decisions are independent draws, so first exposures of units, not every
request of a sticky one, and a state for each epoch that they come back in (apart.py); blocks are
matured and folded once, in order.

Source: Howard, Ramdas, McAuliffe, Sekhon (2021), Ann. Statist. 49, 1055-1080: Theorem 4 (empirical
Bernstein), Corollary 2 (average treatment effect) and Proposition 9 (gamma-exponential mixture).
"""

import math
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from pointsman.judge.mean import MeanBlock
from pointsman.judge.mixture import Floats, check_alpha

_MEMORY: Final = 1_000.0
_PRIOR_DECISIONS: Final = 2.0  # a first guess of one half, worth two decisions


class BoundedState(msgspec.Struct, frozen=True):
    """All blocks folded so far.

    s, v, c: sums over decisions of e, e^2 and pi (1 - pi)
    counts: decisions of challenger, champion
    baseline: discounted decisions and sum of Y, of both arms
    """

    s: float = 0.0
    v: float = 0.0
    c: float = 0.0
    counts: tuple[int, int] = (0, 0)
    baseline: tuple[float, float] = (_PRIOR_DECISIONS, _PRIOR_DECISIONS / 2)


class GammaExponential(msgspec.Struct, frozen=True):
    """The mixture supermartingale for sums whose terms are above -c.

    v_opt: value of V at which its bound is tightest, in squared units of the terms
    c: scale, > 0
    alpha: error it is tightest for, below one half
    """

    v_opt: float = 5.0
    c: float = 1.0
    alpha: float = 0.05

    @property
    def rho(self) -> float:
        """v_opt / (2 ln(1/2a) + ln(1 + 2 ln(1/2a))): tightest at v_opt.

        Source: Howard, Ramdas, McAuliffe, Sekhon (2021), on tuning mixtures.
        """
        log_inverse = 2.0 * math.log(1.0 / (2.0 * self.alpha))
        return self.v_opt / (log_inverse + math.log1p(log_inverse))

    def log_m(self, s: npt.ArrayLike, v: npt.ArrayLike) -> Floats:
        """ln of the mixture at S = s, V = v; -inf, which is safe, where c s <= -(v + rho).

        Source: Howard et al. (2021), Proposition 9.
        """
        c2, rho = self.c * self.c, self.rho
        s, v = np.asarray(s, float), np.asarray(v, float)
        prior, shape, x = rho / c2, (v + rho) / c2, (self.c * s + v) / c2
        constant = prior * math.log(prior) - special.gammaln(prior)
        constant -= math.log(special.gammainc(prior, prior))
        # With a sum so far below 0 the closed form ends; 0 stands in for an e-value below 1.
        at = np.maximum(x + prior, 1e-300)
        with np.errstate(divide="ignore"):
            tail = np.log(special.gammainc(shape, at))
        found = constant + special.gammaln(shape) + tail - shape * np.log(at) + x
        return np.asarray(np.where(x + prior > 0, found, -np.inf))


DEFAULT_MIXTURE: Final = GammaExponential()


def fold(state: BoundedState, block: MeanBlock) -> BoundedState:
    """The state with one more matured block of values in [0, 1].

    Errors: ValueError for a share outside [0, 1] or sums that values in [0, 1] cannot have.
    """
    if not 0.0 <= block.share <= 1.0:
        raise ValueError(f"share {block.share!r} is outside [0, 1]")
    m = state.baseline[1] / state.baseline[0]
    s = v = 0.0
    n_both, y_both = 0, 0.0
    counts = []
    for moments, a in ((block.challenger, 1.0 - block.share), (block.champion, -block.share)):
        n, y, yy = sum(moments.n), math.fsum(moments.total), math.fsum(moments.squares)
        if not -1e-6 <= y <= n + 1e-6 or yy > y + 1e-6 * max(n, 1):
            raise ValueError(f"{n} values with sum {y!r}, squares {yy!r} are not all in [0, 1]")
        s += a * (y - m * n)
        v += a * a * (yy - 2.0 * m * y + m * m * n)
        n_both, y_both = n_both + n, y_both + y
        counts.append(n)
    if block.share in (0.0, 1.0) or not n_both:
        return state
    keep = _MEMORY / (_MEMORY + n_both)
    return BoundedState(
        s=state.s + s,
        v=state.v + max(v, 0.0),
        c=state.c + block.share * (1.0 - block.share) * n_both,
        counts=(state.counts[0] + counts[0], state.counts[1] + counts[1]),
        baseline=(keep * state.baseline[0] + n_both, keep * state.baseline[1] + y_both),
    )


def log_e_above(
    state: BoundedState, margin: float, using: GammaExponential = DEFAULT_MIXTURE
) -> float:
    """ln of the e-value against "the difference of means is at most `margin`"."""
    return float(using.log_m(state.s - margin * state.c, state.v))


def log_e_below(
    state: BoundedState, margin: float, using: GammaExponential = DEFAULT_MIXTURE
) -> float:
    """ln of the e-value against "the difference of means is at least `margin`"."""
    return float(using.log_m(margin * state.c - state.s, state.v))


def lower_bound(
    state: BoundedState, alpha: float, using: GammaExponential = DEFAULT_MIXTURE
) -> float:
    """Smallest difference not rejected, at every look but for alpha; -1 where nothing bounds it."""
    check_alpha(alpha)
    threshold = -math.log(alpha)
    if not state.c or log_e_above(state, -1.0, using) <= threshold:
        return -1.0
    if log_e_above(state, 1.0, using) >= threshold:
        return 1.0
    return float(
        optimize.brentq(lambda d: max(log_e_above(state, d, using), -1e9) - threshold, -1.0, 1.0)
    )


def upper_bound(
    state: BoundedState, alpha: float, using: GammaExponential = DEFAULT_MIXTURE
) -> float:
    """Largest difference not rejected; 1 where nothing bounds it."""
    return -lower_bound(mirrored(state), alpha, using)


def mirrored(state: BoundedState) -> BoundedState:
    """The same evidence with the arms swapped: the difference changes its sign."""
    counts = (state.counts[1], state.counts[0])
    return BoundedState(-state.s, state.v, state.c, counts, state.baseline)
