"""Tells those who watch that something is new, so that they ask again: no sooner, and no later."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
import structlog

_log = structlog.get_logger(__name__)
EVERY_S: Final = 1.0
KEEP_ALIVE_S: Final = 15.0
"""Proxies close connections that say nothing."""


class Stamp(msgspec.Struct, frozen=True):
    """How far things are. Any difference is news; the numbers mean nothing else.

    changes: what people and automatic actions did; records: what was taken in; alerts: what began
        to be wrong, or ended
    """

    changes: int
    records: int
    alerts: int = 0


class News:
    """Looks once a second while anybody watches, however many watch.

    look: blocking; what it raises is logged, and looked for again
    """

    def __init__(self, look: Callable[[], Stamp]) -> None:
        self._look = look
        self._watching: set[asyncio.Queue[Stamp | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._last: Stamp | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def follow(self) -> AsyncIterator[Stamp | None]:
        """Where things are now, then each time they have moved on; None to keep a connection."""
        queue: asyncio.Queue[Stamp | None] = asyncio.Queue(1)
        self._watching.add(queue)
        self._loop = asyncio.get_running_loop()
        try:
            stamp = await asyncio.to_thread(self._look)
            if self._task is None or self._task.done():
                self._last = stamp
                self._task = asyncio.create_task(self._run(), name="news")
            yield stamp
            while not self._closed:
                try:
                    news = await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
                except TimeoutError:
                    yield None
                    continue
                if news is None:
                    return
                yield news
        finally:
            self._watching.discard(queue)

    def close(self) -> None:
        """Lets everybody who watches go. May be called from a signal handler."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._let_go)

    def _let_go(self) -> None:
        for queue in self._watching:
            _put(queue, None)

    async def _run(self) -> None:
        while self._watching and not self._closed:
            try:
                stamp = await asyncio.to_thread(self._look)
            except Exception:  # noqa: BLE001 - whatever it is, the next look may work
                _log.exception("news could not be looked for")
            else:
                if stamp != self._last:
                    self._last = stamp
                    for queue in self._watching:
                        _put(queue, stamp)
            await asyncio.sleep(EVERY_S)


def _put(queue: asyncio.Queue[Stamp | None], stamp: Stamp | None) -> None:
    """The newest alone is of interest; whoever reads slowly misses what it has replaced."""
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(stamp)
