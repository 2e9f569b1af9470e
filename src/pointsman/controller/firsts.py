"""Keeps what is counted once a unit right, in whatever order a transaction's records come."""

from collections.abc import Callable, Collection, Iterable, Sequence

from sqlalchemy import Connection

from pointsman.controller.beside import Known, Outcomes, pair_of
from pointsman.controller.cells import Changes
from pointsman.controller.exposures import (
    Exposures,
    Stratum,
    holdout_stratum,
    pair_stratum,
    rule_stratum,
)
from pointsman.controller.join import IngestProject
from pointsman.domain.decision import Reason
from pointsman.domain.records import DecisionRecord, ShadowRecord
from pointsman.store import ingestion

_Pair = tuple[DecisionRecord, ShadowRecord]


class Firsts:
    """One transaction's share of it.

    exposures: who is first, remembered across transactions
    changes: collects what is added to cells and taken back
    """

    def __init__(
        self,
        connection: Connection,
        exposures: Exposures,
        project: Callable[[DecisionRecord], IngestProject | None],
        changes: Changes,
    ) -> None:
        self._connection = connection
        self._exposures = exposures
        self._project = project
        self._changes = changes

    def exposed(self, fresh: Sequence[DecisionRecord]) -> None:
        """Takes in the exposures of new decisions, of which no outcome is told yet."""
        split = [record for record in fresh if self._drawn(record)]
        turn = self._exposures.add(self._connection, [(rule_stratum(r), r) for r in split])
        for record in split:
            if record.id in turn.gained:
                self._exposed(record, {}, 1)
        if turn.lost:
            # One that retention deleted meanwhile cannot be taken back: its unit counts twice.
            lost = ingestion.decisions_by_id(self._connection, turn.lost)
            held = self._held(lost)
            for record in lost.values():
                self._exposed(record, held.get(record.id, {}), -1)
        self._held_out([r for r in fresh if r.reason == Reason.HOLDOUT])

    def watched(self, fresh: Sequence[DecisionRecord], shadows: Sequence[ShadowRecord]) -> int:
        """Pairs new decisions and new shadow answers; how many of the latter were new.

        A pair is formed when its second half comes, with what is held of the decision by then.
        """
        connection = self._connection
        by_id = {record.id: record for record in fresh}
        waited = ingestion.shadows_by_decision(connection, by_id.keys())
        new = ingestion.insert_shadows(connection, shadows)
        halves = [shadow for found in waited.values() for shadow in found] + new
        if not halves:
            return 0
        older = {shadow.id for shadow in new} - by_id.keys()
        by_id |= ingestion.decisions_by_id(connection, older)
        held = self._held(older)
        whole = [(by_id[shadow.id], shadow) for shadow in halves if shadow.id in by_id]
        for record, shadow in whole:
            project = self._project(record)
            if project is not None:
                case = self._changes.case(record, project)
                self._changes.beside.watched(case, shadow, held.get(record.id, {}))
        self._first_pairs(whole, held)
        return len(new)

    def recall(self, records: Collection[DecisionRecord]) -> None:
        """Readies the changes for outcomes of these decisions."""
        connection = self._connection
        split = [r for r in records if self._drawn(r)]
        by_id = {record.id: record for record in records}
        shadows = ingestion.shadows_by_decision(connection, by_id.keys())
        pairs = [(by_id[s.id], s) for found in shadows.values() for s in found]
        self._changes.beside.known = Known(
            first=self._exposures.first_among(connection, [(rule_stratum(r), r) for r in split]),
            shadows=shadows,
            first_pairs={
                (i, shadow)
                for shadow, met in self._met(pairs).items()
                for i in self._exposures.first_among(connection, met)
            },
        )

    def _first_pairs(self, pairs: Sequence[_Pair], held: dict[str, Outcomes]) -> None:
        connection, answers = self._connection, {(r.id, s.variant): s for r, s in pairs}
        for variant, met in self._met(pairs).items():
            turn = self._exposures.add(connection, met)
            for _, record in met:
                if record.id in turn.gained:
                    shadow = answers[record.id, variant]
                    self._first_pair(record, shadow, held.get(record.id, {}), 1)
            if not turn.lost:
                continue
            lost = ingestion.decisions_by_id(connection, turn.lost)
            stored, told = ingestion.shadows_by_decision(connection, turn.lost), self._held(lost)
            for record in lost.values():
                for shadow in self._other_half(record, stored.get(record.id, []), met):
                    self._first_pair(record, shadow, told.get(record.id, {}), -1)

    def _other_half(
        self,
        record: DecisionRecord,
        shadows: Iterable[ShadowRecord],
        met: Iterable[tuple[Stratum | None, DecisionRecord]],
    ) -> list[ShadowRecord]:
        """The answers that made a decision the first pair it no longer is. The same two models may
        have had their places changed, so that the shadow now was the one that served then."""
        strata = {stratum for stratum, other in met if other.unit_hash == record.unit_hash}
        return [s for s in shadows if pair_stratum(record, s.variant, s.version) in strata]

    def _met(
        self, pairs: Iterable[_Pair]
    ) -> dict[str, list[tuple[Stratum | None, DecisionRecord]]]:
        """Where each pair is an exposure, by shadow: a decision has one answer of each."""
        met: dict[str, list[tuple[Stratum | None, DecisionRecord]]] = {}
        for record, shadow in pairs:
            project = self._project(record)
            if project is not None and pair_of(record, shadow, project) is not None:
                stratum = pair_stratum(record, shadow.variant, shadow.version)
                met.setdefault(shadow.variant, []).append((stratum, record))
        return met

    def _drawn(self, record: DecisionRecord) -> bool:
        if record.reason != Reason.SPLIT:
            return False
        project = self._project(record)
        return project is None or project.drawn(record)

    def _held_out(self, records: Sequence[DecisionRecord]) -> None:
        """Units a rule kept apart from its split: only their number is of interest."""
        by_project = [(self._project(r), r) for r in records]
        whole = {r.id: (p, r) for p, r in by_project if p is not None and p.whole(r)}
        met = [(holdout_stratum(record), record) for _, record in whole.values()]
        turn = self._exposures.add(self._connection, met)
        for project, record in whole.values():
            if record.id in turn.gained:
                self._changes.headcount.held_out(record, project, 1)
        if turn.lost:
            for record in ingestion.decisions_by_id(self._connection, turn.lost).values():
                known = self._project(record)
                if known is not None:
                    self._changes.headcount.held_out(record, known, -1)

    def _exposed(self, record: DecisionRecord, held: Outcomes, times: int) -> None:
        project = self._project(record)
        if project is not None:
            self._changes.beside.exposed(self._changes.case(record, project), held, times)
            self._changes.headcount.exposed(record, project, held, times)

    def _first_pair(
        self, record: DecisionRecord, shadow: ShadowRecord, held: Outcomes, times: int
    ) -> None:
        project = self._project(record)
        if project is not None:
            case = self._changes.case(record, project)
            self._changes.beside.first_pair(case, shadow, held, times)

    def _held(self, ids: Collection[str]) -> dict[str, Outcomes]:
        """What is held of decisions, by id."""
        if not ids:
            return {}
        found: dict[str, dict[str, str | float | None]] = {}
        for (decision_id, kind), held in ingestion.held_for(self._connection, ids).items():
            found.setdefault(decision_id, {})[kind] = held.value
        return found  # type: ignore[return-value]  # the ingester writes no other kinds
