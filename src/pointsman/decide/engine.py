"""The decision itself: kill switch, pin, rules in order, holdout, split."""

from bisect import bisect_right

from xxhash import xxh3_64_intdigest

from pointsman.decide.hashing import unit_bytes
from pointsman.decide.table import CompiledProject, View
from pointsman.decide.view import RuleView, certain
from pointsman.domain.decision import Decision, Live, Reason, Request
from pointsman.domain.errors import Kind, PointsmanError


def decide(project: CompiledProject, live: Live, request: Request) -> Decision:
    """Who answers this request, who stands by and who watches; with exact probabilities.

    A condition that errors ends in the champion with reason `DEFAULT` and says why in `error`: it
    never falls through to a later rule. The same where no rule matches, without an error. The
    champion's answer may fail then too: the fallbacks of that rule stand by, or, where no rule had
    a part in it (no match, kill switch on the project or on a pinned variant), those of the last.
    live: compared by identity first, so keep one object for as long as it does not change
    Errors: NOT_FOUND for a pin that names no variant of the project.
    """
    seen, view = project.latest
    if seen is not live:
        view = project.under(live)
    if view.killed is not None:
        return view.killed
    if request.pin is not None:
        return _pinned(project, view, request.pin)
    for rule in view.rules:
        evaluate = rule.evaluate
        if evaluate is not None:
            met = evaluate(request.context)
            if met is False:
                continue
            if met is not True:
                return certain(
                    Reason.DEFAULT,
                    fallbacks=rule.behind_champion,
                    error=f"rule {rule.name}: {met}",
                )
        fixed = rule.fixed
        return fixed if fixed is not None else _drawn(rule, request)
    return view.unmatched


def _drawn(rule: RuleView, request: Request) -> Decision:
    """What a rule's draws come to; a request without a unit draws on its own fresh id."""
    unit = unit_bytes(request.id if request.unit is None else request.unit)
    if rule.drawn:
        bucket = xxh3_64_intdigest(rule.prefix + unit) >> 32
        outcome = rule.outcomes[bisect_right(rule.cuts, bucket) - 1]
        if rule.held_out is not None and (
            xxh3_64_intdigest(rule.holdout_prefix + unit) >> 32 < rule.holdout
        ):
            outcome = rule.held_out
    else:
        bucket = -1
        outcome = rule.outcomes[0]
    assigned, reason, propensity, fallbacks, watching = outcome
    shadows: tuple[str, ...] = ()
    for variant, cut, salt in watching:
        if xxh3_64_intdigest(salt + unit) >> 32 < cut:
            shadows += (variant,)
    return Decision(
        rule.name,
        assigned,
        fallbacks,
        shadows,
        reason,
        propensity,
        rule.propensities,
        rule.epoch,
        bucket,
    )


def _pinned(project: CompiledProject, view: View, pin: str) -> Decision:
    """The variant a caller asked for by name or label; a kill switch on it wins."""
    variant = project.pins.get(pin)
    if variant is None:
        raise PointsmanError(
            Kind.NOT_FOUND,
            f"project {project.table.project} has no variant {pin}",
            hint=f"its variants are {', '.join(v.label for v in project.table.variants)}",
        )
    if variant in view.out:
        return view.pin_out
    return certain(Reason.PINNED, variant)
