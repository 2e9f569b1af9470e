"""Rules of a spec that take more than one place of it to decide. All of them, always.

Checks look at a `Draft`, so they also run on a document that has errors in other places. What a
check needs and cannot trust it leaves alone: one mistake makes one violation.
"""

from collections import Counter
from typing import Final

from pointsman.domain.errors import Violation
from pointsman.domain.names import CHAMPION
from pointsman.domain.suggestion import did_you_mean
from pointsman.domain.table import AttributeType
from pointsman.spec import references
from pointsman.spec.alert_checks import check_alerts
from pointsman.spec.draft import Draft
from pointsman.spec.models import ContextAttribute, Variant
from pointsman.spec.pending import LATER, later_blocks, later_references
from pointsman.spec.places import Document
from pointsman.spec.quality_checks import check_quality
from pointsman.spec.report import Report
from pointsman.spec.rollouts import check_rollout
from pointsman.spec.rules import check_rules

_BY_POSITIVE: Final = frozenset({"precision", "recall", "specificity", "f1", "auc"})
_PYTHON_TYPES: Final[dict[AttributeType, tuple[type, ...]]] = {
    AttributeType.STRING: (str,),
    AttributeType.INT: (int,),
    AttributeType.DOUBLE: (float, int),
    AttributeType.BOOL: (bool,),
}


def check(draft: Draft, document: Document) -> list[Violation]:
    """Everything wrong with the draft that its shape does not show."""
    report = Report(document)
    _classes(draft, report)
    _context(draft, report)
    _variants(draft, report)
    _features(draft, report)
    check_rules(draft, report)
    _metrics(draft, report)
    check_rollout(draft, report)
    check_quality(draft, report)
    check_alerts(draft, report)
    later_references(draft, report)
    later_blocks(draft, report)
    return report.violations


def is_later(violation: Violation) -> bool:
    """Whether it speaks of a block whose engine comes later."""
    return violation.message.endswith(LATER)


def _classes(draft: Draft, report: Report) -> None:
    if draft.classes is None:
        return
    counts = Counter(draft.classes)
    for index, label in enumerate(draft.classes):
        if counts[label] > 1 and index != draft.classes.index(label):
            report.add(("spec", "classes", index), f"the class '{label}' is given twice", "")
    if draft.positive is not None:
        _known_class(draft, report, ("spec", "positive"), draft.positive)
    if draft.decision is not None:
        path = ("spec", "decision")
        _denied(draft, report, path, draft.decision.deny)
        _threshold(draft, report, path, draft.decision.threshold)


def _known_class(draft: Draft, report: Report, path: tuple[str | int, ...], label: str) -> None:
    if draft.classes is not None and label not in draft.classes:
        hint = did_you_mean(label, draft.classes)
        report.add(path, f"'{label}' is not one of the classes", hint)


def _denied(
    draft: Draft, report: Report, path: tuple[str | int, ...], deny: tuple[str, ...]
) -> None:
    for index, label in enumerate(deny):
        _known_class(draft, report, (*path, "deny", index), label)
        if label in deny[:index]:
            report.add((*path, "deny", index), f"the class '{label}' is given twice", "")
    if draft.classes is not None and set(deny) >= set(draft.classes):
        report.add((*path, "deny"), "denies every class", "leave out at least one class")


def _threshold(
    draft: Draft, report: Report, path: tuple[str | int, ...], threshold: float | None
) -> None:
    if threshold is not None and _lacks_positive(draft):
        message = "a threshold needs to know the positive class"
        report.add((*path, "threshold"), message, "declare `positive` under `spec`")


def _lacks_positive(draft: Draft) -> bool:
    """Whether no class is positive: more than two, and none declared (not merely misspelt)."""
    declared = "positive" in draft.raw
    return draft.classes is not None and len(draft.classes) > 2 and not declared


def _context(draft: Draft, report: Report) -> None:
    if draft.context is None:
        return
    for name, attribute in draft.context.items():
        if attribute is not None and attribute.default is not None:
            _default(name, attribute, report)
    if draft.unit is None or "context" in draft.broken:
        return
    path = ("spec", "unit")
    if draft.unit not in draft.context:
        hint = did_you_mean(draft.unit, draft.context) or "declare it under `spec.context`"
        report.add(path, f"the unit '{draft.unit}' is not in the context", hint)
        return
    attribute = draft.context[draft.unit]
    if attribute is None:
        return
    if attribute.type not in {AttributeType.STRING, AttributeType.INT}:
        message = f"the unit '{draft.unit}' is a {attribute.type.value}"
        report.add(path, message, "a unit is a string or an int: it is compared exactly")
    if attribute.default is not None:
        message = f"the unit '{draft.unit}' has a default"
        hint = "remove it: all requests without a unit would count as one, and move together"
        report.add(path, message, hint)


def _default(name: str, attribute: ContextAttribute, report: Report) -> None:
    default = attribute.default
    is_bool = isinstance(default, bool)
    fits = isinstance(default, _PYTHON_TYPES[attribute.type])
    if not fits or is_bool is not (attribute.type is AttributeType.BOOL):
        message = f"the default is not a value of type {attribute.type.value}"
        report.add(("spec", "context", name, "default"), message, "")


def _variants(draft: Draft, report: Report) -> None:
    if "variants" in draft.broken:
        return
    if draft.variants and CHAMPION not in draft.variants:
        message = f"there is no variant named '{CHAMPION}'"
        hint = did_you_mean(CHAMPION, draft.variants)
        if not hint.startswith("did"):
            hint = "name the serving default so: it answers whenever nothing else may"
        report.add(("spec", "variants"), message, hint)
    for name, variant in draft.variants.items():
        if variant is not None:
            _variant(draft, report, name, variant)


def _variant(draft: Draft, report: Report, name: str, variant: Variant) -> None:
    path = ("spec", "variants", name)
    answers = [key for key in ("model", "constant") if draft.declares(*path[1:], key)]
    if len(answers) != 1:
        hint = "`model` names a model, `constant` the class that is always answered"
        report.add(path, "must have exactly one of `model` and `constant`", hint)
    if variant.model is not None:
        report.model((*path, "model"), variant.model)
    if variant.constant is not None:
        _known_class(draft, report, (*path, "constant"), variant.constant)
        if variant.model is None and variant.on_alias_move is not None:
            message = "a constant has no alias that could move"
            report.add((*path, "onAliasMove"), message, "remove it")
    elif variant.model is not None and variant.on_alias_move is not None:
        unmovable = not references.is_alias(variant.model)
        if unmovable and references.problem(variant.model) is None:
            message = f"'{variant.model}' does not name an alias, so nothing can move"
            report.add((*path, "onAliasMove"), message, "remove it, or write models:/NAME@ALIAS")
    decision = variant.decision
    if decision is not None:
        _denied(draft, report, (*path, "decision"), decision.deny or ())
        _threshold(draft, report, (*path, "decision"), decision.threshold)
        if variant.constant is not None and decision.threshold is not None:
            message = "a constant has no score a threshold could apply to"
            report.add((*path, "decision", "threshold"), message, "remove it")


def _features(draft: Draft, report: Report) -> None:
    path = ("spec", "features")
    if draft.features is None:
        champion = draft.variants.get(CHAMPION)
        told = champion is None or champion.model is not None or champion.constant is None
        if "features" not in draft.raw and not told:
            message = "features are not declared, and the champion is no model that could tell them"
            hint = "add `features: {from: MODEL}`, or declare them here"
            report.add(("spec", "variants", CHAMPION), message, hint)
        return
    if draft.features.from_ is not None:
        report.model((*path, "from"), draft.features.from_)
    elif not draft.features.declared:
        report.add(path, "declares no feature", "name each with its type, or remove the block")
    seen: set[str] = set()
    for index, feature in enumerate(draft.features.declared):
        if feature.name in seen:
            message = f"the feature '{feature.name}' is declared twice"
            report.add((*path, index), message, "")
        seen.add(feature.name)
    watched = draft.at("drift", "features", default=())
    if draft.features.from_ is None and isinstance(watched, list):
        for index, name in enumerate(watched):
            if isinstance(name, str) and name not in seen:
                message = f"there is no feature named '{name}'"
                report.add(("spec", "drift", "features", index), message, did_you_mean(name, seen))


def _metrics(draft: Draft, report: Report) -> None:
    denies = draft.decision is None or bool(draft.decision.deny)
    denies = denies or any(
        variant is None or draft.declares("variants", name, "decision", "deny")
        for name, variant in draft.variants.items()
    )
    for name, metric in draft.metrics.items():
        if metric is None:
            continue
        path = ("spec", "metrics", name)
        if metric.kind == "classifier":
            if metric.of in _BY_POSITIVE and _lacks_positive(draft):
                message = f"{metric.of} needs to know the positive class"
                report.add((*path, "of"), message, "declare `positive` under `spec`")
            if draft.outcomes is not None and draft.outcomes.label is None:
                hint = "declare `outcomes: {label: {horizon: ...}}` under `spec`"
                report.add(path, "needs labels, and nothing says when they can be trusted", hint)
        elif metric.kind == "decision" and metric.event == "denied":
            if not denies:
                hint = "declare `decision: {deny: [...]}` under `spec`"
                report.add(path, "counts denied decisions, and no class is denied", hint)
        elif metric.kind == "decision" and _lacks_positive(draft):
            message = f"`{metric.event}` needs to know the positive class"
            report.add((*path, "event"), message, "declare `positive` under `spec`")
        report.slices((*path, "slices"), metric.slices, draft)
