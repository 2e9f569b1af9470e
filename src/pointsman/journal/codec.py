"""Records to bytes and back. A batch's payload is one MessagePack array of records.

Bytes are written once and hashed as they are: nothing is ever canonicalised or re-encoded.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from pointsman.domain.records import Record

_ARRAY_32: Final = b"\xdd"

_encoder = msgspec.msgpack.Encoder()
_batch_decoder: msgspec.msgpack.Decoder[list[Record]] = msgspec.msgpack.Decoder(list[Record])
_raw_decoder: msgspec.msgpack.Decoder[list[msgspec.Raw]] = msgspec.msgpack.Decoder(
    list[msgspec.Raw]
)
_record_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)

encode_record = _encoder.encode
"""`encode_record(record) -> bytes`: one record as the journal stores it, about a microsecond."""


def payload_of(records: Sequence[bytes]) -> bytes:
    """A batch's payload: a MessagePack `array 32` of the encoded records."""
    return b"".join((_ARRAY_32, len(records).to_bytes(4, "big"), *records))


def decode_payload(payload: bytes | memoryview) -> tuple[list[Record], int]:
    """The records of a batch, and how many of it this version cannot read.

    Records of a kind that a newer version added are skipped and counted; fields that a newer
    version appended are ignored. Raises msgspec.DecodeError if this is not an array at all.
    """
    try:
        return _batch_decoder.decode(payload), 0
    except msgspec.ValidationError:
        return _decode_one_by_one(payload)


def _decode_one_by_one(payload: bytes | memoryview) -> tuple[list[Record], int]:
    records: list[Record] = []
    unknown = 0
    for raw in _raw_decoder.decode(payload):
        try:
            records.append(_record_decoder.decode(raw))
        except msgspec.ValidationError:
            unknown += 1
    return records, unknown
