"""What travels over the model runner's sockets: length-prefixed MessagePack.

Worker to runner: `Warm`, `Keep`, `Score`; back: `Ready`, `Scores`, `Failed`, by the caller's id, in
any order. Runner to a model's process: `Load` once, then one `Batch` at a time; back: `Ready` or
`Failed`, then `Answers`. Rows pass through the runner undecoded.
"""

import struct
from typing import Final

import msgspec

from pointsman.domain.decision import Value
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature

MAX_FRAME_BYTES: Final = 64 << 20
_LENGTH: Final = struct.Struct(">I")


class Warm(msgspec.Struct, frozen=True, array_like=True, tag="warm"):
    """Load the artifact, answer `Ready` when it is."""

    id: int
    digest: str


class Keep(msgspec.Struct, frozen=True, array_like=True, tag="keep"):
    """These are all the artifacts this connection needs; others may go."""

    digests: tuple[str, ...]


class Score(msgspec.Struct, frozen=True, array_like=True, tag="score"):
    """rows: MessagePack of rows in the order of the manifest's features; count: of them"""

    id: int
    digest: str
    count: int
    timeout_s: float
    rows: msgspec.Raw


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    id: int
    features: tuple[Feature, ...]


class Scores(msgspec.Struct, frozen=True, array_like=True, tag="scores"):
    """values: float64 in native byte order, row by row; rows x columns of them"""

    id: int
    rows: int
    columns: int
    values: bytes


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    id: int
    kind: Kind
    message: str
    hint: str = ""

    @classmethod
    def of(cls, number: int, error: PointsmanError) -> "Failed":
        return cls(number, error.kind, error.message, error.hint)

    def error(self) -> PointsmanError:
        return PointsmanError(self.kind, self.message, hint=self.hint)


class Load(msgspec.Struct, frozen=True, array_like=True, tag="load"):
    """manifest: its canonical bytes; directory: where the artifact's files are"""

    manifest: bytes
    directory: str
    memory_bytes: int


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """parts: the rows of several calls, each to be answered on its own"""

    parts: list[msgspec.Raw]


class Answers(msgspec.Struct, frozen=True, array_like=True, tag="answers"):
    """One answer a part, in order; ids are 0."""

    parts: list[Scores | Failed]


FromWorker = Warm | Keep | Score
ToWorker = Ready | Scores | Failed
FromModel = Ready | Failed | Answers
ToModel = Load | Batch
Rows = list[list[Value]]

encoder: Final = msgspec.msgpack.Encoder()
from_worker: Final = msgspec.msgpack.Decoder(FromWorker)
to_worker: Final = msgspec.msgpack.Decoder(ToWorker)
from_model: Final = msgspec.msgpack.Decoder(FromModel)
to_model: Final = msgspec.msgpack.Decoder(ToModel)
rows_decoder: Final = msgspec.msgpack.Decoder(Rows)


def frame(message: msgspec.Struct) -> bytes:
    """The message with its length in front. Raises PointsmanError(TOO_LARGE)."""
    body = encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise PointsmanError(
            Kind.TOO_LARGE,
            f"a batch of {len(body):,} bytes is too large for the model runner",
            hint=f"send fewer rows at once; the limit is {MAX_FRAME_BYTES:,} bytes",
        )
    return _LENGTH.pack(len(body)) + body


def length(head: bytes | bytearray, start: int = 0) -> int:
    """Bytes of the frame whose head begins at `start`. Raises ValueError where it is too long."""
    found: int = _LENGTH.unpack_from(head, start)[0]
    if found > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {found:,} bytes")
    return found


class Unframer:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Frames that are complete now. Raises ValueError for one that is too long."""
        held = self._held
        held += data
        frames = []
        start = 0
        while len(held) - start >= _LENGTH.size:
            end = start + _LENGTH.size + length(held, start)
            if len(held) < end:
                break
            frames.append(bytes(held[start + _LENGTH.size : end]))
            start = end
        del held[:start]
        return frames
