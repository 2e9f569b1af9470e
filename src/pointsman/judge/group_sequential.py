"""Bounds for a known number of looks, by spending error over information.

More power than a bound for every look, if and only if the looks are planned: the fraction of the
final information is known at each look and the run ends at the last one. Run on beyond it and the
guarantee is gone; then use mixture.py.

Source: Lan & DeMets (1983), Biometrika 70, 659-663; Armitage, McPherson, Rowe (1969), J. R. Stat.
Soc. A 132, 235-244, for the recursion; Jennison & Turnbull (2000), chapter 19, for its quadrature.
"""

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import numpy as np
from scipy import integrate, optimize, special

from pointsman.judge.mixture import Floats, check_alpha

_POINTS: Final = 801  # of the density between two looks; odd, for Simpson's rule
_FARTHEST_Z: Final = 9.0


class Spending(StrEnum):
    """How error is spent over time.

    OBRIEN_FLEMING: hardly any early, the last bound close to that of a single look
    POCOCK: nearly the same bound at each look
    """

    OBRIEN_FLEMING = "obrien_fleming"
    POCOCK = "pocock"


def spent(spending: Spending, alpha: float, fraction: float) -> float:
    """One-sided error spent when this fraction of the final information is in.

    O'Brien-Fleming: 2 - 2 Phi(z_{alpha/2} / sqrt(t)); Pocock: alpha ln(1 + (e - 1) t).
    Source: Lan & DeMets (1983), section 3.
    """
    t = min(fraction, 1.0)
    match spending:
        case Spending.OBRIEN_FLEMING:
            return float(2.0 * special.ndtr(special.ndtri(alpha / 2.0) / math.sqrt(t)))
        case Spending.POCOCK:
            return alpha * math.log1p((math.e - 1.0) * t)


def bounds(fractions: Sequence[float], alpha: float, spending: Spending) -> tuple[float, ...]:
    """Critical z at each look of a two-sided test with error alpha in all: stop where |z| exceeds.

    fractions: of the final information at each look, rising, in (0, 1]
    Each side spends alpha / 2; that a run crosses both sides is neglected, which is conservative.
    Errors: ValueError unless fractions rise within (0, 1] and alpha is in (0, 1).
    """
    check_alpha(alpha)
    _check(fractions)
    found: list[float] = []
    density, grid = np.ones(1), np.zeros(1)
    used, before = 0.0, 0.0
    for fraction in fractions:
        now = spent(spending, alpha / 2.0, fraction)
        step, scale = math.sqrt(fraction - before), math.sqrt(fraction)
        crossing = _crossing(grid, density, step)
        z = _bound(crossing, now - used, scale)
        found.append(z)
        edge = min(z, _FARTHEST_Z) * scale
        wider = np.linspace(-edge, edge, _POINTS)
        density = _next(grid, density, wider, step)
        grid, used, before = wider, now, fraction
    return tuple(found)


def crossing_probabilities(
    fractions: Sequence[float], limits: Sequence[float], drift: float = 0.0
) -> tuple[float, ...]:
    """Chance to exceed `limits` (as |z|, upwards or downwards) for the first time at each look.

    drift: expected z at full information; 0 gives the error, an effect its power
    """
    _check(fractions)
    found: list[float] = []
    density, grid, before = np.ones(1), np.zeros(1), 0.0
    for fraction, z in zip(fractions, limits, strict=True):
        step, mean = math.sqrt(fraction - before), drift * (fraction - before)
        edge = min(z, _FARTHEST_Z + abs(drift)) * math.sqrt(fraction)
        above = _crossing(grid + mean, density, step)(edge)
        below = _crossing(-(grid + mean)[::-1], density[::-1], step)(edge)
        found.append(above + below)
        wider = np.linspace(-edge, edge, _POINTS)
        density = _next(grid + mean, density, wider, step)
        grid, before = wider, fraction
    return tuple(found)


def _crossing(grid: Floats, density: Floats, step: float) -> Callable[[float], float]:
    """Chance, as a function of b, that the score walks from the density to above b."""

    def above(b: float) -> float:
        return _integral(density * special.ndtr((grid - b) / step), grid)

    return above


def _next(grid: Floats, density: Floats, wider: Floats, step: float) -> Floats:
    """Density of the score on `wider` after one more step of the walk."""
    normal = np.exp(-0.5 * ((wider[:, None] - grid) / step) ** 2) / (step * math.sqrt(2 * math.pi))
    if len(grid) == 1:
        return np.asarray(normal[:, 0])
    return np.asarray(integrate.simpson(normal * density, x=grid, axis=1))


def _integral(values: Floats, grid: Floats) -> float:
    # Before the first look all mass is at 0.
    return float(values[0]) if len(grid) == 1 else float(integrate.simpson(values, x=grid))


def _bound(crossing: Callable[[float], float], error: float, scale: float) -> float:
    """The z whose crossing has this chance; infinity where the chance is too small to tell."""
    if crossing(_FARTHEST_Z * scale) >= error:
        return math.inf
    low = -_FARTHEST_Z * scale
    return float(optimize.brentq(lambda b: crossing(b) - error, low, _FARTHEST_Z * scale)) / scale


def _check(fractions: Sequence[float]) -> None:
    rising = all(a < b for a, b in zip((0.0, *fractions), fractions, strict=False))
    if not fractions or not rising or fractions[-1] > 1.0:
        raise ValueError(f"information fractions {tuple(fractions)} must rise within (0, 1]")
