"""One core's worth of HTTP load over kept connections, with every answer looked at.

    python -m bench.load PLAN.json        one phase; prints its result as JSON

A closed phase sends on every connection as soon as its answer is in: it finds the throughput. An
open phase sends by a Poisson clock whether or not answers come back, and counts a request's latency
from the moment it was due: it finds what users would have waited, queues in the client included,
which a closed loop hides. Latencies are kept whole, not in buckets, so percentiles are exact.

A bare epoll loop and no HTTP library: the generator has one core as well, and must be able to ask
faster than the fastest server answers.
"""

import gc
import json
import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

CHECK_EACH: Final = 64
"""One answer in so many is decoded and compared; the status of every one is looked at."""
TOLERANCE: Final = 1e-5
GRACE_S: Final = 2.0
READ_BYTES: Final = 1 << 16
SEED: Final = 7


class Plan(msgspec.Struct, frozen=True):
    """One phase.

    requests: whole HTTP requests, sent in turn; expected: the positive class's probability for each
    reader: how to find that probability in an answer, a key of READERS
    rate: requests a second of an open phase, 0 = closed
    cpu: core to run on
    """

    host: str
    port: int
    requests: list[str]
    expected: list[float]
    reader: str
    connections: int
    seconds: float
    rate: float = 0.0
    cpu: int | None = None


class Result(msgspec.Struct, frozen=True):
    """What a phase saw. Latencies in milliseconds.

    late: open phase: requests without an answer when the phase ended
    busy: share of its core the generator used, closed phase only; near 1 it is the bottleneck
    samples: first few answers that were no success, or were wrong
    """

    answers: int
    seconds: float
    per_second: float
    p50: float
    p90: float
    p99: float
    p999: float
    most: float
    failed: int
    wrong: int
    checked: int
    late: int
    busy: float
    samples: list[str]


def _by_class(body: Any) -> float:
    return float(body["probabilities"][">50K"])


def _by_tensor(body: Any) -> float:
    """The last of the two columns, classes being in the project's order."""
    named = {output["name"]: output["data"] for output in body["outputs"]}
    return float(np.ravel(named.get("probabilities") or named["predict_proba"])[-1])


READERS: Final[dict[str, Callable[[Any], float]]] = {"class": _by_class, "tensor": _by_tensor}


class _Connection:
    """A kept connection with at most one request under way."""

    def __init__(self, plan: Plan) -> None:
        self.socket = socket.create_connection((plan.host, plan.port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.data = b""
        self.due = 0.0
        self.row = 0


class Generator:
    """Runs one phase of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.requests = [text.encode() for text in plan.requests]
        self.read = READERS[plan.reader]
        self.connections = [_Connection(plan) for _ in range(plan.connections)]
        self.by_fd = {one.socket.fileno(): one for one in self.connections}
        self.poll = select.epoll()
        for descriptor in self.by_fd:
            self.poll.register(descriptor, select.EPOLLIN)
        self.latencies: list[float] = []
        self.sent = self.failed = self.wrong = self.checked = 0
        self.samples: list[str] = []

    def close(self) -> None:
        self.poll.close()
        for connection in self.connections:
            connection.socket.close()

    def closed(self) -> tuple[float, float]:
        """Seconds of wall clock and of processor time of a phase at full throughput."""
        started, worked = time.perf_counter(), time.process_time()
        for connection in self.connections:
            self._send(connection, time.perf_counter())
        until = started + self.plan.seconds
        now = started
        while now < until:
            events = self.poll.poll(1.0)
            now = time.perf_counter()
            for descriptor, _ in events:
                connection = self.by_fd[descriptor]
                if self._receive(connection):
                    self.latencies.append(now - connection.due)
                    self._send(connection, time.perf_counter())
        return now - started, time.process_time() - worked

    def open(self) -> tuple[float, int]:
        """Seconds taken, and how many requests were still without an answer at the end."""
        draws = np.random.default_rng(SEED).exponential(
            1.0 / self.plan.rate, int(self.plan.rate * self.plan.seconds)
        )
        started = time.perf_counter()
        schedule = (draws.cumsum() + started).tolist()
        free = deque(self.connections)
        asked, total = 0, len(schedule)
        until = schedule[-1] + GRACE_S
        now = started
        # Spins rather than sleeps: a timer's millisecond would be a part of what is measured.
        while len(self.latencies) < total and now < until:
            while asked < total and free and schedule[asked] <= now:
                self._send(free.popleft(), schedule[asked])
                asked += 1
            for descriptor, _ in self.poll.poll(0):
                connection = self.by_fd[descriptor]
                if self._receive(connection):
                    self.latencies.append(time.perf_counter() - connection.due)
                    free.append(connection)
            now = time.perf_counter()
        return now - started, total - len(self.latencies)

    def _send(self, connection: _Connection, due: float) -> None:
        row = self.sent % len(self.requests)
        self.sent += 1
        connection.row, connection.due, connection.data = row, due, b""
        request = self.requests[row]
        if connection.socket.send(request) != len(request):
            raise RuntimeError("the kernel took only a part of a request")

    def _receive(self, connection: _Connection) -> bool:
        """Whether the answer is complete; it is then checked."""
        data = connection.socket.recv(READ_BYTES)
        if not data:
            raise RuntimeError(f"the server closed a kept connection after {self.sent} requests")
        if connection.data:
            data = connection.data + data
        head = data.find(b"\r\n\r\n")
        length = _content_length(data, head) if head >= 0 else -1
        if length < 0 or len(data) < head + 4 + length:
            connection.data = data
            return False
        self._check(connection.row, data, head + 4)
        return True

    def _check(self, row: int, data: bytes, body: int) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            self.failed += 1
            self._keep(data)
        elif len(self.latencies) % CHECK_EACH == 0:
            self.checked += 1
            score = self.read(msgspec.json.decode(data[body:]))
            if abs(score - self.plan.expected[row]) > TOLERANCE:
                self.wrong += 1
                self._keep(data)

    def _keep(self, data: bytes) -> None:
        if len(self.samples) < 3:
            self.samples.append(data[:2000].decode(errors="replace"))


def _content_length(data: bytes, head: int) -> int:
    start = data.find(b"ontent-length:", 0, head)
    if start < 0:
        start = data.find(b"ontent-Length:", 0, head)
    if start < 0:
        raise RuntimeError(f"an answer without Content-Length: {data[:head]!r}")
    return int(data[start + 14 : data.find(b"\r\n", start)])


def run(plan: Plan) -> Result:
    """The phase's result. Raises OSError where the server is not there."""
    if plan.cpu is not None:
        os.sched_setaffinity(0, {plan.cpu})
    generator = Generator(plan)
    late, busy = 0, 0.0
    gc.collect()
    gc.disable()
    try:
        if plan.rate > 0:
            seconds, late = generator.open()
        else:
            seconds, worked = generator.closed()
            busy = worked / seconds
    finally:
        gc.enable()
        generator.close()
    latencies = np.array(generator.latencies or [np.nan]) * 1000
    p50, p90, p99, p999 = np.percentile(latencies, [50, 90, 99, 99.9]).tolist()
    return Result(
        answers=len(generator.latencies),
        seconds=seconds,
        per_second=len(generator.latencies) / seconds,
        p50=p50,
        p90=p90,
        p99=p99,
        p999=p999,
        most=float(latencies.max()),
        failed=generator.failed,
        wrong=generator.wrong,
        checked=generator.checked,
        late=late,
        busy=busy,
        samples=generator.samples,
    )


if __name__ == "__main__":
    print(
        json.dumps(
            msgspec.to_builtins(run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)))
        )
    )
