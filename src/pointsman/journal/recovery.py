"""Where a stream's chain ended, found again by a writer that starts."""

import os
from pathlib import Path

import msgspec

from pointsman.journal import segment
from pointsman.journal.segment import Missing


class End(msgspec.Struct, frozen=True):
    """The end of a stream: what the next segment follows on.

    number: of the newest segment, 0 where there is none
    first: index of the next record
    previous: hash to link to
    cut_bytes: of an incomplete last batch, removed
    """

    number: int
    first: int
    previous: bytes
    cut_bytes: int


def segment_numbers(directory: Path) -> list[int]:
    """Segments below a stream's directory, oldest first; empty where there is no directory."""
    try:
        names = [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(n for n in map(segment.number_of, names) if n is not None)


def recover(directory: Path) -> End:
    """The end of a stream, after cutting an incomplete last batch off its newest segment.

    Damage before the end is left as it is, for readers to report. Only the stream's owner may call
    this. Doing it twice, or dying in the middle, changes nothing.
    """
    newest = 0
    for number in reversed(segment_numbers(directory)):
        path = directory / segment.file_name(number)
        data = path.read_bytes()
        never_begun = segment.unpack_header(data) is Missing.INCOMPLETE or not any(data)
        if newest == 0 and never_begun:
            # Its writer died, or power went, before anything was acknowledged from it.
            path.unlink()
            continue
        newest = max(newest, number)
        end = _end_of(path, newest, data)
        if end is not None:
            return end
    return End(newest, 0, segment.NO_HASH, 0)


def marker_of(data: bytes) -> bytes:
    """The marker of a segment's frames, even where its header is damaged."""
    header = segment.unpack_header(data)
    if isinstance(header, Missing):
        return data[segment.HEADER_BYTES : segment.HEADER_BYTES + 8]
    return header.marker


def _end_of(path: Path, number: int, data: bytes) -> End | None:
    """The end of a segment, None where nothing in it is sound enough to tell."""
    header = segment.unpack_header(data)
    first = -1 if isinstance(header, Missing) else header.first
    previous = segment.link(data[: segment.HEADER_BYTES])
    marker = marker_of(data)
    at = segment.HEADER_BYTES
    while at < len(data):
        frame = segment.frame_at(data, at, 0, marker)
        if isinstance(frame, Missing):
            behind = segment.next_frame(data, at, 0, marker)
            if behind is None:
                cut = _cut(path, data, at, frame)
                return None if first < 0 else End(number, first, previous, cut)
            frame = behind
        at, first, previous = frame.end, frame.first + frame.count, frame.hash
    return None if first < 0 else End(number, first, previous, 0)


def _cut(path: Path, data: bytes, at: int, missing: Missing) -> int:
    """Removes an incomplete tail; one that is whole and wrong is evidence of damage and stays."""
    if missing is Missing.DAMAGED and any(data[at:]):
        return 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.ftruncate(descriptor, at)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return len(data) - at
