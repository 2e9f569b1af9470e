"""Runs every benchmark: `make bench`, or `python -m bench [--quick] [--model mixed] [--name NAME]`.

Measures how many requests a second one core answers, and how fast, for Pointsman with its full
pipeline and for two servers people use today, on the same model, in the same run: rounds alternate
between the servers, so that a busy neighbour hurts all alike. Then the parts' own benchmarks.
Prints tables, writes bench/results/, and leaves with status 1 where a mark is missed or an answer
was wrong.
"""

import argparse
import datetime as dt
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
from bench import load, ours, peers, report, servers, subjects
from bench.report import Line, Mark
from bench.servers import Cores, Door, Server
from bench.subjects import Subject
from rich.console import Console

CONNECTIONS: Final = 32
OPEN_RATE: Final = 0.7
"""Load of the open phase, as a share of the server's own throughput: busy, but not drowning."""
PARTS: Final = ("decide", "journal", "models", "tick", "tracing")
"""Modules beside this one that measure a part by itself and judge their own budgets."""
MARKS: Final = [
    Mark(ours.NATIVE, peers.FASTAPI, 10),
    Mark(ours.PROTOCOL, peers.MLSERVER, 15),
]


class Schedule(msgspec.Struct, frozen=True):
    """How long to measure: seconds a phase, and closed rounds a server."""

    warm: float
    closed: float
    opened: float
    rounds: int


FULL: Final = Schedule(warm=2.0, closed=4.0, opened=5.0, rounds=3)
QUICK: Final = Schedule(warm=0.5, closed=1.0, opened=1.5, rounds=1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds; for trying it out")
    parser.add_argument("--model", choices=[*subjects.SUBJECTS], action="append")
    parser.add_argument("--name", default="servers", help="of the files in bench/results")
    parser.add_argument("--servers-only", action="store_true", help="leave the parts out")
    arguments = parser.parse_args()
    console = Console()
    schedule = QUICK if arguments.quick else FULL
    lines: list[Line] = []
    for name in arguments.model or subjects.SUBJECTS:
        lines += compare(subjects.SUBJECTS[name](), schedule, console)
    held, found = report.measure(lines, MARKS), report.faults(lines)
    parts = [] if arguments.servers_only else [part(name, console) for name in PARTS]
    console.print()
    console.print(report.table(lines, OPEN_RATE))
    console.print()
    fine = report.verdict(console, held, found) and all(one["status"] == 0 for one in parts)
    when = dt.datetime.now(dt.UTC).date().isoformat()
    document = {
        "date": when,
        "machine": report.machine(),
        "schedule": schedule,
        "connections": CONNECTIONS,
        "open_rate": OPEN_RATE,
        "lines": lines,
        "marks": held,
        "faults": found,
        "parts": parts,
    }
    text = report.markdown(lines, held, OPEN_RATE, when) + "".join(
        f"\n## {one['name']}\n\n```\n{one['output']}```\n" for one in parts
    )
    for path in report.write(f"{when}-{arguments.name}", document, text):
        console.print(f"written: {path.relative_to(servers.ROOT)}")
    return 0 if fine else 1


def compare(subject: Subject, schedule: Schedule, console: Console) -> list[Line]:
    """One line a door: all servers up at once on the first core, asked in turn from the second."""
    cores = servers.cores()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
        up: list[Server] = []
        for start in (peers.fastapi, peers.mlserver, ours.pointsman):
            directory = home / start.__name__
            directory.mkdir()
            console.print(f"{subject.name}: starting {start.__name__}", style="dim")
            up.append(stack.enter_context(start(subject, directory, cores)))
        doors = [door for server in up for door in server.doors]
        plans = {door.name: plan(door, subject, cores) for door in doors}

        def ask(door: Door, seconds: float, rate: float = 0.0) -> tuple[load.Result, float]:
            """What a phase saw, and the microseconds a request cost the server."""
            if not servers.settle(up):
                console.print("the servers do not come to rest; figures suffer", style="yellow")
            door.prepare()
            workers = door.works()
            before = servers.worked_s(workers)
            result = phase(plans[door.name], home, seconds, rate)
            cost_s = servers.worked_s(workers) - before
            return result, cost_s / max(1, result.answers) * 1e6

        for door in doors:
            ask(door, schedule.warm)
        closed: dict[str, list[tuple[load.Result, float]]] = {door.name: [] for door in doors}
        for number in range(schedule.rounds):
            for door in doors:
                result, cost_us = ask(door, schedule.closed)
                closed[door.name].append((result, cost_us))
                console.print(
                    f"{subject.name}: round {number + 1} of {schedule.rounds}: {door.name} "
                    f"{result.per_second:,.0f}/s, {cost_us:,.0f} us",
                    style="dim",
                )
        lines = []
        for door in doors:
            results = [result for result, _ in closed[door.name]]
            costs = [cost_us for _, cost_us in closed[door.name]]
            rate = OPEN_RATE * sorted(one.per_second for one in results)[len(results) // 2]
            opened, _ = ask(door, schedule.opened, rate)
            lines.append(Line(subject.name, door.name, results, opened, costs))
    return lines


def plan(door: Door, subject: Subject, cores: Cores) -> load.Plan:
    return load.Plan(
        host=servers.HOST,
        port=door.port,
        requests=door.requests(subject),
        expected=subject.expected,
        reader=door.reader,
        connections=CONNECTIONS,
        seconds=0.0,
        cpu=cores.load,
    )


def phase(given: load.Plan, home: Path, seconds: float, rate: float = 0.0) -> load.Result:
    """One phase, in a process of its own: ours stays off the load's core."""
    file = home / "plan.json"
    file.write_bytes(
        msgspec.json.encode(msgspec.structs.replace(given, seconds=seconds, rate=rate))
    )
    done = subprocess.run(
        [sys.executable, "-m", "bench.load", str(file)],
        cwd=servers.ROOT,
        capture_output=True,
        timeout=seconds + 30,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the load generator failed:\n{done.stderr.decode()}")
    return msgspec.json.decode(done.stdout, type=load.Result)


def part(name: str, console: Console) -> dict[str, Any]:
    """A part's own benchmark: what it printed and how it ended."""
    console.print(f"\n[bold]bench/{name}.py[/]")
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}"],
        cwd=servers.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    console.print(output, markup=False, highlight=False, end="")
    return {"name": name, "status": done.returncode, "output": output}


if __name__ == "__main__":
    sys.exit(main())
