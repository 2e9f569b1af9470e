"""The gate before the decoders: depth, characters, packing."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.domain.errors import PointsmanError
from pointsman.gateway.gate import check_text, unpack
from pointsman.gateway.settings import Limits

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{}ü\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='k"\\{', max_size=3), inner)
    ),
    max_leaves=30,
)


def depth_of(value):
    """The slow, obvious depth."""
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    return 0


def passes(body, depth):
    try:
        check_text(body, depth)
    except PointsmanError:
        return False
    return True


@given(json_values, st.integers(0, 8), st.booleans())
def test_depth_is_counted_exactly(value, limit, ascii_only):
    """Brackets inside strings, escapes and all."""
    body = json.dumps(value, ensure_ascii=ascii_only).encode()

    assert passes(body, limit) == (depth_of(value) <= limit)


@pytest.mark.parametrize(
    ("body", "fine"),
    [
        (rb'"\u0000"', False),
        (rb'"\\u0000"', True),
        (rb'"\\\u0000"', False),
        (b'"\xff"', False),
        (b'"\xed\xa0\x80"', False),
        ('"ü€𝄞"'.encode(), True),
        (b"[" * 33, False),
        (b'"' + b"[" * 99 + b'"', True),
        (b"[[],[],[]]" * 20, True),
    ],
)
def test_characters_and_brackets(body, fine):
    """NUL escapes, broken UTF-8, and openers nobody closes."""
    assert passes(body, 32) is fine


def test_a_large_body_of_brackets_costs_little():
    """No input makes the check slow: 16 MiB of the worst take well under a second."""
    for body in (b"[" * (16 << 20), b"[]" * (8 << 20), b'"[' * (8 << 20), b'\\"[' * (5 << 20)):
        started = time.perf_counter()
        passes(body, 32)
        assert time.perf_counter() - started < 2.0


@given(st.binary(max_size=300), st.sampled_from([b"gzip", b"deflate"]))
def test_any_bytes_may_claim_to_be_packed(body, encoding):
    """They unpack or are refused; nothing else happens."""
    kind = "fine"
    try:
        unpack(body, encoding, Limits())
    except PointsmanError as error:
        kind = error.kind.value

    assert kind in {"fine", "malformed", "too_large"}
