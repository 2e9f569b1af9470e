"""Accepting connections from a socket that several workers share, so that each gets its part.

The kernel wakes all idle workers for a connection, and whoever comes first could take all that
wait: with connections that live long, one worker would have most of the load for ever. So a worker
takes one connection at a time, and leaves it for a moment to others that have fewer.
"""

import asyncio
import logging
import mmap
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

_logger = logging.getLogger(__name__)

SLOTS: Final = 256
DEFER_S: Final = 0.001
"""How long a worker with more connections than another lets that one go first."""
EXHAUSTED_S: Final = 0.1
"""Pause after the system had no descriptor or memory for one more connection."""
_WORD: Final = struct.Struct("<Q")


class Loads:
    """Connections of every worker on this machine: one word a slot in a mapped file, 0 = not there.

    A killed worker's word stays until its successor takes the slot; all it costs is deferring.
    """

    def __init__(self, path: Path, slot: int) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(handle, SLOTS * _WORD.size)
            self._map = mmap.mmap(handle, SLOTS * _WORD.size)
        finally:
            os.close(handle)
        self._words = memoryview(self._map).cast("Q")
        self._slot = slot % SLOTS

    def tell(self, connections: int) -> None:
        self._words[self._slot] = connections + 1

    def leave(self) -> None:
        self._words[self._slot] = 0

    def least_elsewhere(self) -> int | None:
        """Connections of the worker that has fewest, this one left out; None where it is alone."""
        own = self._slot
        others = [word for slot, word in enumerate(self._words.tolist()) if word and slot != own]
        return min(others) - 1 if others else None


class Listener:
    """One worker's end of the shared listening socket; uvicorn closes it as it would its own.

    connections: how many this worker has
    """

    def __init__(
        self,
        listener: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        loads: Loads,
        connections: Callable[[], int],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._make_protocol = make_protocol
        self._loads = loads
        self._connections = connections
        self._pause: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False
        listener.setblocking(False)
        self._loads.tell(0)
        self._listen()

    def close(self) -> None:
        """Accepts nothing more."""
        if self._closed:
            return
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._listener.fileno())
        self._loads.leave()

    async def wait_closed(self) -> None:
        """For connections that were accepted just before; uvicorn's shutdown waits for it."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._on_readable)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(seconds, then)

    def _on_readable(self) -> None:
        own = self._connections() + len(self._tasks)
        least = self._loads.least_elsewhere()
        if least is not None and own > least:
            self._wait(DEFER_S, self._after_deferring)
        else:
            self._accept()

    def _after_deferring(self) -> None:
        """Takes the connection if nobody else has, since they may all be busy."""
        self._listen()
        self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was quicker, or the client has gone
        except OSError as error:
            _logger.error("cannot accept connections: %s", error)
            if self._pause is None:
                self._wait(EXHAUSTED_S, self._listen)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._hand_over(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_over(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            connection.close()  # the client left in between
        self._loads.tell(self._connections())
