"""Spans and events as we keep them, before any library is asked: plain frozen values."""

import random
from enum import Enum

import msgspec

Attribute = str | int | float | bool
Attributes = dict[str, Attribute]


class SpanKind(Enum):
    """Who a span is about: ourselves, a caller of ours, or somebody we call."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


class Span(msgspec.Struct, frozen=True):
    """Something that took time.

    trace, span, parent: 32, 16 and 16 hex digits; parent is empty for the first of a trace
    remote: whether the parent is in another process
    start_ns, end_ns: Unix nanoseconds
    failed: what went wrong, empty where nothing did; a span with it has status ERROR
    """

    name: str
    trace: str
    span: str
    parent: str
    start_ns: int
    end_ns: int
    kind: SpanKind = SpanKind.INTERNAL
    attributes: Attributes = {}
    failed: str = ""
    remote: bool = False
    state: str = ""


class Event(msgspec.Struct, frozen=True):
    """Something that happened at one moment: a log record with a name.

    trace, span: what it belongs to; both empty where it belongs to no trace
    """

    name: str
    at_ns: int
    attributes: Attributes
    trace: str = ""
    span: str = ""
    body: str = ""
    warns: bool = False


Signal = Span | Event


def fresh_span() -> str:
    """A new span id: 16 hex digits, not all zero."""
    return f"{random.getrandbits(64) or 1:016x}"


def fresh_trace() -> str:
    """A new trace id: 32 hex digits, all of them random, not all zero."""
    return f"{random.getrandbits(128) or 1:032x}"
