"""The trace a piece of work belongs to, for those who write log lines about it."""

from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, Final

Current = tuple[str, str]
"""Trace id and span id, as hex digits."""

CURRENT: Final[ContextVar[Current | None]] = ContextVar("pointsman_trace", default=None)


def with_trace(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """For structlog: adds `trace_id` and `span_id` to lines written within a traced call."""
    found = CURRENT.get()
    if found is not None:
        event["trace_id"], event["span_id"] = found
    return event
