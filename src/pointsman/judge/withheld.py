"""Verdicts that claim nothing by labels which depend on what was served (labels.py).

A criterion that needs such labels neither passes nor fails; every other one goes on. Where labels
are known to be selective, something is wrong, and a rollout holds. While that is not known yet, no
pass is given, and a shown harm stands: a way back never waits.
"""

from typing import assert_never

from msgspec.structs import replace

from pointsman.judge.assess import judge
from pointsman.judge.kinds import Pairs
from pointsman.judge.labels import Labels, Selection
from pointsman.judge.verdict import (
    Code,
    Criteria,
    Criterion,
    Evidence,
    Fail,
    Inconclusive,
    Measure,
    NoData,
    Pass,
    Reason,
    Verdict,
)

_CLAIMS = {
    Labels.SELECTIVE: ("pass", "fail", "inconclusive"),
    Labels.UNPROVEN: ("pass", "inconclusive"),
}


def judge_by_labels(evidence: Evidence, criteria: Criteria, labels: Selection) -> Verdict:
    """As `judge`, where labels are what `labels` says of them.

    Pairs are judged as they are: they know the labels of their own.
    """
    whole = judge(evidence, criteria)
    claims = _CLAIMS.get(labels.labels, ())
    withheld = {
        measure.criterion.key: measure.criterion
        for measure in whole.measures
        if measure.criterion.needs_labels
        and measure.verdict in claims
        and not isinstance(evidence.metrics.get(measure.criterion.key), Pairs)
    }
    if not withheld:
        return whole
    kept = {key: known for key, known in evidence.metrics.items() if key not in withheld}
    rest = judge(replace(evidence, metrics=kept), criteria)
    known = {(one.criterion.role, one.criterion.key): one for one in whole.measures}
    measures = tuple(
        _withheld(known[one.criterion.role, one.criterion.key], labels)
        if one.criterion.key in withheld
        else one
        for one in rest.measures
    )
    reasons = tuple(_reason(criterion, labels) for criterion in withheld.values())
    is_selective = labels.labels is Labels.SELECTIVE
    match rest:
        case Fail():
            return replace(rest, measures=measures)
        case Inconclusive():
            # Pass and NoData come later in the order of `judge`, so something is wrong besides.
            return Inconclusive(rest.reasons + reasons, measures, holds=rest.holds)
        case NoData():
            silent = tuple(
                reason for reason in rest.reasons if (reason.metric, reason.slice) not in withheld
            )
            if silent and not is_selective:
                return NoData(silent + reasons, measures)
            return Inconclusive(reasons + silent, measures, holds=is_selective)
        case Pass():
            raise AssertionError("a criterion without evidence is no pass")
        case _:
            assert_never(rest)


def _withheld(known: Measure, labels: Selection) -> Measure:
    """How much there is of it, and nothing of what it seems to say."""
    empty = Measure(known.criterion, known.n, known.alpha, known.harm_alpha)
    return replace(empty, verdict="inconclusive", text=_reason(known.criterion, labels).text)


def _reason(criterion: Criterion, labels: Selection) -> Reason:
    where = f" ({criterion.slice})" if criterion.slice else ""
    is_selective = labels.labels is Labels.SELECTIVE
    return Reason(
        Code.SELECTIVE_LABELS if is_selective else Code.UNPROVEN_LABELS,
        f"{criterion.metric}{where}: {labels.text}",
        criterion.metric,
        criterion.slice,
        criterion.needs_labels,
    )
