"""What the workers count, told to a Datadog agent: read by their parent, every ten seconds.

Workers have no part in it. Counters are sent as what was added since the last look, histograms as
distributions: each value as the upper bound of the bucket it fell into, so that a percentile is
never told as smaller than it was.
"""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pointsman.gateway.counters import Key, Labels, merged
from pointsman.gateway.gauges import GAUGES
from pointsman.gateway.metrics import COUNTERS, HISTOGRAMS
from pointsman.telemetry import dogstatsd
from pointsman.telemetry.dogstatsd import Client

_logger = logging.getLogger(__name__)
EVERY_S: Final = 10.0
"""The interval that Datadog's agent adds up by."""


class Report:
    """One gateway's. directory: of its counter files"""

    def __init__(self, directory: Path, client: Client) -> None:
        self._directory = directory
        self._client = client
        self._last: dict[Key, int] | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.tell)
            except Exception:
                _logger.exception("counters could not be told to the Datadog agent")
            await asyncio.sleep(EVERY_S)

    def tell(self) -> None:
        """Sends what was added since the last look. The first look tells gauges alone: what was
        counted before this process is not from now."""
        now = merged(self._directory)
        before, self._last = self._last, now
        self._client.send(_lines(now, before))


def _lines(now: dict[Key, int], before: dict[Key, int] | None) -> Iterator[str]:
    for key, value in sorted(now.items()):
        name, labels = key
        if name in GAUGES:
            yield dogstatsd.gauge(_dotted(name), value, labels)
            continue
        # A counter that was not there began at zero, unless nothing was known at all.
        added = 0 if before is None else value - before.get(key, 0)
        if added <= 0:
            continue
        if name in COUNTERS:
            yield dogstatsd.count(_dotted(name), added, labels)
        elif name in HISTOGRAMS:
            yield from _bucket(name, labels, added)


def _bucket(name: str, labels: Labels, added: int) -> Iterator[str]:
    _, bounds, divisor = HISTOGRAMS[name]
    bound = labels[-1][1]
    if bound == "sum":
        return
    value = bounds[-1] if bound == "+Inf" else int(bound)
    yield dogstatsd.distribution(_dotted(name), value / divisor, added, labels[:-1])


def _dotted(name: str) -> str:
    """`pointsman_requests` as Datadog writes it."""
    return name.replace("pointsman_", "pointsman.", 1)
