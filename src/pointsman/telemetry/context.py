"""W3C Trace Context: what `traceparent` and `tracestate` say, and what is passed on.

Source: https://www.w3.org/TR/trace-context/ (level 1), and of level 2 the flag `random`
and the wider keys of `tracestate`.
"""

import re
from typing import Final

import msgspec

SAMPLED: Final = 0x01
_RANDOM: Final = 0x02
_KNOWN_FLAGS: Final = SAMPLED | _RANDOM
"""Flags nobody has given a meaning yet are not passed on, as the specification asks."""
_PARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)
_KEY: Final = r"[a-z0-9][a-z0-9_\-*/@]{0,255}"
_VALUE: Final = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER: Final = re.compile(rf"{_KEY}={_VALUE}")
_MOST_MEMBERS: Final = 32


class Context(msgspec.Struct, frozen=True, gc=False):
    """Where a request stands in its trace.

    trace: 32 hex digits; span: 16 hex digits, of whoever called
    state: `tracestate` as it came, empty without one
    """

    trace: str
    span: str
    flags: int
    state: str = ""

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)


def parse(traceparent: bytes | None, tracestate: bytes | None) -> Context | None:
    """The caller's context; None where there is none, or one that the specification ignores.

    A version above 00 is read as far as it is known. A `tracestate` that is malformed is left out,
    and one without a valid `traceparent` means nothing.
    """
    if traceparent is None:
        return None
    found = _PARENT.fullmatch(traceparent.strip(b" \t"))
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if version == b"00" and rest is not None:
        return None
    state = "" if tracestate is None else _state(tracestate)
    return Context(trace.decode(), span.decode(), int(flags, 16), state)


def _state(given: bytes) -> str:
    try:
        text = given.decode("ascii").strip(" \t")
    except UnicodeDecodeError:
        return ""
    members = [member.strip(" \t") for member in text.split(",")]
    named = [member for member in members if member]  # empty members are allowed, and mean nothing
    if len(named) > _MOST_MEMBERS or not all(map(_MEMBER.fullmatch, named)):
        return ""
    return text if named else ""


def traceparent(trace: str, span: str, flags: int) -> str:
    """The header's value, of version 00."""
    return f"00-{trace}-{span}-{flags & _KNOWN_FLAGS:02x}"


def header_lines(trace: str, span: str, flags: int, state: str) -> str:
    """The header lines that pass a context on, each ended by CRLF."""
    line = f"traceparent: 00-{trace}-{span}-{flags & _KNOWN_FLAGS:02x}\r\n"
    return f"{line}tracestate: {state}\r\n" if state else line
