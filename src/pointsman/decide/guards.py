"""From a project's guardrails to what gateways watch by themselves.

The control plane's side, like `compile`: only guardrails on what a gateway sees are its business,
decisions and how they were served. Those on labels are the controller's.
"""

import hashlib

import msgspec

from pointsman.decide.allocation import widths_of
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import Bound, Guard, ProjectTable, Rule
from pointsman.spec import later
from pointsman.spec.events import event_of
from pointsman.spec.models import ClassifierMetric, Project


def guards_of(project: Project, table: ProjectTable, prints: tuple[str, ...]) -> tuple[Guard, ...]:
    """The guard of the project's rollout; none where there is none, or its rule splits not between
    the two.

    prints: fingerprints of the table's rules
    A rollout's part of alpha is divided among its steps: each has evidence of its own.
    """
    rollout = project.spec.rollout
    if rollout is None or rollout.variant == CHAMPION:
        return ()  # the champion cannot be taken out: it is what everything falls back to
    place = next((i for i, rule in enumerate(table.rules) if rule.name == rollout.rule), -1)
    if place < 0:
        return ()
    rule = table.rules[place]
    share = _share(rule, rollout)
    if share is None:
        return ()
    bounds = tuple(bound for declared in rollout.guardrails for bound in _bound(project, declared))
    steps = sum(step.set_weight is not None for step in rollout.steps)
    alpha = (1.0 - rollout.confidence) / max(steps, 1)
    apart = (table.tenant, table.project, rule.name, rule.epoch, prints[place], bounds)
    return (
        Guard(
            rule=rule.name,
            variant=rollout.variant,
            against=rollout.against,
            evidence=hashlib.sha256(msgspec.json.encode(apart)).hexdigest()[:32],
            share=share,
            alpha=alpha,
            bounds=bounds,
        ),
    )


def _share(rule: Rule, rollout: later.Rollout) -> float | None:
    """Chance of the variant among the two; None where the rule draws neither."""
    if rule.allocation is None:
        return None
    widths = widths_of(rule.allocation)
    own, other = widths.get(rollout.variant, 0), widths.get(rollout.against, 0)
    return own / (own + other) if own + other else None


def _bound(project: Project, declared: later.Bound) -> list[Bound]:
    metric = project.spec.metrics[declared.metric]
    if isinstance(metric, ClassifierMetric):
        return []
    if declared.relative is not None:
        margin, worse = declared.relative, "higher"
    elif declared.at_least is not None:
        margin, worse = declared.at_least, "lower"
    else:
        margin, worse = declared.absolute or declared.at_most or 0.0, "higher"
    event = event_of(metric.event)
    return [
        Bound(
            metric=declared.metric,
            event=event.kind,
            margin=abs(margin),
            relative=declared.relative is not None,
            limit=event.limit,
            worse="lower" if worse == "lower" else "higher",
            slices=tuple(declared.slices),
        )
    ]
