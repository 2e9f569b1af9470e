"""W3C Trace Context, as the specification's rules and its own test suite have them."""

from hypothesis import given
from hypothesis import strategies as st

from pointsman.telemetry.context import header_lines, parse

HEX = "0123456789abcdef"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def hexes(length):
    return st.text(HEX, min_size=length, max_size=length)


def ids(length):
    return hexes(length).filter(lambda text: set(text) != {"0"})


@given(ids(32), ids(16), st.integers(0, 255))
def test_a_valid_parent_is_read_and_passed_on(trace, span, flags):
    """Ids as they came; of the flags those that have a meaning."""
    found = parse(f"00-{trace}-{span}-{flags:02x}".encode(), None)

    assert found is not None
    assert (found.trace, found.span, found.sampled) == (trace, span, bool(flags & 1))
    lines = header_lines(found.trace, found.span, found.flags, found.state)
    assert lines == f"traceparent: 00-{trace}-{span}-{flags & 3:02x}\r\n"


@given(hexes(2).filter(lambda v: v not in {"ff", "00"}), ids(32), ids(16), hexes(2), st.text(HEX))
def test_a_later_version_is_read_as_far_as_it_is_known(version, trace, span, flags, more):
    """With or without further fields, which are left out when it is passed on as version 00."""
    plain = f"{version}-{trace}-{span}-{flags}"
    for text in (plain, f"{plain}-", f"{plain}-{more}-what-the-future"):
        found = parse(text.encode(), None)

        assert found is not None
        assert (found.trace, found.span) == (trace, span)
    assert parse(f"{plain}{more}x".encode(), None) is None
    assert parse(f"{plain}.{more}".encode(), None) is None


@given(st.binary(max_size=80))
def test_whatever_comes_is_read_or_ignored(noise):
    """Never an error; what is passed on is always well formed."""
    found = parse(noise, noise)

    if found is not None:
        lines = header_lines(found.trace, found.span, found.flags, found.state)
        assert parse(lines.split(": ")[1].partition("\r\n")[0].encode(), None) is not None


@given(ids(32), ids(16), st.integers(0, 54), st.sampled_from("gGzZ .-\x00AF"))
def test_one_wrong_character_anywhere_makes_it_invalid(trace, span, place, wrong):
    """Uppercase digits too. (A hyphen in its own place is not wrong.)"""
    text = f"00-{trace}-{span}-01"
    broken = text[:place] + wrong + text[place + 1 :]

    # White space around a header's value is no part of it, and what is left is too short.
    assert (parse(broken.encode(), None) is None) == (broken != text)


def test_what_the_specification_calls_invalid_is_ignored():
    """All-zero ids, version ff, fields too short or too long, and two headers made one."""
    good = f"00-{TRACE}-{SPAN}-01"
    for bad in (
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01-more",
        f"{good}-more",
        f"{good}-",
        f"{good}0",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"{good},{good}",
        "",
    ):
        assert parse(bad.encode(), b"a=1") is None, bad
    assert parse(None, b"a=1") is None
    assert parse(f" \t{good} \t".encode(), None) is not None


KEYS = st.from_regex(r"[a-z0-9][a-z0-9_\-*/@]{0,20}", fullmatch=True)
VALUES = st.from_regex(r"[\x21-\x2b\x2d-\x3c\x3e-\x7e]{1,20}", fullmatch=True)
MEMBERS = st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=32)
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


@given(MEMBERS)
def test_a_valid_state_is_passed_on_as_it_came(members):
    """Up to 32 members, white space and empty members around them included."""
    state = " ,\t".join(f"{key}={value}" for key, value in members)
    found = parse(PARENT, state.encode())

    assert found is not None
    assert found.state == state
    assert header_lines(TRACE, SPAN, 1, state).endswith(f"tracestate: {state}\r\n")


@given(MEMBERS, st.sampled_from(["A=1", "=1", "a", "a=", "a=b=c", "a b=1", "a=\u00e9", "a=\x7f"]))
def test_a_malformed_state_is_left_out_and_the_parent_stands(members, bad):
    """The specification discards the whole list."""
    state = ",".join([*(f"{key}={value}" for key, value in members), bad])
    found = parse(PARENT, state.encode())

    assert found is not None
    assert (found.trace, found.state) == (TRACE, "")


def test_too_many_members_are_a_malformed_state():
    """33 are one too many."""
    members = [f"k{number}=v" for number in range(33)]
    fits, too_many = (parse(PARENT, ",".join(members[:n]).encode()) for n in (32, 33))

    assert fits is not None
    assert fits.state
    assert too_many is not None
    assert too_many.state == ""
