"""From the bytes of a fast-lane request to a decided job (architecture, section 6, steps 1-3)."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Final

from uuid_utils import UUID, uuid7

from pointsman.decide.engine import decide
from pointsman.domain.decision import Decision, Live, Request, Value
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.names import MAX_ID_BYTES
from pointsman.gateway import mending, native, oip, oip_answers
from pointsman.gateway.auth import Permission, Principal
from pointsman.gateway.compress import accepted
from pointsman.gateway.gate import unpack
from pointsman.gateway.native import Asked
from pointsman.gateway.routes import Action, Match
from pointsman.gateway.served import Served, Table
from pointsman.gateway.settings import Limits
from pointsman.gateway.tracing import Trace, Tracing, passed_on
from pointsman.gateway.work import Job, Reply, Row

Headers = dict[bytes, bytes]

_VERSION_8: Final = 0x8 << 76
_VARIANT: Final = 0b10 << 62
_KEEP: Final = ~((0xF << 76) | (0b11 << 62))


class Intake:
    """Reads and decides requests; one a worker."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, tracing: Tracing | None = None
    ) -> None:
        self._time = loop.time
        self._limits = limits
        self._tracing = tracing

    def read(
        self, table: Table, match: Match, headers: Headers, body: bytes | bytearray, reply: Reply
    ) -> Job:
        """The job, decided but for what the variants say. Raises PointsmanError for the caller."""
        received_ns = time.perf_counter_ns()
        get = headers.get
        caller = table.gatekeeper.principal(headers)
        if match.permission not in caller.permissions:
            caller.require(match.permission)
        served = table.projects.get((caller.tenant, match.project))
        if served is None:
            raise table.unknown(caller.tenant, match.project)
        pin = match.version
        if pin is not None:
            pin = _pinned(caller, served, pin, in_path=True)
        asked = self._asked(served, match, headers, body)
        if pin is None and asked.pin is not None:
            pin = _pinned(caller, served, asked.pin, in_path=False)
        key = get(b"idempotency-key")
        id_ = str(uuid7()) if key is None else derived_id(served.key, key)
        budget_s = served.deadline_s
        wanted = get(b"x-request-timeout-ms")
        if wanted is not None:
            budget_s = min(budget_s, _timeout_s(wanted))
        trace: Trace | None = None
        if self._tracing is None:
            lines = passed_on(headers, id_)
        else:
            lines, trace = self._tracing.begin(headers, id_)
        action = match.action
        live = served.live  # Read once: a kill switch must not tear this request.
        job = Job(
            reply,
            match.route,
            served,
            live,
            id_,
            asked.request_id,
            pin or "",
            caller.key,
            "" if key is None else key.decode("ascii"),
            lines,
            time.time_ns() // 1_000_000,
            received_ns,
            self._time() + budget_s,
            _encoder(action),
            asked.many,
            asked.form,
        )
        packing = get(b"accept-encoding")
        if packing is not None:
            job.packing = accepted(packing)
        if trace is None:
            _decide(job, asked, live, pin)
        else:
            trace.decide_ns = time.perf_counter_ns()
            _decide(job, asked, live, pin)
            trace.decided_ns = time.perf_counter_ns()
            job.trace = trace
        if action is not Action.DECIDE:
            job.waiting = len(job.rows)
        return job

    def _asked(
        self, served: Served, match: Match, headers: Headers, body: bytes | bytearray
    ) -> Asked:
        limits = self._limits
        door = served.door
        encoding = headers.get(b"content-encoding")
        if encoding is not None:
            body = unpack(body, encoding, limits)
        if match.action is Action.INFER:
            length = headers.get(b"inference-header-content-length")
            if door is not None:
                return mending.read_infer(served, door, body, length, limits)
            return oip.read_infer(served, body, length, limits)
        if match.action is Action.PREDICT:
            if door is not None:
                return mending.read_predict(served, door, body, limits)
            return native.read_predict(served, body, limits)
        return native.read_decide(served, body, limits)


def _encoder(action: Action) -> Callable[[Job], tuple[str, bytes]]:
    if action is Action.PREDICT:
        return native.encode_predict
    return oip_answers.encode_infer if action is Action.INFER else native.encode_decide


def _decide(job: Job, asked: Asked, live: Live, pin: str | None) -> None:
    """Decides every row, and writes on it what is not as the project expects."""
    served = job.served
    if asked.many:
        _decide_each(job, asked, live, pin)
    else:
        unit, context = asked.units[0], asked.context
        decision = decide(served.compiled, live, Request(job.id, unit, context, pin))
        member = served.members[decision.assigned]
        job.rows.append(
            Row(job, job.id, unit, context, decision, asked.rows[0], asked.features[0], member)
        )
    if asked.marks is not None and served.door is not None:
        mending.mark(job, served.door, asked.marks)


def _decide_each(job: Job, asked: Asked, live: Live, pin: str | None) -> None:
    """Rows that share a unit share the decision: it depends on nothing else."""
    served, rows = job.served, job.rows
    compiled, members = served.compiled, served.members
    units, context = asked.units, asked.context
    shared: Decision | None = None
    if len(units) == 1 and units[0] is not None:
        shared = decide(compiled, live, Request(job.id, units[0], context, pin))
    one_unit = len(units) == 1
    for place, (values, features) in enumerate(zip(asked.rows, asked.features, strict=True)):
        unit = units[0] if one_unit else units[place]
        id_ = f"{job.id}/{place}"
        seen = context if one_unit else _with_unit(served, context, unit)
        decision = shared or decide(compiled, live, Request(id_, unit, seen, pin))
        member = members[decision.assigned]
        rows.append(Row(job, id_, unit, seen, decision, values, features, member))


def _with_unit(served: Served, context: dict[str, Value], unit: str | None) -> dict[str, Value]:
    own = dict(context)
    native.settle_unit(served.schema, unit, own)
    return own


def _pinned(caller: Principal, served: Served, pin: str, *, in_path: bool) -> str:
    caller.require(Permission.PIN)
    return resolved_pin(served, pin, in_path=in_path)


def resolved_pin(served: Served, pin: str, *, in_path: bool) -> str:
    """The variant's name. Raises PointsmanError: NOT_FOUND in a path, INVALID in a body."""
    name = served.pins.get(pin)
    if name is None:
        known = ", ".join(variant.label for variant in served.table.variants)
        project = served.table.project
        raise PointsmanError(
            Kind.NOT_FOUND if in_path else Kind.INVALID,
            f"model {project} has no version {pin[:80]!r}"
            if in_path
            else f"variant: project {project} has no variant {pin[:80]!r}",
            hint=f"known: {known}",
        )
    return name


def derived_id(project: str, key: bytes) -> str:
    """The decision id of an idempotency key: the same in every worker and after every restart.

    A UUID of version 8 made from BLAKE2b-128 of project, NUL, key.
    """
    if not 0 < len(key) <= MAX_ID_BYTES or not all(33 <= c < 127 for c in key):
        raise PointsmanError(
            Kind.INVALID,
            f"idempotency-key: not 1 to {MAX_ID_BYTES} printable ASCII characters without spaces",
            hint="a UUID does well",
        )
    digest = hashlib.blake2b(project.encode() + b"\0" + key, digest_size=16).digest()
    number = int.from_bytes(digest, "big") & _KEEP | _VERSION_8 | _VARIANT
    return str(UUID(int=number))


def _timeout_s(header: bytes) -> float:
    if not header.isdigit() or len(header) > 9 or int(header) == 0:
        raise PointsmanError(
            Kind.INVALID,
            "x-request-timeout-ms: not a positive whole number",
            hint="milliseconds for the whole request, for example 150",
        )
    return int(header) / 1000.0
