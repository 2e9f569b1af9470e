"""The dice: a hash of a salt and a unit. The same in every language (docs/conformance).

Units are never normalised: two spellings of the same name are two units, as they are two keys in
the caller's own database.
"""

from xxhash import xxh3_64_intdigest


def unit_bytes(unit: str) -> bytes:
    """UTF-8 of a unit, unnormalised; defined for every string.

    A high surrogate followed by a low one is the one character they stand for, as every JSON
    decoder reads them; a lone surrogate is its three bytes of generalised UTF-8 (WTF-8).
    """
    try:
        return unit.encode()
    except UnicodeEncodeError:
        paired = unit.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return paired.encode("utf-8", "surrogatepass")


def prefix(salt: str) -> bytes:
    """What goes in front of the unit's bytes: the salt and a NUL, which no salt contains."""
    return salt.encode() + b"\0"


def hash64(salt: str, unit: str) -> int:
    """xxh3_64 (seed 0) of salt, NUL, unit: an integer on [0, 2^64)."""
    return xxh3_64_intdigest(prefix(salt) + unit_bytes(unit))


def hash32(salt: str, unit: str) -> int:
    """The unit's place on [0, 2^32) under this salt: the high 32 bits of `hash64`."""
    return hash64(salt, unit) >> 32


def unit_hash(unit: str) -> int:
    """xxh3_64 of the unit alone, for exposures and evidence buckets: independent of every draw."""
    return xxh3_64_intdigest(unit_bytes(unit))
