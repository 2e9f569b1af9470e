"""Keeps the data directory within its bounds: hot rows, segments, and a reserve for a full disk."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog
from sqlalchemy import Connection, Engine, Row

from pointsman.journal import recovery, segment
from pointsman.journal.disk import DISK, Disk
from pointsman.journal.reader import streams
from pointsman.store import archived, journal_state, looks, pulses, retention, sketches
from pointsman.store.database import reader
from pointsman.store.retention import Register

_log = structlog.get_logger(__name__)
DAY_MS: Final = 86_400_000
EVIDENCE_MS: Final = 400 * DAY_MS
"""Cells, gauges, traffic and exposures are small, and a year must be comparable to the last one."""

_HOUR_MS: Final = 3_600_000
_ROWS_AT_ONCE: Final = 5_000
_MOST_ROWS: Final = 100_000
_PAGES_AT_ONCE: Final = 2_000


class HotRetention(msgspec.Struct, frozen=True):
    """How long a project's decisions stay in the hot rows, and how much they may take there.

    archive_ms: how long full records stay as Parquet, None = there are none
    """

    hot_ms: int = 14 * DAY_MS
    max_bytes: int = 10 * 10**9
    archive_ms: int | None = None


class Archive(Protocol):
    """What takes decisions in before they go."""

    def hurry(self) -> None:
        """Space is short: segments are to be archived at once."""

    def safe(self) -> Callable[[str, int], bool]:
        """Says of a (stream, segment) whether all that is wanted of it is archived."""

    def settle(self, project: str, outcomes: Iterable[Row[Any]]) -> set[Register]:
        """Takes outcomes, rows of `retention.outcomes_to_go`; those it has now."""


class SegmentRetention(msgspec.Struct, frozen=True):
    """How long segments stay that are taken in: they alone hold the features of each decision.

    max_bytes: of all streams together; a segment that is not taken in yet is never deleted
    """

    keep_ms: int = 14 * DAY_MS
    max_bytes: int = 10 * 10**9


class Ballast:
    """Disk space that nobody uses, to be given up when there is none left.

    Deleting rows takes space before it frees any. Writers of the journal stop while less than
    their low-water mark is free, which is why they do not use up what is given up here.
    """

    def __init__(self, path: Path, size: int = 64 << 20, *, disk: Disk = DISK) -> None:
        self._path = path
        self._size = size
        self._disk = disk

    def __str__(self) -> str:
        return str(self._path)

    @property
    def held(self) -> bool:
        return self._path.exists()

    @property
    def low(self) -> bool:
        """Whether less is free than the ballast would give."""
        return self._disk.free_bytes(self._path.parent) < self._size

    @property
    def roomy(self) -> bool:
        """Whether so much is free that the ballast can be taken and writers go on."""
        return self._disk.free_bytes(self._path.parent) >= 3 * self._size

    def hold(self) -> bool:
        """Takes the space, if there is room; whether it is held now."""
        if self.held:
            return True
        if not self.roomy:
            return False
        descriptor = self._disk.create(self._path)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
        except OSError:
            self._path.unlink()
        finally:
            os.close(descriptor)
        return self.held

    def release(self) -> None:
        """Gives the space up; idempotent."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


class Swept(msgspec.Struct):
    """What one sweep deleted. more: whether there is more to delete right away"""

    decisions: int = 0
    orphans: int = 0
    evidence: int = 0
    segments: int = 0
    more: bool = False


class Housekeeping:
    """Deletes what its owner no longer wants kept. One at a time for a data directory.

    projects: retention of each project that is served; decisions of others fall under the default
    archive: asked before segments and outcomes go; None where nothing is archived
    """

    def __init__(  # noqa: PLR0913 - what it keeps, and by which rules
        self,
        data: Path,
        engine: Engine,
        projects: Callable[[], Mapping[str, HotRetention]],
        segments: SegmentRetention,
        *,
        archive: Archive | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._journal = data / "journal"
        self._engine = engine
        self._projects = projects
        self._segments = segments
        self._archive = archive
        self._now_ms = now_ms
        self.ballast = Ballast(data / "ballast")
        self._evidence_swept_ms = 0
        self._full = False

    def relieve(self) -> None:
        """The next sweep makes room, whatever the disk says is free: somebody met a full one."""
        self._full = True

    def sweep(self) -> Swept:
        """What went. Takes a second or so at most; call it again at once while there is more.

        Raises what the disk or the database raises; what went until then is gone.
        """
        swept = Swept()
        short = self.ballast.low or self._full
        self._full = False
        if short and self.ballast.held:
            self.ballast.release()
            _log.warning("the disk is full: its reserve is given up", reserve=str(self.ballast))
        if short and self._archive is not None:
            self._archive.hurry()
        swept.segments = self._sweep_segments(short=short)
        self._sweep_rows(swept)
        if not short:
            self.ballast.hold()
        if swept.decisions or swept.orphans or swept.evidence or swept.segments:
            _log.info("deleted what was kept for long enough", **msgspec.structs.asdict(swept))
        return swept

    def _sweep_rows(self, swept: Swept) -> None:
        now = self._now_ms()
        policies = self._projects()
        default = HotRetention()
        with reader(self._engine).connect() as connection:
            counts = retention.rows_by_project(connection)
            used = retention.used_bytes(connection)
        total = sum(counts.values())
        for project, count in counts.items():
            policy = policies.get(project, default)
            # What a row takes is known only on average; a project's share is that of its rows.
            bytes_held = used * count // total
            excess = count - count * policy.max_bytes // max(bytes_held, policy.max_bytes, 1)
            self._sweep_project(project, policy, excess, swept)
        longest = max((p.hot_ms for p in policies.values()), default=default.hot_ms)
        with self._engine.begin() as connection:
            swept.evidence += pulses.delete_old(connection, now)
            swept.evidence += sketches.delete_old(connection, now)
            swept.orphans += retention.delete_orphans(connection, now - longest, _ROWS_AT_ONCE)
            if now - self._evidence_swept_ms >= DAY_MS:
                self._evidence_swept_ms = now
                swept.evidence += retention.delete_evidence(connection, now - EVIDENCE_MS)
                swept.evidence += looks.delete_old(connection, now - EVIDENCE_MS)
            if swept.decisions or swept.orphans or swept.evidence:
                retention.give_back(connection, _PAGES_AT_ONCE)

    def _sweep_project(self, project: str, policy: HotRetention, excess: int, swept: Swept) -> None:
        """Deletes what is too old, then what is too much, in transactions that hold nobody up."""
        archive = self._archive if policy.archive_ms is not None else None
        before_ms = self._now_ms() - policy.hot_ms
        if archive is not None:
            # An hour's outcomes share a file.
            before_ms -= before_ms % _HOUR_MS
        gone = self._delete(project, archive, _MOST_ROWS, before_ms)
        swept.more = swept.more or gone >= _MOST_ROWS
        if gone < excess:
            wanted = min(excess - gone, _MOST_ROWS)
            swept.more = swept.more or wanted == _MOST_ROWS
            gone += self._delete(project, archive, wanted, None)
        swept.decisions += gone

    def _delete(
        self, project: str, archive: Archive | None, wanted: int, before_ms: int | None
    ) -> int:
        """Deletes a project's oldest decisions, and what is known about them once it is archived.

        What changes in between stays, and is archived with the next sweep.
        """
        kept: set[Register] | None = None
        if archive is not None:
            with reader(self._engine).connect() as connection:
                leaving = retention.outcomes_to_go(connection, project, wanted, before_ms)
            kept = archive.settle(project, leaving)
        return self._repeat(
            lambda connection, limit: retention.delete_decisions(
                connection, project, limit, before_ms=before_ms, kept=kept
            ),
            wanted,
        )

    def _repeat(self, delete: Callable[[Connection, int], int], wanted: int) -> int:
        """Deletes up to so many, in portions; how many it were."""
        gone = 0
        while gone < wanted:
            portion = min(wanted - gone, _ROWS_AT_ONCE)
            with self._engine.begin() as connection:
                deleted = delete(connection, portion)
            gone += deleted
            if deleted < portion:
                break
        return gone

    def _sweep_segments(self, *, short: bool) -> int:
        """Deletes segments that are taken in: those that are too old, and the oldest beyond the
        bound. With space short as many go as it takes: without space nothing is taken in."""
        now = self._now_ms()
        done: list[tuple[float, int, str, int, Path]] = []
        held = 0
        is_safe = self._archive.safe() if self._archive is not None else _nothing_is_archived
        with reader(self._engine).connect() as connection:
            positions = journal_state.load_positions(connection)
            for stream in streams(self._journal):
                position = positions.get(stream)
                upto = 0 if position is None else position.segment
                damaged = journal_state.damaged_segments(connection, stream)
                for number in recovery.segment_numbers(self._journal / stream):
                    path = self._journal / stream / segment.file_name(number)
                    status = path.stat()
                    held += status.st_size
                    if number < upto and number not in damaged and is_safe(stream, number):
                        done.append((status.st_mtime, status.st_size, stream, number, path))
        gone: list[tuple[str, int]] = []
        for modified, size, stream, number, path in sorted(done):
            too_old = modified * 1000 < now - self._segments.keep_ms
            needed = short and not self.ballast.roomy
            if too_old or needed or held > self._segments.max_bytes:
                path.unlink()
                held -= size
                gone.append((stream, number))
        if gone and self._archive is not None:
            with self._engine.begin() as connection:
                archived.forget(connection, gone)
        return len(gone)


def _nothing_is_archived(_stream: str, _segment: int) -> bool:
    return True
