"""The reading end of a stream: whole, checked batches, from a position on, across segments."""

import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from pointsman.journal import ownership, recovery, segment
from pointsman.journal.segment import NO_HASH, Frame, Missing

READ_BYTES: Final = 4 << 20
_BEGINNING: Final = segment.HEADER_BYTES + segment.HEAD_BYTES

FaultKind = Literal["corrupt", "truncated", "missing", "gap"]


class Position(msgspec.Struct, frozen=True):
    """Where reading goes on: offset in a segment. Segment 0 is the beginning of the stream.

    next: index in the stream of the next record
    hash: of the batch before, NO_HASH where it is unknown
    """

    segment: int = 0
    offset: int = 0
    next: int = 0
    hash: bytes = NO_HASH


START: Final = Position()


class Fault(msgspec.Struct, frozen=True):
    """A range of a segment that could not be read, and is left where it lies.

    kind: `corrupt`: bytes that are not what was written; `truncated`: a last batch that never
        became whole; `missing`: a segment that is not there; `gap`: sound bytes that do not follow
        from those before
    records: how many records are lost with it, -1 where nothing tells
    """

    stream: str
    segment: int
    start: int
    end: int
    kind: FaultKind
    records: int = -1


class Reading(msgspec.Struct, frozen=True):
    """What one look at a stream gave. Commit `after` together with what the frames caused.

    frames: all of one segment, the one that `after` is in
    more: whether there are newer segments to read
    """

    frames: tuple[Frame, ...]
    faults: tuple[Fault, ...]
    before: Position
    after: Position
    more: bool


def streams(journal: Path) -> list[str]:
    """Names of the streams below a journal directory, sorted; empty where there is none."""
    try:
        entries = list(journal.iterdir())
    except FileNotFoundError:
        return []
    return sorted(e.name for e in entries if segment.is_stream(e.name) and e.is_dir())


class Tail:
    """Follows one stream. Yields only whole batches whose checksums hold.

    A last batch that is not whole is waited for while its segment is live: the newest of its
    stream, with its writer running. In any other segment it is a fault, and reading goes on behind.
    Damage in the middle is a fault too: reading goes on at the next sound batch.

    Not for several threads at once.
    """

    def __init__(self, directory: Path, stream: str, position: Position = START) -> None:
        self._directory = directory
        self._stream = stream
        self._position = position
        self._descriptor = -1
        self._number = 0
        self._marker = b""
        self._data = b""
        self._base = 0

    @property
    def position(self) -> Position:
        return self._position

    def seek(self, position: Position) -> None:
        """Goes back (or on) to a position: where a transaction that failed began."""
        self._position = position

    def close(self) -> None:
        """Lets go of the open segment; reading again opens it anew."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._number, self._data = -1, 0, b""

    def read(self, max_bytes: int = READ_BYTES) -> Reading:
        """What is new, up to about `max_bytes`; no frames and no faults if there is nothing.

        Raises OSError if a segment cannot be read, ValueError for one of a newer format version.
        """
        before = self._position
        faults: list[Fault] = []
        frames: list[Frame] = []
        newer: list[int] = []
        while not frames:
            # Looked at before the segment is read: if there is a newer one, or no writer, by now,
            # then what is read next is all that this segment will ever hold.
            numbers = recovery.segment_numbers(self._directory)
            claimed = ownership.is_claimed(self._directory)
            if not numbers or self._position.segment > numbers[-1]:
                break
            self._enter(numbers, faults)
            newer = [number for number in numbers if number > self._number]
            frames = self._read_frames(max_bytes, faults, live=claimed and not newer)
            if not frames:
                if not newer:
                    break
                at = self._position
                self._position = Position(self._number + 1, 0, at.next, at.hash)
        return Reading(tuple(frames), tuple(faults), before, self._position, bool(newer))

    def _enter(self, numbers: list[int], faults: list[Fault]) -> None:
        """Opens the segment to read. `numbers` has one at or behind the position."""
        at = self._position
        number = next(n for n in numbers if n >= at.segment)
        if number != at.segment:
            if at.segment > 0:
                faults.append(self._fault("missing", at.offset, at.offset))
            self._position = Position(number, 0, at.next, at.hash)
        if self._number != number:
            self.close()
            path = self._directory / segment.file_name(number)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._number = number
        self._marker = recovery.marker_of(os.pread(self._descriptor, _BEGINNING, 0))

    def _read_frames(self, max_bytes: int, faults: list[Fault], *, live: bool) -> list[Frame]:
        if self._position.offset == 0 and not self._read_header(faults, live=live):
            return []
        frames: list[Frame] = []
        taken = 0
        while taken < max_bytes:
            frame = self._frame(faults, live=live)
            if frame is None:
                break
            self._check_follows(frame.first, frame.previous, frame.start, faults)
            self._position = Position(
                self._number, frame.end, frame.first + frame.count, frame.hash
            )
            frames.append(frame)
            taken += frame.end - frame.start
        return frames

    def _read_header(self, faults: list[Fault], *, live: bool) -> bool:
        """Whether the frames of the segment can be read now; the position is then at the first."""
        data = os.pread(self._descriptor, segment.HEADER_BYTES, 0)
        header = segment.unpack_header(data)
        if header is Missing.INCOMPLETE:
            if not live and data:
                faults.append(self._fault("truncated", 0, len(data)))
            return False
        at = self._position
        if header is Missing.DAMAGED:
            faults.append(self._fault("corrupt", 0, segment.HEADER_BYTES, records=0))
            self._position = Position(self._number, segment.HEADER_BYTES, at.next, NO_HASH)
        elif isinstance(header, segment.Header):
            self._check_follows(header.first, header.previous, 0, faults)
            chain = segment.link(data)
            self._position = Position(self._number, segment.HEADER_BYTES, header.first, chain)
        return True

    def _frame(self, faults: list[Fault], *, live: bool) -> Frame | None:
        """The next sound frame; None if there is none yet, or none any more."""
        at = self._position.offset
        found = self._parse()
        for size in (READ_BYTES, segment.HEAD_BYTES + segment.MAX_PAYLOAD_BYTES):
            if isinstance(found, Frame):
                return found
            # The buffer ends here, or is stale: a writer takes an unfinished batch back.
            self._base, self._data = at, os.pread(self._descriptor, size, at)
            found = self._parse()
            if len(self._data) < size:
                break
        if isinstance(found, Frame):
            return found
        if not self._data or (live and found is Missing.INCOMPLETE):
            return None
        rest = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, at)
        behind = segment.next_frame(rest, 0, at, self._marker)
        if behind is not None:
            lost = behind.first - self._position.next
            faults.append(self._fault("corrupt", at, behind.start, records=lost))
            self._position = Position(self._number, behind.start, behind.first, behind.previous)
        elif not live:
            # A batch that never became whole, or a hole that a loss of power left.
            torn = found is Missing.INCOMPLETE or not any(rest)
            faults.append(self._fault("truncated" if torn else "corrupt", at, at + len(rest)))
            self._position = msgspec.structs.replace(self._position, offset=at + len(rest))
        return behind

    def _parse(self) -> Frame | Missing:
        at = self._position.offset - self._base
        if not 0 <= at < len(self._data):
            return Missing.INCOMPLETE
        return segment.frame_at(self._data, at, self._base, self._marker)

    def _check_follows(self, first: int, previous: bytes, offset: int, faults: list[Fault]) -> None:
        """Reports sound bytes that are not the next ones. A stream's beginning follows anything."""
        at = self._position
        anchored = at.hash != NO_HASH
        if anchored and (first != at.next or previous != at.hash):
            faults.append(self._fault("gap", offset, offset, records=first - at.next))

    def _fault(self, kind: FaultKind, start: int, end: int, records: int = -1) -> Fault:
        return Fault(self._stream, self._position.segment, start, end, kind, records)
