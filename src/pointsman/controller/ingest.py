"""Tails the journal into the store: every record exactly once, whatever dies in between.

The position in each stream is committed in the transaction that holds what its records caused. A
tick that fails leaves nothing behind and is tried again; a tick that was killed never was.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError, StatementError

from pointsman.controller import feedback
from pointsman.controller.cells import Changes, SliceNames
from pointsman.controller.exposures import Exposures
from pointsman.controller.firsts import Firsts
from pointsman.controller.join import INBOX_LIFETIME_MS, IngestProject
from pointsman.controller.sketching import Sketching
from pointsman.domain.records import (
    DecisionRecord,
    OutcomeRecord,
    OverrideRecord,
    Record,
    ShadowRecord,
)
from pointsman.journal import codec
from pointsman.journal.reader import Position, Reading, Tail, streams
from pointsman.store import headcounts, ingestion, journal_state, payloads, pulses
from pointsman.store.database import reader
from pointsman.store.journal_state import Ingested, IngestFault

TICK_BYTES: Final = 4 << 20
"""Read from all streams for one transaction, about: a fraction of a second of work."""

_EXPIRY_EVERY_MS: Final = 60_000

_UNUSABLE: Final = (
    ArithmeticError,
    LookupError,
    StatementError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)
"""What a record that should never have been written can raise. An operational error (disk, lock)
is a StatementError too, and is no record's fault."""


class Catalog(Protocol):
    """What the controller knows about projects."""

    def lookup(self, project: str, digest: str) -> IngestProject | None:
        """What the table of that digest declares; None for one that is not known."""


class Origin(msgspec.Struct, frozen=True):
    """Where in the journal a record lies."""

    stream: str
    segment: int
    start: int
    end: int


class Tick(msgspec.Struct):
    """What one tick took in.

    decisions, shadows: those that were new; repeated: those that were not
    outcomes: pieces of feedback, whatever became of them; expired: those that waited too long
    settled: how many came to be in a state, by project (empty where none is known) and state
    faults: ranges and records that could not be taken in
    unconfigured: decisions of tables nobody knows, which enter no evidence
    unmerged: cells whose classes changed within an epoch, and which stay as they were
    bytes: read from the journal; more: whether there was more to read
    unreadable: why a stream could not be read at all, by stream; the others were
    """

    decisions: int = 0
    shadows: int = 0
    repeated: int = 0
    outcomes: int = 0
    overrides: int = 0
    expired: int = 0
    settled: Mapping[tuple[str, str], int] = {}
    faults: int = 0
    unconfigured: int = 0
    unmerged: int = 0
    bytes: int = 0
    more: bool = False
    unreadable: dict[str, str] = {}


_Item = tuple[Record, Origin]


class Ingester:
    """The one that takes the journal in. One at a time for a store, and from one thread.

    journal: `DATA/journal`
    inbox_lifetime_ms: how long feedback waits for a decision nobody knows before it is `expired`
    now_ms: wall clock, Unix milliseconds
    """

    def __init__(
        self,
        journal: Path,
        engine: Engine,
        catalog: Catalog,
        *,
        inbox_lifetime_ms: int = INBOX_LIFETIME_MS,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._journal = journal
        self._engine = engine
        self._catalog = catalog
        self._lifetime_ms = inbox_lifetime_ms
        self._now_ms = now_ms
        self._tails: dict[str, Tail] = {}
        self._projects: dict[tuple[str, str], IngestProject | None] = {}
        self._slices: SliceNames | None = None
        self._exposures = Exposures()
        self._sketching = Sketching(now_ms)
        self._expiry_ms = 0

    def tick(self) -> Tick:
        """Takes in what is new, a few MiB of each stream at most, in one transaction.

        Raises what the disk or the database raises; then nothing was taken in.
        """
        tick = Tick()
        now = self._now_ms()
        readings = self._read(tick)
        expire = now - self._expiry_ms >= _EXPIRY_EVERY_MS
        if not readings and not expire:
            return tick
        self._projects.clear()
        try:
            with self._engine.begin() as connection:
                self._take_in(connection, readings, tick, now)
                if expire:
                    tick.expired = ingestion.expire_inbox(connection, now)
        except BaseException:
            self._forget()
            for stream, reading in readings.items():
                self._tails[stream].seek(reading.before)
            raise
        if expire:
            self._expiry_ms = now
        return tick

    def close(self) -> None:
        """Lets go of the segments that are open."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def _read(self, tick: Tick) -> dict[str, Reading]:
        """What is new, by stream."""
        names = streams(self._journal)
        if any(name not in self._tails for name in names):
            with reader(self._engine).connect() as connection:
                ingested = journal_state.load_positions(connection)
            for name in names:
                if name not in self._tails:
                    position = _position(ingested.get(name))
                    self._tails[name] = Tail(self._journal / name, name, position)
        readings: dict[str, Reading] = {}
        share = TICK_BYTES // max(len(names), 1)
        for name in names:
            tail = self._tails[name]
            before = tail.position
            try:
                reading = tail.read(share)
            except (OSError, ValueError) as error:
                # What it read before it failed is not in our hands: all of it again, opened anew.
                tail.seek(before)
                tail.close()
                tick.unreadable[name] = f"{type(error).__name__}: {error}"
                continue
            if reading.after != reading.before or reading.faults:
                readings[name] = reading
                size = sum(frame.end - frame.start for frame in reading.frames)
                tick.bytes += size
                tick.more = tick.more or reading.more or size >= share
        return readings

    def _take_in(
        self, connection: Connection, readings: dict[str, Reading], tick: Tick, now: int
    ) -> None:
        faults: list[IngestFault] = []
        items: list[_Item] = []
        for stream, reading in readings.items():
            faults += [
                IngestFault(f.stream, f.segment, f.start, f.end, f.kind, f.records, "", now)
                for f in reading.faults
            ]
            items += self._decode(stream, reading, faults, now)
        if self._slices is None:
            self._slices = SliceNames()
            for project, name in payloads.slice_names(connection):
                self._slices.learn(project, name)
        self._take_in_usable(connection, items, tick, faults)
        tick.faults += journal_state.save_faults(connection, faults)
        journal_state.save_positions(
            connection,
            {
                name: Ingested(r.after.segment, r.after.offset, r.after.next, r.after.hash)
                for name, r in readings.items()
            },
        )

    def _decode(
        self, stream: str, reading: Reading, faults: list[IngestFault], now: int
    ) -> Iterable[_Item]:
        for frame in reading.frames:
            # Frames of one reading are of one segment, the one it ended in.
            origin = Origin(stream, reading.after.segment, frame.start, frame.end)
            try:
                records, unknown = codec.decode_payload(frame.payload)
            except msgspec.DecodeError as error:
                faults.append(_fault(origin, "unusable", frame.count, str(error), now))
                continue
            if unknown:
                faults.append(_fault(origin, "unknown_kind", unknown, "", now))
            for record in records:
                yield record, origin

    def _take_in_usable(
        self, connection: Connection, items: Sequence[_Item], tick: Tick, faults: list[IngestFault]
    ) -> None:
        """Takes in all items, or all but those that cannot be: they are found by halving."""
        before = msgspec.structs.replace(tick)
        try:
            with connection.begin_nested():
                self._take_in_items(connection, items, tick)
        except _UNUSABLE as error:
            if isinstance(error, OperationalError):
                raise _cause(error) from None
            if not items:  # then it was no record's fault
                raise
            self._forget()
            for field in Tick.__struct_fields__:
                setattr(tick, field, getattr(before, field))
            if len(items) == 1:
                note = f"{type(error).__name__}: {error}"[:500]
                faults.append(_fault(items[0][1], "unusable", 1, note, self._now_ms()))
                return
            middle = len(items) // 2
            self._take_in_usable(connection, items[:middle], tick, faults)
            self._take_in_usable(connection, items[middle:], tick, faults)

    def _take_in_items(self, connection: Connection, items: Sequence[_Item], tick: Tick) -> None:
        decisions = [r for r, _ in items if type(r) is DecisionRecord]
        shadows = [r for r, _ in items if type(r) is ShadowRecord]
        outcomes = [r for r, _ in items if type(r) is OutcomeRecord]
        overrides = [(r, o.stream) for r, o in items if type(r) is OverrideRecord]
        changes = Changes(self._slices or SliceNames())
        fresh = ingestion.insert_decisions(connection, decisions)
        for record in fresh:
            project = self._project(record)
            tick.unconfigured += project is None
            changes.decided(record, project)
        self._sketching.decided(connection, fresh, self._project)
        ingestion.insert_overrides(connection, overrides)
        firsts = Firsts(connection, self._exposures, self._project, changes)
        firsts.exposed(fresh)
        # Pairs are formed with the labels of before, which the join then changes.
        seen = firsts.watched(fresh, shadows)
        join = feedback.Join(connection, self._project, changes, self._lifetime_ms, firsts)
        join.take_in(outcomes, fresh)
        tick.settled = join.settled + Counter(tick.settled)
        added, taken = changes.added, changes.taken
        tick.unmerged += len(payloads.add_cells(connection, added.cells, taken.cells))
        tick.unmerged += len(payloads.add_gauges(connection, added.gauges, taken.gauges))
        headcounts.add(connection, changes.headcount.counts)
        payloads.add_traffic(connection, changes.traffic)
        pulses.add(connection, changes.pulses)
        tick.decisions += len(fresh)
        tick.shadows += seen
        tick.repeated += len(decisions) - len(fresh) + len(shadows) - seen
        tick.outcomes += len(outcomes)
        tick.overrides += len(overrides)

    def _project(self, record: DecisionRecord) -> IngestProject | None:
        key = (record.project, record.digest)
        if key not in self._projects:
            self._projects[key] = self._catalog.lookup(*key)
        return self._projects[key]

    def _forget(self) -> None:
        """Drops what was remembered from a transaction that did not commit."""
        self._slices = None
        self._exposures = Exposures()


def _cause(error: OperationalError) -> OperationalError:
    """What went wrong first. A full disk ends the whole transaction, so that giving up the
    savepoint fails too, with words that nobody would understand."""
    first, at = error, error.__context__
    while at is not None:
        first, at = at if isinstance(at, OperationalError) else first, at.__context__
    return first


def _position(ingested: Ingested | None) -> Position:
    if ingested is None:
        return Position()
    return Position(ingested.segment, ingested.offset, ingested.next, ingested.hash)


def _fault(
    origin: Origin, kind: journal_state.FaultKind, records: int, note: str, now: int
) -> IngestFault:
    return IngestFault(
        origin.stream, origin.segment, origin.start, origin.end, kind, records, note, now
    )
