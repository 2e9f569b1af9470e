"""One gateway worker: `python -m pointsman.gateway.worker`, started and watched by a parent.

On SIGTERM: not ready, then no new connections, then the requests in flight are answered, the
journal is synced, exit 0. On a second SIGTERM: exit at once; what was answered is in the journal.
"""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import uvicorn
import uvloop

from pointsman.domain.errors import PointsmanError
from pointsman.domain.records import OverrideRecord
from pointsman.gateway import logs, metrics
from pointsman.gateway.app import App
from pointsman.gateway.auth import Shut
from pointsman.gateway.controller_client import ControllerClient, no_controller
from pointsman.gateway.counters import COUNTERS, Counters
from pointsman.gateway.edge import Edge
from pointsman.gateway.feedback import Feedback
from pointsman.gateway.gauges import WorkerGauges
from pointsman.gateway.intake import Intake
from pointsman.gateway.listener import Listener, Loads
from pointsman.gateway.loader import Loader
from pointsman.gateway.log import Log
from pointsman.gateway.overrides import JOURNALED, Journaled, Overrides
from pointsman.gateway.pipeline import Pipeline
from pointsman.gateway.protocol import FastLane
from pointsman.gateway.served import Table
from pointsman.gateway.settings import WorkerSettings, from_environment
from pointsman.gateway.tables import TableFeed
from pointsman.gateway.telling import UNITS
from pointsman.gateway.tracing import Tracing
from pointsman.journal.codec import encode_record
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.lifeline import die_with_parent
from pointsman.telemetry import connect, sampling, switches

_logger = logging.getLogger(__name__)

CONFIG_EXIT: Final = 78
BROKEN_EXIT: Final = 74  # EX_IOERR: the disk failed
_TICK_S: Final = 0.1
_OVERRIDE_TICKS: Final = 5
_SECOND_TICKS: Final = 10


class _Server(uvicorn.Server):
    """uvicorn's server; signals are the worker's, and accepting is shared with other workers."""

    def __init__(self, config: uvicorn.Config, loads: Loads) -> None:
        super().__init__(config)
        self.loads = loads

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None  # inherited from the parent
        loop = asyncio.get_running_loop()
        make_protocol = functools.partial(
            cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state={},
            _loop=loop,
        )
        connections = self.server_state.connections
        self.servers = [
            Listener(listener, make_protocol, self.loads, lambda: len(connections))  # type: ignore[misc] # it closes and waits as a server does
            for listener in sockets
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Worker:
    """The object graph of one worker, and its life."""

    def __init__(self, settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self._loop = loop
        self._exit = 0
        directory = settings.gateway / COUNTERS
        # The stream's lock comes first: it keeps a second process out of this slot altogether.
        self.log = Log(settings, self._broken)
        self.counters = Counters(directory / f"{settings.slot}.counters")
        self.log.count_in(self.counters)
        self.counters.add("pointsman_worker_starts", (("worker", str(settings.slot)),))
        self._gauges = WorkerGauges(self.counters, settings.slot)
        runner = self._runner = _runner(settings)
        limits = settings.limits
        self.tracing = _tracing(settings, self.counters)
        self.pipeline = Pipeline(loop, self.log, self.counters, limits, runner)
        intake = Intake(loop, limits, self.tracing)
        nothing = Table(-1, (), Shut())
        self.edge = Edge(limits, intake, self.pipeline, self.counters, nothing)
        if self.tracing is not None:
            self.edge.tracing = self.tracing
            self.pipeline.trace(self.tracing)
        self.edge.now = loop.time()
        # What the predecessor in this slot said last is no longer true.
        self._measure(ready=False, connections=0)
        blobs = BlobStore(settings.blobs)
        self.client = ControllerClient(settings) if settings.admin_url else None
        # One worker writes down what all of them heed.
        self._journaled = Journaled(settings.gateway / JOURNALED) if settings.slot == 0 else None
        self._told: Overrides | None = None
        loader = Loader(blobs, self.counters, runner, settings.gateway, settings.slot)
        self.feed = TableFeed(settings, self.edge, loader, self.client)
        state = no_controller if self.client is None else self.client.feedback_state
        app = App(self.edge, Feedback(self.log, self.counters, limits), state, self._scrape)
        self.server = _Server(
            uvicorn.Config(
                app,
                http=functools.partial(FastLane, self.edge),  # type: ignore[arg-type] # a factory does
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            ),
            Loads(directory / "loads", settings.slot),
        )

    async def run(self) -> int:
        """The exit code, once drained."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._terminate)
        await self.feed.start()
        if self.tracing is not None:
            self.tracing.outlet.start()
        tune_collector()
        feed = asyncio.create_task(self.feed.follow(), name="table-feed")
        keeper = asyncio.create_task(self._keep_house(), name="housekeeping")
        try:
            listener = socket.socket(fileno=self.settings.fd)
            await self.server.serve(sockets=[listener])
            await self._settle()
        finally:
            for task in (feed, keeper):
                task.cancel()
            await asyncio.gather(feed, keeper, return_exceptions=True)
            if self.client is not None:
                await self.client.close()
            if self._runner is not None:
                await self._runner.close()
            if self.tracing is not None:
                await asyncio.to_thread(self.tracing.outlet.close)
        return self._close()

    async def _settle(self) -> None:
        """Waits for what has no connection any more: shadows, and answers to clients that left."""
        until = self._loop.time() + 1.0
        while self.pipeline.busy and self._loop.time() < until:  # noqa: ASYNC110 - it has many parts
            await asyncio.sleep(0.01)

    def _close(self) -> int:
        self._measure(ready=False, connections=0)
        try:
            self.log.close()
        except PointsmanError as error:
            _logger.error("the journal was not closed cleanly: %s", error)
            self._exit = self._exit or BROKEN_EXIT
        return self._exit

    def _terminate(self) -> None:
        if self.edge.draining:
            os._exit(1)
        _logger.info("draining")
        self.edge.draining = True
        self.edge.ready = False
        self._loop.call_later(self.settings.balancer_wait_s, self._stop_accepting)

    def _stop_accepting(self) -> None:
        self.server.should_exit = True

    def _broken(self) -> None:
        """The journal's disk failed: nothing more is acknowledged, and a new start recovers."""
        _logger.critical("the journal is broken; ending")
        self._exit = BROKEN_EXIT
        self.edge.draining = True
        self.edge.ready = False
        self._loop.call_soon_threadsafe(self._stop_accepting)

    async def _keep_house(self) -> None:
        """Time limits of connections, the date, local switches, gauges."""
        tick = 0
        while True:
            try:
                self._tick(tick)
            except Exception:
                # Slow clients must be cut off and switches heeded whatever went wrong once.
                _logger.exception("housekeeping failed")
            tick += 1
            await asyncio.sleep(_TICK_S)

    def _tick(self, tick: int) -> None:
        now = self.edge.now = self._loop.time()
        connections = self.server.server_state.connections
        for connection in list(connections):
            if isinstance(connection, FastLane):
                connection.sweep(now)
        if not self.edge.draining:
            self.server.loads.tell(len(connections))
        if tick % _OVERRIDE_TICKS == 0:
            self.log.check()
            self.feed.check_overrides()
            self._journal_switches()
        if tick % _SECOND_TICKS == 0:
            self.edge.renew_date(time.time())
            self._measure(ready=self.edge.ready, connections=len(connections))

    def _measure(self, *, ready: bool, connections: int) -> None:
        """Once a second: what nobody counts, and that this worker is there."""
        self._gauges.set(
            ready=int(ready),
            connections=connections,
            pending_rows=self.pipeline.pending_rows,
            buffered_bytes=max(self.edge.buffered, 0),
            journal_refusing=int(self.log.full),
        )
        self._gauges.beat(time.time())

    def _scrape(self, tenant: str | None) -> bytes:
        """`/metrics` of all workers of this gateway."""
        self._measure(ready=self.edge.ready, connections=len(self.server.server_state.connections))
        return metrics.exposition(
            self.settings.gateway / COUNTERS,
            tenant,
            workers=self.settings.workers,
            switches=self.feed.overrides.switches,
        )

    def _journal_switches(self) -> None:
        """Writes down what was set or lifted since, or while this worker was not there."""
        current = self.feed.overrides
        if self._journaled is None or current is self._told:
            return
        now_ms = time.time_ns() // 1_000_000
        records = [
            # Who lifted a switch is not known here: the file only says that it is gone.
            OverrideRecord(switch.at_ms or now_ms, switch.target, True, switch.actor, switch.reason)
            if is_set
            else OverrideRecord(now_ms, switch.target, False, "", "lifted")
            for switch, is_set in self._journaled.news(current)
        ]
        try:
            if records:
                self.log.append([encode_record(record) for record in records])
                self._journaled.done(current)
            self._told = current
        except (PointsmanError, OSError) as error:
            _logger.error("a kill switch could not be journaled: %s", error)


def _runner(settings: WorkerSettings) -> Any:
    if not settings.runner_socket:
        return None
    from pointsman.runtime.runner_client import RunnerClient

    return RunnerClient(settings.runner_socket)


def _tracing(settings: WorkerSettings, counters: Counters) -> Tracing | None:
    """None where requests are not traced: then nothing of it is on their way."""
    if not settings.tracing or switches.disabled(os.environ):
        return None
    return Tracing(
        sampling.from_environment(os.environ),
        lambda dropped: connect.outlet(os.environ, "pointsman-gateway", settings.stream, dropped),
        counters,
        UNITS[settings.trace_unit],
    )


def tune_collector() -> None:
    """Requests leave no cycles behind, so collections are rare, and skip what lives for ever."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


async def _run(settings: WorkerSettings) -> int:
    return await Worker(settings, asyncio.get_running_loop()).run()


def main() -> None:
    """Runs one worker to its end. Exit codes: 0 drained, 74 the disk failed, 78 cannot start."""
    logs.configure()
    try:
        settings = from_environment()
    except PointsmanError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(CONFIG_EXIT)
    logging.getLogger().setLevel(settings.log_level.upper())
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    if settings.die_with_parent:
        die_with_parent()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(settings))
    sys.exit(code)


if __name__ == "__main__":
    main()
