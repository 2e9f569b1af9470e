"""From a project's spec to the terms of its rollout, and everything that is wrong with them.

A course is checked for what would make it unsafe or endless, not for taste: evidence must be able
to stop it at every weight, and to end it.
"""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.suggestion import did_you_mean
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
from pointsman.spec.models import ClassifierMetric, Project, ProjectSpec, Rule

_PATH: Final = "spec.rollout"


def terms(project: Project) -> Terms | None:
    """The terms of the project's rollout; None where it declares none.

    Errors: INVALID with everything `problems` finds.
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
        freezes=tuple(_freeze(freeze) for freeze in limits.freeze),
    )


def problems(project: Project) -> list[Violation]:
    """Everything wrong with the rollout and limits blocks that their shape does not show."""
    spec = project.spec
    found: list[Violation] = []
    if spec.rollout is not None:
        found += _arms(spec, spec.rollout)
        found += _course(spec, spec.rollout)
        found += _criteria(spec, spec.rollout)
    for index, freeze in enumerate(spec.limits.freeze if spec.limits is not None else ()):
        found += _days(f"spec.limits.freeze[{index}]", freeze)
    return found


def _arms(spec: ProjectSpec, rollout: later.Rollout) -> Iterator[Violation]:
    for key, name in (("variant", rollout.variant), ("against", rollout.against)):
        if name not in spec.variants:
            hint = did_you_mean(name, spec.variants)
            yield Violation(f"{_PATH}.{key}", f"there is no variant named '{name}'", hint)
    if rollout.variant == rollout.against:
        message = f"'{rollout.variant}' cannot grow against itself"
        yield Violation(f"{_PATH}.against", message, "name the variant it is to replace")
        return
    names = [rule.name for rule in spec.rules]
    if rollout.rule not in names:
        hint = did_you_mean(rollout.rule, names)
        yield Violation(f"{_PATH}.rule", f"there is no rule named '{rollout.rule}'", hint)
        return
    split = _rule(spec, rollout.rule).split
    if split is None:
        message = f"the rule '{rollout.rule}' has no split, so there are no weights to move"
        yield Violation(f"{_PATH}.rule", message, "give it `split`, the initial weights")
        return
    for key, name in (("variant", rollout.variant), ("against", rollout.against)):
        if name in spec.variants and name not in split:
            message = f"'{name}' is not in the split of the rule '{rollout.rule}'"
            yield Violation(f"{_PATH}.{key}", message, "add it to the split, with weight 0 if none")
    if split.get(rollout.against) == 0:
        message = f"'{rollout.against}' has no weight in the split: nothing could be compared"
        yield Violation(f"{_PATH}.against", message, "give it a weight above 0")


def _course(spec: ProjectSpec, rollout: later.Rollout) -> Iterator[Violation]:
    path = f"{_PATH}.steps"
    weights = [step.set_weight for step in rollout.steps if step.set_weight is not None]
    if not weights or weights[0] == 0:
        hint = "begin with a small one, such as `setWeight: 1`"
        yield Violation(path, "no step gives the variant any traffic", hint)
    elif weights[0] == 100:
        message = "all traffic at once leaves nothing to compare with"
        yield Violation(path, message, "begin with a small one, such as `setWeight: 1`")
    before: Decimal | None = None
    for index, step in enumerate(rollout.steps):
        if step.set_weight is not None:
            if before is not None and step.set_weight <= before:
                message = f"{step.set_weight} % is no step up from {before} %"
                yield Violation(
                    f"{path}[{index}]", message, "weights grow; none is needed to go back"
                )
            before = step.set_weight
        elif step.analysis is not None:
            yield from _analysis(spec, f"{path}[{index}]", step.analysis, before)
    yield from _unseen(path, rollout)


def _analysis(
    spec: ProjectSpec, path: str, analysis: later.Analysis, weight: Decimal | None
) -> Iterator[Violation]:
    if weight is None:
        message = "there is nothing to analyse before the variant has traffic"
        yield Violation(path, message, "put `setWeight` before it")
    if analysis.min_outcomes and spec.outcomes.label is None and spec.outcomes.reward is None:
        hint = "declare `outcomes` under `spec`, or remove `minOutcomes`"
        yield Violation(path, "waits for outcomes, and none are declared", hint)


def _unseen(path: str, rollout: later.Rollout) -> Iterator[Violation]:
    """Weights that would be left without anybody or anything having looked."""
    hint = "put an `analysis` or an `approval` between them"
    for index, (step, following) in enumerate(pairwise(rollout.steps), start=1):
        if step.set_weight is not None and following.set_weight is not None:
            between = f"{step.set_weight} % and {following.set_weight} %"
            yield Violation(f"{path}[{index}]", f"nothing is looked at between {between}", hint)
    last = rollout.steps[-1].set_weight
    if last is not None and last < 100:
        message = f"nothing is looked at between {last} % and the promotion"
        hint = "end with an `analysis`, or with `setWeight: 100`"
        yield Violation(f"{path}[{len(rollout.steps) - 1}]", message, hint)


def _criteria(spec: ProjectSpec, rollout: later.Rollout) -> Iterator[Violation]:
    if not rollout.guardrails:
        message = "without a guardrail nothing could stop it, and nothing could show it to be safe"
        hint = "for example `guardrails: [{metric: errors, relative: 0.1}]`"
        yield Violation(f"{_PATH}.guardrails", message, hint)
    for key, bounds in (("guardrails", rollout.guardrails), ("signals", rollout.signals)):
        for index, bound in enumerate(bounds):
            path = f"{_PATH}.{key}[{index}].metric"
            metric = spec.metrics.get(bound.metric)
            if metric is None:
                hint = did_you_mean(bound.metric, spec.metrics)
                yield Violation(path, f"there is no metric named '{bound.metric}'", hint)
            elif isinstance(metric, ClassifierMetric) and spec.outcomes.label is None:
                hint = "declare `outcomes: {label: {horizon: ...}}` under `spec`"
                yield Violation(path, f"'{bound.metric}' needs labels, and none are declared", hint)


def _days(path: str, freeze: later.Freeze) -> Iterator[Violation]:
    days: dict[str, date] = {}
    for key, text in (("from", freeze.from_), ("to", freeze.to)):
        try:
            days[key] = date.fromisoformat(text)
        except ValueError:
            yield Violation(f"{path}.{key}", f"'{text}' is no day of the calendar")
    if len(days) == 2 and days["to"] < days["from"]:
        message = f"{freeze.to} is before {freeze.from_}"
        yield Violation(f"{path}.to", message, "both days are part of the freeze")
    try:
        ZoneInfo(freeze.zone)
    except (KeyError, ValueError, OSError):
        hint = "use a name of the tz database, such as Europe/Berlin"
        yield Violation(f"{path}.zone", f"there is no time zone '{freeze.zone}'", hint)


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
