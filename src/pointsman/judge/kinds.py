"""Kinds of evidence a metric may have, and what becomes of it: an effect, or why there is none."""

import msgspec

from pointsman.domain.evidence import LatencyHistogram, Paired
from pointsman.judge import event
from pointsman.judge.bounded import BoundedState
from pointsman.judge.event import EventState
from pointsman.judge.labels import ActionCoverage
from pointsman.judge.mean import MeanState
from pointsman.judge.paired import Worth
from pointsman.judge.rates import RateState
from pointsman.judge.ratio import RatioBlock, Statistic


class Events(msgspec.Struct, frozen=True, tag="events"):
    """First events of units; for relative margins. Exact at any count.

    epochs: in order, every one of the attempt; units: first exposures of challenger, champion
    means: the same units as 0 and 1, over all epochs; None leaves all of the error to the exact
        tests of each epoch
    """

    epochs: tuple[EventState, ...]
    units: tuple[int, int]
    means: MeanState | None = None

    @property
    def whole(self) -> EventState:
        """All epochs added up: for estimates, never for a test."""
        state = EventState()
        for one in self.epochs:
            state = event.merge(state, one)
        return state


class Means(msgspec.Struct, frozen=True, tag="means"):
    """A mean over decisions; for absolute and relative margins.

    exact: the same decisions by epoch, in order, for values in [0, 1], only if they are first
        exposures of units; it answers before the normal approximation may, and has its part of
        alpha from the start.
    binary: values are 0 or 1, so the burn-in counts events
    rates: as in Ratios, of a metric that is one, with binary values; instead of `exact`
    events: the same first exposures as events; they answer relative margins
    """

    state: MeanState
    exact: tuple[BoundedState, ...] | None = None
    binary: bool = False
    rates: tuple[RateState, ...] | None = None
    events: Events | None = None


class Ratios(msgspec.Struct, frozen=True, tag="ratios"):
    """A classifier metric from counts by unit bucket, one block for each epoch.

    rates: of units' first exposures, by epoch, in order, for the exact test, which has its part of
        alpha from the start; None for metrics that are no rates
    """

    blocks: tuple[RatioBlock, ...]
    statistic: Statistic
    rates: tuple[RateState, ...] | None = None


class Pairs(msgspec.Struct, frozen=True):
    """A classifier metric over pairs of answers to the same requests. Exact at any count.

    pairs: champion's answers (as served) and challenger's (as shadow), one pair of each unit
    coverage: labels by the action that was truly served; may_deny: as in labels.selection. Where
        labels are not shown to arrive for both actions, there is no effect to speak of.
    """

    pairs: Paired
    worth: Worth
    coverage: ActionCoverage
    may_deny: bool


class Quantiles(msgspec.Struct, frozen=True):
    """A quantile of latency, in microseconds; for absolute margins.

    epochs: latencies of units' first exposures, challenger's and champion's, in order
    p: the quantile; t_opt: as in quantile.BetaBinomial
    """

    epochs: tuple[tuple[LatencyHistogram, LatencyHistogram], ...]
    p: float
    t_opt: float = 1_000.0


MetricEvidence = Events | Means | Ratios | Quantiles | Pairs


class Effect(msgspec.Struct, frozen=True):
    """How much larger the challenger's metric is.

    estimate, lower, upper: challenger - champion, or challenger / champion - 1 where relative;
        estimate is None where there is none yet, bounds are infinite where nothing bounds them
    challenger, champion: levels, None where the evidence knows only their ratio
    n: units or decisions of challenger, champion
    """

    estimate: float | None
    lower: float
    upper: float
    challenger: float | None
    champion: float | None
    n: tuple[int, int]
    method: str


class Unknown(msgspec.Struct, frozen=True):
    """Why there is no effect to speak of.

    empty: an arm has no data at all, rather than too little
    selective: the labels depend on what was served, or may, so that more of them do not help
    """

    why: str
    n: tuple[int, int]
    empty: bool
    selective: bool = False
