"""Quality of a classifier from confusion counts and score histograms.

Rates over labelled decisions are proportions, so they have exact intervals at every look. Classes
go by their index in the project's order.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from pointsman.domain.evidence import SCORE_BINS, Confusion, Moments, ScoreHistogram
from pointsman.judge.figure import Answer, Figure, Interval, NoData
from pointsman.judge.sequential import (
    ALPHA,
    EXPECTED_N,
    MIN_EVENTS,
    asymptotic_radius,
    mean,
    proportion,
)

_AUC_METHOD: Final = (
    "asymptotic at every look (DeLong), widened by ties within score bins; takes decisions as "
    "independent"
)
_NOTHING: Final = NoData("there are no labelled decisions yet")


class Labelled(msgspec.Struct, frozen=True):
    """The labelled evidence of one variant: cells of one rule and epoch, merged.

    positive: index of the positive class, None where the project has none
    log_loss, brier: moments per decision; NoData answers where a cell is None
    """

    confusion: Confusion | None = None
    scores: ScoreHistogram | None = None
    log_loss: Moments | None = None
    brier: Moments | None = None
    positive: int | None = None


def classifier_metric(of: str, evidence: Labelled, alpha: float = ALPHA) -> Answer:
    """A metric by its name in the spec (`of: recall`).

    The Brier score of two classes is that of the positive one, 0 to 1, as scikit-learn has it; of
    more it is the sum over classes, 0 to 2.
    Errors: ValueError for a name that is none, or an alpha outside (0, 1).
    """
    if of == "log_loss":
        return _NOTHING if evidence.log_loss is None else mean(evidence.log_loss, alpha)
    if of == "brier":
        return _NOTHING if evidence.brier is None else _brier(evidence, evidence.brier, alpha)
    if of == "auc":
        return _NOTHING if evidence.scores is None else auc(evidence.scores, alpha)
    if of not in _RATES:
        raise ValueError(f"there is no classifier metric named {of!r}")
    if evidence.confusion is None:
        return _NOTHING
    return _RATES[of](evidence.confusion, evidence.positive, alpha)


def accuracy(confusion: Confusion, alpha: float = ALPHA) -> Answer:
    """Share of labelled decisions whose predicted class is the label."""
    k = confusion.classes
    right = sum(confusion.counts[i * k + i] for i in range(k))
    return _share(right, sum(confusion.counts), alpha, "there are no labelled decisions yet")


def recall(confusion: Confusion, label: int, alpha: float = ALPHA) -> Answer:
    """Of the decisions with this label, the share that was predicted to have it."""
    k = confusion.classes
    row = confusion.counts[label * k : (label + 1) * k]
    return _share(row[label], sum(row), alpha, "no decision has this label yet")


def precision(confusion: Confusion, predicted: int, alpha: float = ALPHA) -> Answer:
    """Of the labelled decisions predicted to be this class, the share that is."""
    column = confusion.counts[predicted :: confusion.classes]
    return _share(column[predicted], sum(column), alpha, "no labelled decision predicts this class")


def specificity(confusion: Confusion, positive: int, alpha: float = ALPHA) -> Answer:
    """Of the decisions whose label is not this class, the share not predicted to be it."""
    k = confusion.classes
    others = [row for row in range(k) if row != positive]
    n = sum(sum(confusion.counts[row * k : (row + 1) * k]) for row in others)
    wrong = sum(confusion.counts[row * k + positive] for row in others)
    return _share(n - wrong, n, alpha, "every labelled decision is of the positive class")


def f1(confusion: Confusion, positive: int, alpha: float = ALPHA) -> Answer:
    """Harmonic mean of precision and recall.

    It is 2J / (1 + J), where J is the share of true positives among decisions that are positive by
    label or by prediction: a proportion, so the interval is exact.
    """
    k = confusion.classes
    both = confusion.counts[positive * k + positive]
    either = (
        sum(confusion.counts[positive * k : (positive + 1) * k])
        + sum(confusion.counts[positive::k])
        - both
    )
    found = _share(both, either, alpha, "no labelled decision is or predicts the positive class")
    if isinstance(found, NoData) or isinstance(found.interval, NoData):
        return found
    low, value, high = (
        2 * j / (1 + j) for j in (found.interval.low, found.value, found.interval.high)
    )
    return Figure(value, found.n, replace(found.interval, low=low, high=high))


def balanced_accuracy(confusion: Confusion, alpha: float = ALPHA) -> Answer:
    """Mean recall over all classes; each has an equal part of alpha."""
    k = confusion.classes
    recalls = [recall(confusion, label, alpha / k) for label in range(k)]
    figures = [found for found in recalls if isinstance(found, Figure)]
    intervals = [figure.interval for figure in figures if isinstance(figure.interval, Interval)]
    n = sum(confusion.counts)
    if len(intervals) < k:
        return NoData(f"only {len(figures)} of {k} classes have a labelled decision", n)
    return Figure(
        math.fsum(figure.value for figure in figures) / k,
        n,
        Interval(
            math.fsum(interval.low for interval in intervals) / k,
            math.fsum(interval.high for interval in intervals) / k,
            alpha,
            intervals[0].method,
        ),
    )


def auc(scores: ScoreHistogram, alpha: float = ALPHA, expected_n: int = EXPECTED_N) -> Answer:
    """Chance that a positive decision scores above a negative one, ties counting half.

    Scores in one bin count as tied, which can be off by half the pairs that share a bin; the
    interval is widened by that much.
    Source: DeLong, DeLong, Clarke-Pearson (Biometrics 1988), placements taken bin by bin; the
    radius as for means.
    """
    negatives, positives = scores.counts[:SCORE_BINS], scores.counts[SCORE_BINS:]
    m, n = sum(positives), sum(negatives)
    if not m or not n:
        return NoData("it takes labels of both kinds", m + n)
    above_negatives = _placements(negatives)
    # A negative's placement is how far it lies below the positives: seen from the other end.
    below_positives = _placements(positives[::-1])[::-1]
    value = math.fsum(p * v for p, v in zip(positives, above_negatives, strict=True)) / m
    if min(m, n) < MIN_EVENTS:
        few = NoData(f"an interval needs at least {MIN_EVENTS} labels of each kind", m + n)
        return Figure(value, m + n, few)
    variance = _variance(positives, above_negatives, value) / m
    variance += _variance(negatives, below_positives, value) / n
    if not variance:
        return Figure(value, m + n, NoData("the scores separate the labels without a miss", m + n))
    tied = sum(p * q for p, q in zip(positives, negatives, strict=True)) / (2 * m * n)
    radius = tied + asymptotic_radius(math.sqrt(variance), m + n, alpha, expected_n)
    low, high = max(value - radius, 0.0), min(value + radius, 1.0)
    return Figure(value, m + n, Interval(low, high, alpha, _AUC_METHOD))


def brier(scores: ScoreHistogram) -> Answer:
    """Mean squared difference of the positive class's score and what happened, exactly; 0 to 1.

    No interval: that comes from the moments, which know the units.
    """
    n = sum(scores.counts)
    positives = sum(scores.counts[SCORE_BINS:])
    total = math.fsum([*scores.squares, -2 * scores.total[1], positives])
    return _without_interval(total, n)


def log_loss(scores: ScoreHistogram) -> Answer:
    """Mean of -ln of the probability given to what happened to the positive class, in nats.

    No interval: that comes from the moments, which know the units.
    """
    return _without_interval(math.fsum(scores.log_loss), sum(scores.counts))


def _brier(evidence: Labelled, moments: Moments, alpha: float) -> Answer:
    """Cells hold the sum over all classes; of two classes both say the same, and one is meant."""
    found = mean(moments, alpha)
    two = evidence.confusion is not None and evidence.confusion.classes == 2
    if not two or isinstance(found, NoData):
        return found
    interval = found.interval
    if isinstance(interval, Interval):
        interval = replace(interval, low=interval.low / 2, high=interval.high / 2)
    return Figure(found.value / 2, found.n, interval)


def _share(events: int, n: int, alpha: float, otherwise: str) -> Answer:
    return proportion(events, n, alpha) if n else NoData(otherwise)


def _without_interval(total: float, n: int) -> Answer:
    if n == 0:
        return _NOTHING
    return Figure(total / n, n, NoData("a score histogram does not know the units", n))


def _placements(among: list[int]) -> list[float]:
    """For each bin, the share of `among` in lower bins, and half of those in the same one."""
    total, below = sum(among), 0
    found: list[float] = []
    for count in among:
        found.append((below + count / 2) / total)
        below += count
    return found


def _variance(counts: list[int], placements: list[float], centre: float) -> float:
    squares = math.fsum(c * (v - centre) ** 2 for c, v in zip(counts, placements, strict=True))
    return squares / (sum(counts) - 1)


def _of_positive(metric: Callable[[Confusion, int, float], Answer]) -> "_Rate":
    def of_positive(confusion: Confusion, positive: int | None, alpha: float) -> Answer:
        if positive is None:
            n = sum(confusion.counts)
            return NoData("the project declares no positive class", n)
        return metric(confusion, positive, alpha)

    return of_positive


def _of_all(metric: Callable[[Confusion, float], Answer]) -> "_Rate":
    return lambda confusion, _, alpha: metric(confusion, alpha)


_Rate = Callable[[Confusion, int | None, float], Answer]
_RATES: Final[dict[str, _Rate]] = {
    "accuracy": _of_all(accuracy),
    "balanced_accuracy": _of_all(balanced_accuracy),
    "precision": _of_positive(precision),
    "recall": _of_positive(recall),
    "specificity": _of_positive(specificity),
    "f1": _of_positive(f1),
}
