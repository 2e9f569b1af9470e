"""What a change of table would do, as values: who would move, and what differs.

Exact and from the tables alone, so it says nothing of how much traffic meets a rule; for that,
the controller replays recent decisions through both tables.
"""

from collections import defaultdict
from fractions import Fraction
from typing import Any

import msgspec

from pointsman.decide.allocation import flows, widths_of
from pointsman.domain.names import CHAMPION
from pointsman.domain.table import SPACE, Allocation, ProjectTable, Rule, encode

_Pairs = dict[tuple[str, str], Fraction]


class RuleMove(msgspec.Struct, frozen=True):
    """How one rule, in both tables by the same name, would assign its units anew.

    share: of the units that meet the rule both before and after, those assigned to another
        variant; exact, on [0, 1]
    flows: that share by (from, to), in order of name, without those that stay
    """

    rule: str
    share: float
    flows: tuple[tuple[str, str, float], ...]


class Change(msgspec.Struct, frozen=True):
    """One value that differs between two tables; None on the side that has nothing there.

    path: dotted, list members by their name: `rules[default].holdout`
    """

    path: str
    before: Any
    after: Any


def moves(before: ProjectTable, after: ProjectTable) -> tuple[RuleMove, ...]:
    """One `RuleMove` for each rule that both tables have, in the order of the newer one.

    Units of a rule that is new or gone are met by other rules, which no table can count.
    """
    old = {rule.name: rule for rule in before.rules}
    return tuple(_move(old[rule.name], rule) for rule in after.rules if rule.name in old)


def diff(before: ProjectTable | None, after: ProjectTable | None) -> tuple[Change, ...]:
    """Every value that differs, by path, in order of path; the number is not one of them."""
    changes = _diff("", _plain(before), _plain(after))
    return tuple(sorted(changes, key=lambda change: change.path))


def _move(before: Rule, after: Rule) -> RuleMove:
    pairs = {pair: share for pair, share in _joint(before, after).items() if pair[0] != pair[1]}
    return RuleMove(
        after.name,
        float(sum(pairs.values(), Fraction(0))),
        tuple((old, new, float(share)) for (old, new), share in sorted(pairs.items()) if share),
    )


def _joint(before: Rule, after: Rule) -> _Pairs:
    """Probability of each (variant before, variant after), over the draws of one unit."""
    split = _split_pairs(before, after)
    held = _holdout_pairs(before, after)
    joint: _Pairs = defaultdict(Fraction)
    for (held_before, held_after), weight in held.items():
        for (old, new), share in split.items():
            pair = (CHAMPION if held_before else old, CHAMPION if held_after else new)
            joint[pair] += weight * share
    return joint


def _split_pairs(before: Rule, after: Rule) -> _Pairs:
    old, new = _allocation(before), _allocation(after)
    both_split = before.allocation is not None and after.allocation is not None
    if both_split and before.salt != after.salt:
        # Other salts are other dice: independent draws.
        return {
            (a, b): Fraction(x, SPACE) * Fraction(y, SPACE)
            for a, x in widths_of(old).items()
            for b, y in widths_of(new).items()
        }
    return {pair: Fraction(points, SPACE) for pair, points in flows(old, new).items()}


def _holdout_pairs(before: Rule, after: Rule) -> dict[tuple[bool, bool], Fraction]:
    old, new = _holdout(before), _holdout(after)
    if before.holdout_salt != after.holdout_salt:
        return {
            (True, True): old * new,
            (True, False): old * (1 - new),
            (False, True): (1 - old) * new,
            (False, False): (1 - old) * (1 - new),
        }
    return {
        (True, True): min(old, new),
        (True, False): max(old - new, Fraction(0)),
        (False, True): max(new - old, Fraction(0)),
        (False, False): 1 - max(old, new),
    }


def _allocation(rule: Rule) -> Allocation:
    """The rule's split; a rule that uses one variant is a split that gives it everything."""
    return rule.allocation if rule.allocation is not None else Allocation((0,), (rule.use,))


def _holdout(rule: Rule) -> Fraction:
    return Fraction(rule.holdout, SPACE) if rule.allocation is not None else Fraction(0)


def _plain(table: ProjectTable | None) -> Any:
    if table is None:
        return None
    plain: dict[str, Any] = msgspec.json.decode(encode(table))
    del plain["number"]
    return plain


def _diff(path: str, before: Any, after: Any) -> list[Change]:
    if before == after:
        return []
    old, new = _members(before), _members(after)
    if old is None or new is None:
        return [Change(path, before, after)]
    changes: list[Change] = []
    for key in old.keys() | new.keys():
        inner = f"{path}[{key}]" if isinstance(after, list) else f"{path}.{key}".lstrip(".")
        changes += _diff(inner, old.get(key), new.get(key))
    if isinstance(after, list) and [k for k in old if k in new] != [k for k in new if k in old]:
        changes.append(Change(f"{path} (order)", list(old), list(new)))
    return changes


def _members(value: Any) -> dict[str, Any] | None:
    """What can be compared one by one: a mapping, or a list whose members have names."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value):
        return {member["name"]: member for member in value}
    return None
