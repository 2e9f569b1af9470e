"""The judge's verdict in the words a rollout understands."""

from typing import Final, assert_never

from pointsman.judge.verdict import (
    UNSOUND,
    Code,
    Criterion,
    Fail,
    Inconclusive,
    Measure,
    NoData,
    Pass,
    Reason,
)
from pointsman.judge.verdict import Role as JudgeRole
from pointsman.judge.verdict import Verdict as JudgeVerdict
from pointsman.rollout.observation import Finding, Judgement, Role, Unit, Verdict

_ROLES: Final = {
    JudgeRole.GUARDRAIL: Role.GUARDRAIL,
    JudgeRole.SIGNAL: Role.SIGNAL,
    JudgeRole.GOAL: Role.GOAL,
}

_CODES: Final = {
    Code.HARM_SHOWN: Verdict.FAIL,
    Code.GOAL_OUT_OF_REACH: Verdict.FAIL,
    Code.WITHIN_MARGIN: Verdict.PASS,
    Code.GOAL_REACHED: Verdict.PASS,
    Code.NO_DATA: Verdict.NO_DATA,
    Code.NO_CRITERIA: Verdict.NO_DATA,
}
"""Of one criterion; every other code means that nothing is shown yet."""


def judgement(found: JudgeVerdict, shares: frozenset[str]) -> Judgement:
    """The verdict with what decided it.

    shares: metrics that are shares of decisions, whose differences are points
    """
    measures: dict[tuple[JudgeRole, str, str], Measure] = {
        (one.criterion.role, one.criterion.metric, one.criterion.slice): one
        for one in found.measures
    }
    findings = tuple(_finding(reason, measures, shares) for reason in found.reasons)
    holds = isinstance(found, Inconclusive) and found.holds
    return Judgement(verdict_of(found), findings, holds=holds, blind=_blind(found))


def _blind(found: JudgeVerdict) -> str:
    """That labels bear no claim, and which metrics wait for other ones; empty where they do."""
    selective = [one for one in found.reasons if one.code is Code.SELECTIVE_LABELS]
    if not selective:
        return ""
    metrics = ", ".join(dict.fromkeys(one.metric for one in selective))
    return f"{metrics}: neither pass nor fail. {_unnamed(selective[0])}"


def verdict_of(found: JudgeVerdict) -> Verdict:
    match found:
        case Pass():
            return Verdict.PASS
        case Fail():
            return Verdict.FAIL
        case Inconclusive():
            return Verdict.INCONCLUSIVE
        case NoData():
            return Verdict.NO_DATA
        case _:
            assert_never(found)


def unit(criterion: Criterion, shares: frozenset[str]) -> Unit:
    """How a criterion's numbers are written."""
    if criterion.relative:
        return Unit.PERCENT
    return Unit.POINTS if criterion.metric in shares else Unit.PLAIN


def bound(criterion: Criterion) -> float:
    """What a difference is held against, with its sign."""
    return -criterion.margin if criterion.worse.value == "lower" else criterion.margin


def _finding(
    reason: Reason,
    measures: dict[tuple[JudgeRole, str, str], Measure],
    shares: frozenset[str],
) -> Finding:
    if reason.code in UNSOUND or not reason.metric:
        return Finding(
            Role.EVIDENCE,
            "",
            _CODES.get(reason.code, Verdict.INCONCLUSIVE),
            needs_labels=reason.needs_labels,
            text=reason.text,
        )
    role, measure = _measured(reason, measures)
    return Finding(
        role=role,
        metric=reason.metric,
        verdict=_CODES.get(reason.code, Verdict.INCONCLUSIVE),
        slice=reason.slice,
        value=measure.estimate,
        bound=bound(measure.criterion),
        unit=unit(measure.criterion, shares),
        n=measure.n[0],
        needs_labels=reason.needs_labels,
        text=_unnamed(reason),
    )


def _unnamed(reason: Reason) -> str:
    """A reason's sentence without what it is about, which a finding names by itself."""
    where = f" ({reason.slice})" if reason.slice else ""
    return reason.text.removeprefix(f"{reason.metric}{where}: ")


def _measured(
    reason: Reason, measures: dict[tuple[JudgeRole, str, str], Measure]
) -> tuple[Role, Measure]:
    """The measure behind a reason: of its own role, where a metric is bounded in two."""
    for role in (reason.role,) if reason.role is not None else JudgeRole:
        measure = measures.get((role, reason.metric, reason.slice))
        if measure is not None:
            return _ROLES[role], measure
    raise LookupError(f"a reason about {reason.metric!r} without a measure")
