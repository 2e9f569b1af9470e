"""Matured blocks folded into tests, each exactly once and in order, as one value to be stored.

Judging then costs the same however many blocks or decisions there were. A block that was folded is
never folded again: later corrections change reports, never wealth.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from pointsman.domain.evidence import (
    FIRST,
    FIRST_CONFUSION,
    LATENCY,
    PAIRED,
    Confusion,
    CrossMoments,
    LatencyHistogram,
    Moments,
    Paired,
    Payload,
    member,
)
from pointsman.domain.evidence import merge as merged
from pointsman.judge import bounded, covariate, event, labels, mean, rates
from pointsman.judge.bounded import BoundedState
from pointsman.judge.covariate import CovariateState
from pointsman.judge.event import EventBlock, EventState
from pointsman.judge.kinds import Events, Means, MetricEvidence, Pairs, Quantiles, Ratios
from pointsman.judge.labels import ActionCoverage
from pointsman.judge.mean import MeanBlock, MeanState
from pointsman.judge.paired import Worth, transposed
from pointsman.judge.rates import Rates, RateState
from pointsman.judge.ratio import Cells, RatioBlock, Statistic
from pointsman.judge.verdict import Evidence, Health

Key = tuple[str, str]
"""Metric and slice, as in a cell's key."""

_P = TypeVar("_P", Moments, CrossMoments, LatencyHistogram)
_State = TypeVar("_State", EventState, BoundedState, RateState)


class EventTest(msgspec.Struct, frozen=True):
    """Moments of 0/1, one decision a unit and epoch, for event.py and, over all epochs, mean.py.

    cell: metric of the cells it reads (`first/error`); empty where the key's metric names them.
        So for every test: many metrics are read from the same cells.
    """

    cell: str = ""


class MeanTest(msgspec.Struct, frozen=True):
    """Moments, or CrossMoments that are adjusted by their covariate.

    binary: values are 0 or 1
    scale: what values are multiplied by, for a metric in another unit than its cells'
    first_exposures: one decision a unit and values in [0, 1], so the exact bound may be used too
    events: values are 0 or 1 too, and relative bounds are held against them as events
    rates: of a metric that is one, for the exact test of `FIRST_CONFUSION` beside this
    """

    binary: bool = False
    first_exposures: bool = False
    cell: str = ""
    scale: float = 1.0
    events: bool = False
    rates: Rates | None = None


class RatioTest(msgspec.Struct, frozen=True):
    """Confusion or score counts, for a classifier metric; of those that are rates (the statistic
    says which) also `FIRST_CONFUSION`, for the exact test."""

    statistic: Statistic
    cell: str = ""


class QuantileTest(msgspec.Struct, frozen=True):
    """Latencies of units' first exposures, for quantile.py.

    p: the quantile, in (0, 1); t_opt: decisions of an arm at which its bound is to be tightest
    """

    p: float
    t_opt: float = 1_000.0
    cell: str = member(FIRST, LATENCY)


class PairTest(msgspec.Struct, frozen=True):
    """Pairs of answers, whichever of the two served and the other shadowed, for paired.py.

    challenger, champion: variants; may_deny: either denies some class (labels.selection)
    The metric in the test's key is a name only: cells are those of `PAIRED` and the slice.
    """

    challenger: str
    champion: str
    worth: Worth
    may_deny: bool


Test = EventTest | MeanTest | RatioTest | QuantileTest | PairTest


class Block(msgspec.Struct, frozen=True):
    """One matured block of one epoch: its cells by assigned variant, and the share known for it.

    share: chance of the challenger among the two, when these decisions were made
    """

    block_ms: int
    epoch: int
    share: float
    challenger: Mapping[Key, Payload]
    champion: Mapping[Key, Payload]


class Progress(msgspec.Struct, frozen=True):
    """Everything folded so far, and through which (block, epoch).

    events, exact: by epoch, in order, for exact tests, that never add epochs up
    event_units: first exposures of challenger, champion beside each event test
    rates: of first exposures, by epoch, in order
    ratios: cells merged by share
    latencies: challenger's and champion's, by epoch, in order
    pairs: champion's and challenger's answers, and labels by the action that was served
    """

    through: tuple[int, int] | None = None
    events: dict[Key, tuple[tuple[int, EventState], ...]] = {}
    event_units: dict[Key, tuple[int, int]] = {}
    means: dict[Key, MeanState] = {}
    exact: dict[Key, tuple[tuple[int, BoundedState], ...]] = {}
    covariates: dict[Key, CovariateState] = {}
    rates: dict[Key, tuple[tuple[int, RateState], ...]] = {}
    ratios: dict[Key, tuple[RatioBlock, ...]] = {}
    latencies: dict[Key, tuple[tuple[int, LatencyHistogram, LatencyHistogram], ...]] = {}
    pairs: dict[Key, tuple[Paired, ActionCoverage]] = {}


def fold(progress: Progress, block: Block, tests: Mapping[Key, Test]) -> Progress:
    """The progress with one more matured block.

    tests: what is tested, fixed before the first block
    Errors: ValueError for a block that is not after the last one; TypeError for cells of a kind
    that the test cannot read.
    """
    at = (block.block_ms, block.epoch)
    if progress.through is not None and at <= progress.through:
        raise ValueError(f"block {at} is not after {progress.through}: it may have been folded")
    for key, test in tests.items():
        match test:
            case EventTest():
                progress = _fold_event(progress, key, block, test.cell)
                progress = _fold_mean(progress, key, block, MeanTest(cell=test.cell))
            case MeanTest():
                if test.events:
                    progress = _fold_event(progress, key, block, test.cell)
                progress = _fold_mean(progress, key, block, test)
                progress = _fold_rates(progress, key, block, test.rates)
            case RatioTest():
                progress = _fold_ratio(progress, key, block, test)
                progress = _fold_rates(progress, key, block, test.statistic.rates)
            case QuantileTest():
                progress = _fold_latencies(progress, key, block, test)
            case PairTest():
                progress = _fold_pairs(progress, key, block, test)
    return replace(progress, through=at)


def evidence(
    progress: Progress, tests: Mapping[Key, Test], health: Health, epochs: Sequence[int] = ()
) -> Evidence:
    """What `judge` reads. A test that met no cell at all has no entry: no data.

    epochs: all that decide by draw, in order, whether or not a test met any cell of theirs: their
        place is their part of the error. Where none are given, those that each test met.
    """
    found: dict[Key, MetricEvidence] = {}
    for key, test in tests.items():
        match test:
            case EventTest() if key in progress.events:
                found[key] = _events(progress, key, epochs)
            case MeanTest() if key in progress.means:
                parts = None
                if test.first_exposures:
                    parts = _in_order(progress.exact[key], epochs, BoundedState())
                right = None if test.rates is None else _rates(progress, key, epochs)
                # One that began to ask for events in mid-run has them from then on.
                begun = test.events and key in progress.events
                events = _events(progress, key, epochs) if begun else None
                found[key] = Means(progress.means[key], parts, test.binary, right, events)
            case RatioTest() if key in progress.ratios:
                of = None if test.statistic.rates is None else _rates(progress, key, epochs)
                found[key] = Ratios(progress.ratios[key], test.statistic, of)
            case QuantileTest() if key in progress.latencies:
                arms = tuple((one, two) for _, one, two in progress.latencies[key])
                found[key] = Quantiles(arms, test.p, test.t_opt)
            case PairTest() if key in progress.pairs:
                known, coverage = progress.pairs[key]
                found[key] = Pairs(known, test.worth, coverage, test.may_deny)
            case _:
                continue
    return Evidence(found, health)


def _events(progress: Progress, key: Key, epochs: Sequence[int]) -> Events:
    states = _in_order(progress.events[key], epochs, EventState())
    return Events(states, progress.event_units[key], progress.means[key])


def _rates(progress: Progress, key: Key, epochs: Sequence[int]) -> tuple[RateState, ...]:
    return _in_order(progress.rates.get(key, ()), epochs, RateState())


def _fold_event(progress: Progress, key: Key, block: Block, cell: str) -> Progress:
    """Events alone; `_fold_mean` has the same cell as a mean."""
    pair = _pair(block, _read(key, cell), Moments)
    if pair is None:
        return progress
    one, two = pair
    counts = EventBlock(round(sum(one.total)), round(sum(two.total)), block.share)
    states = progress.events.get(key, ())
    state = event.fold(dict(states).get(block.epoch, EventState()), counts)
    units = progress.event_units.get(key, (0, 0))
    more = (units[0] + sum(one.n), units[1] + sum(two.n))
    return replace(
        progress,
        events={**progress.events, key: _with(states, block.epoch, state)},
        event_units={**progress.event_units, key: more},
    )


def _fold_mean(progress: Progress, key: Key, block: Block, test: MeanTest) -> Progress:
    at = _read(key, test.cell)
    if any(isinstance(cells.get(at), CrossMoments) for cells in (block.challenger, block.champion)):
        crossed = _pair(block, at, CrossMoments)
        assert crossed is not None
        before = progress.covariates.get(key, CovariateState())
        pair = (covariate.adjusted(before, crossed[0]), covariate.adjusted(before, crossed[1]))
        after = covariate.fold(before, *crossed)
        progress = replace(progress, covariates={**progress.covariates, key: after})
    else:
        plain = _pair(block, at, Moments)
        if plain is None:
            return progress
        pair = plain
    cells = MeanBlock(_scaled(pair[0], test.scale), _scaled(pair[1], test.scale), block.share)
    means = mean.fold(progress.means.get(key, MeanState()), cells)
    progress = replace(progress, means={**progress.means, key: means})
    if not test.first_exposures:
        return progress
    states = progress.exact.get(key, ())
    # Not even the baseline crosses epochs: the same units made it that are drawn upon again.
    exact = bounded.fold(dict(states).get(block.epoch, BoundedState()), cells)
    return replace(progress, exact={**progress.exact, key: _with(states, block.epoch, exact)})


def _with(
    states: tuple[tuple[int, _State], ...], epoch: int, state: _State
) -> tuple[tuple[int, _State], ...]:
    """With one epoch's state put in its place."""
    return tuple(sorted({**dict(states), epoch: state}.items(), key=lambda one: one[0]))


def _in_order(
    states: tuple[tuple[int, _State], ...], epochs: Sequence[int], none: _State
) -> tuple[_State, ...]:
    known = dict(states)
    return tuple(known.get(epoch, none) for epoch in epochs or sorted(known))


def _scaled(cell: Moments, by: float) -> Moments:
    if by == 1.0:
        return cell
    return Moments(cell.n, [by * y for y in cell.total], [by * by * yy for yy in cell.squares])


def _fold_ratio(progress: Progress, key: Key, block: Block, test: RatioTest) -> Progress:
    at = _read(key, test.cell)
    one, two = block.challenger.get(at), block.champion.get(at)
    if one is None and two is None:
        return progress
    pair = tuple(_cells(mine, other, at) for mine, other in ((one, two), (two, one)))
    by_share = {known.share: known for known in progress.ratios.get(key, ())}
    known = by_share.get(block.share)
    if known is not None:
        pair = (_added(known.challenger, pair[0]), _added(known.champion, pair[1]))
    by_share[block.share] = RatioBlock(pair[0], pair[1], block.share)
    rows = tuple(by_share[share] for share in sorted(by_share))
    return replace(progress, ratios={**progress.ratios, key: rows})


def _fold_rates(progress: Progress, key: Key, block: Block, test: Rates | None) -> Progress:
    """Labels of first exposures, beside those of every decision."""
    at = (FIRST_CONFUSION, key[1])
    one, two = block.challenger.get(at), block.champion.get(at)
    if test is None or (one is None and two is None) or not 0.0 < block.share < 1.0:
        return progress
    states = progress.rates.get(key, ())
    state = dict(states).get(block.epoch, RateState())
    state = rates.merge(state, test.counted(_confusion(one, at), _confusion(two, at)))
    return replace(progress, rates={**progress.rates, key: _with(states, block.epoch, state)})


def _confusion(cell: Payload | None, key: Key) -> list[int]:
    if not isinstance(cell, Confusion | None):
        raise TypeError(_wrong(key, (cell,), "Confusion"))
    return [] if cell is None else cell.counts


def _fold_latencies(progress: Progress, key: Key, block: Block, test: QuantileTest) -> Progress:
    pair = _pair(block, _read(key, test.cell), LatencyHistogram)
    if pair is None:
        return progress
    by_epoch = {epoch: (one, two) for epoch, one, two in progress.latencies.get(key, ())}
    known = by_epoch.get(block.epoch, (LatencyHistogram(), LatencyHistogram()))
    both = [merged(old, new) for old, new in zip(known, pair, strict=True)]
    one, two = (cell for cell in both if isinstance(cell, LatencyHistogram))
    by_epoch[block.epoch] = (one, two)
    rows = tuple((epoch, *by_epoch[epoch]) for epoch in sorted(by_epoch))
    return replace(progress, latencies={**progress.latencies, key: rows})


def _fold_pairs(progress: Progress, key: Key, block: Block, test: PairTest) -> Progress:
    """Shares do not matter: nothing is drawn, and both models saw every pair."""
    for cells, shadow in ((block.champion, test.challenger), (block.challenger, test.champion)):
        cell = cells.get((member(PAIRED, shadow), key[1]))
        if cell is None:
            continue
        if not isinstance(cell, Paired):
            raise TypeError(_wrong(key, (cell,), "Paired"))
        more = cell if shadow == test.challenger else transposed(cell)
        coverage = labels.coverage_of(cell)
        if key in progress.pairs:
            known, covered = progress.pairs[key]
            total = merged(known, more)
            assert isinstance(total, Paired)
            more, coverage = total, labels.merge(covered, coverage)
        progress = replace(progress, pairs={**progress.pairs, key: (more, coverage)})
    return progress


def _read(key: Key, cell: str) -> Key:
    """Where in a block's cells a test reads."""
    return cell or key[0], key[1]


def _pair(block: Block, key: Key, kind: type[_P]) -> tuple[_P, _P] | None:
    """Both arms' cells, empty where one has none; None where neither has."""
    found = [cells.get(key) for cells in (block.challenger, block.champion)]
    if found == [None, None]:
        return None
    one, two = (kind() if cell is None else cell for cell in found)
    if not isinstance(one, kind) or not isinstance(two, kind):
        raise TypeError(_wrong(key, (one, two), kind.__name__))
    return one, two


def _cells(mine: Payload | None, other: Payload | None, key: Key) -> Cells:
    cell = mine if mine is not None else other
    if not isinstance(cell, Cells):
        raise TypeError(_wrong(key, (mine, other), "Confusion or ScoreHistogram"))
    if mine is not None:
        return cell
    empty = [0] * len(cell.counts)
    return replace(cell, counts=empty, by_bucket={})


def _added(a: Cells, b: Cells) -> Cells:
    total = merged(a, b)
    assert isinstance(total, Cells)
    return total


def _wrong(key: Key, cells: tuple[object, ...], wanted: str) -> str:
    kinds = ", ".join(type(cell).__name__ for cell in cells)
    return f"cells of {key[0]!r} in slice {key[1]!r} are {kinds}; the test reads {wanted}"


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Progress)


def encode(progress: Progress) -> bytes:
    """Bytes to store beside the positions of the blocks, in their transaction."""
    return _ENCODER.encode(progress)


def decode(blob: bytes) -> Progress:
    """The progress. Raises msgspec.ValidationError on anything else."""
    return _DECODER.decode(blob)
