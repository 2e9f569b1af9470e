"""Events of metrics as a project file writes them: `denied`, `latency > 100ms`, `score > 0.9`."""

from pointsman.domain.events import Event
from pointsman.spec.scalars import parse_duration

DECISION_PATTERN = r"^(denied|positive|score > 0\.[0-9]{1,9})$"
OPERATIONAL_PATTERN = (
    r"^(error|fallback|timeout|malformed|latency > [0-9]{1,12}(ms|s|m|h|d|w)"
    r"|cost > [0-9]{1,9}(\.[0-9]{1,12})?)$"
)

_US = 1000


def event_of(text: str) -> Event:
    """The event of a metric that was checked; limits in the units of `Event`."""
    kind, _, limit = text.partition(" > ")
    if not limit:
        return Event(kind)
    return Event(kind, float(parse_duration(limit) * _US) if kind == "latency" else float(limit))
