"""What tracing costs: one gateway with it off beside one that records a trace in a hundred.

Both are `pointsman serve` as the other benchmarks run it, each on the first core, asked in turn
from the second: off, on, on, off, and so on, in one run. A receiver in this process takes what is
exported, decodes it and counts it, so that a gateway that exports nothing is not called fast. What
is judged is the processor's time for each request, export and all, of the cheapest quarter of the
phases: neighbours only ever add to it. Throughput is shown beside it.

`python -m bench.tracing [--rounds 12]`, or `make bench`. Leaves with status 1 where a request costs
more than `LIMIT` times as much.
"""

import argparse
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from bench import ours, servers, subjects
from bench.__main__ import phase, plan
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from rich.table import Table

LIMIT: Final = 1.03
RATE: Final = 0.01
ROUNDS: Final = 12
SECONDS: Final = 2.0


class Receiver(ThreadingHTTPServer):
    """Takes OTLP by HTTP. spans, events: how many came in"""

    def __init__(self) -> None:
        super().__init__((servers.HOST, 0), _Handler)
        self.spans = self.events = 0

    @property
    def url(self) -> str:
        return f"http://{servers.HOST}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            taken = ExportTraceServiceRequest.FromString(body)
            self.server.spans += sum(
                len(scope.spans) for one in taken.resource_spans for scope in one.scope_spans
            )
        else:
            told = ExportLogsServiceRequest.FromString(body)
            self.server.events += sum(
                len(scope.log_records) for one in told.resource_logs for scope in one.scope_logs
            )
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


def main() -> int:
    """0 where the cost is held, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rate", type=float, default=RATE, help="share sampled; judged at 0.01")
    arguments = parser.parse_args()
    console = Console()
    cores = servers.cores()
    subject = subjects.SUBJECTS["numeric"]()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
        receiver = stack.enter_context(_receiving())
        traced = {
            "POINTSMAN_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(arguments.rate),
        }
        up = []
        for name, environment in (("off", {}), ("on", traced)):
            directory = home / name
            directory.mkdir()
            console.print(f"starting a gateway with tracing {name}", style="dim")
            up.append(stack.enter_context(ours.pointsman(subject, directory, cores, environment)))
        doors = [server.doors[0] for server in up]
        plans = [plan(door, subject, cores) for door in doors]
        costs: list[list[float]] = [[], []]
        speeds: list[list[float]] = [[], []]
        answers = [0, 0]
        for number in range(arguments.rounds + 1):
            # Turned round each time: whoever is second finds other caches, and another neighbour.
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                door = doors[which]
                servers.settle(up)
                door.prepare()
                workers = door.works()
                before = servers.worked_s(workers)
                result = phase(plans[which], home, arguments.seconds)
                # What the last requests left to be exported is theirs to pay for.
                servers.settle(up)
                cost_us = (servers.worked_s(workers) - before) / max(1, result.answers) * 1e6
                if result.failed or result.wrong:
                    console.print(f"wrong answers: {result.samples}")
                    return 1
                answers[which] += result.answers
                if number:
                    costs[which].append(cost_us)
                    speeds[which].append(result.per_second)
    return _judged(console, costs, speeds, (answers[1], receiver, arguments.rate))


def _judged(
    console: Console,
    costs: list[list[float]],
    speeds: list[list[float]],
    told: tuple[int, Receiver, float],
) -> int:
    shown = Table("tracing", "requests a second", "us a request", "cheapest", "dearest")
    for name, cost, speed in zip(("off", f"{told[2]:.0%} sampled"), costs, speeds, strict=True):
        figures = (statistics.median(cost), min(cost), max(cost))
        shown.add_row(name, f"{statistics.median(speed):,.0f}", *(f"{us:.1f}" for us in figures))
    console.print(shown)
    off, on = (_cheapest(cost) for cost in costs)
    ratio = on / off
    slower = max(speeds[1]) / max(speeds[0])
    answered, receiver, rate = told
    console.print(
        f"a request costs {ratio:.3f} times as much (at most {LIMIT}), and {slower:.3f} times as "
        f"many are answered at best; {receiver.spans:,} spans and {receiver.events:,} events of "
        f"{answered:,} requests came in"
    )
    # One event a sampled request: of so many, the share is within a tenth of the rate's, or lost.
    complete = receiver.events > 0.8 * rate * answered
    if not complete:
        console.print("events are missing: the figures say nothing")
    # More than can wait is lost by design, so at a higher rate this is to be looked at only.
    return int(rate == RATE and (ratio > LIMIT or not complete))


def _cheapest(costs: list[float]) -> float:
    """The mean of the cheapest quarter."""
    return statistics.mean(sorted(costs)[: max(1, len(costs) // 4)])


@contextmanager
def _receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


if __name__ == "__main__":
    sys.exit(main())
