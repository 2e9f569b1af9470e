"""Log lines of a worker: level, place, message, and the decision and trace they are about."""

import logging
from typing import Final

FORMAT: Final = "%(levelname)s %(name)s: %(message)s"


class _Named(logging.Formatter):
    """Lines as they were, with the names that `extra` gives: `job`, `trace` and `span`."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's
        said = super().formatMessage(record)
        for name, key in (("job", "decision_id"), ("trace", "trace_id"), ("span", "span_id")):
            value = getattr(record, name, "")
            if value:
                said = f"{said} {key}={value}"
        return said


def configure() -> None:
    """Standard error, one line an event; the level comes with the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Named(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # At `debug` they would tell of every byte that is exported.
    for library in ("opentelemetry", "urllib3"):
        logging.getLogger(library).setLevel(logging.WARNING)
