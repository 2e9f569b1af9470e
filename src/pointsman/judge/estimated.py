"""How a model probably does before labels come: by what its scores have meant so far.

Estimated, never measured: it holds while scores keep their meaning. Where the relation of inputs to
labels changes (concept drift), it stays as it was and reality does not; that shows once labels
come, beside it.
"""

import math
from typing import Final

import msgspec
import numpy as np
from scipy import optimize

from pointsman.domain.evidence import SCORE_BINS, ScoreHistogram
from pointsman.judge.profile import Counts, Floats

FEWEST_LABELS: Final = 200
"""From which scores are given a meaning, some of either class among them."""

_FEWEST_OF_A_CLASS: Final = 20


class Rates(msgspec.Struct, frozen=True):
    """What a binary classifier does on n decisions; None where nothing says.

    *_error: standard error of each, of chance alone: how the labels of these very decisions fall
    """

    n: float
    accuracy: float
    accuracy_error: float
    precision: float | None = None
    precision_error: float | None = None
    recall: float | None = None
    recall_error: float | None = None
    f1: float | None = None
    auc: float | None = None


def meaning(scores: ScoreHistogram) -> Floats | None:
    """Chance of the positive class by score bin, `SCORE_BINS` of them, never falling; None while
    there are too few labels of either class.

    Source: isotonic calibration (Zadrozny & Elkan 2002, KDD, 694-699), weighted by bin.
    """
    other, positive = _by_label(scores)
    n = other + positive
    if n.sum() < FEWEST_LABELS or min(other.sum(), positive.sum()) < _FEWEST_OF_A_CLASS:
        return None
    used = np.flatnonzero(n > 0)
    fitted = optimize.isotonic_regression(positive[used] / n[used], weights=n[used]).x
    # Bins nobody has seen mean what lies between their neighbours.
    chances: Floats = np.interp(np.arange(SCORE_BINS), used, np.clip(fitted, 0.0, 1.0))
    return chances


def estimate(counts: Counts, chances: Floats) -> Rates | None:
    """What these decisions probably come to; None where there are none.

    counts: decisions by predicted class (other, positive) and score bin, [2, SCORE_BINS]
    Source: confidence-based performance estimation: each decision is right with the chance its
    score has meant, so TP = sum of chances over predicted positives, FP = sum of the rest, and so
    on; for AUC each decision counts as both classes, in part (NannyML's documentation, CBPE).
    """
    other, positive = counts.astype(np.float64)
    n = other.sum() + positive.sum()
    if n <= 0:
        return None
    spread = chances * (1.0 - chances)
    found = _Table(
        true_positive=float((positive * chances).sum()),
        false_positive=float((positive * (1.0 - chances)).sum()),
        false_negative=float((other * chances).sum()),
        true_negative=float((other * (1.0 - chances)).sum()),
        of_positive=float((positive * spread).sum()),
        of_other=float((other * spread).sum()),
    )
    both = other + positive
    return found.rates(_auc(both * (1.0 - chances), both * chances))


def realised(confusion: tuple[int, int, int, int], scores: ScoreHistogram | None) -> Rates | None:
    """What labelled decisions came to; None where there are none.

    confusion: true negatives, false positives, false negatives, true positives
    Errors are those of shares of independent decisions.
    """
    tn, fp, fn, tp = (float(max(count, 0)) for count in confusion)
    if tn + fp + fn + tp <= 0:
        return None
    found = _Table(
        true_positive=tp,
        false_positive=fp,
        false_negative=fn,
        true_negative=tn,
        of_positive=tp * fp / (tp + fp) if tp + fp else 0.0,
        of_other=tn * fn / (tn + fn) if tn + fn else 0.0,
    )
    return found.rates(None if scores is None else _auc(*_by_label(scores)))


class _Table(msgspec.Struct, frozen=True):
    """Expected counts, and the variance of how many predicted positives and others are positive."""

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float
    of_positive: float
    of_other: float

    def rates(self, auc: float | None) -> Rates:
        tp, fp, fn, tn = (
            self.true_positive,
            self.false_positive,
            self.false_negative,
            self.true_negative,
        )
        n = tp + fp + fn + tn
        found = tp + fp  # predicted positive: known, not estimated
        there = tp + fn
        # Recall tp / (tp + fn) by the delta method, both counts being independent.
        recall_variance = (
            (fn**2 * self.of_positive + tp**2 * self.of_other) / there**4 if there > 0 else 0.0
        )
        return Rates(
            n=n,
            accuracy=(tp + tn) / n,
            accuracy_error=math.sqrt(self.of_positive + self.of_other) / n,
            precision=tp / found if found > 0 else None,
            precision_error=math.sqrt(self.of_positive) / found if found > 0 else None,
            recall=tp / there if there > 0 else None,
            recall_error=math.sqrt(recall_variance) if there > 0 else None,
            f1=2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn > 0 else None,
            auc=auc,
        )


def _by_label(scores: ScoreHistogram) -> tuple[Floats, Floats]:
    counts = np.maximum(np.asarray(scores.counts, np.float64), 0.0).reshape(2, SCORE_BINS)
    return counts[0], counts[1]


def _auc(other: Floats, positive: Floats) -> float | None:
    """Chance that a positive one has the higher score; ties within a bin count half."""
    pairs = other.sum() * positive.sum()
    if pairs <= 0:
        return None
    below = np.cumsum(other) - other / 2.0
    return float((positive * below).sum() / pairs)
