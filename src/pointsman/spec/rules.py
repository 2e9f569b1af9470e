"""Checks of rules: each does one thing, to variants that exist, and each can be reached."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from pointsman.conditions import compile_condition
from pointsman.domain.errors import PointsmanError
from pointsman.domain.names import CHAMPION, is_name
from pointsman.domain.suggestion import did_you_mean
from pointsman.domain.table import SPACE, Attribute
from pointsman.spec.draft import Draft
from pointsman.spec.models import Rule
from pointsman.spec.places import Path
from pointsman.spec.report import Report

_ACTIONS: Final = ("use", "split", "bandit", "ensemble", "cascade")


def check_rules(draft: Draft, report: Report) -> None:
    if "rules" not in draft.raw:
        return  # the default rule is sound; what it needs is checked with the variants
    _names(draft, report)
    _reachable(draft, report)
    for index, rule in enumerate(draft.rules):
        if rule is None:
            continue
        path = ("spec", "rules", index)
        _action(draft, path, report)
        _split(draft, rule, path, report)
        _holdout(draft, rule, path, report)
        _shadows(draft, rule, path, report)
        _fallback(draft, rule, path, report)
        if rule.use is not None:
            known_variant(draft, report, (*path, "use"), rule.use)
        if rule.when is not None:
            _condition(draft, rule.when, (*path, "when"), report)


def known_variant(
    draft: Draft, report: Report, path: Path, name: str, *, at_key: bool = False
) -> None:
    """A violation where no variant has this name. at_key: the name is a key, not a value"""
    if name not in draft.variants and "variants" not in draft.broken:
        hint = did_you_mean(name, draft.variants)
        report.add(path, f"there is no variant named '{name}'", hint, at_key=at_key)


def _named(draft: Draft, path: Path) -> list[str]:
    """Names that are the keys of a mapping, whatever is wrong with what stands behind them."""
    given = draft.at(*path[1:])
    keys = list(given) if isinstance(given, dict) else []
    return [key for key in keys if isinstance(key, str) and is_name(key)]


def _names(draft: Draft, report: Report) -> None:
    first: dict[str, int] = {}
    for index, rule in enumerate(draft.rules):
        if rule is None:
            continue
        earlier = first.setdefault(rule.name, index)
        if earlier != index:
            message = f"the name '{rule.name}' is that of spec.rules[{earlier}] already"
            hint = "records and evidence name the rule, so each needs its own"
            report.add(("spec", "rules", index, "name"), message, hint)


def _reachable(draft: Draft, report: Report) -> None:
    """First match wins: only the last rule may match everything, and it has to."""
    if not draft.rules:
        return
    last = len(draft.rules) - 1
    conditions: dict[str, int] = {}
    for index, rule in enumerate(draft.rules):
        if rule is None:
            continue
        path = ("spec", "rules", index)
        has_condition = draft.declares("rules", index, "when")
        if index < last and not has_condition:
            message = "has no `when`, so no rule after it can ever match"
            report.add(path, message, "give it a condition, or move it to the end")
        if index == last and has_condition:
            message = "the last rule must not have a `when`: it takes what no other rule took"
            hint = "add a rule after it, for example `- {name: default, use: champion}`"
            report.add((*path, "when"), message, hint)
        if rule.when is not None:
            earlier = conditions.setdefault(rule.when.strip(), index)
            if earlier != index:
                message = (
                    f"spec.rules[{earlier}] has the same condition, so this rule never matches"
                )
                report.add((*path, "when"), message, "remove one of them")


def _action(draft: Draft, path: Path, report: Report) -> None:
    given = [action for action in _ACTIONS if draft.declares(*path[1:], action)]
    if not given:
        hint = f"one of {', '.join(f'`{action}`' for action in _ACTIONS)}"
        report.add(path, "says nothing of where its requests go", hint)
    if len(given) > 1:
        message = f"has {' and '.join(f'`{action}`' for action in given)}; a rule does one thing"
        report.add(path, message, "keep one, or make two rules of it")


def _split(draft: Draft, rule: Rule, path: Path, report: Report) -> None:
    path = (*path, "split")
    for variant in _named(draft, path):
        known_variant(draft, report, (*path, variant), variant, at_key=True)
    if rule.split is None:
        return
    if not rule.split:
        report.add(path, "splits over no variant", "give each variant a weight")
        return
    total = sum(rule.split.values(), Decimal(0))
    if total == 0:
        hint = "give at least one variant a positive weight"
        report.add(path, "weights add up to 0", hint)
        return
    for variant, weight in rule.split.items():
        if 0 < weight * SPACE < total:
            message = f"{weight:f} of {total:f} is less than one unit in {SPACE:,}"
            report.add((*path, variant), message, "give it more weight, or 0")


def _holdout(draft: Draft, rule: Rule, path: Path, report: Report) -> None:
    if not rule.holdout:
        return
    if not any(draft.declares(*path[1:], action) for action in ("split", "bandit")):
        message = "a holdout is kept apart from a split, and this rule has none"
        report.add((*path, "holdout"), message, "remove it, or use `split`")
    elif rule.holdout == 100:
        message = "holds out everyone, so the split is never asked"
        report.add((*path, "holdout"), message, f"write `use: {CHAMPION}` instead of the split")


def _shadows(draft: Draft, rule: Rule, path: Path, report: Report) -> None:
    given = draft.at(*path[1:], "shadow")
    for index in range(len(given) if isinstance(given, list) else 0):
        name = draft.at(*path[1:], "shadow", index, "variant")
        if isinstance(name, str) and is_name(name):
            known_variant(draft, report, (*path, "shadow", index, "variant"), name)
    seen: set[str] = set()
    for index, shadow in enumerate(rule.shadow):
        where = (*path, "shadow", index)
        if shadow.variant in seen:
            message = f"'{shadow.variant}' is a shadow here already"
            report.add((*where, "variant"), message, "keep one, with the percentage you want")
        seen.add(shadow.variant)
        if rule.served == (shadow.variant,) and rule.holdout == 0:
            message = f"'{shadow.variant}' is the only variant this rule serves"
            hint = "a shadow sees what another variant answers; remove it"
            report.add((*where, "variant"), message, hint)


def _fallback(draft: Draft, rule: Rule, path: Path, report: Report) -> None:
    for index, variant in enumerate(rule.fallback):
        where = (*path, "fallback", index)
        known_variant(draft, report, where, variant)
        if variant in rule.fallback[:index]:
            report.add(where, f"'{variant}' is a fallback here already", "remove one of them")
        elif rule.use == variant:
            message = f"'{variant}' is what has failed when a fallback is asked"
            report.add(where, message, "name another variant, for example a constant")


def _condition(draft: Draft, source: str, path: Path, report: Report) -> None:
    """Compiles it against the declared context, unless that is not understood itself."""
    if "context" in draft.broken or None in (draft.context or {}).values():
        return
    try:
        condition = compile_condition(source, tuple(_attributes(draft)))
    except PointsmanError as error:
        for problem in error.violations:
            report.inside(path, problem)
        return
    if condition.constant is True:
        message = "is always true, so no rule after it can ever match"
        hint = "compare an attribute: `request.NAME`; the last rule needs no condition at all"
        report.add(path, message, hint)
    elif condition.constant is False:
        report.add(path, "is never true, so this rule never matches", "remove the rule")


def _attributes(draft: Draft) -> Iterable[Attribute]:
    for name, attribute in (draft.context or {}).items():
        if attribute is not None:
            yield Attribute(name, attribute.type, attribute.default is None, attribute.default)
