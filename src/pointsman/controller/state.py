"""What a revision was resolved to, stored beside its spec."""

import msgspec

from pointsman.decide.compile import ProjectState


class Pin(msgspec.Struct, frozen=True):
    """A model reference as it was resolved.

    asked: as written (`models:/income@champion`)
    source: pinned, with its registry (`models://main/income/3`)
    """

    asked: str
    source: str
    version: str
    registry: str


class Serving(msgspec.Struct, frozen=True):
    """What the next revision starts from.

    pins: by variant, of those that are models
    project: what the compiler remembers (allocations, salts, epochs), numbered for the next table
    """

    pins: dict[str, Pin]
    project: ProjectState


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Serving)


def encode(serving: Serving) -> bytes:
    return _encoder.encode(serving)


def decode(stored: bytes) -> Serving:
    """The state back from its stored form. Raises msgspec.ValidationError on anything else."""
    return _decoder.decode(stored)
