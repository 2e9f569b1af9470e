"""From a project's spec to the terms of its rollout."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.rollout.terms import (
    COOLDOWN_MS,
    NO_DATA_DEADLINE_MS,
    Analyse,
    Approve,
    Freeze,
    SetWeight,
    Step,
    Terms,
)
from pointsman.spec import later
from pointsman.spec.models import Project, ProjectSpec, Rule
from pointsman.spec.rollouts import problems


def terms(project: Project) -> Terms | None:
    """The terms of the project's rollout; None where it declares none.

    Errors: INVALID with everything `spec.rollouts` finds, which a loaded project has none of.
    """
    rollout = project.spec.rollout
    if rollout is None:
        return None
    found = problems(project)
    if found:
        raise PointsmanError(
            Kind.INVALID,
            f"the rollout of {project.name} cannot be carried out",
            violations=tuple(found),
        )
    limits = project.spec.limits or later.Limits()
    split = _rule(project.spec, rollout.rule).split or {}
    return Terms(
        project=project.name,
        variant=rollout.variant,
        against=rollout.against,
        rule=rollout.rule,
        others=tuple((arm, split[arm]) for arm in sorted(split) if arm != rollout.variant),
        steps=tuple(_step(step) for step in rollout.steps),
        guardrails=tuple(bound.metric for bound in rollout.guardrails),
        signals=tuple(bound.metric for bound in rollout.signals),
        no_data=rollout.on_no_data,
        no_data_deadline_ms=_or(rollout.no_data_deadline, NO_DATA_DEADLINE_MS),
        cooldown_ms=_or(rollout.cooldown, COOLDOWN_MS),
        alias=rollout.on_success.set_alias if rollout.on_success is not None else "",
        max_step=limits.max_step,
        approvals=limits.approvals,
        freezes=freezes(limits),
    )


def freezes(limits: later.Limits) -> tuple[Freeze, ...]:
    """The freezes of a project's limits, as moments."""
    return tuple(_freeze(freeze) for freeze in limits.freeze)


def _step(step: later.Step) -> Step:
    if step.set_weight is not None:
        return SetWeight(step.set_weight)
    if step.analysis is not None:
        return Analyse(
            hold_ms=step.analysis.hold or 0,
            min_decisions=step.analysis.min_decisions or 0,
            min_outcomes=step.analysis.min_outcomes or 0,
        )
    # The model holds that a step has exactly one key.
    assert step.approval is not None
    return Approve(step.approval.by)


def _freeze(freeze: later.Freeze) -> Freeze:
    """Whole days of its zone, the last one included."""
    zone = ZoneInfo(freeze.zone)
    first = datetime.combine(date.fromisoformat(freeze.from_), time.min, zone)
    after = datetime.combine(date.fromisoformat(freeze.to) + timedelta(days=1), time.min, zone)
    return Freeze(
        from_ms=int(first.timestamp() * 1000),
        until_ms=int(after.timestamp() * 1000),
        text=f"{freeze.from_} to {freeze.to}, {freeze.zone}",
    )


def _rule(spec: ProjectSpec, name: str) -> Rule:
    return next(rule for rule in spec.rules if rule.name == name)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
