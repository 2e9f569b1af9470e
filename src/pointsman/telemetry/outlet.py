"""A bounded queue in front of the exporters, emptied by a thread of its own.

Whoever has something to tell pays for an append. Where the receiver is down or slow the queue fills
up, and what no longer fits is dropped and counted: telemetry never holds up a request.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.telemetry.spans import Event, Signal, Span

_logger = logging.getLogger(__name__)

CLOSE_S: Final = 3.0
FULL: Final = "full"
FAILED: Final = "failed"


class Bounds(msgspec.Struct, frozen=True):
    """How much waits, and how long.

    queue: things waiting; beyond it new ones are dropped
    batch: things exported at once, each of about four spans and events. Half of the SDK's 512:
        encoding a batch holds the interpreter, and requests wait meanwhile
    delay_s: between exports; a call costs some milliseconds, whatever it carries
    """

    queue: int = 2048
    batch: int = 256
    delay_s: float = 5.0


class Sink(Protocol):
    """Where spans and events go. `send` blocks, and says how many were not taken."""

    def send(self, spans: Sequence[Span], events: Sequence[Event]) -> int: ...

    def close(self) -> None: ...


Tell = Callable[[], Iterable[Signal]]
"""Makes the signals of one thing that happened, in the exporting thread."""


class Outlet:
    """Takes what is to be told, and sends it on.

    connect: makes the sink, in the thread: its libraries take a second to import
    dropped: called with how many signals, or things to be told, were lost, and why (`full` by
        whoever tells, `failed` by the thread)
    """

    def __init__(
        self,
        connect: Callable[[], Sink],
        dropped: Callable[[str, int], None],
        bounds: Bounds | None = None,
    ) -> None:
        self._connect = connect
        self._dropped = dropped
        self._bounds = bounds or Bounds()
        self._queue: deque[Tell] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._failing = False
        self._sink: Sink | None = None
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def tell(self, tell: Tell) -> None:
        """Never blocks."""
        queue = self._queue
        if len(queue) >= self._bounds.queue:
            self._dropped(FULL, 1)
            return
        queue.append(tell)
        if len(queue) == self._bounds.batch:
            self._wake.set()

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Sends what is waiting, for so long at most. Blocking."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        if self._sink is not None:
            self._sink.close()

    def _run(self) -> None:
        try:
            sink = self._sink = self._connect()
        except Exception:
            _logger.exception("nothing is traced: the exporters cannot be made")
            self._queue.clear()
            return
        while True:
            self._wake.wait(self._bounds.delay_s)
            self._wake.clear()
            while self._queue:
                self._send(sink)
            if self._closing and not self._queue:
                return

    def _send(self, sink: Sink) -> None:
        spans: list[Span] = []
        events: list[Event] = []
        queue = self._queue
        for _ in range(min(len(queue), self._bounds.batch)):
            try:
                signals = list(queue.popleft()())
            except Exception:
                _logger.exception("something cannot be told")
                self._dropped(FAILED, 1)
                continue
            for signal in signals:
                if isinstance(signal, Span):
                    spans.append(signal)
                else:
                    events.append(signal)
        try:
            lost = sink.send(spans, events)
        except Exception:
            _logger.exception("telemetry cannot be exported")
            lost = len(spans) + len(events)
        if lost:
            self._dropped(FAILED, lost)
        self._say(failing=bool(lost))

    def _say(self, *, failing: bool) -> None:
        """Once when it begins, and once when it is over; /metrics counts what lies between."""
        if failing and not self._failing:
            _logger.warning("telemetry is not taken by its receiver, and dropped")
        elif self._failing and not failing:
            _logger.warning("telemetry is taken by its receiver again")
        self._failing = failing


def bounds_from(environment: Mapping[str, str]) -> Bounds:
    """OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_EXPORT_BATCH_SIZE and OTEL_BSP_SCHEDULE_DELAY (ms), in
    units of requests. Raises PointsmanError(INVALID)."""
    default = Bounds()
    queue = _whole(environment, "OTEL_BSP_MAX_QUEUE_SIZE", default.queue)
    batch = _whole(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", default.batch)
    delay_ms = _whole(environment, "OTEL_BSP_SCHEDULE_DELAY", round(default.delay_s * 1000))
    return Bounds(queue, min(batch, queue), delay_ms / 1000)


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise PointsmanError(
            Kind.INVALID,
            f"{name}: {text[:40]!r} is not a whole number between 1 and 1000000",
            hint=f"leave it out for {default}",
        )
    return int(text)
