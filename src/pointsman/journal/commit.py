"""Group commit for an event loop: many coroutines wait, one system call answers them all.

A thread syncs whenever somebody waits, and otherwise often enough that a loss of power costs at
most `idle_s` of what was appended. It starts the next sync as soon as the last one returned: no
timer, the load itself sets how many share one.
"""

import asyncio
import contextlib
import threading
from typing import Final

from pointsman.journal.writer import JournalBrokenError, SegmentWriter

LOSS_WINDOW_S: Final = 0.05
"""At most this much of unsynced decisions is lost with the power (reliability 2.4, mode `os`)."""

_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


class GroupCommit:
    """Syncs a writer from a thread of its own, from construction until `close`.

    The writer stays its owner's: closing this does not close it.
    """

    def __init__(self, writer: SegmentWriter, *, idle_s: float = LOSS_WINDOW_S) -> None:
        self._writer = writer
        self._idle_s = idle_s
        self._state = threading.Condition()
        self._waiters: list[_Waiter] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="journal-commit", daemon=True)
        self._thread.start()

    async def durable(self) -> None:
        """Returns when everything appended before the call is on disk.

        Raises JournalBrokenError: then nothing since the last success may be acknowledged.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._state:
            if self._closing:
                raise ValueError("group commit is closed")
            self._waiters.append((loop, future))
            self._state.notify()
        await future

    def close(self) -> None:
        """Answers who still waits and ends the thread; idempotent."""
        with self._state:
            self._closing = True
            self._state.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._state:
                if not self._waiters and not self._closing:
                    self._state.wait(self._idle_s)
                waiters, self._waiters = self._waiters, []
                closing = self._closing
            failure = self._sync() if waiters or self._writer.pending else None
            _answer(waiters, failure)
            if closing and not waiters:
                return

    def _sync(self) -> JournalBrokenError | None:
        try:
            self._writer.sync()
        except JournalBrokenError as error:
            return error
        return None


def _answer(waiters: list[_Waiter], failure: JournalBrokenError | None) -> None:
    """Resolves futures on their own loops, with one wake-up for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for loop, future in waiters:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        # A loop that has closed meanwhile has nobody left to answer.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, futures, failure)


def _resolve(futures: list[asyncio.Future[None]], failure: JournalBrokenError | None) -> None:
    for future in futures:
        if future.done():
            continue  # its caller gave up waiting
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(failure)
