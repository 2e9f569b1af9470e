"""First exposures: when each unit first met a rule in an epoch."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection

from pointsman.domain.decision import Reason
from pointsman.domain.records import DecisionRecord
from pointsman.store import payloads
from pointsman.store.payloads import Exposure

_REMEMBERED: Final = 200_000
"""Units whose first exposure is known without asking the store; about 40 MB."""


class Exposures:
    """Keeps the earliest exposure of each unit. A decision without a unit is nobody's second one:
    it is not kept here, since cells count it already.

    Remembers what it wrote; drop it when the transaction it wrote in fails.
    """

    def __init__(self) -> None:
        self._strata: dict[tuple[str, str, int], int] = {}
        self._first: dict[tuple[int, int], tuple[int, str]] = {}

    def add(self, connection: Connection, records: Iterable[DecisionRecord]) -> None:
        """Adds the exposures of decisions that a split made."""
        fresh: dict[tuple[int, int], Exposure] = {}
        for record in records:
            if record.reason != Reason.SPLIT or record.unit is None:
                continue
            key = (self._stratum(connection, record), record.unit_hash)
            when = (record.at_ms, record.id)
            known = self._first.get(key)
            if known is None or when < known:
                self._first[key] = when
                fresh[key] = Exposure(*when, record.assigned, record.propensity)
        payloads.add_exposures(connection, fresh)
        if len(self._first) > _REMEMBERED:
            self._first.clear()

    def _stratum(self, connection: Connection, record: DecisionRecord) -> int:
        key = (record.project, record.rule, record.epoch)
        number = self._strata.get(key)
        if number is None:
            number = self._strata[key] = payloads.stratum_number(connection, *key)
        return number
