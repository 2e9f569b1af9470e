"""Secrets as they are made, named and compared; free of the database, so that parents may use it.

A secret is `<prefix>_<id>_<43 characters>` with 256 random bits; it is shown once, at creation.
High entropy needs no slow hash: what is stored is the BLAKE2b-256 of the whole text.
"""

import hashlib
import secrets
from typing import Final

import msgspec

TOKEN_PREFIX: Final = "pmt"  # noqa: S105 - a public prefix, for secret scanners
KEY_PREFIX: Final = "pmk"


class Secret(msgspec.Struct, frozen=True):
    """A fresh secret: the only moment its text exists outside its owner's hands."""

    id: str
    text: str
    digest: str


def fresh_secret(prefix: str) -> Secret:
    key_id = secrets.token_hex(4)
    text = f"{prefix}_{key_id}_{secrets.token_urlsafe(32)}"
    return Secret(key_id, text, digest_of(text))


def digest_of(text: str) -> str:
    """Hex BLAKE2b-256 of a secret."""
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


def id_of(text: str, prefix: str) -> str:
    """The id inside a secret; empty where the text is not of this kind."""
    parts = text.split("_", 2)
    return parts[1] if len(parts) == 3 and parts[0] == prefix else ""
