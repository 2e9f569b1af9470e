"""Where a past decision would go, and nothing else of what `decide` says: for replays of many.

It follows the same views that `decide` does, and leaves to it whatever is not plain. What both say
is the same (`test_a_route_is_what_is_decided`).
"""

from bisect import bisect_right
from collections.abc import Mapping

from xxhash import xxh3_64_intdigest

from pointsman.decide.table import View
from pointsman.domain.decision import Reason, Value

Route = tuple[str, str, Reason]
"""Rule, assigned variant and reason, as in the decision."""


def route(view: View, unit: bytes, context: Mapping[str, Value]) -> Route | None:
    """Where a request without a pin goes; None where `decide` has to be asked.

    unit: as it is hashed; the decision's own id where it has none
    """
    if view.killed is not None:
        return None
    for rule in view.rules:
        evaluate = rule.evaluate
        if evaluate is not None:
            met = evaluate(context)
            if met is False:
                continue
            if met is not True:
                return None
        outcome = rule.outcomes[0]
        if rule.drawn:
            bucket = xxh3_64_intdigest(rule.prefix + unit) >> 32
            outcome = rule.outcomes[bisect_right(rule.cuts, bucket) - 1]
            if rule.held_out is not None and (
                xxh3_64_intdigest(rule.holdout_prefix + unit) >> 32 < rule.holdout
            ):
                outcome = rule.held_out
        return rule.name, outcome[0], outcome[1]
    return None
