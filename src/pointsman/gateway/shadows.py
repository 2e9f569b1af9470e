"""Shadows: variants that see what was answered already, in a bounded group of their own."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from pointsman.domain.errors import PointsmanError
from pointsman.domain.records import ShadowRecord
from pointsman.gateway.counters import Counters
from pointsman.gateway.log import Log
from pointsman.gateway.served import Member, Served
from pointsman.gateway.settings import Limits
from pointsman.gateway.work import Job, Row, Values
from pointsman.journal.codec import encode_record

if TYPE_CHECKING:
    from pointsman.gateway.pipeline import Runner
    from pointsman.gateway.tracing import Trace, Tracing

BATCH_ROWS: Final = 32
CALLS: Final = 4
"""Calls of the model runner on behalf of shadows that may be under way at once."""
CALL_S: Final = 1.0


class _Watch(msgspec.Struct, gc=False):
    id: str
    at_ms: int
    served: Served
    member: Member
    values: Values
    trace: "Trace | None"


class Shadows:
    """Rows waiting to be shown to shadows. What does not fit is dropped and counted, and recorded
    nowhere: a shadow's evidence is a sample anyway."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        counters: Counters,
        limits: Limits,
        runner: "Runner | None",
    ) -> None:
        self._loop = loop
        self._log = log
        self._values = counters.values
        self._room = limits.shadow_rows
        self._runner = runner
        self.tracing: Tracing | None = None
        self._waiting: deque[_Watch] = deque()
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._tasks)

    def add(self, job: Job, row: Row, member: Member) -> None:
        if len(self._waiting) >= self._room:
            self._values[job.served.counters.shadow(member.name, "dropped")] += 1
            return
        self._waiting.append(_Watch(row.id, job.at_ms, job.served, member, row.values, job.trace))
        self._wake()

    def _wake(self) -> None:
        if not self._scheduled and self._waiting and len(self._tasks) < CALLS:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """One batch for one shadow; the next one only after the loop has served others."""
        self._scheduled = False
        waiting = self._waiting
        member = waiting[0].member
        batch: list[_Watch] = []
        while waiting and waiting[0].member is member and len(batch) < BATCH_ROWS:
            batch.append(waiting.popleft())
        if member.constant is not None:
            self._write(batch, [member.constant] * len(batch), time.perf_counter_ns(), "")
        elif member.score is not None:
            self._score(member, batch)
        else:
            task = self._loop.create_task(self._native(member, batch))
            self._tasks.add(task)
            task.add_done_callback(self._after)
        self._wake()

    def _after(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake()

    def _score(self, member: Member, batch: list[_Watch]) -> None:
        assert member.score is not None
        started = time.perf_counter_ns()
        try:
            scores = member.score([watch.values for watch in batch]).tolist()
        except Exception as error:  # noqa: BLE001 - a shadow's failure is only ever recorded
            if len(batch) > 1:
                for watch in batch:
                    self._score(member, [watch])
            else:
                self._write(batch, [[]], started, str(error))
            return
        self._write(batch, scores, started, "")

    async def _native(self, member: Member, batch: list[_Watch]) -> None:
        started = time.perf_counter_ns()
        try:
            if self._runner is None:
                raise ConnectionError("there is no model runner")  # noqa: TRY301 - recorded below
            async with asyncio.timeout(CALL_S):
                rows = [member.pick(watch.values) for watch in batch]
                answer: Any = await self._runner.score(member.digest, rows, CALL_S)
        except Exception as error:  # noqa: BLE001 - a shadow's failure is only ever recorded
            said = str(error) or type(error).__name__
            self._write(batch, [[]] * len(batch), started, said)
            return
        self._write(batch, answer.tolist(), started, "")

    def _write(
        self,
        batch: Sequence[_Watch],
        scores: Sequence[list[float]],
        started: int,
        error: str,
    ) -> None:
        """started: when the shadow was asked, by `perf_counter_ns`"""
        ended = time.perf_counter_ns()
        latency_us = 0 if batch[0].member.constant is not None else (ended - started) // 1000
        result = "failed" if error else "answered"
        records = [
            encode_record(_record(watch, given, latency_us, error))
            for watch, given in zip(batch, scores, strict=True)
        ]
        try:
            self._log.append(records)
        except PointsmanError:
            result = "dropped"  # nothing is owed for a shadow; the journal counts its own failure
        if self.tracing is not None:
            traced = [(watch.id, watch.trace) for watch in batch if watch.trace is not None]
            if traced:
                failed = "error" if error else ""
                self.tracing.shadowed(traced, batch[0].member, started, ended, failed)
        for watch in batch:
            self._values[watch.served.counters.shadow(watch.member.name, result)] += 1


def _record(watch: _Watch, scores: list[float], latency_us: int, error: str) -> ShadowRecord:
    member = watch.member
    chosen = member.chooser.choose(scores) if scores else -1
    return ShadowRecord(
        watch.id,
        watch.at_ms,
        watch.served.key,
        watch.served.digest,
        member.name,
        member.variant.version,
        tuple(scores),
        watch.served.classes[chosen] if scores else "",
        member.chooser.actions[chosen] if scores else "",
        latency_us,
        error[:1000],
    )
