"""What counts of decisions say is wrong: answered by another variant, or by none."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pointsman.alerts.condition import Condition, Measure
from pointsman.alerts.policy import Rule
from pointsman.domain.alert import Kind
from pointsman.rollout.words import span


class Answered(msgspec.Struct, frozen=True):
    """Decisions by who was assigned and who served; `served` is empty where nobody did."""

    assigned: str
    served: str
    decisions: int


def fallbacks(project: str, counts: Sequence[Answered], rule: Rule) -> Iterator[Condition]:
    """Decisions that another variant answered than the one assigned."""
    total = sum(one.decisions for one in counts)
    others = sum(one.decisions for one in counts if one.served and one.served != one.assigned)
    if _over(others, total, rule):
        said = "were answered by another variant than the one assigned"
        yield _condition(Kind.FALLBACK, project, (others, total), rule, said, "fallback share")


def variant_errors(project: str, counts: Sequence[Answered], rule: Rule) -> Iterator[Condition]:
    """Variants that did not answer what was theirs. A request that came to them too late counts."""
    for variant in sorted({one.assigned for one in counts}):
        own = [one for one in counts if one.assigned == variant]
        total = sum(one.decisions for one in own)
        missed = sum(one.decisions for one in own if one.served != variant)
        if _over(missed, total, rule):
            found = _condition(
                Kind.VARIANT_ERRORS,
                project,
                (missed, total),
                rule,
                f"of {variant} got no answer from it",
                f"share of {variant}'s decisions without its answer",
            )
            others = sum(one.decisions for one in own if one.served not in ("", variant))
            deed = f"{others:,} of these {missed:,} were answered by a fallback"
            yield msgspec.structs.replace(found, subject=variant, deed=deed)


def undecided(project: str, reasons: Mapping[str, int], rule: Rule) -> Iterator[Condition]:
    """Decisions that no rule could make. reasons: decisions by reason"""
    total, lost = sum(reasons.values()), reasons.get("DEFAULT", 0)
    if _over(lost, total, rule):
        said = "had reason DEFAULT, since a condition could not be evaluated or none matched"
        found = _condition(Kind.UNDECIDED, project, (lost, total), rule, said, "DEFAULT share")
        yield msgspec.structs.replace(found, deed="the champion answered them")


def _over(count: int, total: int, rule: Rule) -> bool:
    return total >= max(rule.least, 1) and count / total > rule.bound


def _condition(  # noqa: PLR0913, PLR0917 - the parts of one sentence
    kind: Kind, project: str, counts: tuple[int, int], rule: Rule, said: str, metric: str
) -> Condition:
    count, total = counts
    within = span(rule.window_ms)
    share = count / total
    return Condition(
        kind,
        f"{project}: {count:,} of {total:,} decisions ({share:.1%}) {said}, within {within}; "
        f"bound {rule.bound:.3g}",
        metric=metric,
        value=share,
        bound=rule.bound,
        measure=Measure.SHARE,
        window_ms=rule.window_ms,
        n=total,
        deed="a fallback answered them" if kind is Kind.FALLBACK else "",
    )
