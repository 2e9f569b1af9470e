"""The controller as a process: the admin API, the ingester and the look at the registry."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from pointsman.controller.feed import Feed
from pointsman.controller.news import News

_log = structlog.get_logger(__name__)
_MOST_WAIT_S: Final = 30.0


class Loop:
    """Runs `work` again and again in a thread of its own, every `every_s` and when nudged.

    work: returns whether there is more to do at once
    An error is logged, and the next turn comes later and later; it never ends the loop.
    """

    def __init__(self, name: str, work: Callable[[], bool], every_s: float) -> None:
        self.name = name
        self._work = work
        self._every_s = every_s
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.failing = ""
        self.turns = 0

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """The next turn at once."""
        self._wake.set()

    def stop(self, wait_s: float = 10.0) -> None:
        self._stopped.set()
        self._wake.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                if self._work():
                    self._wake.set()
                failures, self.failing = 0, ""
            except Exception as error:  # noqa: BLE001 - whatever it is, serving goes on
                failures += 1
                self.failing = f"{type(error).__name__}: {error}"
                _log.exception("background work failed", work=self.name, failures=failures)
                # What failed must not call for itself again at once.
                self._wake.clear()
            self.turns += 1
            pause_s = min(_MOST_WAIT_S, self._every_s * 2 ** min(failures, 8))
            self._wake.wait(max(0.0, pause_s - (time.monotonic() - started)))
            self._wake.clear()


class _Server(uvicorn.Server):
    """uvicorn, which on its way out lets those go at once who wait for something to happen."""

    def __init__(self, config: uvicorn.Config, waited_for: tuple[Feed, News]) -> None:
        super().__init__(config)
        self._waited_for = waited_for

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        for one in self._waited_for:
            one.close()
        super().handle_exit(sig, frame)


async def serve(
    app: ASGIApp, listener: socket.socket, waited_for: tuple[Feed, News], loops: list[Loop]
) -> None:
    """Serves until SIGTERM or SIGINT; then ends what is under way, and the loops."""
    waited_for[0].bind(asyncio.get_running_loop())
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    for loop in loops:
        loop.start()
    try:
        await _Server(config, waited_for).serve(sockets=[listener])
    finally:
        for loop in loops:
            await asyncio.to_thread(loop.stop)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. Port 0 takes a free one. Raises OSError.

    shared: a parent holds the port for us (SO_REUSEPORT), so that nobody takes it while we restart
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
