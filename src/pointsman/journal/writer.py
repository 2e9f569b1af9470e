"""The writing end of a stream: whole batches, one write each, and a sync that many can wait for."""

import errno
import os
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.journal import codec, ownership, recovery, segment
from pointsman.journal.disk import DISK, Disk
from pointsman.journal.segment import Header

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SPACE_CHECK_S: Final = 0.1
_RESUME: Final = 1.25
"""Writing resumes at this multiple of the low-water mark, so that it does not flicker."""


class JournalFullError(PointsmanError):
    """No room to write. Nothing of the batch was kept; a later append may succeed."""

    def __init__(self, directory: Path, why: str) -> None:
        super().__init__(
            Kind.LOG_UNAVAILABLE,
            f"{directory}: {why}",
            hint="free space on this file system; writing resumes by itself",
        )


class JournalBrokenError(PointsmanError):
    """The disk failed. What was appended since the last sync may be lost; the writer is closed.

    Never retried: after a failed sync the kernel may report success for data it has dropped.
    """

    def __init__(self, directory: Path, error: OSError) -> None:
        super().__init__(
            Kind.LOG_UNAVAILABLE,
            f"{directory}: the disk failed: {error.strerror or error}",
            hint="check the disk, then restart this process: it recovers from what is on it",
        )


class Limits(msgspec.Struct, frozen=True):
    """When a segment ends, and when writing stops.

    max_segment_bytes, max_segment_age_s: a new segment starts at the first append past either
    low_water_bytes: appends are refused while the file system has less room than this, so that
        the ingester, which frees space, still has some to work with; 0 = only when it is full
    """

    max_segment_bytes: int = 64 << 20
    max_segment_age_s: float = 300.0
    low_water_bytes: int = 64 << 20


DEFAULT_LIMITS: Final = Limits()


class SegmentWriter:
    """The one writer of a stream. All methods may be called from any thread.

    directory: the stream's own (`DATA/journal/<stream>`), created if missing

    Raises PointsmanError(CONFLICT) if the stream has a living writer, JournalFullError if there is
    no room to begin.
    """

    def __init__(
        self,
        directory: Path,
        stream: str,
        limits: Limits = DEFAULT_LIMITS,
        *,
        disk: Disk = DISK,
    ) -> None:
        if not segment.is_stream(stream):
            raise ValueError(f"stream {stream!r} does not match {segment.STREAM_PATTERN}")
        self._directory = directory
        self._stream = stream
        self._disk = disk
        self._limits = limits
        self._boot_id = _boot_id()
        self._state = threading.Condition()
        self._failure: OSError | None = None
        self._full = False
        self._syncing = False
        self._closed = False
        self._names_changed = True
        self._descriptor = -1
        self._retired: list[int] = []
        self._appended = 0
        self._synced = 0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        disk.sync_directory(directory.parent)
        self._lock = ownership.claim(directory)
        try:
            end = recovery.recover(directory)
            self.cut_bytes: Final = end.cut_bytes
            self._next = end.first
            self._chain = end.previous
            self._number = end.number
            self._space_checked = time.monotonic()
            self._start_segment(self._space_checked)
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def full(self) -> bool:
        """Whether appends are refused for want of room, as of the last attempt."""
        return self._full

    @property
    def broken(self) -> bool:
        """Whether the disk failed; this writer never writes again."""
        return self._failure is not None

    @property
    def pending(self) -> bool:
        """Whether something was appended that is not yet known to be on disk."""
        return self._appended > self._synced

    @property
    def position(self) -> tuple[int, int]:
        """Segment number and offset of the next batch."""
        return self._number, self._offset

    def append(self, records: list[bytes]) -> None:
        """Writes encoded records as one batch. When it returns they survive a crash of ours.

        All or nothing, up to 16 MiB; more is written as several batches.
        Raises JournalFullError (nothing kept), JournalBrokenError (never again), PointsmanError
        (TOO_LARGE) for a single record over 16 MiB.
        """
        if not records:
            return
        with self._state:
            self._raise_if_broken()
            if self._closed:
                raise ValueError(f"{self._directory}: append after close")
            now = time.monotonic()
            self._check_space(now)
            limits = self._limits
            too_old = now - self._started >= limits.max_segment_age_s
            if too_old or self._offset >= limits.max_segment_bytes:
                self._rotate(now)
            self._append(records)

    def sync(self) -> None:
        """Returns when everything appended before the call is on disk, as the disk tells it.

        Callers that meet share one system call. Raises JournalBrokenError.
        """
        with self._state:
            wanted = self._appended
            while self._syncing and self._synced < wanted and self._failure is None:
                self._state.wait()
            self._raise_if_broken()
            if self._synced >= wanted:
                return
            if self._closed:
                raise ValueError(f"{self._directory}: sync after close")
            self._syncing = True
            upto, retired, current = self._appended, self._retired, self._descriptor
            names_changed, self._retired, self._names_changed = self._names_changed, [], False
        failure: OSError | None = None
        try:
            self._sync_files(retired, current, names_changed=names_changed)
        except OSError as error:
            failure = error
        with self._state:
            self._syncing = False
            if failure is None:
                self._synced = max(self._synced, upto)
            else:
                self._retired = retired + self._retired
                self._break(failure)
            if self._failure is not None:
                self._close_files()
            self._state.notify_all()
            self._raise_if_broken()

    def close(self) -> None:
        """Syncs and lets go of the stream; idempotent. Raises JournalBrokenError."""
        with self._state:
            if self._closed:
                return
        try:
            if self._failure is None:
                self.sync()
        finally:
            with self._state:
                while self._syncing:
                    self._state.wait()
                if not self._closed:
                    self._closed = True
                    self._close_files()
                    os.close(self._lock)

    def _raise_if_broken(self) -> None:
        # A new error each time: raising one object again and again grows its traceback.
        if self._failure is not None:
            raise JournalBrokenError(self._directory, self._failure)

    def _sync_files(self, retired: list[int], current: int, *, names_changed: bool) -> None:
        while retired:
            self._disk.sync(retired[-1])
            self._disk.close(retired.pop())
        self._disk.sync(current)
        if names_changed:
            self._disk.sync_directory(self._directory)

    def _check_space(self, now: float) -> None:
        """Raises JournalFullError below the low-water mark; looks at most ten times a second."""
        if now - self._space_checked < _SPACE_CHECK_S:
            if self._full:
                raise JournalFullError(self._directory, "no space left to write to the journal")
            return
        self._space_checked = now
        needed = self._limits.low_water_bytes * (_RESUME if self._full else 1.0)
        self._full = self._disk.free_bytes(self._directory) < needed
        if self._full:
            raise JournalFullError(
                self._directory, f"less than {needed / (1 << 20):.0f} MiB free for the journal"
            )

    def _append(self, records: list[bytes]) -> None:
        payload = codec.payload_of(records)
        if len(payload) > segment.MAX_PAYLOAD_BYTES:
            if len(records) == 1:
                raise PointsmanError(
                    Kind.TOO_LARGE,
                    f"a record of {len(payload)} bytes is larger than a journal batch may be "
                    f"({segment.MAX_PAYLOAD_BYTES})",
                )
            middle = len(records) // 2
            self._append(records[:middle])
            self._append(records[middle:])
            return
        head = segment.pack_head(self._marker, payload, len(records), self._next, self._chain)
        self._write(head + payload)
        self._chain = segment.link(head, payload)
        self._next += len(records)
        self._appended += 1

    def _write(self, data: bytes) -> None:
        """Writes all of it or nothing."""
        done = 0
        try:
            while done < len(data):
                done += self._disk.write(self._descriptor, data[done:] if done else data)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise self._break(error) from error
            try:
                self._disk.truncate(self._descriptor, self._offset)
            except OSError as worse:
                raise self._break(worse) from worse
            raise self._no_room(error) from error
        self._offset += done

    def _rotate(self, now: float) -> None:
        if self._retired and not self._syncing:
            # Nobody has synced since the last rotation: keep the number of open files bounded.
            self._sync_in_place()
        old = self._descriptor
        self._start_segment(now)
        self._retired.append(old)

    def _sync_in_place(self) -> None:
        retired, self._retired = self._retired, []
        try:
            self._sync_files(retired, self._descriptor, names_changed=self._names_changed)
        except OSError as error:
            self._retired = retired + self._retired
            raise self._break(error) from error
        self._names_changed = False
        self._synced = self._appended

    def _start_segment(self, now: float) -> None:
        """Creates the next segment. On failure nothing changed, and the last one goes on."""
        number, marker = self._number + 1, os.urandom(8)
        header = segment.pack_header(
            Header(
                stream=self._stream,
                number=number,
                first=self._next,
                created_ms=time.time_ns() // 1_000_000,
                boot_id=self._boot_id,
                marker=marker,
                previous=self._chain,
            )
        )
        path = self._directory / segment.file_name(number)
        descriptor = -1
        try:
            descriptor = self._disk.create(path)
            done = 0
            while done < len(header):
                done += self._disk.write(descriptor, header[done:])
        except OSError as error:
            if descriptor >= 0:
                self._disk.close(descriptor)
                path.unlink()
            if error.errno in _NO_SPACE:
                raise self._no_room(error) from error
            raise self._break(error) from error
        self._descriptor, self._number, self._marker = descriptor, number, marker
        self._offset, self._started = len(header), now
        self._chain = segment.link(header)
        self._names_changed = True

    def _no_room(self, error: OSError) -> JournalFullError:
        self._full = True
        return JournalFullError(self._directory, error.strerror or "no space left")

    def _break(self, error: OSError) -> JournalBrokenError:
        """Ends this writer. Descriptors stay open while another thread syncs them."""
        if self._failure is None:
            self._failure = error
        if not self._syncing:
            self._close_files()
        return JournalBrokenError(self._directory, error)

    def _close_files(self) -> None:
        open_files = [*self._retired, self._descriptor]
        self._retired, self._descriptor = [], -1
        for descriptor in open_files:
            if descriptor >= 0:
                self._disk.close(descriptor)


def _boot_id() -> bytes:
    """16 bytes, the same until the machine restarts."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return bytes.fromhex(text.strip().replace("-", ""))
