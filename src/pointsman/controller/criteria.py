"""From what a project declares to what is tested, and where its numbers come from.

| metric | test | cells |
|---|---|---|
| decision, operational; only relative bounds | events, both ways | first exposures of units |
| decision, operational; no relative bound | mean of 0/1: exact and asymptotic | the same |
| decision, operational; bounds of both kinds | both of these, each bound by its own | the same |
| classifier | mean or ratio, see judge/measured.py; of rates exact too | every labelled decision |
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from pointsman.controller.catalog import slow_us
from pointsman.domain import evidence
from pointsman.judge import measured
from pointsman.judge.mean import Tuning
from pointsman.judge.progress import EventTest, Key, MeanTest, RatioTest, Test
from pointsman.judge.verdict import Criteria, Criterion, Role, Worse
from pointsman.spec.events import event_of
from pointsman.spec.later import Bound, Rollout
from pointsman.spec.models import (
    ClassifierMetric,
    DecisionMetric,
    Metric,
    OperationalMetric,
    ProjectSpec,
)

EXPECTED: Final = 40_000
"""Decisions of both arms after which a verdict is expected, unless the file says otherwise."""

_HIGHER_IS_WORSE: Final = frozenset({"log_loss", "brier"})


class Tested(msgspec.Struct, frozen=True):
    """What a rollout tests.

    tests: by (metric of the spec, slice)
    cells: the metric of the cells each test reads, by metric of the spec
    labelled: metrics of the spec that wait for labels
    """

    tests: dict[Key, Test]
    cells: dict[str, str]
    labelled: frozenset[str]
    criteria: Criteria


def tested(spec: ProjectSpec, rollout: Rollout, slices: Sequence[str]) -> Tested:
    """The tests and criteria of a rollout.

    slices: `attribute=value`, in the order they appeared. A slice's part of alpha depends on its
        place, so whatever comes later takes nothing from those before it.
    """
    bounds = [(Role.GUARDRAIL, bound) for bound in rollout.guardrails]
    bounds += [(Role.SIGNAL, bound) for bound in rollout.signals]
    tests: dict[Key, Test] = {}
    items: list[Criterion] = []
    for role, bound in bounds:
        metric = spec.metrics[bound.metric]
        test = _test(spec, metric, [b for _, b in bounds if b.metric == bound.metric])
        for name, weight in _places(bound, slices):
            tests[bound.metric, name] = test
            items.append(_criterion(role, bound, metric, name, weight))
    alpha = 1.0 - rollout.confidence
    weights = [step.set_weight for step in rollout.steps if step.set_weight is not None]
    drawn = [float(weight) for weight in weights if 0 < weight < 100]
    share = max(drawn, default=1.0)
    expected = rollout.expected_decisions or EXPECTED
    tuning = Tuning.expecting(expected, min(share / 100, 0.5), alpha)
    names = {bound.metric for _, bound in bounds}
    return Tested(
        tests=tests,
        cells={name: _cell(spec, spec.metrics[name]) for name in names},
        labelled=frozenset(n for n in names if isinstance(spec.metrics[n], ClassifierMetric)),
        criteria=Criteria(
            tuple(items),
            tuning,
            alpha,
            whole={role: _whole(bounds, role) for role in Role},
            epochs=max(len(drawn), 1),
        ),
    )


def attributes(rollout: Rollout) -> frozenset[str]:
    """Attributes by whose values anything is judged."""
    bounds = (*rollout.guardrails, *rollout.signals)
    return frozenset(name for bound in bounds for name in bound.slices)


def _places(bound: Bound, slices: Iterable[str]) -> list[tuple[str, float]]:
    """Where a bound has to hold, and which part of its alpha each place has.

    Half is for all decisions. The other half goes to slices, the k-th of them 1 / (k (k + 1)) of
    it, which adds up to at most all of it however many come.
    """
    wanted = [name for name in slices if name.partition("=")[0] in bound.slices]
    if not bound.slices:
        return [("", 1.0)]
    parts = [(name, 0.5 / (place * (place + 1))) for place, name in enumerate(wanted, start=1)]
    return [("", 0.5), *parts]


def _whole(bounds: Iterable[tuple[Role, Bound]], role: Role) -> float:
    """What the weights of a role's criteria add up to once every slice has appeared."""
    return float(sum(of is role for of, _ in bounds))


def _criterion(role: Role, bound: Bound, metric: Metric, name: str, weight: float) -> Criterion:
    if bound.at_least is not None:
        worse, margin = Worse.LOWER, -bound.at_least
    elif bound.at_most is not None:
        worse, margin = Worse.HIGHER, bound.at_most
    else:
        worse, margin = _worse(metric), bound.absolute or bound.relative or 0.0
    return Criterion(
        metric=bound.metric,
        role=role,
        worse=worse,
        margin=abs(margin),
        relative=bound.relative is not None,
        slice=name,
        needs_labels=isinstance(metric, ClassifierMetric),
        weight=weight,
    )


def _worse(metric: Metric) -> Worse:
    if isinstance(metric, ClassifierMetric) and metric.of not in _HIGHER_IS_WORSE:
        return Worse.LOWER
    return Worse.HIGHER


def _test(spec: ProjectSpec, metric: Metric, bounds: Iterable[Bound]) -> Test:
    if not isinstance(metric, ClassifierMetric):
        relative = [bound.relative is not None for bound in bounds]
        if all(relative):
            return EventTest()
        return MeanTest(binary=True, first_exposures=True, events=any(relative))
    # Blocks are keyed by the metric's own name already.
    return replace(_classifier(spec, metric), cell="")


def _classifier(spec: ProjectSpec, metric: ClassifierMetric) -> MeanTest | RatioTest:
    positive = spec.classes.index(spec.positive_class) if spec.positive_class else None
    return measured.of_classifier(metric.of, len(spec.classes), positive)


def _cell(spec: ProjectSpec, metric: Metric) -> str:
    match metric:
        case DecisionMetric():
            return evidence.member(evidence.FIRST, event_of(metric.event).name)
        case OperationalMetric():
            bound = slow_us(metric)
            if bound:
                return evidence.member(evidence.FIRST, evidence.SLOW, str(bound))
            return evidence.member(evidence.FIRST, event_of(metric.event).name)
        case ClassifierMetric():
            return _classifier(spec, metric).cell
