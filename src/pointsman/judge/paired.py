"""Two models on the same requests: the served answer and a shadow's, scored by the same label.

Every labelled pair has a gain: what the challenger's answer was worth to its metric, less what the
champion's was; for accuracy +1, 0 or -1. Bet against "the mean gain is at most d": start with 1,
and multiply by 1 + u (gain - d) / (d - lowest gain) for each pair. If the claim is true, no stake u
in [0, 1] can be expected to win, at any look, whatever the order, base rate and drift; so a mixture
over all stakes is an e-value. Only how many pairs had each gain matters, so pairs add up.

For accuracy and d = 0 a pair both answer alike multiplies by 1: only disagreements count, a fair
coin decides each of them, and the mixture is the sequential form of McNemar's test with a Beta
prior, exact from the first pair on.

What the caller must hold: pairs are independent, so one of each unit (`PAIRED` cells, not `FLIPS`);
blocks are matured; labels do not depend on what was served (labels.py).

Sources: McNemar (1947), Psychometrika 12, 153-157; Ville (1939); Waudby-Smith & Ramdas (2024),
JRSS-B 86, 1-27: betting confidence sequences for bounded means, section 4; Orabona & Jun (2024),
IEEE Trans. Inf. Theory 70: mixtures of stakes; Robbins (1970) for the Beta mixture.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from pointsman.domain.evidence import Paired
from pointsman.judge.mixture import Floats, check_alpha

CONCENTRATION: Final = 4.0
"""Both parameters of the Beta over the challenger's part of the disagreements: most mass on parts
from 0.3 to 0.7. Any choice is valid; larger looks for smaller effects."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_DROP: Final = 40.0  # integrand below exp(-40) of its peak is left out: 1e-17 of the integral
_HALVINGS: Final = 60


class Gains(msgspec.Struct, frozen=True):
    """How many labelled pairs had each gain: all that the tests read.

    values: distinct gains, ascending; counts: pairs of each
    low, high: between which any gain of the metric lies
    champion: sum of what the champion's answers were worth
    """

    values: tuple[float, ...]
    counts: tuple[int, ...]
    low: float
    high: float
    champion: float

    @property
    def n(self) -> int:
        """Labelled pairs the metric is about."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Mean gain; None without pairs."""
        total = math.fsum(v * c for v, c in zip(self.values, self.counts, strict=True))
        return total / self.n if self.n else None

    @property
    def level(self) -> float | None:
        """The champion's metric over the same pairs."""
        return self.champion / self.n if self.n else None


class Worth(msgspec.Struct, frozen=True):
    """What answers are worth to a metric: `table[label][predicted]`, in the metric's unit.

    labels: those of the pairs that the metric is about; None = all
    """

    name: str
    table: tuple[tuple[float, ...], ...]
    labels: frozenset[int] | None = None


def accuracy(classes: int) -> Worth:
    """1 for the right class; the mean gain is the difference of accuracies."""
    return Worth("accuracy", _identity(classes))


def error(classes: int) -> Worth:
    """1 for any wrong class; the mean gain is the difference of error rates."""
    wrong = tuple(tuple(1.0 - value for value in row) for row in _identity(classes))
    return Worth("error", wrong)


def recall(classes: int, label: int) -> Worth:
    """Accuracy over the pairs of one label: of the positive class recall, of the other of two
    classes specificity."""
    return Worth("recall", _identity(classes), frozenset((label,)))


def cost(matrix: Sequence[Sequence[float]]) -> Worth:
    """What it costs to answer as class (column) where the label is (row); the mean gain is the
    difference of costs per decision.

    Errors: ValueError unless the matrix is square and finite.
    """
    table = tuple(tuple(float(value) for value in row) for row in matrix)
    if any(len(row) != len(table) for row in table):
        raise ValueError("a cost matrix has a row and a column for each class")
    if not all(math.isfinite(value) for row in table for value in row):
        raise ValueError("costs must be finite")
    return Worth("expected_cost", table)


def transposed(pairs: Paired) -> Paired:
    """The same pairs with the other model taken for the served one."""
    k = pairs.classes

    def swapped(index: int) -> int:
        rest, shadow = divmod(index, k)
        label, served = divmod(rest, k)
        return (label * k + shadow) * k + served

    order = (0, 2, 1, 3)  # what was denied by one alone
    return Paired(
        k,
        {swapped(i): n for i, n in pairs.flips.items()},
        {swapped(i): n for i, n in pairs.labelled.items()},
        [pairs.actions[i] for i in order],
        [pairs.labelled_actions[i] for i in order],
        pairs.scored,
        -pairs.shift,
        pairs.shift_squares,
        pairs.distance,
        pairs.failed,
    )


def gains(pairs: Paired, worth: Worth, factor: float = 1.0) -> Gains:
    """What the challenger (the shadow) gains on the champion (served), pair by pair.

    factor: of the champion's worth; 1 + margin tests a relative margin without a division
    Errors: ValueError for a table of another number of classes.
    """
    k = pairs.classes
    if len(worth.table) != k:
        raise ValueError(f"{worth.name} is of {len(worth.table)} classes, the pairs are of {k}")
    rows = [r for i, r in enumerate(worth.table) if worth.labels is None or i in worth.labels]
    found: dict[float, int] = {}
    champion = 0.0
    for index, count in sorted(pairs.labelled.items()):
        rest, shadow = divmod(index, k)
        label, served = divmod(rest, k)
        if worth.labels is not None and label not in worth.labels:
            continue
        row = worth.table[label]
        gain = row[shadow] - factor * row[served]
        found[gain] = found.get(gain, 0) + count
        champion += row[served] * count
    values = tuple(sorted(found))
    return Gains(
        values=values,
        counts=tuple(found[value] for value in values),
        low=min(min(row) - factor * max(row) for row in rows),
        high=max(max(row) - factor * min(row) for row in rows),
        champion=champion,
    )


def mcnemar_log_e(
    wins: npt.ArrayLike, losses: npt.ArrayLike, concentration: float = CONCENTRATION
) -> Floats:
    """ln of the e-value against "of the disagreements the challenger wins at most half", by row.

    wins, losses: labelled pairs only the challenger, only the champion has right; any shape
    E = 2^(w+l+1) B(w+a, l+a) I(w+a, l+a) / B(a, a), with I the part of the Beta above one half.
    -inf, which is safe, where the challenger loses by so much that it underflows.
    """
    won, lost = np.asarray(wins, float), np.asarray(losses, float)
    a = concentration
    with np.errstate(divide="ignore"):
        above = np.log(special.betainc(lost + a, won + a, 0.5))
    ratio = special.betaln(won + a, lost + a) - special.betaln(a, a)
    return np.asarray((won + lost + 1.0) * math.log(2.0) + ratio + above)


def log_e_above(gained: Gains, margin: float, concentration: float = CONCENTRATION) -> float:
    """ln of the e-value against "the mean gain is at most `margin`". Falls as margin rises."""
    if margin >= gained.high or not gained.n:
        return 0.0 if not gained.n else -math.inf
    if margin < gained.low:
        return math.inf
    # With the margin at the lowest gain each gain above it is a proof; the limit says the same.
    room = max(margin - gained.low, 1e-12 * (gained.high - gained.low))
    rises = (np.array(gained.values) - margin) / room
    return _log_mixture(rises, np.array(gained.counts, float), concentration)


def log_e_below(gained: Gains, margin: float, concentration: float = CONCENTRATION) -> float:
    """ln of the e-value against "the mean gain is at least `margin`"."""
    return log_e_above(mirrored(gained), -margin, concentration)


def mirrored(gained: Gains) -> Gains:
    """The same pairs with every gain's sign changed."""
    values = tuple(-value for value in reversed(gained.values))
    counts = tuple(reversed(gained.counts))
    return Gains(values, counts, -gained.high, -gained.low, gained.champion)


def lower_bound(gained: Gains, alpha: float, concentration: float = CONCENTRATION) -> float:
    """Smallest mean gain not rejected: above it with confidence 1 - alpha, at every look.

    The lowest gain there is where nothing bounds it.
    """
    check_alpha(alpha)
    threshold, mean = -math.log(alpha), gained.mean
    if mean is None or mean <= gained.low:
        return gained.low

    def excess(margin: float) -> float:
        return min(log_e_above(gained, margin, concentration), 1e9) - threshold

    # At the mean no stake has won anything, so the root lies below it.
    span = gained.high - gained.low
    start = gained.low + 1e-9 * span
    if excess(start) <= 0.0:
        return gained.low
    end = min(mean, gained.high - 1e-12 * span)
    return float(optimize.brentq(excess, start, end)) if excess(end) < 0.0 else end


def upper_bound(gained: Gains, alpha: float, concentration: float = CONCENTRATION) -> float:
    """Largest mean gain not rejected; the highest there is where nothing bounds it."""
    return -lower_bound(mirrored(gained), alpha, concentration)


def interval(
    gained: Gains, alpha: float, concentration: float = CONCENTRATION
) -> tuple[float, float]:
    """Confidence sequence for the mean gain: contains it at every look at once, but for alpha."""
    half = alpha / 2
    return lower_bound(gained, half, concentration), upper_bound(gained, half, concentration)


def _log_mixture(rises: Floats, counts: Floats, concentration: float) -> float:
    """ln of the mean of prod (1 + u rise)^count over the prior of the stake u in [0, 1].

    The prior is that of u = 2 theta - 1 for theta of a symmetric Beta above one half. The integrand
    is log-concave: find its peak, then how far it reaches, and put nodes on both sides.
    """
    power = concentration - 1.0

    def log_f(u: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            factors = np.log(np.maximum(1.0 + u[..., None] * rises, 0.0)) @ counts
            return np.asarray(factors + power * np.log1p(-u * u))

    def slope(u: float) -> float:
        steep = rises / np.maximum(1.0 + u * rises, 1e-300)
        return float(steep @ counts) - 2.0 * power * u / (1.0 - u * u)

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0.0 else (low, middle)
    mode = min(low, 1.0 - 1e-15)
    peak = float(log_f(np.array([mode]))[0])
    total = 0.0
    for limit in (0.0, 1.0):
        inside, outside = mode, limit
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if float(log_f(np.array([middle]))[0]) > peak - _DROP:
                inside = middle
            else:
                outside = middle
        half = (inside - mode) / 2
        nodes = np.clip(mode + half + half * _NODES, 0.0, 1.0 - 1e-16)
        total += abs(half) * float(np.exp(log_f(nodes) - peak) @ _WEIGHTS)
    # The prior's own integral over [0, 1]: half of B(1/2, a).
    norm = special.betaln(0.5, concentration) - math.log(2.0)
    return peak + math.log(max(total, 1e-300)) - float(norm)


def _identity(classes: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(i == j) for j in range(classes)) for i in range(classes))
