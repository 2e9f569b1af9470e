"""First exposures: when each unit first met a rule in an epoch, or a pair of models at all.

Records come in any order, so who is first can change: whoever counts firsts hears of those that
became first, and of those that no longer are.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from sqlalchemy import Connection

from pointsman.domain.records import DecisionRecord
from pointsman.store import payloads
from pointsman.store.payloads import Exposure

_REMEMBERED: Final = 200_000
"""Units whose first exposure is known without asking the store; about 40 MB."""

Stratum = tuple[str, str, int]
"""Project, name and epoch of what units are exposed to."""


class Turnover(msgspec.Struct, frozen=True):
    """Who is first now: ids of decisions that became so, and of those they took it from."""

    gained: frozenset[str]
    lost: frozenset[str]


def rule_stratum(record: DecisionRecord) -> Stratum | None:
    """Where a decision that a split made is an exposure; None without a unit.

    It is its own first exposure then, and is not kept: cells count it already.
    """
    if record.unit is None:
        return None
    return record.project, record.rule, record.epoch


def holdout_stratum(record: DecisionRecord) -> Stratum | None:
    """Where a decision that was held out of a split is an exposure; None without a unit."""
    if record.unit is None:
        return None
    return record.project, f"{record.rule}#holdout", record.epoch


def pair_stratum(record: DecisionRecord, shadow: str, version: str) -> Stratum | None:
    """Where a pair of answers is an exposure; None without a unit.

    It outlives epochs and does not ask which of the two served, so that a unit counts once in a
    paired test however a rollout's weights move.
    """
    if record.unit is None:
        return None
    both = sorted((f"{record.assigned}:{record.version}", f"{shadow}:{version}"))
    return record.project, f"{record.rule}#{'+'.join(both)}", 0


class Exposures:
    """Keeps the earliest exposure of each unit.

    Remembers what it wrote; drop it when the transaction it wrote in fails.
    """

    def __init__(self) -> None:
        self._strata: dict[Stratum, int] = {}
        self._first: dict[tuple[int, int], tuple[int, str]] = {}

    def add(
        self, connection: Connection, met: Iterable[tuple[Stratum | None, DecisionRecord]]
    ) -> Turnover:
        """Adds exposures; decisions without a stratum are first by themselves."""
        fresh: dict[tuple[int, int], Exposure] = {}
        gained: set[str] = set()
        for stratum, record in met:
            if stratum is None:
                gained.add(record.id)
                continue
            key = (self._number(connection, stratum), record.unit_hash)
            known = fresh.get(key)
            if known is None or (record.at_ms, record.id) < (known.at_ms, known.decision_id):
                fresh[key] = Exposure(record.at_ms, record.id, record.assigned, record.propensity)
        before = self._known(connection, fresh)
        new = {
            key: exposure
            for key, exposure in fresh.items()
            if key not in before or (exposure.at_ms, exposure.decision_id) < before[key]
        }
        payloads.add_exposures(connection, new)
        for key, exposure in new.items():
            self._first[key] = (exposure.at_ms, exposure.decision_id)
            gained.add(exposure.decision_id)
        lost = {before[key][1] for key in new if key in before}
        return Turnover(frozenset(gained), frozenset(lost))

    def first_among(
        self, connection: Connection, met: Iterable[tuple[Stratum | None, DecisionRecord]]
    ) -> set[str]:
        """Ids of those decisions that are first where they are exposures."""
        keys: dict[str, tuple[int, int]] = {}
        first: set[str] = set()
        for stratum, record in met:
            if stratum is None:
                first.add(record.id)
            else:
                keys[record.id] = (self._number(connection, stratum), record.unit_hash)
        held = self._known(connection, dict.fromkeys(keys.values()))
        return first | {i for i, key in keys.items() if held.get(key, (0, ""))[1] == i}

    def _known(
        self, connection: Connection, keys: Mapping[tuple[int, int], object]
    ) -> dict[tuple[int, int], tuple[int, str]]:
        if len(self._first) > _REMEMBERED:
            self._first.clear()
        missing = [key for key in keys if key not in self._first]
        if missing:
            self._first |= payloads.exposures_at(connection, missing)
        return {key: self._first[key] for key in keys if key in self._first}

    def _number(self, connection: Connection, stratum: Stratum) -> int:
        number = self._strata.get(stratum)
        if number is None:
            number = self._strata[stratum] = payloads.stratum_number(connection, *stratum)
        return number
