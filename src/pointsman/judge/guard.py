"""Whether a challenger does harm, from counts alone, looked at every second: the local guard.

Of first exposures of units: how many were the challenger's and the champion's, and how many of
each had the event. A unit was the challenger's with chance `share` (among the two), whatever it
would do.

| bound | hypothesis | bets on |
|---|---|---|
| relative | the challenger's risk is at most r0 times the champion's | whose the events are |
| absolute | its rate is at most d higher | the inverse-propensity difference of every exposure |

Both e-values are finite mixtures of bets that were fixed in advance, so each is exactly a
supermartingale under its hypothesis: valid at every count, every look and every schedule of shares,
though rates drift. Sums are all they need, so it does not matter whose count is read first.

Arithmetic of plain floats on purpose: the gateway's parent runs it, and loads no numeric library.

Sources: Ville (1939) for the threshold. Lindon & Malek (2022), "Anytime-valid inference for
multinomial count data": events as draws whose chance is known. Waudby-Smith & Ramdas (2024),
"Estimating means of bounded random variables by betting": the product of 1 + bet (x - mean).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from pointsman.domain.table import Bound, Guard

_RISKS: Final = tuple(0.1 * 2 ** (k / 2) for k in range(12))
"""ln of (risk bet on / r0): from 1.1 times to 90 times. Equal weights, since a guard is for gross
harm: finding any of them costs ln 12 = 2.5 nats more than having known it."""

_BETS: Final = tuple(0.8 * 2.0**-k for k in range(10))
"""Parts of the largest bet on a difference that cannot lose everything; equal weights."""

MAX_VALUES: Final = 20
"""Values of one attribute that are counted by themselves; all others are `attribute=*`."""

REQUESTS: Final = 20
FAILED: Final = 0.5
RUN: Final = 5
WINDOW_S: Final = 10.0
"""Limits that need no control: half of at least 20 requests within ten seconds, or 5 in a row."""


class Exposures(msgspec.Struct, frozen=True):
    """First exposures of units while the challenger's share of the two was the same.

    n, events: the challenger's; control_n, control_events: the champion's
    """

    share: float
    n: int
    events: int
    control_n: int
    control_events: int


class Failures(msgspec.Struct, frozen=True):
    """Requests of a challenger within the last `WINDOW_S`, whatever their units.

    failed: for which it gave no answer, or none that could be read; not for what the caller sent
    runs: how often `RUN` requests in a row failed
    """

    requests: int = 0
    failed: int = 0
    runs: int = 0


class Breach(msgspec.Struct, frozen=True):
    """A bound that is broken.

    metric: of the project, or `failures` for the limit that needs no control
    slice: `attribute=value`, empty for all decisions
    value, control: the rate of challenger and champion; bound: as declared, in words
    n: first exposures of the challenger (of a limit: requests)
    """

    metric: str
    slice: str
    value: float
    control: float | None
    bound: str
    n: int
    sentence: str


Counted = Mapping[tuple[str, str], Sequence[Exposures]]
"""Exposures by (`Bound.counted`, slice), one entry a share."""


def judge(guard: Guard, counted: Counted, failures: Failures | None = None) -> Breach | None:
    """The first bound that is broken, in the order they are declared; None where none is.

    False with a chance of at most `guard.alpha` over all looks at one guard's evidence, all its
    bounds and slices together; the limit on failures is no statistics, and stands apart.
    """
    broken = _failures(guard, failures or Failures())
    if broken is not None:
        return broken
    alpha = guard.alpha / max(len(guard.bounds), 1)
    for bound in guard.bounds:
        for name, part in _places(bound, counted):
            exposures = counted.get((bound.counted, name), ())
            if log_e(bound, exposures) >= -math.log(alpha * part):
                return _breach(guard, bound, name, exposures)
    return None


def log_e(bound: Bound, exposures: Iterable[Exposures]) -> float:
    """ln of the e-value against "this bound holds": large means harm."""
    seen = [_mirrored(one) for one in exposures] if bound.worse == "lower" else list(exposures)
    if bound.relative:
        return log_e_ratio(seen, 1.0 + bound.margin)
    return log_e_difference(seen, bound.margin)


def log_e_ratio(exposures: Iterable[Exposures], risk: float) -> float:
    """ln of the e-value against "the challenger's risk of the event is at most `risk` times the
    champion's". Only events count, so it needs no denominators. risk: above 0

    With challenger's chance theta(r) = r share / (r share + 1 - share) of an event, it is the
    average over risks r > r0 of the product over events of theta(r) / theta(r0), or of
    (1 - theta(r)) / (1 - theta(r0)) for those of the champion.
    """
    logs = [0.0] * len(_RISKS)
    for one in exposures:
        if not 0.0 < one.share < 1.0:
            continue
        logit = math.log(one.share / (1.0 - one.share)) + math.log(risk)
        null = one.events * -_log1pexp(-logit) - one.control_events * _log1pexp(logit)
        for place, step in enumerate(_RISKS):
            at = logit + step
            own, other = -_log1pexp(-at), -_log1pexp(at)
            logs[place] += one.events * own + one.control_events * other - null
    return _log_mean(logs)


def log_e_difference(exposures: Iterable[Exposures], margin: float) -> float:
    """ln of the e-value against "the challenger's rate is at most `margin` above the champion's".

    An exposure is worth z = 1 / share if it is the challenger's and had the event, -1 / (1 - share)
    if it is the champion's and had it, else 0; on average that is the difference of their rates. So
    the average over bets b of the product of 1 + b (z - margin) does not grow while it is within
    the margin. margin: 0 to 1
    """
    logs = [0.0] * len(_BETS)
    for one in exposures:
        if not 0.0 < one.share < 1.0:
            continue
        most = 1.0 / (1.0 / (1.0 - one.share) + margin)
        # Counts of one moment are read one after the other: an event may be there before its unit.
        without = max(one.n + one.control_n - one.events - one.control_events, 0)
        for place, part in enumerate(_BETS):
            bet = part * most
            logs[place] += (
                one.events * math.log1p(bet * (1.0 / one.share - margin))
                + one.control_events * math.log1p(-bet * (1.0 / (1.0 - one.share) + margin))
                + without * math.log1p(-bet * margin)
            )
    return _log_mean(logs)


def _places(bound: Bound, counted: Counted) -> list[tuple[str, float]]:
    """Where a bound has to hold, and its part of the bound's alpha there: half for all decisions,
    the rest in equal parts for every slice there can be."""
    if not bound.slices:
        return [("", 1.0)]
    part = 0.5 / (len(bound.slices) * (MAX_VALUES + 1))
    names = sorted(
        name
        for event, name in counted
        if event == bound.counted and name.partition("=")[0] in bound.slices
    )
    return [("", 0.5), *((name, part) for name in names)]


def _failures(guard: Guard, seen: Failures) -> Breach | None:
    """The limit that needs no control: a challenger that does not answer is out at once."""
    if seen.runs:
        share, n = 1.0, RUN
        said = f"{guard.variant} failed {RUN} requests in a row"
    elif seen.requests >= REQUESTS and seen.failed >= FAILED * seen.requests:
        share, n = seen.failed / seen.requests, seen.requests
        said = (
            f"{guard.variant} failed {seen.failed:,} of {n:,} requests within {WINDOW_S:g} seconds"
        )
    else:
        return None
    limit = f"{RUN} in a row, or {FAILED:.0%} of {REQUESTS} or more"
    return Breach("failures", "", share, None, limit, n, f"{said}; the limit is {limit}")


def _breach(guard: Guard, bound: Bound, name: str, exposures: Sequence[Exposures]) -> Breach:
    n, control_n = (sum(e.n for e in exposures), sum(e.control_n for e in exposures))
    events = sum(e.events for e in exposures)
    control_events = sum(e.control_events for e in exposures)
    value, control = events / max(n, 1), control_events / max(control_n, 1)
    sign = "-" if bound.worse == "lower" else "+"
    limit = f"{sign}{100 * bound.margin:g} {'%' if bound.relative else 'points'}"
    where = f" where {name.replace('=', ' = ', 1)}" if name else ""
    text = (
        f"{bound.metric} of {guard.variant}{where} is {value:.1%} ({events:,} of {n:,} units), "
        f"that of {guard.against} {control:.1%} ({control_events:,} of {control_n:,}); "
        f"the bound is {limit}, with confidence {1.0 - guard.alpha:.4g} over all looks"
    )
    return Breach(bound.metric, name, value, control, limit, n, text)


def _mirrored(one: Exposures) -> Exposures:
    """The same with the arms swapped: lower became higher."""
    return Exposures(1.0 - one.share, one.control_n, one.control_events, one.n, one.events)


def _log1pexp(x: float) -> float:
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def _log_mean(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(value - top) for value in logs) / len(logs))
