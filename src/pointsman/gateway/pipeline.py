"""From decided rows to answers: call, record, answer, shadow (architecture, section 6, steps 4-7).

All rows that arrive in one turn of the event loop for the same variant are scored as one batch, and
all records of a turn are one append. No answer is sent before the append has returned.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from pointsman.decide.view import certain
from pointsman.domain.action import DENY
from pointsman.domain.decision import Reason
from pointsman.domain.errors import UNREADABLE, Kind, PointsmanError
from pointsman.domain.names import CHAMPION
from pointsman.gateway import records
from pointsman.gateway.compress import packed
from pointsman.gateway.counters import Counters
from pointsman.gateway.errors import INTERNAL, STATUS
from pointsman.gateway.log import Log
from pointsman.gateway.served import Member
from pointsman.gateway.settings import Limits
from pointsman.gateway.shadows import Shadows
from pointsman.gateway.tracing import GONE, Tracing, named
from pointsman.gateway.work import Fault, Job, Row

_logger = logging.getLogger(__name__)

RESERVE: Final = 0.25
"""Part of the remaining time that a variant leaves to its fallbacks."""
NATIVE_ROWS: Final = 1024
"""Most rows the model runner takes in one call."""
_SLICE_S: Final = 0.05
"""Rows whose deadlines are this close share one call of the model runner."""
_FAULTS: Final = {
    Kind.TIMEOUT: Fault.TIMEOUT,
    Kind.INVALID: Fault.INPUT,
    Kind.OVERLOADED: Fault.UNAVAILABLE,
    Kind.UNAVAILABLE: Fault.UNAVAILABLE,
}
_NEVER: Final = 1 << 60
"""Rows a job that was given up waits for: what still comes back for it finishes nothing."""


class Runner(Protocol):
    """What native variants are called through: the model runner's client."""

    async def score(self, digest: str, rows: Sequence[Sequence[Any]], timeout_s: float) -> Any: ...


class Edge(Protocol):
    """What a finished request is told to: counts it by route and status, or answers an error."""

    def answered(self, route: str, status: int) -> None: ...

    def refuse(self, job: Job, error: PointsmanError) -> None: ...


class Pipeline:
    """One worker's. Everything runs on its event loop.

    table: version of the manifest, for records
    pending_rows: accepted and not yet answered
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: Log,
        counters: Counters,
        limits: Limits,
        runner: Runner | None,
    ) -> None:
        self._loop = loop
        self._log = log
        self._values = counters.values
        self._limits = limits
        self._runner = runner
        self._tracing: Tracing | None = None
        self._abandoned = counters.index("pointsman_abandoned")
        self._groups: dict[Member, list[Row]] = {}
        self._bulk: deque[tuple[Member, list[Row]]] = deque()
        self._done: list[Job] = []
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._shadows = Shadows(loop, log, counters, limits, runner)
        self.edge: Edge | None = None
        self.table = 0
        self.pending_rows = 0

    def trace(self, tracing: Tracing) -> None:
        """From now on, what happens to sampled requests is written down."""
        self._tracing = self._shadows.tracing = tracing

    @property
    def busy(self) -> bool:
        """Whether anything accepted is not yet answered, or a shadow is not yet recorded."""
        return bool(self.pending_rows or self._tasks or self._shadows.busy)

    def submit(self, job: Job) -> None:
        """Takes a decided request; it is answered in this turn of the loop or a later one."""
        rows = job.rows
        count = len(rows)
        self.pending_rows += count
        if not job.waiting:
            self._done.append(job)
        elif count > self._limits.inline_rows:
            self._ask_in_parts(rows)
        else:
            groups = self._groups
            for row in rows:
                member = row.member
                if member in groups:
                    groups[member].append(row)
                else:
                    groups[member] = [row]
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _ask_in_parts(self, rows: list[Row]) -> None:
        """Large requests are scored a part a turn, so that others are answered in between."""
        by_member: dict[Member, list[Row]] = {}
        for row in rows:
            by_member.setdefault(row.member, []).append(row)
        size = self._limits.inline_rows
        for member, theirs in by_member.items():
            for start in range(0, len(theirs), size):
                self._bulk.append((member, theirs[start : start + size]))

    def _turn(self) -> None:
        self._scheduled = False
        while self._groups:  # rows that failed come in again, for their fallbacks
            groups, self._groups = self._groups, {}
            for member, rows in groups.items():
                self._run(member, rows)
        if self._bulk:
            member, rows = self._bulk.popleft()
            self._run(member, rows)
            self._wake()
        if self._done:
            jobs, self._done = self._done, []
            try:
                self._record(jobs)
            except Exception:
                _logger.exception("finished requests could not be recorded and answered")
                self._give_up(jobs)

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _run(self, member: Member, rows: list[Row]) -> None:
        try:
            self._ask(member, rows)
        except Exception:
            _logger.exception("rows of %s could not be asked for", member.label)
            self._give_up_rows(rows)

    def _ask(self, member: Member, rows: list[Row]) -> None:
        rows = self._living(rows)
        if not rows:
            return
        if member.constant is not None:
            for row in rows:
                self._settle(row, member.constant)
        elif member.score is None:
            self._call(member, rows)
        else:
            self._score(member, rows)

    def _score(self, member: Member, rows: list[Row]) -> None:
        """Asks an in-process model. A batch that fails is asked row by row, so that one row a model
        cannot take does not fail the others."""
        assert member.score is not None
        started = time.perf_counter_ns()
        try:
            scores = member.score([row.values for row in rows])
        except Exception as error:  # noqa: BLE001 - whatever a model raises is the model's failure
            if len(rows) > 1:
                for row in rows:
                    self._score(member, [row])
            else:
                failure = _as_failure(error)
                self._traced_call(member, rows, started, failure)
                self._failed(rows[0], failure)
            return
        ended = time.perf_counter_ns()
        member.counters.batch.observe(len(rows))
        member.counters.duration.observe((ended - started) // 1000)
        if self._tracing is not None:
            self._tracing.called(member, rows, started, ended)
        choose = member.chooser.choose
        done = self._done
        for row, probabilities in zip(rows, scores.tolist(), strict=True):
            # As `_settle`, without the calls: this is where every row comes by.
            row.scores = probabilities
            row.chosen = choose(probabilities)
            job = row.job
            job.waiting -= 1
            if job.waiting <= 0:
                done.append(job)

    def _call(self, member: Member, rows: list[Row]) -> None:
        """Asks the model runner, in one call for all rows with about the same deadline."""
        slices: dict[int, list[Row]] = {}
        for row in rows:
            slices.setdefault(int(row.job.deadline / _SLICE_S), []).append(row)
        for part in slices.values():
            for start in range(0, len(part), NATIVE_ROWS):
                call = self._native(member, part[start : start + NATIVE_ROWS])
                task = self._loop.create_task(call)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _native(self, member: Member, rows: list[Row]) -> None:
        left = min(row.job.deadline for row in rows) - self._loop.time()
        if any(row.tried <= len(row.decision.fallbacks) for row in rows):
            left *= 1.0 - RESERVE
        started = time.perf_counter_ns()
        failure: PointsmanError | None = None
        try:
            async with asyncio.timeout(left):
                scores = (await self._ask_runner(member, rows, left)).tolist()
        except TimeoutError:
            failure = PointsmanError(Kind.TIMEOUT, f"{member.label} did not answer in time")
        except Exception as error:  # noqa: BLE001 - whatever a model raises is the model's failure
            failure = _as_failure(error)
        member.counters.duration.observe((time.perf_counter_ns() - started) // 1000)
        self._traced_call(member, rows, started, failure)
        try:
            if failure is None:
                member.counters.batch.observe(len(rows))
                for row, probabilities in zip(rows, scores, strict=True):
                    self._settle(row, probabilities)
            elif failure.kind is Kind.INVALID and len(rows) > 1:
                for row in rows:
                    self._call(member, [row])
            else:
                for row in rows:
                    self._failed(row, failure)
        except Exception:
            _logger.exception("what %s answered could not be used", member.label)
            self._give_up_rows(rows)
        self._wake()

    def _traced_call(
        self, member: Member, rows: list[Row], started: int, failure: PointsmanError | None
    ) -> None:
        if self._tracing is not None:
            said = Fault.NONE if failure is None else _fault(failure)
            self._tracing.called(member, rows, started, time.perf_counter_ns(), said)

    async def _ask_runner(self, member: Member, rows: list[Row], timeout_s: float) -> Any:
        if self._runner is None:
            raise PointsmanError(
                Kind.UNAVAILABLE, f"{member.label} needs the model runner, which is not here"
            )
        pick = member.pick
        values = [pick(row.values) for row in rows]
        return await self._runner.score(member.digest, values, timeout_s)

    def _living(self, rows: list[Row]) -> list[Row]:
        """The rows still worth asking for; the others are settled as too late or given up."""
        now = self._loop.time()
        late = False
        for row in rows:
            job = row.job
            if job.deadline < now or job.reply.disconnected:
                late = True
                break
        if not late:
            return rows
        living: list[Row] = []
        for row in rows:
            job = row.job
            if job.reply.disconnected:
                job.dropped = True
                self._finished(job)
            elif job.deadline < now:
                row.error = _joined(row.error, "deadline exceeded")
                if row.tried == 1:
                    row.fault = Fault.LATE
                job.failure = job.failure or PointsmanError(
                    Kind.TIMEOUT,
                    f"no variant answered within {job.served.table.deadline_ms} ms",
                    hint="the project's `deadline` or x-request-timeout-ms was too short",
                )
                self._finished(job)
            else:
                living.append(row)
        return living

    def _settle(self, row: Row, probabilities: list[float]) -> None:
        row.scores = probabilities
        row.chosen = row.member.chooser.choose(probabilities)
        self._finished(row.job)

    def _failed(self, row: Row, failure: PointsmanError) -> None:
        """The next fallback is asked, in this turn if it is in process."""
        member = row.member
        self._values[member.counters.errors] += 1
        row.error = _joined(row.error, f"{member.name}: {failure.message}")
        if row.tried == 1:
            row.fault = _fault(failure)
        fallbacks = row.decision.fallbacks
        if row.tried > len(fallbacks):
            row.job.failure = row.job.failure or failure
            self._finished(row.job)
            return
        row.member = row.job.served.members[fallbacks[row.tried - 1]]
        row.tried += 1
        self._groups.setdefault(row.member, []).append(row)

    def _finished(self, job: Job) -> None:
        job.waiting -= 1
        if job.waiting <= 0:
            self._done.append(job)

    def _record(self, jobs: list[Job]) -> None:
        try:
            blobs = self._encoded(jobs)
        except Exception:  # noqa: BLE001 - whose record it is, and why, is found out job by job
            jobs, blobs = self._encoded_singly(jobs)
        try:
            self._log.append(blobs)
        except PointsmanError as error:
            self._unlogged(jobs, error)
            return
        durable = [job for job in jobs if job.served.durable and job.logged and not job.dropped]
        if durable:
            task = self._loop.create_task(self._answer_when_durable(durable))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            jobs = [job for job in jobs if not (job.served.durable and job.logged) or job.dropped]
        for job in jobs:
            self._answer(job)

    def _encoded(self, jobs: list[Job]) -> list[bytes]:
        now = time.perf_counter_ns()
        blobs: list[bytes] = []
        table = self.table
        for job in jobs:
            if not job.logged or job.dropped:
                continue
            job.latency_us = (now - job.received_ns) // 1000
            failed = job.failure is not None
            blobs += [records.decision(job, row, table, failed=failed) for row in job.rows]
        return blobs

    def _encoded_singly(self, jobs: list[Job]) -> tuple[list[Job], list[bytes]]:
        """The jobs that have records, and those; the others are refused: no answer without."""
        good: list[Job] = []
        blobs: list[bytes] = []
        for job in jobs:
            try:
                blobs += self._encoded([job])
            except Exception:
                _logger.exception("the records of %s could not be made", job.id, extra=named(job))
                self._refuse(job, INTERNAL)
            else:
                good.append(job)
        return good, blobs

    async def _answer_when_durable(self, jobs: list[Job]) -> None:
        try:
            await self._log.durable()
        except PointsmanError as error:
            self._unlogged(jobs, error)
            return
        except Exception:
            _logger.exception("the journal could not be waited for")
            self._give_up(jobs)
            return
        for job in jobs:
            self._answer(job)

    def _unlogged(self, jobs: list[Job], error: PointsmanError) -> None:
        """What cannot be recorded is refused, or answered by the champion and said to be unlogged:
        no experiment runs without its evidence."""
        for job in jobs:
            if not job.logged or job.dropped:
                self._answer(job)
                continue
            if job.served.refuse_unlogged or any(row.fault is Fault.QUALITY for row in job.rows):
                self._refuse(job, error)  # not every row may be shown to the champion
                continue
            job.logged = False
            job.failure = None
            champion = job.served.members[CHAMPION]
            self._values[job.served.counters.unlogged] += len(job.rows)
            asked = [row for row in job.rows if row.member is not champion or row.scores is None]
            for row in asked:
                row.decision = certain(Reason.FALLBACK)
                row.member, row.tried, row.scores = champion, 1, None
                if row.features:  # `:decide` asks nobody
                    job.waiting += 1
                    self._groups.setdefault(champion, []).append(row)
            if not job.waiting:
                self._done.append(job)
        self._wake()

    def _answer(self, job: Job) -> None:
        """Answers a job, once; whatever goes wrong with it is no other job's loss."""
        if not job.rows:
            return  # given up
        if job.dropped:
            self._values[self._abandoned] += 1
            self.pending_rows -= len(job.rows)
            if job.trace is not None:
                self._traced(job, 0, GONE)
            job.close()
            return
        if job.served.tallies and job.logged:
            self._tally(job)
        if job.failure is not None:
            self._values[job.served.counters.unanswered] += len(job.rows)
            self._refuse(job, job.failure)
            return
        try:
            head, body = job.encode(job)
            if job.packing and len(body) >= 1024:
                head, body = packed(job.packing, head, body)
        except Exception:
            _logger.exception("the answer of %s could not be made", job.id, extra=named(job))
            self._refuse(job, INTERNAL)
            return
        self.pending_rows -= len(job.rows)
        try:
            job.reply.respond(200, head, body)
            self._count(job)
        except Exception:
            _logger.exception(
                "the answer of %s could not be sent and counted", job.id, extra=named(job)
            )
        if job.trace is not None:
            self._traced(job, 200)
        job.close()

    def _tally(self, job: Job) -> None:
        """Counts what a guard watches; whatever goes wrong there, the answer goes out."""
        try:
            for rule, tally in job.served.tallies.items():
                tally.count(job, [row for row in job.rows if row.decision.rule == rule])
        except Exception:
            _logger.exception(
                "what the guard watches of %s could not be counted", job.id, extra=named(job)
            )

    def _refuse(self, job: Job, error: PointsmanError) -> None:
        if not job.rows:
            return  # given up
        assert self.edge is not None
        self.pending_rows -= len(job.rows)
        if job.trace is not None:
            self._traced(job, STATUS[error.kind], error.kind.value)
        job.close()
        try:
            self.edge.refuse(job, error)
        except Exception:
            _logger.exception("%s could not be refused", job.id, extra=named(job))

    def _traced(self, job: Job, status: int, failed: str = "") -> None:
        """Tells of a sampled request; whatever goes wrong there, the answer goes out."""
        assert self._tracing is not None
        try:
            self._tracing.finished(job, status, failed)
        except Exception:
            _logger.exception("%s could not be traced", job.id, extra=named(job))

    def _give_up(self, jobs: Iterable[Job]) -> None:
        """The last resort: whoever has no answer yet gets the refusal, and the room comes back."""
        for job in jobs:
            job.waiting = _NEVER
            self._refuse(job, INTERNAL)

    def _give_up_rows(self, rows: list[Row]) -> None:
        """As above, for the requests of rows; those that wait for nothing are answered anyway."""
        self._give_up([row.job for row in rows if row.job.waiting > 0])

    def _count(self, job: Job) -> None:
        assert self.edge is not None
        self.edge.answered(job.route, 200)
        values = self._values
        job.served.counters.duration.observe(job.latency_us)
        for row in job.rows:
            member, decided = row.member, row.decision
            counted = member.counters
            if row.tried == 1:
                values[counted.reasons[decided.reason]] += 1
                values[counted.assigned] += 1
            else:
                assigned = job.served.members[decided.assigned].counters
                values[counted.reasons[Reason.FALLBACK]] += 1
                values[assigned.assigned] += 1
                values[assigned.fallbacks] += 1
            if row.chosen >= 0 and member.chooser.actions[row.chosen] == DENY:
                values[counted.denied] += 1
            if decided.error:
                values[job.served.counters.condition_errors] += 1
            if decided.shadows and row.scores is not None and job.logged:
                self._shadow(job, row)

    def _shadow(self, job: Job, row: Row) -> None:
        for name in row.decision.shadows:
            # A variant that answered as a fallback has nothing to add as a shadow.
            if name != row.member.name:
                self._shadows.add(job, row, job.served.members[name])


def _as_failure(error: Exception) -> PointsmanError:
    if isinstance(error, PointsmanError):
        return error
    return PointsmanError(Kind.BACKEND_FAILED, f"{type(error).__name__}: {str(error)[:300]}")


def _fault(failure: PointsmanError) -> Fault:
    if UNREADABLE in failure.message:
        return Fault.MALFORMED
    return _FAULTS.get(failure.kind, Fault.ERROR)


def _joined(before: str, more: str) -> str:
    return f"{before}; {more}"[:2000] if before else more[:1000]
