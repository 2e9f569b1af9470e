"""Checks a journal as it lies on disk, without a writer, a store or anything else."""

from pathlib import Path

import msgspec

from pointsman.journal import recovery, segment
from pointsman.journal.reader import Fault, Position, Tail, streams


class StreamReport(msgspec.Struct, frozen=True):
    """What one stream holds, and everything wrong with it in the order of the stream.

    anchored: whether the chain reaches back to the stream's first record; retention deletes old
        segments, and then it reaches back to the first segment that is left
    records: in sound batches; first, next: indexes of the first record and of the one to come
    """

    stream: str
    segments: int
    batches: int
    records: int
    bytes: int
    first: int
    next: int
    anchored: bool
    faults: tuple[Fault, ...]


class Report(msgspec.Struct, frozen=True):
    """What `verify` found below a journal directory."""

    streams: tuple[StreamReport, ...]

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything wrong. An unfinished last batch was never acknowledged and is not wrong."""
        return tuple(f for s in self.streams for f in s.faults if f.kind != "truncated")

    @property
    def ok(self) -> bool:
        """Whether every batch is what was written and follows from the one before."""
        return not self.faults

    @property
    def first_bad(self) -> str:
        """`stream/0000000000000003.seg:1024: corrupt, 17 records lost`, empty where all is well."""
        if self.ok:
            return ""
        fault = self.faults[0]
        lost = "" if fault.records <= 0 else f", {fault.records} records lost"
        place = f"{fault.stream}/{segment.file_name(fault.segment)}:{fault.start}"
        return f"{place}: {fault.kind}{lost}"


def verify(journal: Path) -> Report:
    """The state of every stream below `DATA/journal`. Reads everything, changes nothing.

    May run beside living writers: what they have not finished yet is not looked at.
    Raises OSError if a file cannot be read, ValueError for a segment of a newer format version.
    """
    return Report(tuple(_verify_stream(journal / name, name) for name in streams(journal)))


def _verify_stream(directory: Path, name: str) -> StreamReport:
    numbers = recovery.segment_numbers(directory)
    tail = Tail(directory, name)
    faults: list[Fault] = []
    batches = records = size = 0
    first = -1
    try:
        while True:
            reading = tail.read()
            faults += reading.faults
            if not reading.frames:
                break
            if first < 0:
                first = reading.frames[0].first
            batches += len(reading.frames)
            records += sum(frame.count for frame in reading.frames)
            size += sum(frame.end - frame.start for frame in reading.frames)
    finally:
        tail.close()
    end: Position = tail.position
    return StreamReport(
        stream=name,
        segments=len(numbers),
        batches=batches,
        records=records,
        bytes=size,
        first=max(first, 0),
        next=end.next,
        anchored=bool(numbers) and numbers[0] == 1,
        faults=tuple(faults),
    )
