"""`python -m pointsman.runtime.runner`: the model runner, one a host, for models kept native.

Workers connect over a Unix socket (its directory is the permission). It loads artifacts by digest
from the blob store, one copy a host however many workers ask, each in a process of its own. It
executes no model code itself.
"""

import argparse
import asyncio
import logging
import os
import resource
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.runtime import frames
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.frames import Failed, Keep, Ready, Score, ToWorker, Warm
from pointsman.runtime.hosted import HostedModel, Limits
from pointsman.runtime.lifeline import die_with_parent

_logger = logging.getLogger(__name__)
MAX_MODELS: Final = 64
LINGER_S: Final = 60.0
"""How long a model stays loaded that no connected worker needs: workers restart."""


class Runner:
    """All models, and who needs them."""

    def __init__(self, blobs: BlobStore, work: Path, limits: Limits) -> None:
        self._blobs = blobs
        self._work = work
        self._limits = limits
        self._models: dict[str, HostedModel] = {}
        self._needed: dict[Connection, set[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def joined(self, connection: "Connection") -> None:
        self._needed[connection] = set()

    def left(self, connection: "Connection") -> None:
        for digest in self._needed.pop(connection, ()):
            if digest in self._models:
                self._models[digest].wanted_at = time.monotonic()

    def keep(self, connection: "Connection", digests: tuple[str, ...]) -> None:
        """The connection needs these and no others."""
        now = time.monotonic()
        for digest in self._needed[connection] - set(digests):
            if digest in self._models:
                self._models[digest].wanted_at = now
        self._needed[connection] = set(digests)

    def warm(self, connection: "Connection", message: Warm) -> None:
        self._needed[connection].add(message.digest)
        task = asyncio.get_running_loop().create_task(self._warm(connection, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _warm(self, connection: "Connection", message: Warm) -> None:
        try:
            manifest = await self._model(message.digest).ready()
        except PointsmanError as error:
            connection.send(Failed.of(message.id, error))
        else:
            connection.send(Ready(message.id, manifest.features))

    def score(self, connection: "Connection", message: Score) -> None:
        try:
            model = self._model(message.digest)
        except PointsmanError as error:
            connection.send(Failed.of(message.id, error))
        else:
            model.submit(message, connection.send)

    def _model(self, digest: str) -> HostedModel:
        """The model, started where it is not. Raises PointsmanError."""
        known = self._models.get(digest)
        if known is not None:
            known.wanted_at = time.monotonic()
            return known
        self._blobs.path(digest)  # refuses what is no digest
        if len(self._models) >= MAX_MODELS:
            raise PointsmanError(
                Kind.OVERLOADED,
                f"the model runner has {MAX_MODELS} models loaded, which is its limit",
                hint="retire variants that are kept native, or use models that compile to ONNX",
            )
        model = HostedModel(digest, self._blobs, self._work / digest, self._limits)
        self._models[digest] = model
        model.start()
        return model

    async def unload_unneeded(self) -> None:
        """Unloads what nobody has needed for a while."""
        needed: set[str] = set().union(*self._needed.values())
        oldest = time.monotonic() - LINGER_S
        idle = [d for d, m in self._models.items() if d not in needed and m.wanted_at < oldest]
        for digest in idle:
            await self._models.pop(digest).stop()

    async def stop(self) -> None:
        await asyncio.gather(*(model.stop() for model in self._models.values()))


class Connection(asyncio.Protocol):
    """One worker. A worker that does not speak the protocol is disconnected."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._unframer = frames.Unframer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._runner.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._runner.left(self)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._unframer.feed(data):
                message = frames.from_worker.decode(body)
                match message:
                    case Score():
                        self._runner.score(self, message)
                    case Warm():
                        self._runner.warm(self, message)
                    case Keep():
                        self._runner.keep(self, message.digests)
        except (msgspec.MsgspecError, ValueError) as error:
            _logger.warning("a worker sent nonsense and was disconnected: %s", error)
            if self._transport is not None:
                self._transport.abort()

    def send(self, message: ToWorker) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames.frame(message))


def listen(path: Path) -> socket.socket:
    """The bound socket. A path that a living runner answers on is refused."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)
        else:
            raise PointsmanError(
                Kind.CONFLICT,
                f"another model runner answers on {path}",
                hint="stop it, or give this one another socket",
            )
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(128)
    return listener


async def serve(listener: socket.socket, blobs: BlobStore, work: Path, limits: Limits) -> None:
    """Serves until SIGTERM or SIGINT."""
    runner = Runner(blobs, work, limits)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = await loop.create_unix_server(lambda: Connection(runner), sock=listener)
    async with server:
        while not stopping.is_set():
            await runner.unload_unneeded()
            try:
                async with asyncio.timeout(5.0):
                    await stopping.wait()
            except TimeoutError:
                continue
        server.close()
        await runner.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pointsman.runtime.runner")
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to listen on")
    parser.add_argument("--blobs", type=Path, required=True, help="directory of the blob store")
    parser.add_argument("--stall-s", type=float, default=Limits().stall_s)
    parser.add_argument("--load-s", type=float, default=Limits().load_s)
    parser.add_argument("--memory-bytes", type=int, default=Limits().memory_bytes)
    arguments = parser.parse_args()
    logging.basicConfig(format="model runner: %(message)s")
    die_with_parent(signal.SIGTERM)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        listener = listen(arguments.socket)
    except PointsmanError as error:
        sys.exit(f"{error.message}\n  hint: {error.hint}")
    work = arguments.socket.parent / f"{arguments.socket.name}.models"
    shutil.rmtree(work, ignore_errors=True)  # left by a runner that was killed
    work.mkdir(mode=0o700)
    limits = Limits(arguments.load_s, arguments.stall_s, arguments.memory_bytes)
    try:
        uvloop.run(serve(listener, BlobStore(arguments.blobs), work, limits))
    finally:
        arguments.socket.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
