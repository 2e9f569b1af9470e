"""From the losses of all members of an ensemble to their weights.

Every member's loss is known wherever a label is, so weights need no exploration, and the mixture is
never much worse than the best member would have been. Losses are whole numbers of 2^-32, kept by
the period their decision was made in: labels that come in any order, late or corrected, give the
same weights to the last bit.

The mean forecast is what bounds are about: sum over members of weight times probability.
Sources: Cesa-Bianchi & Lugosi (2006), Prediction, Learning, and Games, chapters 2 and 3.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ETA_LOG_LOSS: Final = 1.0
"""Log loss in nats is 1-mixable: regret at most ln K, whatever happens (section 3.3)."""

ETA_BRIER: Final = 0.5
"""The Brier score from 0 to 1 (half the sum over classes) is 1/2-exp-concave: regret at most
2 ln K (section 3.3)."""

SCALE: Final = 1 << 32


class Losses(msgspec.Struct, frozen=True):
    """Sums of each member's losses by period, in units of 2^-32.

    members: how many; periods: those with losses, by number, in any order
    """

    members: int
    periods: Mapping[int, tuple[int, ...]] = {}


def add(losses: Losses, period: int, values: Sequence[float], times: int = 1) -> Losses:
    """The losses with one label more; `times=-1` takes one back that was corrected.

    period: of the decision, not of the label
    values: each member's loss by what it had answered then, finite
    """
    if len(values) != losses.members or not all(math.isfinite(v) for v in values):
        raise ValueError(f"losses {values} must be finite, one of each of {losses.members} members")
    known = losses.periods.get(period, (0,) * losses.members)
    total = tuple(k + times * round(v * SCALE) for k, v in zip(known, values, strict=True))
    periods = {**losses.periods, period: total}
    if not any(total):
        del periods[period]
    return Losses(losses.members, periods)


def log_loss(probability: float) -> float:
    """-ln of the probability given to what happened; at most 53 ln 2."""
    return -math.log(max(probability, 2.0**-53))


def brier(probabilities: Sequence[float], label: int) -> float:
    """Half the sum over classes of (p - [class is label])^2, 0 to 1; of two classes the square of
    the positive one's miss."""
    return 0.5 * math.fsum((p - (k == label)) ** 2 for k, p in enumerate(probabilities))


def exponential(losses: Losses, eta: float) -> tuple[float, ...]:
    """Weights proportional to exp(-eta L).

    eta: ETA_LOG_LOSS or ETA_BRIER for these; `hedge_eta` for other losses from 0 to 1
    Source: Vovk (1990), COLT; Cesa-Bianchi & Lugosi (2006), section 3.3.
    """
    return _softmax(-eta * _totals(losses))


def hedge_eta(members: int, rounds: int) -> float:
    """The rate that holds the regret of any losses from 0 to 1 to sqrt(T ln K / 2) by round T.

    Source: Freund & Schapire (1997), J. Comput. Syst. Sci. 55; Cesa-Bianchi & Lugosi (2006),
    theorem 2.2.
    """
    return math.sqrt(8.0 * math.log(members) / rounds)


def ada_hedge(losses: Losses) -> tuple[float, ...]:
    """Weights by a rate that tunes itself, ln K / Delta, for losses of any range.

    Delta: sum over periods, in order, of what mixing cost beyond the best rate: w.l + ln(w.e^(-eta
        l)) / eta. Periods are rounds, so weights do not depend on the order labels came in.
    Source: de Rooij, van Erven, Grunwald, Koolen (2014), JMLR 15, section 2.2; the regret is at
    most 2 sqrt(L*(T - L*)/T ln K) + 16/3 ln K + 2 for losses from 0 to 1 (theorem 8 and after).
    """
    total, delta = np.zeros(losses.members), 0.0
    for loss in _rounds(losses):
        weights, mixed = _at_rate(total, delta, losses.members)
        following = total + loss
        after = _at_rate(following, delta, losses.members)[1]
        delta += max(float(np.asarray(weights) @ loss) - (after - mixed), 0.0)
        total = following
    return _at_rate(total, delta, losses.members)[0]


def fixed_share(losses: Losses, eta: float, switch: float) -> tuple[float, ...]:
    """Exponential weights that follow a best member which changes: after each period a part
    `switch` of all weight is shared out evenly, so none is ever lost.

    switch: chance that the best member changes between two periods, in [0, 1]
    Source: Herbster & Warmuth (1998), Machine Learning 32, the fixed-share update.
    """
    if not 0.0 <= switch <= 1.0:
        raise ValueError(f"switch {switch!r} is outside [0, 1]")
    weights = np.full(losses.members, 1.0 / losses.members)
    for loss in _rounds(losses):
        with np.errstate(divide="ignore"):
            weights = np.asarray(_softmax(np.log(weights) - eta * loss))
        weights = (1.0 - switch) * weights + switch / losses.members
    return tuple(weights.tolist())


def _rounds(losses: Losses) -> list[Floats]:
    return [np.array(losses.periods[at], float) / SCALE for at in sorted(losses.periods)]


def _totals(losses: Losses) -> Floats:
    columns = zip(*losses.periods.values(), strict=True)
    sums = [sum(column) for column in columns] or [0] * losses.members
    # The least first, in whole numbers: only differences matter, and they are exact.
    least = min(sums)
    return np.array([total - least for total in sums], float) / SCALE


def _at_rate(total: Floats, delta: float, members: int) -> tuple[tuple[float, ...], float]:
    """Weights, and the mix loss of all rounds so far, -ln(mean of exp(-eta L)) / eta; at an
    infinite rate the leaders share all weight and the mix loss is theirs."""
    least = float(total.min())
    if delta <= 0.0:
        leads = (total == least).astype(float)
        return tuple((leads / leads.sum()).tolist()), least
    eta = math.log(members) / delta
    scaled = -eta * (total - least)
    mix = least - math.log(float(np.exp(scaled).mean())) / eta
    return _softmax(scaled), mix


def _softmax(scores: Floats) -> tuple[float, ...]:
    raw = np.exp(scores - scores.max())
    return tuple((raw / raw.sum()).tolist())
