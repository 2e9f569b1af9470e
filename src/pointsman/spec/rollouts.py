"""What is wrong with a rollout and its limits that the shape of their blocks does not show.

A course is checked for what would make it unsafe or endless, not for taste: evidence must be able
to stop it at every weight, and to end it.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from pointsman.domain.errors import Violation
from pointsman.domain.suggestion import did_you_mean
from pointsman.spec import later
from pointsman.spec.draft import Draft
from pointsman.spec.models import ClassifierMetric, Project
from pointsman.spec.places import Path, render
from pointsman.spec.report import Report

Problem = tuple[Path, str, str]
"""Where, what, and what to do."""

_ROLLOUT: Final[Path] = ("spec", "rollout")

_B = TypeVar("_B", later.Rollout, later.Limits)


def check_rollout(draft: Draft, report: Report) -> None:
    """Everything wrong with the blocks of a document, as far as they are understood."""
    rollout = _understood(later.Rollout, draft.raw.get("rollout"))
    limits = _understood(later.Limits, draft.raw.get("limits"))
    for problem in _problems(draft, rollout, limits):
        report.add(*problem)
    for kind, bounds in _bounds(rollout):
        for index, bound in enumerate(bounds):
            report.slices((*_ROLLOUT, kind, index, "slices"), bound.slices, draft)


def problems(project: Project) -> list[Violation]:
    """The same of a project that is otherwise sound, without places in a file."""
    spec = project.spec
    draft = Draft.of(project, {})
    found = _problems(draft, spec.rollout, spec.limits)
    return [Violation(render(path), message, hint) for path, message, hint in found]


def _understood(block: type[_B], raw: Any) -> _B | None:
    try:
        return TypeAdapter(block).validate_python(raw)
    except ValidationError:
        return None


def _problems(
    draft: Draft, rollout: later.Rollout | None, limits: later.Limits | None
) -> Iterator[Problem]:
    if rollout is not None:
        yield from _arms(draft, rollout)
        yield from _course(draft, rollout)
        yield from _criteria(draft, rollout)
    for index, freeze in enumerate(limits.freeze if limits is not None else ()):
        yield from _days(("spec", "limits", "freeze", index), freeze)


def _bounds(
    rollout: later.Rollout | None,
) -> tuple[tuple[str, tuple[later.Bound, ...]], ...]:
    if rollout is None:
        return ()
    return (("guardrails", rollout.guardrails), ("signals", rollout.signals))


def _arms(draft: Draft, rollout: later.Rollout) -> Iterator[Problem]:
    for key, name in (("variant", rollout.variant), ("against", rollout.against)):
        if "variants" not in draft.broken and name not in draft.variants:
            hint = did_you_mean(name, draft.variants)
            yield (*_ROLLOUT, key), f"there is no variant named '{name}'", hint
        found = draft.variants.get(name)
        if found is not None and found.constant is not None:
            message = f"'{name}' is a constant, and only versions of models are rolled out"
            yield (*_ROLLOUT, key), message, "name a variant with a model"
    if rollout.variant == rollout.against:
        message = f"'{rollout.variant}' cannot grow against itself"
        yield (*_ROLLOUT, "against"), message, "name the variant it is to replace"
        return
    names = [rule.name for rule in draft.rules if rule is not None]
    if rollout.rule not in names:
        if None not in draft.rules and "rules" not in draft.broken:
            hint = did_you_mean(rollout.rule, names)
            yield (*_ROLLOUT, "rule"), f"there is no rule named '{rollout.rule}'", hint
        return
    yield from _split(draft, rollout)


def _split(draft: Draft, rollout: later.Rollout) -> Iterator[Problem]:
    place = next(i for i, r in enumerate(draft.rules) if r is not None and r.name == rollout.rule)
    rule = draft.rules[place]
    assert rule is not None
    if rule.split is None:
        if draft.declares("rules", place, "split"):
            return
        message = f"the rule '{rollout.rule}' has no split, so there are no weights to move"
        yield (*_ROLLOUT, "rule"), message, "give it `split`, the initial weights"
        return
    for key, name in (("variant", rollout.variant), ("against", rollout.against)):
        if name in draft.variants and name not in rule.split:
            message = f"'{name}' is not in the split of the rule '{rollout.rule}'"
            yield (*_ROLLOUT, key), message, "add it to the split, with weight 0 if none"
    if rule.split.get(rollout.against) == 0:
        message = f"'{rollout.against}' has no weight in the split: nothing could be compared"
        yield (*_ROLLOUT, "against"), message, "give it a weight above 0"


def _course(draft: Draft, rollout: later.Rollout) -> Iterator[Problem]:
    path: Path = (*_ROLLOUT, "steps")
    weights = [step.set_weight for step in rollout.steps if step.set_weight is not None]
    if not weights or weights[0] == 0:
        hint = "begin with a small one, such as `setWeight: 1`"
        yield path, "no step gives the variant any traffic", hint
    elif weights[0] == 100:
        message = "all traffic at once leaves nothing to compare with"
        yield path, message, "begin with a small one, such as `setWeight: 1`"
    before: Decimal | None = None
    for index, step in enumerate(rollout.steps):
        if step.set_weight is not None:
            if before is not None and step.set_weight <= before:
                message = f"{step.set_weight} % is no step up from {before} %"
                yield (*path, index), message, "weights grow; none is needed to go back"
            before = step.set_weight
        elif step.analysis is not None:
            yield from _analysis(draft, (*path, index), step.analysis, before)
    yield from _unseen(path, rollout)


def _analysis(
    draft: Draft, path: Path, analysis: later.Analysis, weight: Decimal | None
) -> Iterator[Problem]:
    if weight is None:
        message = "there is nothing to analyse before the variant has traffic"
        yield path, message, "put `setWeight` before it"
    outcomes = draft.outcomes
    none = outcomes is not None and outcomes.label is None and outcomes.reward is None
    if analysis.min_outcomes and none:
        hint = "declare `outcomes` under `spec`, or remove `minOutcomes`"
        yield path, "waits for outcomes, and none are declared", hint


def _unseen(path: Path, rollout: later.Rollout) -> Iterator[Problem]:
    """Weights that would be left without anybody or anything having looked."""
    hint = "put an `analysis` or an `approval` between them"
    for index, (step, following) in enumerate(pairwise(rollout.steps), start=1):
        if step.set_weight is not None and following.set_weight is not None:
            between = f"{step.set_weight} % and {following.set_weight} %"
            yield (*path, index), f"nothing is looked at between {between}", hint
    last = rollout.steps[-1].set_weight
    if last is not None and last < 100:
        message = f"nothing is looked at between {last} % and the promotion"
        hint = "end with an `analysis`, or with `setWeight: 100`"
        yield (*path, len(rollout.steps) - 1), message, hint


def _criteria(draft: Draft, rollout: later.Rollout) -> Iterator[Problem]:
    if not rollout.guardrails:
        message = "without a guardrail nothing could stop it, and nothing could show it to be safe"
        hint = "for example `guardrails: [{metric: errors, absolute: 0.01}]`"
        yield (*_ROLLOUT, "guardrails"), message, hint
    for key, bounds in _bounds(rollout):
        twice = Counter(bound.metric for bound in bounds)
        for index, bound in enumerate(bounds):
            path: Path = (*_ROLLOUT, key, index)
            yield from _metric(draft, (*path, "metric"), bound.metric)
            yield from _bound(path, bound)
            if twice[bound.metric] > 1 and bounds.index(bound) != index:
                hint = "keep the one that matters; the other may be a signal"
                yield (*path, "metric"), f"'{bound.metric}' has two bounds", hint


def _metric(draft: Draft, path: Path, name: str) -> Iterator[Problem]:
    if name not in draft.metrics:
        if "metrics" not in draft.broken:
            hint = did_you_mean(name, draft.metrics)
            yield path, f"there is no metric named '{name}'", hint
        return
    unlabelled = draft.outcomes is not None and draft.outcomes.label is None
    if isinstance(draft.metrics[name], ClassifierMetric) and unlabelled:
        hint = "declare `outcomes: {label: {horizon: ...}}` under `spec`"
        yield path, f"'{name}' needs labels, and none are declared", hint


def _bound(path: Path, bound: later.Bound) -> Iterator[Problem]:
    """Bounds that would ask for an improvement, or for nothing that can be shown."""
    hint = "write the largest harm that is tolerated, 0 or more"
    for key, value in (("relative", bound.relative), ("absolute", bound.absolute)):
        if value is not None and value < 0:
            yield (*path, key), f"a harm of {value:g} is none", hint
    if bound.at_least is not None and bound.at_least > 0:
        message = "asks for an improvement, and guardrails and signals bound harm"
        yield (*path, "atLeast"), message, "write 0 or less: how much lower it may be"
    if bound.at_most is not None and bound.at_most < 0:
        message = "asks for an improvement, and guardrails and signals bound harm"
        yield (*path, "atMost"), message, "write 0 or more: how much higher it may be"


def _days(path: Path, freeze: later.Freeze) -> Iterator[Problem]:
    days: dict[str, date] = {}
    for key, text in (("from", freeze.from_), ("to", freeze.to)):
        try:
            days[key] = date.fromisoformat(text)
        except ValueError:
            yield (*path, key), f"'{text}' is no day of the calendar", ""
    if len(days) == 2 and days["to"] < days["from"]:
        message = f"{freeze.to} is before {freeze.from_}"
        yield (*path, "to"), message, "both days are part of the freeze"
    try:
        ZoneInfo(freeze.zone)
    except (KeyError, ValueError, OSError):
        hint = "use a name of the tz database, such as Europe/Berlin"
        yield (*path, "zone"), f"there is no time zone '{freeze.zone}'", hint
