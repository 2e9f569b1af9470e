"""Puts what is taken in into the archive, and deletes days nobody wants kept any longer.

A loop of its own, beside ingestion and housekeeping: all it does itself is to choose; the work is
done in a process of its own (`archive.process`). What is done is noted in the store after the
files are there: whoever dies in between does it again, with the same files as result.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Engine, Row

from pointsman.archive import columns, layout
from pointsman.archive.columns import ArchivedOutcome
from pointsman.archive.jobs import Run, Settled
from pointsman.archive.process import Workbench
from pointsman.controller.housekeeping import EVIDENCE_MS, HotRetention
from pointsman.journal import recovery, segment
from pointsman.journal.disk import DISK
from pointsman.journal.reader import streams
from pointsman.store import archived, journal_state
from pointsman.store.database import reader
from pointsman.store.retention import Register, register_of

_log = structlog.get_logger(__name__)

RUN_BYTES: Final = 64 << 20
"""Segments that go into one file, about: a quarter of it as Parquet."""
GATHER_MS: Final = 3_600_000
"""How long a segment waits for others, so that a quiet project has 24 files a day and not 300."""


class Archived(msgspec.Struct):
    """What one turn did. more: whether there is more to do right away"""

    segments: int = 0
    decisions: int = 0
    days: int = 0
    more: bool = False


class Archiver:
    """The one that writes a data directory's archive. `turn` and `settle` may be called by
    different threads; each by one.

    projects: retention of each project that is served; those that say `archive` are archived
    gather_ms: how long a segment may wait for others to share a file with
    """

    def __init__(
        self,
        data: Path,
        engine: Engine,
        projects: Callable[[], Mapping[str, HotRetention]],
        *,
        gather_ms: int = GATHER_MS,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._journal = data / "journal"
        self._engine = engine
        self._projects = projects
        self._gather_ms = gather_ms
        self._now_ms = now_ms
        self._hurried = False
        self.workbench = Workbench(data / "archive")
        self.workbench.clean()

    def hurry(self) -> None:
        """The next turn waits for no company: space is short, and segments take more than files."""
        self._hurried = True

    def turn(self) -> Archived:
        """Archives one run of segments, and deletes what is too old or too much.

        Raises PointsmanError, or what disk and database raise; what is missing is done next time.
        """
        done = Archived()
        kept = self._projects()
        wanted = frozenset(name for name, policy in kept.items() if policy.archive_ms is not None)
        hurried, self._hurried = self._hurried, False
        for run in self._runs(wanted, patient=not hurried):
            if done.segments:
                done.more = True
                break
            written = self.workbench.write(run)
            numbers = range(run.first, run.last + 1)
            with self._engine.begin() as connection:
                archived.add(connection, run.stream, numbers, run.projects)
            done.segments += len(numbers)
            done.decisions += written.decisions
        done.days = self._expire(kept)
        if done.segments or done.days:
            _log.info("archived", **msgspec.structs.asdict(done))
        return done

    def settle(self, project: str, outcomes: Iterable[Row[Any]]) -> set[Register]:
        """Archives what is known about decisions whose hot rows are to go; what is safe now.

        outcomes: rows of `outcome` with `decided_ms` behind. Raises as `turn`.
        """
        safe: set[Register] = set()
        by_day = itertools.groupby(
            sorted(outcomes, key=lambda row: (layout.day_of(row.decided_ms), row.decision_id)),
            key=lambda row: layout.day_of(row.decided_ms),
        )
        for day, rows in by_day:
            lines: list[bytes] = []
            for row in rows:
                held = ArchivedOutcome(*tuple(row)[:6])
                lines.append(columns.outcome_line(held) + b"\n")
                safe.add(register_of(row))
            # Named by what is in it: the same again is the same file, and anything else another.
            name = f"{hashlib.sha256(b''.join(lines)).hexdigest()[:32]}.parquet"
            with self.workbench.scratch() as scratch:
                path = scratch / "outcomes.jsonl"
                path.write_bytes(b"".join(lines))
                self.workbench.settle(Settled(project, day, str(path), name))
        return safe

    def safe(self) -> Callable[[str, int], bool]:
        """Says of a (stream, segment) whether nothing that is wanted of it is missing here."""
        kept = self._projects()
        wanted = frozenset(name for name, policy in kept.items() if policy.archive_ms is not None)
        with reader(self._engine).connect() as connection:
            known = archived.load(connection)
        return lambda stream, number: wanted <= known.get((stream, number), frozenset())

    def _runs(self, wanted: frozenset[str], *, patient: bool) -> list[Run]:
        """Segments to archive, in groups that want the same: taken in, and enough or old enough."""
        if not wanted:
            return []
        with reader(self._engine).connect() as connection:
            positions = journal_state.load_positions(connection)
            known = archived.load(connection)
        runs: list[Run] = []
        for stream in streams(self._journal):
            directory = self._journal / stream
            upto = positions[stream].segment if stream in positions else 0
            numbers = [n for n in recovery.segment_numbers(directory) if n < upto]
            missing = {n: wanted - known.get((stream, n), frozenset()) for n in numbers}
            for group in _groups(numbers, missing):
                runs += self._split(directory, group, missing[group[0]], patient=patient)
        return runs

    def _split(
        self, directory: Path, numbers: list[int], projects: frozenset[str], *, patient: bool
    ) -> list[Run]:
        """Runs of about the size of a file; the last only if it need not wait for more."""
        runs: list[Run] = []
        first, size, oldest = numbers[0], 0, float("inf")
        for number in numbers:
            status = (directory / segment.file_name(number)).stat()
            size += status.st_size
            oldest = min(oldest, status.st_mtime * 1000)
            waited = not patient or oldest <= self._now_ms() - self._gather_ms
            if size >= RUN_BYTES or (number == numbers[-1] and waited):
                names = tuple(sorted(projects))
                runs.append(Run(str(directory), directory.name, first, number, names))
                first, size, oldest = number + 1, 0, float("inf")
        return runs

    def _expire(self, kept: Mapping[str, HotRetention]) -> int:
        """Deletes whole days: those that are too old, and the oldest of what is too much.

        Projects that no longer say how long are kept as long as evidence is.
        """
        now = self._now_ms()
        days = layout.days(self.workbench.archive)
        held: dict[str, int] = {}
        for day in days:
            held[day.project] = held.get(day.project, 0) + day.bytes
        gone = 0
        for day in days:
            policy = kept.get(day.project)
            limit = policy.archive_ms if policy is not None else None
            too_old = layout.end_ms(day.day) + (EVIDENCE_MS if limit is None else limit) <= now
            too_much = policy is not None and held[day.project] > policy.max_bytes
            if too_old or too_much:
                layout.remove(self.workbench.archive, day, DISK)
                held[day.project] -= day.bytes
                gone += 1
        return gone


def _groups(numbers: list[int], missing: Mapping[int, frozenset[str]]) -> list[list[int]]:
    """Consecutive numbers that miss the same projects; those that miss none are left out."""
    groups: list[list[int]] = []
    for number in numbers:
        if not missing[number]:
            continue
        last = groups[-1][-1] if groups else -1
        if last == number - 1 and missing[last] == missing[number]:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups
