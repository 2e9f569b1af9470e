"""Differences of ratios and classifier metrics between two variants, from counts by unit bucket.

Precision, recall, F1, AUC, calibration and expected cost are smooth functions of how decisions
spread over cells (label x prediction, or label x score bin). Each arm's spread is taken over the
same decisions: an epoch's counts weigh 1 - share for the challenger and share for the champion, so
each epoch has the same say in both arms and nothing is pooled across a weight change. A metric is
a ratio of such sums, so labels that arrive for a part of the decisions do not bias it, as long as
that part is alike in both arms (sample_ratio.coverage_log_e).

Variance is the jackknife over the 64 unit-hash buckets: units are whole within a bucket, so it
holds though the requests of one unit resemble each other, and needs no derivative of any metric.

Sources: Shao & Tu (1995), The Jackknife and Bootstrap, section 2.3 (grouped jackknife, smooth
functions); Deng, Knoblich, Lu (2018), KDD, section 3 (ratios, clusters); Li, Morgan, Zaslavsky
(2018), JASA (overlap weights); Waudby-Smith et al. (2024) for the sequence over it (mixture.py).
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from pointsman.domain.evidence import BUCKETS, SCORE_BINS, Confusion, ScoreHistogram, score_edge
from pointsman.judge.mean import Contrast
from pointsman.judge.mixture import Floats
from pointsman.judge.rates import Rates

MIN_DENOMINATOR: Final = 50
MIN_RARER: Final = 20
"""Burn-in, in each arm: decisions a rate is taken over, and those of its rarer outcome."""

_MIN_BUCKETS: Final = 32
_CALIBRATION_BINS: Final = 16

Cells = Confusion | ScoreHistogram


class RatioBlock(msgspec.Struct, frozen=True):
    """All matured cells of one epoch, merged; or of one block of it.

    share: chance of the challenger among the two; epochs of equal share may be merged
    """

    challenger: Cells
    champion: Cells
    share: float


class Statistic(msgspec.Struct, frozen=True):
    """A metric as a function of weighted counts.

    value: counts of shape (..., cells) to values (...); NaN where it is not defined
    support: one arm's plain counts to (denominator, rarer outcome) for the burn-in
    corrected: take the jackknife's estimate of bias off, for metrics that are biased in small n
    rates: the same for the exact test, of metrics that are rates
    """

    name: str
    value: Callable[[Floats], Floats]
    support: Callable[[Floats], tuple[float, float]]
    corrected: bool = False
    rates: Rates | None = None


class Jackknife(msgspec.Struct, frozen=True):
    """A metric of both arms, and both without each of the unit buckets.

    challenger, champion: estimates
    without_challenger, without_champion: shape (buckets,)
    effective_n: as in mean.Contrast
    """

    challenger: float
    champion: float
    without_challenger: Floats
    without_champion: Floats
    effective_n: float

    def contrast(self, factor: float = 1.0) -> Contrast | None:
        """challenger's metric - factor * champion's; None where it does not vary.

        Both errors are the jackknife's, so bounds use its degrees of freedom.
        """
        without = self.without_challenger - factor * self.without_champion
        groups = len(without)
        variance = (groups - 1) / groups * float(((without - without.mean()) ** 2).sum())
        if not math.isfinite(variance) or variance <= 1e-24 * max(1.0, self.challenger**2):
            return None
        error = math.sqrt(variance)
        return Contrast(
            challenger=self.challenger,
            champion=self.champion,
            difference=self.challenger - factor * self.champion,
            error=error,
            bucket_error=error,
            degrees=groups - 1,
            effective_n=self.effective_n,
        )


def contrast(
    blocks: Sequence[RatioBlock], statistic: Statistic, factor: float = 1.0
) -> Contrast | None:
    """challenger's metric - factor * champion's, for mean.py's bounds and e-values; or None."""
    found = jackknife(blocks, statistic)
    return None if found is None else found.contrast(factor)


def jackknife(blocks: Sequence[RatioBlock], statistic: Statistic) -> Jackknife | None:
    """The metric in both arms, over the same mixture of epochs.

    None before the burn-in, or without enough counts by bucket.
    """
    usable = [block for block in blocks if 0.0 < block.share < 1.0]
    if not usable:
        return None
    weighted, plain = [], []
    for arm in ("challenger", "champion"):
        tables = [dense(getattr(block, arm)) for block in usable]
        weights = [1.0 - b.share if arm == "challenger" else b.share for b in usable]
        weighted.append(np.tensordot(np.array(weights), np.array(tables), axes=1))
        plain.append(np.array(tables).sum(axis=(0, 1)))
    if not all(_enough(*statistic.support(counts)) for counts in plain):
        return None
    one, two = weighted
    filled = (one.sum(axis=1) > 0) & (two.sum(axis=1) > 0)
    if int(filled.sum()) < _MIN_BUCKETS:
        return None
    (value1, without1), (value2, without2) = (
        _jackknifed(arm, filled, statistic) for arm in weighted
    )
    return Jackknife(value1, value2, without1, without2, 2.0 * float(one.sum() + two.sum()))


def levels(blocks: Sequence[RatioBlock], statistic: Statistic) -> tuple[float, float] | None:
    """The metric of challenger and champion, over the same mixture of epochs, from however few
    labels; None where one of them is not defined."""
    usable = [block for block in blocks if 0.0 < block.share < 1.0]
    if not usable:
        return None
    one = sum((1.0 - b.share) * np.array(b.challenger.counts, float) for b in usable)
    two = sum(b.share * np.array(b.champion.counts, float) for b in usable)
    found = [float(statistic.value(np.asarray(arm))) for arm in (one, two)]
    return (found[0], found[1]) if all(map(math.isfinite, found)) else None


def estimate(cells: Cells, statistic: Statistic) -> float | None:
    """The metric of one arm in one epoch; None where that is not to be had yet, as in
    `jackknife`."""
    table = dense(cells)
    filled = table.sum(axis=1) > 0
    if not _enough(*statistic.support(table.sum(axis=0))) or int(filled.sum()) < _MIN_BUCKETS:
        return None
    return _jackknifed(table, filled, statistic)[0]


def dense(cells: Cells) -> Floats:
    """Counts by unit bucket, shape (64, cells)."""
    width = len(cells.counts)
    table = np.zeros(BUCKETS * width)
    if cells.by_bucket:
        table[list(cells.by_bucket)] = list(cells.by_bucket.values())
    return table.reshape(BUCKETS, width)


def accuracy(classes: int) -> Statistic:
    """Share of labelled decisions predicted right."""
    right = np.eye(classes).ravel()
    return _share("accuracy", right, np.ones(classes * classes))


def recall(classes: int, positive: int) -> Statistic:
    """Of the decisions with this label, the share predicted to have it."""
    row = _cells(classes, label=positive)
    return _share("recall", row * _cells(classes, predicted=positive), row)


def precision(classes: int, positive: int) -> Statistic:
    """Of the decisions predicted to be this class, the share that is."""
    column = _cells(classes, predicted=positive)
    return _share("precision", column * _cells(classes, label=positive), column)


def specificity(classes: int, positive: int) -> Statistic:
    """Of the decisions of other labels, the share not predicted to be this class."""
    others = 1.0 - _cells(classes, label=positive)
    return _share("specificity", others * (1.0 - _cells(classes, predicted=positive)), others)


def f1(classes: int, positive: int) -> Statistic:
    """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)."""
    row, column = _cells(classes, label=positive), _cells(classes, predicted=positive)
    either = row + column - row * column
    rate = _rate("f1", 2.0 * row * column, row + column)
    rates = Rates((_at(row * column, either),), f1=True)
    return replace(rate, support=_supported(row * column, either), rates=rates)


def balanced_accuracy(classes: int) -> Statistic:
    """Mean recall over all classes."""
    rates = [recall(classes, label) for label in range(classes)]

    def value(counts: Floats) -> Floats:
        return np.asarray(sum(rate.value(counts) for rate in rates) / classes)

    def support(counts: Floats) -> tuple[float, float]:
        found = [rate.support(counts) for rate in rates]
        return min(d for d, _ in found), math.fsum(r for _, r in found)

    parts = tuple(part for rate in rates if rate.rates for part in rate.rates.parts)
    return Statistic("balanced_accuracy", value, support, rates=Rates(parts))


def expected_cost(costs: npt.ArrayLike) -> Statistic:
    """Mean cost of a labelled decision.

    costs: shape (classes, classes), cost of label (row) predicted as class (column)
    """
    flat = np.asarray(costs, float).ravel()
    _, kind = np.unique(flat, return_inverse=True)

    def support(counts: Floats) -> tuple[float, float]:
        n = float(counts.sum())
        return n, n - float(np.bincount(kind, counts).max())

    return replace(_rate("expected_cost", flat, np.ones_like(flat)), support=support)


def auc() -> Statistic:
    """Chance that a positive scores above a negative one, ties within a score bin counting half."""

    def value(counts: Floats) -> Floats:
        negatives, positives = counts[..., :SCORE_BINS], counts[..., SCORE_BINS:]
        below = np.cumsum(negatives, axis=-1) - 0.5 * negatives
        pairs = negatives.sum(axis=-1) * positives.sum(axis=-1)
        return _divided((positives * below).sum(axis=-1), pairs)

    def support(counts: Floats) -> tuple[float, float]:
        rarer = float(min(counts[:SCORE_BINS].sum(), counts[SCORE_BINS:].sum()))
        return rarer, rarer

    return Statistic("auc", value, support)


def calibration_error() -> Statistic:
    """Mean squared gap between score and frequency, over 16 score bins; 0 is calibrated.

    In squared probability. The plain estimate is too large by its own noise, so the jackknife's
    estimate of that is taken off; it may then be slightly below 0.
    Source: Kumar, Liang, Ma (2019), NeurIPS, section 4 (debiasing).
    """
    edges = np.array([score_edge(index) for index in range(SCORE_BINS + 1)])
    middles = (edges[1:] + edges[:-1]) / 2
    starts = np.arange(0, SCORE_BINS, SCORE_BINS // _CALIBRATION_BINS)

    def value(counts: Floats) -> Floats:
        negatives, positives = counts[..., :SCORE_BINS], counts[..., SCORE_BINS:]
        both = negatives + positives
        n = np.add.reduceat(both, starts, axis=-1)
        gap = np.add.reduceat(positives - both * middles, starts, axis=-1)
        squares = np.divide(gap * gap, n, out=np.zeros_like(gap), where=n > 0)
        return _divided(squares.sum(axis=-1), n.sum(axis=-1))

    def support(counts: Floats) -> tuple[float, float]:
        events = (counts[:SCORE_BINS].sum(), counts[SCORE_BINS:].sum())
        return float(sum(events)), float(min(events))

    return Statistic("calibration_error", value, support, corrected=True)


def _rate(name: str, top: Floats, bottom: Floats) -> Statistic:
    """The ratio of two weighted sums of the counts."""

    def value(counts: Floats) -> Floats:
        return _divided(counts @ top, counts @ bottom)

    return Statistic(name, value, _supported(top, bottom))


def _share(name: str, top: Floats, bottom: Floats) -> Statistic:
    """The same of cells that count once or not at all."""
    return replace(_rate(name, top, bottom), rates=Rates((_at(top, bottom),)))


def _at(top: Floats, bottom: Floats) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where they are not 0."""
    return tuple(np.flatnonzero(top).tolist()), tuple(np.flatnonzero(bottom).tolist())


def _supported(top: Floats, bottom: Floats) -> Callable[[Floats], tuple[float, float]]:
    def support(counts: Floats) -> tuple[float, float]:
        n, k = float(counts @ bottom), float(counts @ top)
        return n, min(k, n - k)

    return support


def _jackknifed(
    counts: Floats, filled: npt.NDArray[np.bool_], statistic: Statistic
) -> tuple[float, Floats]:
    """The estimate, and the estimates without each of the filled buckets."""
    total = counts.sum(axis=0)
    without = statistic.value(total - counts[filled])
    estimate = float(statistic.value(total))
    if statistic.corrected:
        groups = len(without)
        estimate = groups * estimate - (groups - 1) * float(without.mean())
    return estimate, without


def _cells(classes: int, label: int | None = None, predicted: int | None = None) -> Floats:
    """1 for the cells of a confusion with this label or prediction, 0 for the others."""
    table = np.zeros((classes, classes))
    rows = slice(None) if label is None else label
    columns = slice(None) if predicted is None else predicted
    table[rows, columns] = 1.0
    return table.ravel()


def _enough(denominator: float, rarer: float) -> bool:
    return denominator >= MIN_DENOMINATOR and rarer >= MIN_RARER


def _divided(top: Floats, bottom: Floats) -> Floats:
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    out = np.full(np.shape(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=out, where=bottom > 0))
