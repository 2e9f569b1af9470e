"""Where a unit falls is a function of the salt and the unit's bytes, the same everywhere."""

from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64

from pointsman.decide.hashing import hash32, hash64, unit_bytes, unit_hash

anything = st.text(st.characters())  # lone surrogates included


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), anything)
def test_hash_is_xxh3_64_of_salt_nul_unit(salt, unit):
    """hash64 is xxh3_64 of the salt, a NUL and the unit, and hash32 its high half."""
    slow = xxh3_64()
    slow.update(salt.encode())
    slow.update(b"\0")
    slow.update(unit_bytes(unit))

    assert hash64(salt, unit) == slow.intdigest()
    assert hash32(salt, unit) == slow.intdigest() // 2**32


@given(anything)
def test_unit_hash_has_no_salt(unit):
    """Exposures count units by xxh3_64 of the unit alone."""
    assert unit_hash(unit) == xxh3_64(unit_bytes(unit)).intdigest()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_ordinary_units_are_their_utf8(unit):
    """Any well-formed string is hashed as its UTF-8."""
    assert unit_bytes(unit) == unit.encode()


def test_units_are_not_normalised():
    """Two spellings of one accent, and two letter cases, are different units."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"

    assert len({hash64("s", unit) for unit in (composed, decomposed, "Caf\u00e9")}) == 3


def test_lone_surrogates_are_defined():
    """A lone surrogate is its three bytes, so even a damaged key has one fixed place."""
    assert unit_bytes("a\ud800b") == b"a\xed\xa0\x80b"
    assert unit_bytes("\udc00\ud800") == b"\xed\xb0\x80\xed\xa0\x80"


def test_a_surrogate_pair_is_its_character():
    """A high and a low surrogate in a row are the one character they stand for."""
    assert unit_bytes("\ud83d\ude00 \udfff") == "\U0001f600 ".encode() + b"\xed\xbf\xbf"


def test_nul_in_a_unit_is_part_of_it():
    """A salt never contains NUL, so no unit can reach into the salt."""
    assert len({hash64("a", "b\0c"), hash64("a", "b"), hash64("a", "bc"), hash64("a", "")}) == 4
