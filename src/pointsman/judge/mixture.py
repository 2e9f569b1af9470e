"""Normal-mixture confidence sequences: bounds that hold at every look, not at one planned look.

All of this is in two dimensionless numbers, so that every asymptotically normal estimate can use
it (a difference of means, a ratio, AUC, a CUPED or AIPW estimate):

    z   estimate minus hypothesis, over its standard error
    k   n times rho squared: how far the evidence is along, 0 at the start. Where the standard error
        is not proportional to n^(-1/2), as in a ramp, n is the effective number (mean.py).

Sources: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Ann. Statist. 52, 2613-2640
(arXiv:2103.06476), Theorem 2.2 and Appendix B; Robbins (1970); Howard, Ramdas, McAuliffe, Sekhon
(2021), Ann. Statist. 49, 1055-1080, Propositions 5 and 6.
"""

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

_NEWTON_STEPS = 40


def rho_squared(n_star: float, alpha: float) -> float:
    """The tuning that makes a two-sided sequence tightest near n_star observations.

    n_star: where a decision is expected, fixed before the start, > 0; one-sided: give 2 * alpha
    alpha: error over the whole run, in (0, 1)
    Errors: ValueError outside these ranges.
    Source: Waudby-Smith et al. (2024), Appendix B (tuning of rho, closed-form approximation).
    """
    if n_star <= 0:
        raise ValueError(f"n_star {n_star!r} must be above 0")
    check_alpha(alpha)
    log_inverse = -2.0 * np.log(alpha)
    return float((log_inverse + np.log1p(log_inverse)) / n_star)


def log_e_two_sided(z: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """ln of the e-value against "the hypothesis is true", for z of either sign.

    ln E = -1/2 ln(1+k) + z^2/2 * k/(1+k): a Gaussian mixture of likelihood ratios.
    Source: Robbins (1970); Howard et al. (2021), Proposition 5 (two-sided normal mixture).
    """
    z, k = np.asarray(z, float), np.asarray(k, float)
    return np.asarray(-0.5 * np.log1p(k) + 0.5 * z * z * (k / (1.0 + k)))


def log_e_one_sided(z: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """ln of the e-value against "the truth is at or below the hypothesis"; rises with z.

    E = 2 (1+k)^(-1/2) exp(z^2/2 * k/(1+k)) Phi(z sqrt(k/(1+k))): the mixture is half-Gaussian.
    Source: Howard et al. (2021), Proposition 6 (one-sided normal mixture).
    """
    z, k = np.asarray(z, float), np.asarray(k, float)
    shrink = k / (1.0 + k)
    tail = special.log_ndtr(z * np.sqrt(shrink))
    return np.asarray(np.log(2.0) - 0.5 * np.log1p(k) + 0.5 * z * z * shrink + tail)


def critical_two_sided(k: npt.ArrayLike, alpha: float) -> Floats:
    """Half-width of the two-sided confidence sequence, in standard errors; inf where k is 0.

    sqrt((1+k)/k * (ln(1+k) - 2 ln alpha)), which is a.1's
    sqrt(n) sqrt(2(n rho^2+1)/(n^2 rho^2) ln(sqrt(n rho^2+1)/alpha)).
    Source: Waudby-Smith et al. (2024), Theorem 2.2.
    """
    check_alpha(alpha)
    k = np.asarray(k, float)
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt((1.0 + k) / k * (np.log1p(k) - 2.0 * np.log(alpha))))


def critical_one_sided_closed(k: npt.ArrayLike, alpha: float) -> Floats:
    """The published closed form for one side, in standard errors: slightly wide, never too narrow.

    sqrt(2(1+k)/k ln(1 + sqrt(1+k)/(2 alpha))).
    Source: Waudby-Smith et al. (2024), Appendix B (one-sided asymptotic sequences).
    """
    check_alpha(alpha)
    k = np.asarray(k, float)
    with np.errstate(divide="ignore"):
        log_term = np.log1p(np.sqrt(1.0 + k) / (2.0 * alpha))
        return np.asarray(np.sqrt(2.0 * (1.0 + k) / k * log_term))


def critical_one_sided(k: npt.ArrayLike, alpha: float) -> Floats:
    """The z at which `log_e_one_sided` reaches ln(1/alpha), so bound and e-value always agree.

    Newton from the closed form above: ln E is convex and rising in z, so it comes down onto the
    root from the right and cannot overshoot.
    """
    check_alpha(alpha)
    k = np.asarray(k, float)
    z = critical_one_sided_closed(k, alpha)
    usable = np.isfinite(z)
    shrink = np.sqrt(k / (1.0 + k))
    for _ in range(_NEWTON_STEPS):
        at = np.where(usable, z, 0.0)
        excess = log_e_one_sided(at, k) + np.log(alpha)
        # Mills ratio through log_ndtr: stays finite where Phi itself underflows.
        mills = np.exp(-0.5 * (at * shrink) ** 2 - special.log_ndtr(at * shrink))
        slope = at * shrink**2 + shrink * mills / np.sqrt(2.0 * np.pi)
        step = np.divide(excess, slope, out=np.zeros_like(at), where=usable & (slope > 0))
        z = z - step
        if np.all(np.abs(step) < 1e-13 * np.maximum(1.0, np.abs(at))):
            break
    return np.asarray(z)


def for_degrees_of_freedom(z: npt.ArrayLike, degrees: int) -> Floats:
    """The t quantile with the same tail as the normal quantile z: widens for a noisy variance."""
    z = np.asarray(z, float)
    finite = np.isfinite(z)
    t = -special.stdtrit(degrees, special.ndtr(-np.abs(np.where(finite, z, 0.0))))
    return np.asarray(np.where(finite, np.sign(z) * t, z))


def from_degrees_of_freedom(t: npt.ArrayLike, degrees: int) -> Floats:
    """The normal quantile with the same tail as the t quantile: inverse of the above."""
    t = np.asarray(t, float)
    return np.asarray(-np.sign(t) * special.ndtri(special.stdtr(degrees, -np.abs(t))))


def check_alpha(alpha: float) -> None:
    """Raises ValueError unless alpha is in (0, 1)."""
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha {alpha!r} is outside (0, 1)")
