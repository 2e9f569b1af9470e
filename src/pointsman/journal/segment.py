"""The segment file format, version 1, as documented in docs/reference/journal.md.

A segment is a header of 128 bytes and then frames. A frame is a head of 64 bytes and a payload.
All integers are little-endian. Pure functions over bytes; nothing here opens a file.
"""

import hashlib
import re
import struct
import zlib
from enum import Enum
from typing import Final

import msgspec

MAGIC: Final = b"\x89PMJ\r\n\x1a\n"
VERSION: Final = 1
HEADER_BYTES: Final = 128
HEAD_BYTES: Final = 64
MAX_PAYLOAD_BYTES: Final = 16 << 20
"""Larger batches are split by the writer; a reader takes a larger length for damage."""

NO_HASH: Final = bytes(32)
"""What the first segment of a stream names as the hash before it."""

STREAM_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,27}$"
_STREAM: Final = re.compile(STREAM_PATTERN)
_SUFFIX: Final = ".seg"
_FILE: Final = re.compile(r"^[0-9]{16}\.seg$")

_HEADER: Final = struct.Struct("<8sHHIQQq16s8s32s28s")
_HEAD: Final = struct.Struct("<8sIIQ32sI")
_CRC: Final = struct.Struct("<I")


class Header(msgspec.Struct, frozen=True):
    """What a segment says of itself.

    number: of the segment in its stream, from 1, without gaps
    first: index in the stream of the segment's first record, from 0, without gaps
    created_ms: Unix milliseconds of the writer's wall clock
    boot_id: 16 bytes naming the boot of the machine; tells a crash of ours from one of the host
    marker: 8 random bytes that begin each frame of this segment, so that no caller can plant a
        frame inside a record
    previous: SHA-256 link to what the stream holds before, `NO_HASH` for its first segment
    """

    stream: str
    number: int
    first: int
    created_ms: int
    boot_id: bytes
    marker: bytes
    previous: bytes


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One batch as it lies in the file, checked.

    start, end: offsets in the file; first: index in the stream of its first record
    previous: hash before it; hash: SHA-256 over head and payload as stored
    """

    start: int
    end: int
    count: int
    first: int
    previous: bytes
    hash: bytes
    payload: bytes


class Missing(Enum):
    """Why there is no frame at an offset."""

    INCOMPLETE = "incomplete"  # its bytes end before it does
    DAMAGED = "damaged"  # its bytes are there and wrong


def is_stream(name: str) -> bool:
    """Whether a stream may be called that: it becomes a directory, and has 28 bytes to fit in."""
    return _STREAM.fullmatch(name) is not None


def file_name(number: int) -> str:
    """`0000000000000001.seg`, so that names sort as numbers do."""
    return f"{number:016d}{_SUFFIX}"


def number_of(name: str) -> int | None:
    """The number of a segment file, None for any other file."""
    return int(name.removesuffix(_SUFFIX)) if _FILE.match(name) else None


def pack_header(header: Header) -> bytes:
    """The first 128 bytes of a segment. Their SHA-256 is what its first frame links to."""
    name = header.stream.encode()
    body = _HEADER.pack(
        MAGIC,
        VERSION,
        len(name),
        HEADER_BYTES,
        header.number,
        header.first,
        header.created_ms,
        header.boot_id,
        header.marker,
        header.previous,
        name,
    )
    return body + _CRC.pack(zlib.crc32(body))


def unpack_header(data: bytes) -> Header | Missing:
    """The header, from the first bytes of a file.

    Raises ValueError for a sound header of a format version this code does not know.
    """
    if len(data) < HEADER_BYTES:
        return Missing.INCOMPLETE
    body = data[: _HEADER.size]
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    fields = _HEADER.unpack(body)
    if fields[0] != MAGIC or zlib.crc32(body) != crc:
        return Missing.DAMAGED
    if fields[1] != VERSION:
        raise ValueError(f"segment format {fields[1]} is newer than this version knows ({VERSION})")
    return Header(
        stream=fields[10][: fields[2]].decode(),
        number=fields[4],
        first=fields[5],
        created_ms=fields[6],
        boot_id=fields[7],
        marker=fields[8],
        previous=fields[9],
    )


def pack_head(marker: bytes, payload: bytes, count: int, first: int, previous: bytes) -> bytes:
    """The 64 bytes before a payload."""
    body = _HEAD.pack(marker, len(payload), count, first, previous, zlib.crc32(payload))
    return body + _CRC.pack(zlib.crc32(body))


def link(head: bytes, payload: bytes | memoryview = b"") -> bytes:
    """The chain's next hash: SHA-256 over the bytes exactly as stored."""
    digest = hashlib.sha256(head)
    digest.update(payload)
    return digest.digest()


def frame_at(data: bytes, at: int, base: int, marker: bytes) -> Frame | Missing:
    """The frame that starts at `data[at]`; `base` is the file offset of `data[0]`."""
    if len(data) - at < HEAD_BYTES:
        return Missing.INCOMPLETE
    found, length, count, first, previous, payload_crc = _HEAD.unpack_from(data, at)
    (head_crc,) = _CRC.unpack_from(data, at + _HEAD.size)
    if found != marker or length > MAX_PAYLOAD_BYTES:
        return Missing.DAMAGED
    if zlib.crc32(data[at : at + _HEAD.size]) != head_crc:
        return Missing.DAMAGED
    end = at + HEAD_BYTES + length
    if len(data) < end:
        return Missing.INCOMPLETE
    payload = data[at + HEAD_BYTES : end]
    if zlib.crc32(payload) != payload_crc:
        return Missing.DAMAGED
    chain = link(data[at : at + HEAD_BYTES], payload)
    return Frame(base + at, base + end, count, first, previous, chain, payload)


def next_frame(data: bytes, after: int, base: int, marker: bytes) -> Frame | None:
    """The first sound frame that starts behind `data[after]`, to go on from after damage."""
    at = data.find(marker, after + 1)
    while at >= 0:
        frame = frame_at(data, at, base, marker)
        if isinstance(frame, Frame):
            return frame
        at = data.find(marker, at + 1)
    return None
