"""The model runner as a gateway worker sees it: one connection, calls pipelined by number.

It reconnects by itself. While the runner is away calls fail at once, so that fallbacks can answer;
models that were warm are asked for again as soon as it is back.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Feature
from pointsman.runtime import frames
from pointsman.runtime.frames import Failed, Keep, Ready, Score, Scores, Warm
from pointsman.runtime.rows import Row

CONNECT_S: Final = 1.0
RETRY_S: Final = 0.25
"""After a failed attempt, calls fail without another for this long."""


class RunnerClient:
    """One worker's connection to the runner at `path`. Use it from one event loop."""

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._link: _Link | None = None
        self._connecting: asyncio.Task[_Link] | None = None
        self._failed_at = 0.0
        self._numbers = 0
        self._needed: set[str] = set()

    async def warm(self, digest: str) -> tuple[Feature, ...]:
        """Returns once the model is loaded and gave its golden rows: what its rows look like.

        Takes as long as loading does (seconds); bound it with asyncio.timeout.
        Raises PointsmanError: UNAVAILABLE without a runner, otherwise why it cannot serve.
        """
        self._needed.add(digest)
        answer = await self._ask(Warm(self._number(), digest))
        assert isinstance(answer, Ready)
        return answer.features

    async def score(
        self, digest: str, rows: Sequence[Row], timeout_s: float
    ) -> NDArray[np.float64]:
        """Probabilities [n, K] in the project's class order.

        rows: at most 1,024, values in the order of the manifest's `features`, None is missing
        Raises PointsmanError: TIMEOUT, OVERLOADED, UNAVAILABLE while there is no runner or the
        model is starting again, BACKEND_FAILED where the model fails, INVALID for rows it refuses.
        """
        raw = msgspec.Raw(frames.encoder.encode(rows))
        message = Score(self._number(), digest, len(rows), timeout_s, raw)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._ask(message)
        except TimeoutError:
            raise PointsmanError(
                Kind.TIMEOUT, f"native model {digest[:12]} did not answer in time"
            ) from None
        if not isinstance(answer, Scores) or answer.rows != len(rows):
            raise _unavailable(self._path, "answered something else")
        values = np.frombuffer(answer.values, dtype=np.float64)
        return values.reshape(answer.rows, answer.columns)

    async def keep(self, digests: Iterable[str]) -> None:
        """Tells the runner which models this worker needs; it unloads what no worker does."""
        self._needed = set(digests)
        with contextlib.suppress(PointsmanError):  # told again when it is back
            (await self._connected()).send(Keep(tuple(sorted(self._needed))))

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            self._link.close()

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    async def _ask(self, message: Warm | Score) -> Ready | Scores:
        link = self._link
        if link is None or link.closed:
            link = await self._connected()
        return await link.ask(message)

    async def _connected(self) -> "_Link":
        if self._link is not None and not self._link.closed:
            return self._link
        if self._connecting is None:
            if time.monotonic() - self._failed_at < RETRY_S:
                raise _unavailable(self._path, "is not there")
            loop = asyncio.get_running_loop()
            self._connecting = loop.create_task(self._connect())
            # Its failure is told to those who wait; where nobody does any more, to nobody.
            self._connecting.add_done_callback(lambda t: t.cancelled() or t.exception())
        # Shielded: the call that happens to wait first must not end the attempt for all others.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> "_Link":
        try:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(CONNECT_S):
                _, link = await loop.create_unix_connection(_Link, self._path)
        except (OSError, TimeoutError) as error:
            self._failed_at = time.monotonic()
            raise _unavailable(self._path, f"is not there ({type(error).__name__})") from None
        finally:
            self._connecting = None
        self._link = link
        for digest in sorted(self._needed):
            link.forget(Warm(self._number(), digest))
        return link


class _Link(asyncio.Protocol):
    """One connection: calls under way by number."""

    def __init__(self) -> None:
        self.closed = False
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._unframer = frames.Unframer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._unframer.feed(data):
                answer = frames.to_worker.decode(body)
                call = self._calls.pop(answer.id, None)
                if call is None or call.done():
                    continue  # nobody waits any more
                if isinstance(answer, Failed):
                    call.set_exception(answer.error())
                else:
                    call.set_result(answer)
        except (msgspec.MsgspecError, ValueError):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed = True
        for call in self._calls.values():
            if not call.done():
                call.set_exception(_unavailable("", "went away"))
        self._calls.clear()

    def send(self, message: msgspec.Struct) -> None:
        if self._transport is not None and not self.closed:
            self._transport.write(frames.frame(message))

    def forget(self, message: Warm) -> None:
        """Sends a call whose answer nobody waits for."""
        self.send(message)

    async def ask(self, message: Warm | Score) -> Ready | Scores:
        call: asyncio.Future[Ready | Scores] = asyncio.get_running_loop().create_future()
        self.send(message)
        self._calls[message.id] = call
        try:
            return await call
        finally:
            self._calls.pop(message.id, None)

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


def _unavailable(path: str, what: str) -> PointsmanError:
    where = f" at {path}" if path else ""
    return PointsmanError(
        Kind.UNAVAILABLE,
        f"the model runner{where} {what}",
        hint="native models need it; `pointsman serve` starts it again by itself",
    )
