"""From what each arm earned to the chances it is drawn with.

Chances are integrals or closed forms, never Monte Carlo, so a propensity is exactly what units are
drawn with. The floor is added, never clipped to: clipping and scaling back to 1 leaves chances
below it, and the floor is what makes off-policy estimates finite.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import special

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
_MARKS: Final = special.ndtr(np.array([-8, -6, -4.5, -3, -2, -1, 0, 1, 2, 3, 4.5, 6, 8]))
"""Where each posterior is cut into panels: at its quantiles, so that none is too sharp for one."""


def best_chances(successes: Sequence[float], failures: Sequence[float]) -> tuple[float, ...]:
    """Chance of each arm to have the highest rate, under posteriors Beta(1 + S, 1 + F): the weights
    of Thompson sampling.

    successes, failures: counts, 0 or more; fractional where they are discounted
    Source: Thompson (1933), Biometrika 25; Scott (2010), Appl. Stochastic Models Bus. Ind. 26,
    section 2: the integral of f_k prod F_j, here by Gauss-Legendre between posteriors' quantiles.
    Errors: ValueError for no arms, counts that do not fit, or negative ones.
    """
    s, f = np.asarray(successes, float), np.asarray(failures, float)
    if not len(s) or s.shape != f.shape or min(s.min(), f.min()) < 0.0:
        raise ValueError(f"counts {successes}, {failures} must be 0 or more, one of each an arm")
    a, b = 1.0 + s, 1.0 + f
    quantiles = special.betaincinv(a[:, None], b[:, None], _MARKS).ravel()
    edges = np.unique(np.concatenate([[0.0], quantiles, [1.0]]))
    half = np.diff(edges)[:, None] / 2.0
    x = (edges[:-1, None] + half + half * _NODES).ravel()
    weight = (half * _WEIGHTS).ravel()
    log_density = (
        special.xlogy(a[:, None] - 1.0, x)
        + special.xlog1py(b[:, None] - 1.0, -x)
        - special.betaln(a, b)[:, None]
    )
    below = special.betainc(a[:, None], b[:, None], x)
    chances = [
        float((np.exp(log_density[k]) * np.delete(below, k, axis=0).prod(axis=0)) @ weight)
        for k in range(len(a))
    ]
    return _normalised(chances)


def top_two(chances: Sequence[float], leader: float = 0.5) -> tuple[float, ...]:
    """Chances of top-two Thompson sampling: the arm that looks best with chance `leader`, otherwise
    the best one of another draw that is not it.

    chances: as `best_chances`
    Source: Russo (2020), Operations Research 68, section 3.2; in closed form, as independent draws.
    """
    p = np.asarray(chances, float)
    if len(p) == 1:
        return (1.0,)
    second = np.zeros_like(p)
    for first, chance in enumerate(p):
        others = np.delete(p, first)
        rest = float(others.sum())
        spread = others / rest if rest > 0.0 else np.full_like(others, 1.0 / len(others))
        second += chance * np.insert(spread, first, 0.0)
    return _normalised((leader * p + (1.0 - leader) * second).tolist())


def inverse_gap(scores: Sequence[float], gamma: float) -> tuple[float, ...]:
    """Chances that fall with how far an arm's predicted reward is behind the best:
    1 / (K + gamma gap), and the best arm takes the rest.

    scores: predicted rewards, higher is better; any regressor will do
    gamma: 0 is uniform; the larger, the greedier
    Source: Foster & Rakhlin (2020), ICML, SquareCB; Simchi-Levi & Xu (2022), Math. Oper. Res. 47.
    Errors: ValueError without scores, for scores that are not finite, or a negative gamma.
    """
    y = np.asarray(scores, float)
    if not len(y) or not np.isfinite(y).all() or gamma < 0.0:
        raise ValueError(f"scores {scores} must be finite, gamma {gamma!r} 0 or more")
    best = int(y.argmax())
    p = 1.0 / (len(y) + gamma * (y[best] - y))
    p[best] = 0.0
    p[best] = 1.0 - p.sum()
    return tuple(p.tolist())


def with_floor(weights: Sequence[float], floor: float) -> tuple[float, ...]:
    """floor + (1 - K floor) w: the least chance is the floor itself, where an arm has no weight.

    weights: 0 or more, adding up to 1; floor: at most 1/K, above which all are alike; below 0 none
    Source: Auer, Cesa-Bianchi, Freund, Schapire (2002), SIAM J. Comput. 32, 48-77: Exp3's mixture
    with the uniform distribution, gamma = K floor.
    Errors: ValueError for weights that are no distribution.
    """
    w = np.asarray(weights, float)
    if not len(w) or w.min() < 0.0 or abs(math.fsum(w) - 1.0) > 1e-9:
        raise ValueError(f"weights {weights} must be 0 or more and add up to 1")
    least = min(max(floor, 0.0), 1.0 / len(w))
    return tuple((least + (1.0 - len(w) * least) * w).tolist())


def discounted(counts: Sequence[float], keep: float) -> tuple[float, ...]:
    """Counts a period later, for arms whose rates drift; they remember 1 / (1 - keep) periods.

    keep: in (0, 1]; 1 forgets nothing
    Source: Raj & Kalyani (2017), "Taming non-stationary bandits"; Garivier & Moulines (2011), ALT.
    """
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"keep {keep!r} is outside (0, 1]")
    return tuple(keep * count for count in counts)


def _normalised(chances: Sequence[float]) -> tuple[float, ...]:
    total = math.fsum(chances)
    return tuple(chance / total for chance in chances)
