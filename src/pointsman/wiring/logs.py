"""Logging of our own processes: one line an event on standard error, secrets left out, and the
trace named that a line belongs to."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from pointsman.telemetry.current import with_trace

_SECRET: Final = ("token", "secret", "password", "authorization")


def configure(level: str) -> None:
    """Sets up structlog, and the standard library's logging for those who use it."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    logging.basicConfig(stream=sys.stderr, level=max(number, logging.WARNING), format="%(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            with_trace,
            _without_secrets,
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _without_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name in event:
        if any(word in name.lower() for word in _SECRET):
            event[name] = "***"
    return event
