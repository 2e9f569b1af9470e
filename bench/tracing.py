"""What tracing costs: one gateway with it off beside one that records a trace in a hundred.

Both are `pointsman serve` as the other benchmarks run it, each on the first core, asked in turn
from the second: off, on, on, off, and so on, in one run. A receiver in this process takes what is
exported, decodes it and counts it, so that a gateway that exports nothing is not called fast. What
is judged is the processor's time for each request over the whole run, with all that is exported in
between. Phases are short and many, so that neighbours hurt both alike; throughput is
shown beside it.

`python -m bench.tracing [--rounds 40]`, or `make bench`. Leaves with status 1 where a request costs
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
ROUNDS: Final = 40
SECONDS: Final = 0.7


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
            # By number and not by the clock: between phases the gateways rest, and what an export
            # costs would be shared by a fraction of the requests it serves under load. So many
            # come together in two seconds of it, where the default would wait for five.
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64",
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
        }
        up = []
        for name, environment in (("off", {}), ("on", traced)):
            directory = home / name
            directory.mkdir()
            console.print(f"starting a gateway with tracing {name}", style="dim")
            up.append(stack.enter_context(ours.pointsman(subject, directory, cores, environment)))
        doors = [server.doors[0] for server in up]
        plans = [plan(door, subject, cores) for door in doors]
        speeds: list[list[float]] = [[], []]
        answers, before = [0, 0], [0, 0]
        for number in range(arguments.rounds + 1):
            if number == 1:  # the first of each is a warm-up
                answers, before = [0, 0], [_worked_ns(door) for door in doors]
            # Turned round each time: whoever is second finds other caches, and another neighbour.
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                servers.settle(up)
                doors[which].prepare()
                result = phase(plans[which], home, arguments.seconds)
                if result.failed or result.wrong:
                    console.print(f"wrong answers: {result.samples}")
                    return 1
                answers[which] += result.answers
                speeds[which] += [result.per_second] if number else []
        worked = [_worked_ns(door) - ns for door, ns in zip(doors, before, strict=True)]
    costs = [ns / 1000 / count for ns, count in zip(worked, answers, strict=True)]
    return _judged(console, costs, speeds, (answers[1], receiver, arguments.rate))


def _worked_ns(door: servers.Door) -> int:
    """Processor time of a gateway so far: all that it does, whenever it does it."""
    tasks = [task for pid in door.works() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def _judged(
    console: Console,
    costs: list[float],
    speeds: list[list[float]],
    told: tuple[int, Receiver, float],
) -> int:
    answered, receiver, rate = told
    shown = Table("tracing", "us a request", "requests a second", "slowest", "fastest")
    for name, cost, speed in zip(("off", f"{rate:.0%} sampled"), costs, speeds, strict=True):
        figures = (statistics.median(speed), min(speed), max(speed))
        shown.add_row(name, f"{cost:.1f}", *(f"{one:,.0f}" for one in figures))
    console.print(shown)
    ratio = costs[1] / costs[0]
    console.print(
        f"a request costs {ratio:.3f} times as much (at most {LIMIT}); {receiver.spans:,} spans "
        f"and {receiver.events:,} events of {answered:,} requests came in"
    )
    # One event a sampled request, those of the warm-up too; fewer were lost.
    complete = receiver.events > 0.8 * rate * answered
    if not complete:
        console.print("events are missing: the figures say nothing")
    # More than can wait is lost by design, so at a higher rate this is to be looked at only.
    return int(rate == RATE and (ratio > LIMIT or not complete))


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
