"""From evidence and criteria to one verdict, pure and total.

The order decides: a shown harm first, then unsound evidence and broken signals, then missing
data, then what is not shown yet; a pass is what is left.
"""

import math
from collections.abc import Iterator
from typing import Final, assert_never

from msgspec.structs import replace

from pointsman.judge.e_value import log_e_beyond
from pointsman.judge.effect import effect
from pointsman.judge.kinds import Effect, MetricEvidence, Unknown
from pointsman.judge.multiplicity import e_benjamini_hochberg, weighted_alpha
from pointsman.judge.sample_ratio import Stage, audit_propensities, coverage_log_e, first_alarm
from pointsman.judge.spending import HARM, safety
from pointsman.judge.verdict import (
    Code,
    Criteria,
    Criterion,
    EpochHealth,
    Evidence,
    Fail,
    GoalsNeeded,
    Health,
    Inconclusive,
    Measure,
    NoData,
    Pass,
    Reason,
    Role,
    Verdict,
    Worse,
)

DECIDED_BY: Final = 1_000
"""Decisions (labelled ones, or units) in each arm after which a signal has had its chance: enough
for the burn-in of every metric whose outcomes are not rarer than 5 %, and for what is wholly broken
to be shown many times over."""


def judge(evidence: Evidence, criteria: Criteria) -> Verdict:
    """The verdict, with a reason and the numbers for every criterion.

    Errors: ValueError for criteria that no evidence can meet: a negative margin, a goal without a
    direction, an absolute margin on event evidence.
    """
    _check(criteria)
    shares = _harm_alphas(criteria)
    findings = [
        assess(item, evidence.metrics.get(item.key), criteria, share)
        for item, share in zip(criteria.items, shares, strict=True)
    ]
    measures = tuple(_told(finding) for finding in findings)
    by_role = {
        role: [f for f, c in zip(findings, criteria.items, strict=True) if c.role is role]
        for role in Role
    }
    broken = _reasons(by_role[Role.GUARDRAIL], Fail)
    unsound = _health(evidence.health, criteria)
    if broken:
        return Fail(broken + unsound, measures)
    wrong = unsound + _reasons(by_role[Role.SIGNAL], Fail)
    if criteria.goals_needed is GoalsNeeded.ALL:
        wrong += _reasons(by_role[Role.GOAL], Fail)
    if wrong:
        return Inconclusive(wrong, measures, holds=True)
    silent = _reasons(findings, NoData)
    if silent:
        return NoData(silent, measures)
    if not by_role[Role.GUARDRAIL] and not by_role[Role.GOAL]:
        text = "no guardrail and no goal is given, so nothing can be shown"
        return NoData((Reason(Code.NO_CRITERIA, text),), measures)
    open_yet = _reasons(by_role[Role.GUARDRAIL], Inconclusive) + _open_goals(
        evidence, criteria, by_role[Role.GOAL]
    )
    open_yet += _open_signals(by_role[Role.SIGNAL])
    if open_yet:
        return Inconclusive(open_yet, measures)
    return Pass(_reasons(findings, Pass), measures)


def _told(finding: Verdict) -> Measure:
    """The measure of one criterion, with the verdict on it."""
    verdict = str(type(finding).__struct_config__.tag)
    return replace(finding.measures[0], verdict=verdict, text=finding.reasons[0].text)


def assess(
    criterion: Criterion, evidence: MetricEvidence | None, criteria: Criteria, harm_alpha: float
) -> Verdict:
    """The verdict on one criterion alone, with exactly one reason and one measure."""
    if evidence is None:
        measure = Measure(criterion, (0, 0), criteria.alpha, harm_alpha)
        return NoData((_reason(Code.NO_DATA, criterion, "no data"),), (measure,))
    # A metric that is worse either way is tested both ways, each with half.
    side_alpha = harm_alpha / 2 if criterion.worse is Worse.EITHER else harm_alpha
    safe = safety(criteria.epochs)
    found, harm = (
        effect(evidence, criteria.tuning, alpha, relative=criterion.relative, spending=spending)
        for alpha, spending in ((criteria.alpha, safe), (side_alpha, HARM))
    )
    if isinstance(found, Unknown) or isinstance(harm, Unknown):
        why = found if isinstance(found, Unknown) else harm
        assert isinstance(why, Unknown)
        measure = Measure(criterion, why.n, criteria.alpha, harm_alpha)
        code = Code.NO_DATA if why.empty else Code.BURN_IN
        code = Code.SELECTIVE_LABELS if why.selective else code
        reasons = (_reason(code, criterion, why.why),)
        return NoData(reasons, (measure,)) if why.empty else Inconclusive(reasons, (measure,))
    measure = _measure(criterion, found, harm, criteria.alpha, harm_alpha)
    if criterion.role is Role.GOAL:
        return _goal(criterion, found, harm, measure)
    return _margin(criterion, found, harm, measure)


def _margin(criterion: Criterion, found: Effect, harm: Effect, measure: Measure) -> Verdict:
    """Harm beyond the margin, within it, or neither yet."""
    above, below = criterion.worse is not Worse.LOWER, criterion.worse is not Worse.HIGHER
    margin = criterion.margin
    if (above and harm.lower > margin) or (below and harm.upper < -margin):
        bound = harm.lower if above and harm.lower > margin else harm.upper
        text = f"{_change(criterion, found)}, shown to be beyond {_number(criterion, bound)}"
        return Fail((_reason(Code.HARM_SHOWN, criterion, text),), (measure,))
    if (not above or found.upper < margin) and (not below or found.lower > -margin):
        text = f"{_change(criterion, found)}, shown to be within {_number(criterion, margin)}"
        return Pass((_reason(Code.WITHIN_MARGIN, criterion, text),), (measure,))
    text = f"{_change(criterion, found)}, between {_range(criterion, found)} so far"
    if found.estimate is None:
        text += "; without events in both arms a relative bound is never shown, an absolute one may"
    return Inconclusive((_reason(Code.NOT_YET, criterion, text),), (measure,))


def _goal(criterion: Criterion, found: Effect, harm: Effect, measure: Measure) -> Verdict:
    """An improvement beyond the margin, shown to be out of reach, or neither yet."""
    margin = criterion.margin
    if criterion.worse is Worse.HIGHER:
        reached, missed = found.upper < -margin, harm.lower > -margin
    else:
        reached, missed = found.lower > margin, harm.upper < margin
    text = f"{_change(criterion, found)}, between {_range(criterion, found)}"
    if reached:
        return Pass((_reason(Code.GOAL_REACHED, criterion, text),), (measure,))
    if missed:
        return Fail((_reason(Code.GOAL_OUT_OF_REACH, criterion, text),), (measure,))
    return Inconclusive((_reason(Code.NOT_YET, criterion, f"{text} so far"),), (measure,))


def _open_signals(findings: list[Verdict]) -> tuple[Reason, ...]:
    """Signals that had their chance and keep a promotion back, with `DECIDED_BY` in their text."""
    text = f"; after {DECIDED_BY:,} in each arm that keeps the promotion back"
    return tuple(
        replace(reason, text=reason.text + text)
        for finding in findings
        if isinstance(finding, Inconclusive) and _overdue(finding.measures[0])
        for reason in finding.reasons
    )


def _overdue(measure: Measure) -> bool:
    """Whether a signal that is not decided should be: it has no bounds at all, or what is seen of
    it is beyond its margin. A signal within its margin need not be shown to be: that is what
    guardrails are for, and a small margin would take for ever."""
    if min(measure.n) < DECIDED_BY:
        return False
    if measure.estimate is None:
        return measure.lower is None and measure.upper is None
    worse, margin = measure.criterion.worse, measure.criterion.margin
    return (worse is not Worse.LOWER and measure.estimate > margin) or (
        worse is not Worse.HIGHER and measure.estimate < -margin
    )


def _open_goals(
    evidence: Evidence, criteria: Criteria, findings: list[Verdict]
) -> tuple[Reason, ...]:
    """Why the goals are not reached as needed; nothing where they are."""
    match criteria.goals_needed:
        case GoalsNeeded.ALL:
            return _reasons(findings, Inconclusive)
        case GoalsNeeded.ANY:
            goals = [item for item in criteria.items if item.role is Role.GOAL]
            log_e = {}
            for item in goals:
                found = _goal_log_e(item, evidence.metrics[item.key], criteria)
                log_e["/".join(item.key)] = -math.inf if isinstance(found, Unknown) else found
            discovered = e_benjamini_hochberg(log_e, criteria.alpha)
            return () if discovered or not goals else _reasons(findings, Inconclusive, Pass, Fail)
        case _:
            assert_never(criteria.goals_needed)


def _goal_log_e(
    criterion: Criterion, evidence: MetricEvidence, criteria: Criteria
) -> float | Unknown:
    higher = criterion.worse is Worse.LOWER
    threshold = criterion.margin if higher else -criterion.margin
    return log_e_beyond(
        evidence,
        criteria.tuning,
        threshold,
        relative=criterion.relative,
        above=higher,
        spending=safety(criteria.epochs),
    )


def _health(health: Health, criteria: Criteria) -> tuple[Reason, ...]:
    """What makes the evidence unsound, each kind once: where it shows first.

    Each of the three tests has a third of the error, and the k-th epoch 1 / (k (k + 1)) of that: a
    share that is known beforehand, however many epochs will come, and adds up to 1.
    """
    found: dict[Code, Reason] = {}
    for number, epoch in enumerate(health.epochs, 1):
        part = epoch_alpha(criteria.health_alpha, number)
        for reason in _epoch_health(epoch, criteria, part):
            found.setdefault(reason.code, reason)
    return tuple(found.values())


def epoch_alpha(health_alpha: float, number: int) -> float:
    """What each of the three tests of the number-th epoch (from 1) has of the error of them all."""
    return health_alpha / 3 / (number * (number + 1))


def _epoch_health(health: EpochHealth, criteria: Criteria, alpha: float) -> Iterator[Reason]:
    labels_matter = any(item.needs_labels for item in criteria.items)
    stages = {s: r for s, r in health.stages.items() if labels_matter or s is not Stage.LABELLED}
    stage = first_alarm(stages, alpha)
    if stage is not None:
        expected = ", ".join(f"{value:,.0f}" for value in stage.expected)
        observed = ", ".join(f"{value:,}" for value in stage.observed)
        text = f"units {stage.stage.value}: {observed} where {expected} were expected"
        needs = stage.stage is Stage.LABELLED
        yield Reason(Code.SAMPLE_RATIO, text, needs_labels=needs)
    if health.logged and audit_propensities(health.logged) >= -math.log(alpha):
        text = "logged propensities are not the chances units were assigned with"
        yield Reason(Code.PROPENSITY, text)
    if labels_matter and health.coverage and coverage_log_e(health.coverage) >= -math.log(alpha):
        text = "labels arrive for one arm more often than for the other"
        yield Reason(Code.LABEL_COVERAGE, text, needs_labels=True)


def _harm_alphas(criteria: Criteria) -> list[float]:
    """Guardrails share alpha, since any of them rolls back; so do signals, since any holds.

    A goal that is out of reach only holds, so each has alpha.
    """
    parts: dict[Role, list[float]] = {}
    for role in (Role.GUARDRAIL, Role.SIGNAL):
        weights = [item.weight for item in criteria.items if item.role is role]
        kept = max(criteria.whole.get(role, 0.0) - math.fsum(weights), 0.0)
        parts[role] = list(weighted_alpha(criteria.alpha, [*weights, kept])) if weights else []
    parts[Role.GOAL] = [criteria.alpha] * len(criteria.items)
    taken = {role: iter(values) for role, values in parts.items()}
    return [next(taken[item.role]) for item in criteria.items]


def _check(criteria: Criteria) -> None:
    problems = []
    for item in criteria.items:
        if not (item.margin >= 0.0 and math.isfinite(item.margin)):
            problems.append(f"{item.metric}: margin {item.margin!r} must be finite and 0 or more")
        if item.weight <= 0.0:
            problems.append(f"{item.metric}: weight {item.weight!r} must be above 0")
        if item.role is Role.GOAL and item.worse is Worse.EITHER:
            problems.append(f"{item.metric}: a goal needs a direction")
    if len({(item.role, item.key) for item in criteria.items}) < len(criteria.items):
        problems.append("a metric and slice may stand only once in each role")
    if problems:
        raise ValueError("; ".join(problems))


def _reasons(findings: list[Verdict], *kinds: type) -> tuple[Reason, ...]:
    return tuple(r for finding in findings if isinstance(finding, kinds) for r in finding.reasons)


def _reason(code: Code, criterion: Criterion, text: str) -> Reason:
    where = f" ({criterion.slice})" if criterion.slice else ""
    return Reason(
        code,
        f"{criterion.metric}{where}: {text}",
        criterion.metric,
        criterion.slice,
        criterion.needs_labels,
        criterion.role,
    )


def _measure(
    criterion: Criterion, found: Effect, harm: Effect, alpha: float, harm_alpha: float
) -> Measure:
    return Measure(
        criterion=criterion,
        n=found.n,
        alpha=alpha,
        harm_alpha=harm_alpha,
        estimate=found.estimate,
        lower=_known(found.lower),
        upper=_known(found.upper),
        harm_lower=_known(harm.lower),
        harm_upper=_known(harm.upper),
        challenger=found.challenger,
        champion=found.champion,
        method=found.method,
    )


def _known(bound: float) -> float | None:
    """A bound for people and JSON, which has no infinity."""
    return bound if math.isfinite(bound) else None


def _change(criterion: Criterion, found: Effect) -> str:
    size = "no estimate" if found.estimate is None else _number(criterion, found.estimate)
    return f"{size} with n = {found.n[0]:,} and {found.n[1]:,}"


def _range(criterion: Criterion, found: Effect) -> str:
    return f"{_number(criterion, found.lower)} and {_number(criterion, found.upper)}"


def _number(criterion: Criterion, value: float) -> str:
    if not math.isfinite(value):
        return "no bound"
    return f"{value:+.1%}" if criterion.relative else f"{value:+.4g}"
