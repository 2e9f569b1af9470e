"""Whom a rule's split would draw, unit by unit: what a sample ratio is going to be about.

A unit counts once, by its first decision that the split drew with all its variants to choose from,
as ingestion counts it. Pins and holdouts take units out before the draw, so they are told beside.
"""

from typing import Final

import msgspec

from pointsman.decide.allocation import shares
from pointsman.decide.answers import Logged
from pointsman.domain.decision import Live, Reason
from pointsman.domain.table import Rule

_HELD: Final = "held out"
_PINNED: Final = "pinned"
_LATER_MS: Final = 1 << 62


class SplitForecast(msgspec.Struct, frozen=True):
    """Units of the sample that replayed decisions bring to a rule's split.

    shares: chance of each variant; units: drawn for it, in the same order
    held_out: kept on the champion by the rule's holdout
    pinned: that never met the rule because their caller asked for a variant each time
    alone: drawn decisions without a unit: each counts as one, and what one caller sends is spread
    out: variants of the split that a kill switch keeps out: nothing is a fair draw until it is set
        back, and nothing is counted
    """

    rule: str
    shares: tuple[tuple[str, float], ...]
    units: tuple[int, ...]
    held_out: int
    pinned: int
    alone: int
    out: tuple[str, ...]


class Drawing:
    """Follows one rule that splits; feed it decisions of the newer table, in any order."""

    def __init__(self, rule: Rule, live: Live) -> None:
        assert rule.allocation is not None
        self._rule = rule.name
        self._shares = tuple(sorted(shares(rule.allocation).items()))
        self._out = tuple(name for name, _ in self._shares if name in live.out)
        self._first: dict[int, tuple[int, str]] = {}
        self._alone = 0

    def met(self, rule: str, variant: str, reason: Reason | None, one: Logged) -> None:
        """Where a decision goes under the newer table. reason: None where it is refused"""
        if reason is Reason.PINNED:
            became, rank = _PINNED, 1
        elif rule != self._rule:
            return
        elif reason is Reason.SPLIT:
            became, rank = variant, 0
            self._alone += one.unit is None
        elif reason is Reason.HOLDOUT:
            became, rank = _HELD, 0
        else:
            return
        at_ms, unit_hash = one.at_ms, one.unit_hash
        # A pin is no exposure: it only counts for units that have no other.
        at = (at_ms + rank * _LATER_MS, became)
        known = self._first.get(unit_hash)
        if known is None or at < known:
            self._first[unit_hash] = at

    def keep_below(self, limit: int) -> None:
        """Follows only units with a lower hash from now on."""
        self._first = {unit: at for unit, at in self._first.items() if unit < limit}

    def told(self) -> SplitForecast:
        """What came of everything so far."""
        became = [name for _, name in self._first.values()]
        whole = not self._out
        return SplitForecast(
            rule=self._rule,
            shares=self._shares,
            units=tuple(became.count(name) if whole else 0 for name, _ in self._shares),
            held_out=became.count(_HELD),
            pinned=became.count(_PINNED),
            alone=self._alone if whole else 0,
            out=self._out,
        )
