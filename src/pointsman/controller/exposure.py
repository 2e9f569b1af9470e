"""What a change gives to variants other than the champion, from the tables alone. Pure."""

from pointsman.decide.allocation import shares
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import ProjectTable, Rule, Variant


def growth(before: ProjectTable, after: ProjectTable) -> dict[tuple[str, str], float]:
    """Points by which the share of a variant grows in a rule, by (rule, variant); only where it
    grows, and never the champion's. A rule that is new has sent everything to the champion."""
    old = {rule.name: _shares(rule) for rule in before.rules}
    found = {}
    for rule in after.rules:
        had = old.get(rule.name, {})
        for variant, share in _shares(rule).items():
            more = share - had.get(variant, 0.0)
            if variant != CHAMPION and more > 0:
                found[rule.name, variant] = round(more * 100, 6)
    return found


def adds(before: ProjectTable, after: ProjectTable) -> str:
    """Why a change adds exposure, in words; empty where it only takes some away, or none.

    What serves must stay as it is: variants that are sent anything, and who meets which rule.
    """
    for (rule, name), points in growth(before, after).items():
        return f"{name} grows by {points:g} points in rule {rule}"
    was = {variant.name: _served(variant) for variant in before.variants}
    sent = {CHAMPION} | {name for rule in after.rules for name in _shares(rule)}
    for variant in after.variants:
        if variant.name in sent and was.get(variant.name) != _served(variant):
            return f"{variant.name} serves something else"
    if [(rule.name, rule.when) for rule in before.rules] != [
        (rule.name, rule.when) for rule in after.rules
    ]:
        return "other requests meet other rules"
    if any(new.holdout < old.holdout for old, new in zip(before.rules, after.rules, strict=True)):
        return "fewer units are held out"
    return ""


def _served(variant: Variant) -> tuple[object, ...]:
    return variant.source, variant.constant, variant.threshold, tuple(sorted(variant.deny))


def _shares(rule: Rule) -> dict[str, float]:
    if rule.allocation is None:
        return {rule.use: 1.0}
    return {name: share for name, share in shares(rule.allocation).items() if share}
