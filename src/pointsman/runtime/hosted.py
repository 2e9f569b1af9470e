"""One native model under the runner's care: its process, its queue, its restarts.

Calls wait in a queue; whenever the process is free it gets all that wait (up to a bound) as one
batch, so batching costs no waiting. If the process dies or stalls, everyone who waits is told at
once, and it is started again after a pause that doubles each time.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from pointsman.domain import artifact
from pointsman.domain.artifact import ArtifactManifest
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Runtime
from pointsman.runtime import frames
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.frames import Answers, Batch, Failed, Load, Ready, Score, Scores

MAX_BATCH_ROWS: Final = 1_024
MAX_QUEUED_ROWS: Final = 16_384
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 30.0
_STEADY_S: Final = 60.0
"""A process that lived this long starts with a clean sheet when it dies."""

_logger = logging.getLogger(__name__)
Reply = Callable[[Scores | Failed], None]


class Limits(msgspec.Struct, frozen=True):
    """load_s: to load a model; stall_s: for one batch, after which the process is killed;
    memory_bytes: address space of each model's process
    """

    load_s: float = 120.0
    stall_s: float = 10.0
    memory_bytes: int = 8 << 30


class _Call:
    __slots__ = ("message", "reply", "timer", "waits")

    def __init__(self, message: Score, reply: Reply) -> None:
        self.message = message
        self.reply: Reply | None = reply
        self.timer: asyncio.TimerHandle | None = None
        self.waits = False  # counted among the queued rows

    def settle(self, answer: Scores | Failed) -> None:
        """Answers once; later answers go nowhere."""
        if self.reply is not None:
            self.reply(msgspec.structs.replace(answer, id=self.message.id))
            self.reply = None
        if self.timer is not None:
            self.timer.cancel()


class _Process:
    """The running process and the stream to it."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.popen = popen
        self._reader = reader
        self._writer = writer

    async def ask(self, message: Load | Batch, timeout_s: float) -> Ready | Failed | Answers:
        """The answer. Raises PointsmanError where none comes in time, or none that makes sense."""
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(frames.frame(message))
                await self._writer.drain()
                length = frames.length(await self._reader.readexactly(4))
                body = await self._reader.readexactly(length)
            answer: Ready | Failed | Answers = frames.from_model.decode(body)
            return answer
        except TimeoutError:
            raise PointsmanError(
                Kind.TIMEOUT, f"its process did not answer for {timeout_s:g} s and was ended"
            ) from None
        except (OSError, EOFError):
            raise PointsmanError(Kind.BACKEND_FAILED, f"its process {await self._fate()}") from None
        except (msgspec.MsgspecError, ValueError) as error:
            raise PointsmanError(
                Kind.BACKEND_FAILED, f"its process answered nonsense and was ended: {error}"
            ) from None

    async def _fate(self) -> str:
        for _ in range(20):
            status = self.popen.poll()
            if status is not None:
                if status < 0:
                    return f"was killed by {signal.Signals(-status).name}"
                return f"ended with status {status}"
            await asyncio.sleep(0.01)
        return "closed its connection"

    def kill(self) -> None:
        """Ends the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self._writer.close()


class HostedModel:
    """A model by its artifact digest. `start` it, `ready` says whether it can answer."""

    def __init__(self, digest: str, blobs: BlobStore, directory: Path, limits: Limits) -> None:
        self.digest = digest
        self.wanted_at = time.monotonic()
        self._blobs = blobs
        self._directory = directory
        self._limits = limits
        self._queue: deque[_Call] = deque()
        self._queued_rows = 0
        self._work = asyncio.Event()
        self._settled = asyncio.Event()  # loaded, or known not to load for now
        self._manifest: ArtifactManifest | None = None
        self._problem: PointsmanError | None = None
        self._process: _Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def pid(self) -> int:
        """Of the model's process; 0 while there is none."""
        return self._process.popen.pid if self._process else 0

    async def ready(self) -> ArtifactManifest:
        """The manifest, once the model can answer. Raises PointsmanError where it cannot."""
        await self._settled.wait()
        if self._problem is not None:
            raise self._problem
        assert self._manifest is not None
        return self._manifest

    def submit(self, message: Score, reply: Reply) -> None:
        """Queues a call; `reply` is called exactly once, at the latest when its time is up."""
        call = _Call(message, reply)
        if self._problem is not None:
            call.settle(Failed.of(0, self._problem))
        elif not 0 < message.count <= MAX_BATCH_ROWS:
            call.settle(
                Failed(0, Kind.TOO_LARGE, f"a call has 1 to {MAX_BATCH_ROWS} rows, not more")
            )
        elif self._queued_rows + message.count > MAX_QUEUED_ROWS:
            call.settle(
                Failed(0, Kind.OVERLOADED, f"{self._name} has {self._queued_rows} rows waiting")
            )
        else:
            loop = asyncio.get_running_loop()
            call.timer = loop.call_later(max(message.timeout_s, 0.0), self._expire, call)
            call.waits = True
            self._queue.append(call)
            self._queued_rows += message.count
            self._work.set()

    def _expire(self, call: _Call) -> None:
        # It stays in the queue until that is next looked at, but no longer counts.
        self._leave(call)
        call.settle(Failed(0, Kind.TIMEOUT, f"{self._name} did not answer in time"))

    def _leave(self, call: _Call) -> None:
        if call.waits:
            call.waits = False
            self._queued_rows -= call.message.count

    async def stop(self) -> None:
        """Ends the process; calls that wait are failed."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        gone = Failed(0, Kind.UNAVAILABLE, f"{self._name} was unloaded")
        while self._queue:
            self._queue.popleft().settle(gone)
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    @property
    def _name(self) -> str:
        return self._manifest.source if self._manifest else f"artifact {self.digest[:12]}"

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            try:
                await self._live()
            except PointsmanError as error:
                named = PointsmanError(
                    error.kind, f"{self._name}: {error.message}", hint=error.hint
                )
                self._fail(named)
            except Exception as error:  # noqa: BLE001 - this loop must outlive every surprise
                said = f"{self._name}: {type(error).__name__}: {error}"
                self._fail(PointsmanError(Kind.INTERNAL, said))
            finally:
                if self._process is not None:
                    self._process.kill()
                    self._process = None
            if time.monotonic() - started > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _live(self) -> None:
        """Starts the process and serves until it fails. Raises PointsmanError with the reason."""
        self._settled.clear()
        manifest, blob = await asyncio.to_thread(self._unpack)
        self._manifest = manifest
        self._process = await _spawn(self._directory)
        request = Load(blob, str(self._directory), self._limits.memory_bytes)
        answer = await self._process.ask(request, self._limits.load_s)
        if isinstance(answer, Failed):
            raise answer.error()
        if not isinstance(answer, Ready):
            raise PointsmanError(Kind.BACKEND_FAILED, "its process answered nonsense")
        self._problem = None
        self._settled.set()
        while True:
            await self._work.wait()
            batch = self._take()
            if batch:
                await self._serve(self._process, batch)

    async def _serve(self, process: _Process, batch: list[_Call]) -> None:
        try:
            rows = Batch([call.message.rows for call in batch])
            answer = _fitting(await process.ask(rows, self._limits.stall_s), batch)
        except BaseException as error:
            said = error if isinstance(error, PointsmanError) else None
            kind = said.kind if said else Kind.UNAVAILABLE
            message = said.message if said else "it was unloaded"
            for call in batch:
                call.settle(Failed(0, kind, f"{self._name}: {message}"))
            raise
        for call, part in zip(batch, answer.parts, strict=True):
            call.settle(part)

    def _take(self) -> list[_Call]:
        """What waits, as far as it makes one batch; calls whose time is up are dropped."""
        batch: list[_Call] = []
        rows = 0
        while self._queue:
            call = self._queue[0]
            if call.reply is not None and rows + call.message.count > MAX_BATCH_ROWS:
                break
            self._queue.popleft()
            self._leave(call)
            if call.reply is not None:
                batch.append(call)
                rows += call.message.count
        if not self._queue:
            self._work.clear()
        return batch

    def _fail(self, problem: PointsmanError) -> None:
        """From now on, until it is loaded again, every call hears this."""
        _logger.warning("native model failed: %s", problem)
        self._problem = problem
        self._settled.set()
        while self._queue:
            self._queue.popleft().settle(Failed.of(0, problem))
        self._queued_rows = 0
        self._work.clear()

    def _unpack(self) -> tuple[ArtifactManifest, bytes]:
        """Writes the artifact's files where the process will read them, checked as they are."""
        blob = self._blobs.read(self.digest)
        try:
            manifest = artifact.decode(blob)
        except msgspec.MsgspecError as error:
            raise PointsmanError(Kind.INVALID, f"not an artifact manifest: {error}") from None
        if manifest.runtime is not Runtime.NATIVE:
            raise PointsmanError(Kind.INVALID, f"not a native model: {manifest.reason}")
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(mode=0o700, parents=True)
        for file in manifest.files:
            target = self._directory / file.path
            if not target.resolve().is_relative_to(self._directory.resolve()):
                raise PointsmanError(Kind.FORBIDDEN, f"{file.path!r} leads out of the artifact")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self._blobs.read(file.digest))
        return manifest, blob


def _fitting(answer: Ready | Failed | Answers, batch: list[_Call]) -> Answers:
    """The answer, if it answers the batch. A model's process is not trusted to."""
    if isinstance(answer, Answers) and len(answer.parts) == len(batch):
        fits = all(
            isinstance(part, Failed)
            or (
                part.rows == call.message.count and len(part.values) == 8 * part.rows * part.columns
            )
            for part, call in zip(answer.parts, batch, strict=True)
        )
        if fits:
            return answer
    raise PointsmanError(Kind.BACKEND_FAILED, "its process answered nonsense and was ended")


async def _spawn(directory: Path) -> _Process:
    ours, theirs = socket.socketpair()
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {
        "HOME": str(directory),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with theirs:
        command = [sys.executable, "-P", "-m", "pointsman.runtime.model_process"]
        # The kernel ends it with the thread that starts it, so that must be this one.
        popen = subprocess.Popen(  # noqa: ASYNC220
            [*command, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            pass_fds=[theirs.fileno()],
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
    return _Process(popen, reader, writer)
