"""Do units arrive in the shares they were promised? At every stage, at every look.

One primitive does three jobs: the sample ratio at a stage (assigned, served, logged, labelled),
the audit that logged propensities are true, and whether labels arrive for both arms alike. It
takes counts of units by the *known* probabilities they were drawn with, so a ramp is no problem,
and it is order-free: counts add, blocks fold in any order.

The e-value averages two bets, each valid by itself:
- a Dirichlet mixture for each distinct vector of probabilities, which sees any deviation;
- one arm against the rest by relative odds that persist through a ramp, which sees a small but
  lasting loss of one arm long before any single step could.

What the caller must hold: units, not requests, each counted once (first exposures).

Sources: Lindon & Malek (2022), NeurIPS; Fabijan et al. (2019), KDD, for stages
and causes; Vovk & Wang (2021), Ann. Statist. 49, section 3, for averaging e-values.
"""

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np
from scipy import special

from pointsman.judge.event import EventPrior, EventState, log_e_equal
from pointsman.judge.mixture import check_alpha

CONCENTRATION: Final = 400.0
"""Prior counts of the Dirichlet: tuned for deviations of a few per cent, slow for none."""

_PERSISTENT: Final = EventPrior(concentration=CONCENTRATION / 2)
_SUM_TOLERANCE: Final = 1e-9
_MOST_UNITS: Final = 1_000_000_000
_IN_FOUR_OF_FIVE: Final = 0.8416212335729143
"""The standard normal's 80 % quantile."""


class Stage(StrEnum):
    """Where units can get lost, in the order they pass."""

    ASSIGNED = "assigned"
    SERVED = "served"
    LOGGED = "logged"
    LABELLED = "labelled"


class Draws(msgspec.Struct, frozen=True):
    """Units drawn with the same probabilities.

    probabilities: of each arm, all above 0, adding up to 1
    counts: units of each arm, same order
    """

    probabilities: tuple[float, ...]
    counts: tuple[int, ...]


class RatioState(msgspec.Struct, frozen=True):
    """All units counted so far: one entry for each distinct vector of probabilities, sorted."""

    draws: tuple[Draws, ...] = ()


class StageRatio(msgspec.Struct, frozen=True):
    """What the units of one stage say.

    log_e: ln of the e-value against the promised shares
    expected, observed: units by arm
    """

    stage: Stage
    log_e: float
    expected: tuple[float, ...]
    observed: tuple[int, ...]

    def alarms(self, alpha: float) -> bool:
        """Whether the shares are refuted, at an error of alpha over the whole run."""
        check_alpha(alpha)
        return self.log_e >= -math.log(alpha)


class Coverage(msgspec.Struct, frozen=True):
    """Matured units of one share and how many of them have a label.

    share: chance of the challenger among the two
    """

    share: float
    challenger: int
    champion: int
    labelled_challenger: int
    labelled_champion: int


def fold(state: RatioState, draws: Draws) -> RatioState:
    """The state with more units.

    Errors: ValueError for probabilities that do not add up to 1, or counts that do not fit.
    """
    _check(draws)
    return merge(state, RatioState((draws,)))


def merge(a: RatioState, b: RatioState) -> RatioState:
    """All units of both."""
    totals: dict[tuple[float, ...], tuple[int, ...]] = {}
    for draws in (*a.draws, *b.draws):
        known = totals.get(draws.probabilities, (0,) * len(draws.counts))
        totals[draws.probabilities] = tuple(x + y for x, y in zip(known, draws.counts, strict=True))
    return RatioState(tuple(Draws(p, totals[p]) for p in sorted(totals) if any(totals[p])))


def log_e(state: RatioState, concentration: float = CONCENTRATION) -> float:
    """ln of the e-value against "every unit was drawn with its stated probabilities"."""
    if not state.draws:
        return 0.0
    mixed = math.fsum(
        dirichlet_log_e(d.counts, d.probabilities, concentration) for d in state.draws
    )
    lasting = _log_mean([_one_against_the_rest(state, arm) for arm in range(_arms(state))])
    return _log_mean([mixed, lasting])


def dirichlet_log_e(
    counts: Iterable[int], probabilities: Iterable[float], concentration: float
) -> float:
    """ln of B(a + n) / B(a) / prod p^n with a = concentration * p.

    Source: Lindon & Malek (2022), the multinomial mixture; at fixed p the count vector is enough.
    """
    n, p = np.array(list(counts), float), np.array(list(probabilities), float)
    a = concentration * p
    posterior = special.gammaln(a + n).sum() - special.gammaln(a.sum() + n.sum())
    prior = special.gammaln(a).sum() - special.gammaln(a.sum())
    return float(posterior - prior - special.xlogy(n, p).sum())


def stage_ratio(stage: Stage, state: RatioState) -> StageRatio:
    """The state's units against their shares, for people and for `alarms`."""
    arms = _arms(state)
    expected = [
        math.fsum(sum(d.counts) * d.probabilities[arm] for d in state.draws) for arm in range(arms)
    ]
    observed = [sum(d.counts[arm] for d in state.draws) for arm in range(arms)]
    return StageRatio(stage, log_e(state), tuple(expected), tuple(observed))


def units_until_alarm(share: float, lost: float, alpha: float) -> int | None:
    """Units of both arms, as drawn, after which a lasting loss is seen in four of five runs; None
    where 1e9 are too few.

    share: of the arm that loses, in (0, 1); lost: chance that a unit of it goes missing, in (0, 1)
    alpha: as for `StageRatio.alarms`
    Source: the e-value at the 80 % quantile of the arm's count, which is normal at such numbers.
    """
    check_alpha(alpha)
    if not (0.0 < share < 1.0 and 0.0 < lost < 1.0):
        raise ValueError(f"share {share!r} and lost {lost!r} must be in (0, 1)")
    seen = share * (1.0 - lost) / (1.0 - share * lost)

    def alarms(drawn: int) -> bool:
        n = round(drawn * (1.0 - share * lost))
        likely = n * seen + _IN_FOUR_OF_FIVE * math.sqrt(n * seen * (1.0 - seen))
        if likely >= n * share:
            return False
        counts = (round(likely), n - round(likely))
        state = RatioState((Draws((share, 1.0 - share), counts),))
        return log_e(state) >= -math.log(alpha)

    high = 16
    while not alarms(high):
        high *= 2
        if high > _MOST_UNITS:
            return None
    low = high // 2
    while high - low > max(1, high // 1000):
        middle = (low + high) // 2
        low, high = (low, middle) if alarms(middle) else (middle, high)
    return high


def first_alarm(stages: Mapping[Stage, RatioState], alpha: float) -> StageRatio | None:
    """The earliest stage whose shares are refuted, which is where to look for the cause.

    Each stage has an equal part of alpha. Stages without units are left out: no data is no alarm
    and no all-clear.
    """
    present = [stage for stage in Stage if stage in stages and stages[stage].draws]
    for stage in present:
        found = stage_ratio(stage, stages[stage])
        if found.alarms(alpha / len(present)):
            return found
    return None


def coverage_log_e(coverage: Iterable[Coverage]) -> float:
    """ln of the e-value against "a unit's label arrives whichever arm it was assigned to".

    If so, the challenger's share among labelled units, and among unlabelled ones, is its share
    among all. The average of both bets sees scarce labels and nearly complete ones alike.
    Errors: ValueError where more are labelled than there are.
    """
    labelled: list[tuple[float, int, int]] = []
    missing: list[tuple[float, int, int]] = []
    for row in coverage:
        without = (
            row.challenger - row.labelled_challenger,
            row.champion - row.labelled_champion,
        )
        if min(without) < 0:
            raise ValueError(f"more units are labelled than there are: {row}")
        labelled.append((row.share, row.labelled_challenger, row.labelled_champion))
        missing.append((row.share, *without))
    bets = [log_e_equal(_event_state(rows), 1.0, _PERSISTENT) for rows in (labelled, missing)]
    return _log_mean(bets)


def audit_propensities(logged: Iterable[Draws]) -> float:
    """ln of the e-value against "logged propensities are the chances units were drawn with".

    logged: first exposures, counted by the vector of propensities in their record and the arm
    Errors: ValueError as `fold`.
    """
    state = RatioState()
    for draws in logged:
        state = fold(state, draws)
    return log_e(state)


def _one_against_the_rest(state: RatioState, arm: int) -> float:
    """ln of the e-value that arm's odds are multiplied by one lasting factor."""
    rows = [
        (d.probabilities[arm], d.counts[arm], sum(d.counts) - d.counts[arm]) for d in state.draws
    ]
    return log_e_equal(_event_state(rows), 1.0, _PERSISTENT)


def _event_state(rows: Iterable[tuple[float, int, int]]) -> EventState:
    totals: dict[float, tuple[int, int]] = {}
    for share, x, y in rows:
        if 0.0 < share < 1.0:
            known = totals.get(share, (0, 0))
            totals[share] = (known[0] + x, known[1] + y)
    return EventState(tuple((share, *totals[share]) for share in sorted(totals)))


def _log_mean(logs: list[float]) -> float:
    return float(special.logsumexp(logs)) - math.log(len(logs))


def _arms(state: RatioState) -> int:
    return len(state.draws[0].counts) if state.draws else 0


def _check(draws: Draws) -> None:
    p, n = draws.probabilities, draws.counts
    if len(p) != len(n) or len(p) < 2:
        raise ValueError(f"{len(p)} probabilities for {len(n)} counts; two or more of each")
    if min(p) <= 0.0 or abs(math.fsum(p) - 1.0) > _SUM_TOLERANCE:
        raise ValueError(f"probabilities {p} must be above 0 and add up to 1")
    if min(n) < 0:
        raise ValueError(f"counts {n} must not be negative")
