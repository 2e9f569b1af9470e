"""Which test answers a metric of a spec, and which cells it reads."""

from collections.abc import Sequence
from typing import Final

from pointsman.domain import evidence
from pointsman.judge import ratio
from pointsman.judge.progress import MeanTest, QuantileTest, RatioTest

_OF_ONE_CLASS: Final = {
    "recall": ratio.recall,
    "precision": ratio.precision,
    "specificity": ratio.specificity,
    "f1": ratio.f1,
}


def of_classifier(
    of: str, classes: int, positive: int | None, costs: Sequence[Sequence[float]] | None = None
) -> MeanTest | RatioTest:
    """The test of a classifier metric by its name: those of a spec (`of: recall`), and
    `calibration_error` and `expected_cost`.

    positive: index of the class that rates speak of; costs: of label (row) predicted as class
    The Brier score is in the unit of `classifier_metric`: of two classes that of the positive one.
    Errors: ValueError for a name that is none, or one that needs a positive class or costs where
    there are none.
    """
    match of:
        case "accuracy":
            right = ratio.accuracy(classes).rates
            return MeanTest(binary=True, cell=evidence.CORRECT, rates=right)
        case "log_loss":
            return MeanTest(cell=evidence.LOG_LOSS)
        case "brier":
            return MeanTest(cell=evidence.BRIER, scale=0.5 if classes == 2 else 1.0)
        case "balanced_accuracy":
            return RatioTest(ratio.balanced_accuracy(classes), evidence.CONFUSION)
        case "expected_cost" if costs is not None:
            return RatioTest(ratio.expected_cost(costs), evidence.CONFUSION)
        case "auc" if positive is not None:
            return RatioTest(ratio.auc(), evidence.SCORE)
        case "calibration_error" if positive is not None:
            return RatioTest(ratio.calibration_error(), evidence.SCORE)
    if of in _OF_ONE_CLASS and positive is not None:
        return RatioTest(_OF_ONE_CLASS[of](classes, positive), evidence.CONFUSION)
    raise ValueError(
        f"no test for {of!r} of {classes} classes, positive: {positive}, costs: {costs}"
    )


def slower(limit_us: int) -> MeanTest:
    """The share of requests that took longer than a limit, over units' first exposures."""
    cell = evidence.member(evidence.FIRST, evidence.slow(limit_us))
    return MeanTest(binary=True, first_exposures=True, cell=cell)


def latency(p: float, expected: float = 1_000.0) -> QuantileTest:
    """The p-quantile of latency, in microseconds, tightest at so many units of an arm."""
    return QuantileTest(p, expected)
