"""A rule as it acts under one live state: everything `decide` would otherwise work out per request.

Live state changes rarely and a table never does, so outcomes, fallbacks, shadows and exact
propensities are computed once per (table, live state) and looked up ever after.
"""

from collections.abc import Callable, Mapping

from pointsman.decide.allocation import intervals_of
from pointsman.decide.hashing import prefix
from pointsman.domain.decision import Decision, Reason, Value
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import SPACE, Rule

Evaluate = Callable[[Mapping[str, Value]], bool | str]

Outcome = tuple[str, Reason, float, tuple[str, ...], tuple[tuple[str, int, bytes], ...]]
"""What a draw comes to: assigned, reason, its propensity, fallbacks, and the shadows that may watch
as (variant, cut, salt prefix)."""


class RuleView:
    """One rule under one live state; `out` never holds the champion (see `live`).

    evaluate: the compiled condition, None = always met
    fixed: the whole decision, where neither draw nor shadow depends on the unit; else None
    cuts, outcomes: the split's interval starts and what each comes to; for `use`, one interval
    drawn: whether the decision names a bucket (a split does, `use` does not)
    holdout: units hashing below it are held out, by `holdout_prefix`
    behind_champion: the rule's fallbacks that can answer where the champion is assigned
    """

    __slots__ = (
        "behind_champion",
        "cuts",
        "drawn",
        "epoch",
        "evaluate",
        "fixed",
        "held_out",
        "holdout",
        "holdout_prefix",
        "name",
        "outcomes",
        "prefix",
        "propensities",
    )

    def __init__(self, rule: Rule, evaluate: Evaluate | None, out: frozenset[str]) -> None:
        self.name = rule.name
        self.epoch = rule.epoch
        self.evaluate = evaluate
        self.prefix = prefix(rule.salt)
        self.holdout_prefix = prefix(rule.holdout_salt)
        self.drawn = rule.allocation is not None
        self.holdout = rule.holdout if self.drawn else 0
        intervals = (
            [(0, SPACE, rule.use)] if rule.allocation is None else intervals_of(rule.allocation)
        )
        self.behind_champion = _fallbacks(rule, out, CHAMPION)
        plain = Reason.SPLIT if self.drawn else Reason.RULE
        self.propensities = _propensities(intervals, self.holdout, out)
        self.cuts = tuple(start for start, _, _ in intervals)
        self.outcomes = tuple(
            self._outcome(rule, out, CHAMPION, Reason.KILLED)
            if arm in out
            else self._outcome(rule, out, arm, plain)
            for _, _, arm in intervals
        )
        # Nothing is looked up under a holdout of 0, and the champion may have no share at all.
        self.held_out = self._outcome(rule, out, CHAMPION, Reason.HOLDOUT) if self.holdout else None
        self.fixed = self._fixed()

    def _outcome(self, rule: Rule, out: frozenset[str], assigned: str, reason: Reason) -> Outcome:
        fallbacks = _fallbacks(rule, out, assigned)
        shadows = tuple(
            (shadow.variant, shadow.cut, prefix(shadow.salt))
            for shadow in rule.shadows
            if shadow.cut and shadow.variant != assigned and shadow.variant not in out
        )
        return assigned, reason, dict(self.propensities).get(assigned, 0.0), fallbacks, shadows

    def _fixed(self) -> Decision | None:
        assigned, reason, propensity, fallbacks, shadows = self.outcomes[0]
        if self.drawn or shadows:
            return None
        return Decision(
            self.name,
            assigned,
            fallbacks,
            (),
            reason,
            propensity,
            self.propensities,
            self.epoch,
            -1,
        )


def certain(
    reason: Reason,
    assigned: str = CHAMPION,
    fallbacks: tuple[str, ...] = (),
    error: str = "",
) -> Decision:
    """A decision that no rule and no draw had a part in: probability 1, epoch 0, no bucket."""
    return Decision("", assigned, fallbacks, (), reason, 1.0, ((assigned, 1.0),), 0, -1, error)


def _fallbacks(rule: Rule, out: frozenset[str], assigned: str) -> tuple[str, ...]:
    """Those declared, in their order, without the assigned variant and those that are out."""
    return tuple(name for name in rule.fallback if name != assigned and name not in out)


def _propensities(
    intervals: list[tuple[int, int, str]], holdout: int, out: frozenset[str]
) -> tuple[tuple[str, float], ...]:
    """Exact probability of each variant over the unit's two independent draws, rounded once.

    Counted in pairs (holdout draw, split draw), of which there are 2^64: held out units and those
    whose arm is out go to the champion.
    """
    pairs: dict[str, int] = {CHAMPION: holdout * SPACE} if holdout else {}
    for start, end, arm in intervals:
        effective = CHAMPION if arm in out else arm
        pairs[effective] = pairs.get(effective, 0) + (SPACE - holdout) * (end - start)
    return tuple(
        (variant, count / (SPACE * SPACE)) for variant, count in sorted(pairs.items()) if count
    )
