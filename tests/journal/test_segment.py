"""The file format, byte by byte, as docs/reference/journal.md tells other languages."""

import hashlib
import struct
import zlib

import msgspec
import pytest

from pointsman.domain.records import OutcomeRecord
from pointsman.journal import segment
from pointsman.journal.codec import decode_payload, encode_record, payload_of
from pointsman.journal.segment import Header, Missing

HEADER = Header(
    stream="w0",
    number=7,
    first=42,
    created_ms=1_700_000_000_000,
    boot_id=bytes(range(16)),
    marker=b"8 bytes!",
    previous=bytes([9]) * 32,
)


def test_a_header_is_128_bytes_in_the_documented_places():
    """A reader in another language finds every field where the reference page says."""
    data = segment.pack_header(HEADER)

    assert len(data) == 128
    assert data[:8] == b"\x89PMJ\r\n\x1a\n"
    assert struct.unpack_from("<HHI", data, 8) == (1, 2, 128)
    assert struct.unpack_from("<QQq", data, 16) == (7, 42, 1_700_000_000_000)
    assert data[40:56] == bytes(range(16))
    assert data[56:64] == b"8 bytes!"
    assert data[64:96] == bytes([9]) * 32
    assert data[96:124] == b"w0".ljust(28, b"\0")
    assert struct.unpack_from("<I", data, 124) == (zlib.crc32(data[:124]),)
    assert segment.unpack_header(data) == HEADER


def test_a_frame_is_a_head_of_64_bytes_and_a_messagepack_array():
    """Head and payload carry a checksum each, and their SHA-256 is the chain's next hash."""
    payload = payload_of([b"\x01", b"\x02"])
    data = segment.pack_head(HEADER.marker, payload, 2, 42, HEADER.previous) + payload

    frame = segment.frame_at(data, 0, 128, HEADER.marker)

    assert data[:8] == HEADER.marker
    assert struct.unpack_from("<IIQ", data, 8) == (len(payload), 2, 42)
    assert data[24:56] == HEADER.previous
    assert struct.unpack_from("<I", data, 56) == (zlib.crc32(payload),)
    assert struct.unpack_from("<I", data, 60) == (zlib.crc32(data[:60]),)
    assert msgspec.msgpack.decode(data[64:]) == [1, 2]
    assert isinstance(frame, segment.Frame)
    assert (frame.start, frame.end, frame.payload) == (128, 128 + len(data), payload)
    assert frame.hash == hashlib.sha256(data).digest()


def test_a_header_of_a_newer_format_is_refused_in_words():
    """An old version never guesses at bytes it does not know."""
    body = bytearray(segment.pack_header(HEADER)[:124])
    body[8] = 2
    data = bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))

    with pytest.raises(ValueError, match="segment format 2 is newer"):
        segment.unpack_header(data)


@pytest.mark.parametrize("size", [0, 1, 127])
def test_a_short_header_is_incomplete_and_a_wrong_one_damaged(size):
    """A file that was just being created is told apart from one that was altered."""
    data = segment.pack_header(HEADER)

    assert segment.unpack_header(data[:size]) is Missing.INCOMPLETE
    assert segment.unpack_header(data[:20] + b"?" + data[21:]) is Missing.DAMAGED


def test_records_of_an_unknown_kind_are_counted_and_the_rest_is_read():
    """An older reader beside a newer writer reads what it knows."""
    known = OutcomeRecord("f-1", "d", "label", "yes", 1, 2, "default")
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(encode_record(known)), "a new field"])
    unknown = msgspec.msgpack.encode(["an-unknown-kind", 1, 2])

    records, skipped = decode_payload(payload_of([encode_record(known), unknown, longer]))

    assert records == [known, known]
    assert skipped == 1


@pytest.mark.parametrize("name", ["w0", "worker-17", "a" * 28])
def test_a_stream_has_a_name_that_is_safe_as_a_directory(name):
    """Names are lowercase and short; they are a directory and a field of 28 bytes."""
    assert segment.is_stream(name)


@pytest.mark.parametrize("name", ["", "W0", "../x", ".x", "a" * 29, "a/b", "a\n"])
def test_other_stream_names_are_refused(name):
    """Nothing that could leave the journal's directory, hide in it or be cut is a stream."""
    assert not segment.is_stream(name)
