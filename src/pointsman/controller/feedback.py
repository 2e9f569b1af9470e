"""Joins feedback to decisions: settles everything about a decision whenever a piece comes in."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import chain

import msgspec
from sqlalchemy import Connection

from pointsman.controller import join
from pointsman.controller.cells import Changes
from pointsman.controller.firsts import Firsts
from pointsman.controller.join import COPIES, IngestProject, State
from pointsman.domain.records import DecisionRecord, OutcomeKind, OutcomeRecord
from pointsman.store import ingestion
from pointsman.store.ingestion import Held
from pointsman.store.rows import Piece


class Join:
    """One transaction's share of it.

    changes: collects what outcomes add to cells and gauges, and what corrections take back
    lifetime_ms: how long a piece waits for a decision nobody knows
    firsts: knows what else has to be known of a decision to tell its outcomes
    settled: how many pieces came to be in a state, by project (empty where none is known) and state
    """

    def __init__(
        self,
        connection: Connection,
        project: Callable[[DecisionRecord], IngestProject | None],
        changes: Changes,
        lifetime_ms: int,
        firsts: Firsts,
    ) -> None:
        self._firsts = firsts
        self._connection = connection
        self._project = project
        self._changes = changes
        self._lifetime_ms = lifetime_ms
        self.settled: Counter[tuple[str, str]] = Counter()

    def take_in(self, outcomes: Sequence[OutcomeRecord], fresh: Collection[DecisionRecord]) -> None:
        """Settles what new feedback is about, and what was waiting for decisions that are new."""
        connection = self._connection
        new = {record.id: record for record in fresh}
        awaited = ingestion.waiting_for(connection, new.keys())
        if not outcomes and not awaited:
            return
        first = ingestion.next_feedback_row(connection)
        pieces = [_piece(row, outcome) for row, outcome in enumerate(outcomes, first)]
        same_id = ingestion.pieces_by_id(connection, {(p.tenant, p.id) for p in pieces})
        for piece in pieces:
            same_id[piece.tenant, piece.id].append(piece)
        copied: dict[int, State] = {}
        for group in same_id.values():
            # A copy stays one: another piece under its id can only have been received earlier.
            copied |= join.copies(group)
        about = {p.decision_id for p in chain(*same_id.values())} | awaited
        known = ingestion.decisions_by_id(connection, about - new.keys())
        known |= {d: new[d] for d in about & new.keys()}
        self._firsts.recall(known.values())
        everything = ingestion.pieces_by_decision(connection, about)
        for piece in pieces:
            everything[piece.decision_id].append(piece)
        self._settle(everything, known, copied, first)
        if awaited:
            ingestion.take_from_inbox(connection, awaited)

    def _settle(
        self,
        everything: dict[str, list[Piece]],
        known: dict[str, DecisionRecord],
        copied: dict[int, State],
        first: int,
    ) -> None:
        """`first`: row number of the first piece that is not in the store yet."""
        held = ingestion.held_for(self._connection, everything)
        changed: list[tuple[int, str, str]] = []
        added: list[Piece] = []
        waiting: list[Piece] = []
        registers: dict[tuple[str, str], Held | None] = {}
        for decision_id, pieces in everything.items():
            record = known.get(decision_id)
            project = None if record is None else self._project(record)
            copies = {p.row: s for p in pieces if (s := _copy_state(p, copied)) is not None}
            settled = join.settle(record, pieces, copies, project)
            by_row = {p.row: p for p in pieces}
            for row, state, note in settled.states:
                piece = by_row[row]
                if row >= first or piece.state != state:
                    self.settled["" if record is None else record.project, state] += 1
                if row >= first:
                    added.append(msgspec.structs.replace(piece, state=state, note=note))
                elif (piece.state, piece.note) != (state, note):
                    changed.append((row, state, note))
                if state == "early" and piece.state != "early":
                    waiting.append(piece)
            if record is not None:
                registers |= self._hold(record, project, held, settled.registers)
        added.sort(key=lambda p: p.row)
        ingestion.insert_feedback(self._connection, added)
        ingestion.set_states(self._connection, changed)
        ingestion.put_in_inbox(self._connection, waiting, self._lifetime_ms)
        ingestion.hold(self._connection, registers)

    def _hold(
        self,
        record: DecisionRecord,
        project: IngestProject | None,
        held: dict[tuple[str, str], Held],
        now: dict[OutcomeKind, Held],
    ) -> dict[tuple[str, str], Held | None]:
        """Registers that change; what they add and take back goes into the changes."""
        changed: dict[tuple[str, str], Held | None] = {}
        for kind in join.KINDS:
            before, after = held.get((record.id, kind)), now.get(kind)
            if before == after:
                continue
            changed[record.id, kind] = after
            if before is not None:
                self._changes.told(record, project, (kind, before.value), times=-1)
            if after is not None:
                self._changes.told(record, project, (kind, after.value), times=1)
        return changed


def _piece(row: int, record: OutcomeRecord) -> Piece:
    return Piece(
        row,
        record.tenant,
        record.id,
        record.decision_id,
        record.kind,
        record.value,
        record.at_ms,
        record.received_ms,
        record.key,
        state="",
    )


def _copy_state(piece: Piece, copied: dict[int, State]) -> State | None:
    """The state of a copy, None for a piece that counts."""
    state = copied.get(piece.row, piece.state)
    return state if state in COPIES else None  # type: ignore[return-value]  # a copy's state is one
