"""What `make bench` leaves: a table for people, JSON for machines, and whether the marks hold."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec
from bench.load import Result
from rich.console import Console
from rich.table import Table
from rich.text import Text

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("pointsman", "onnxruntime", "scikit-learn", "uvicorn", "uvloop", "numpy")


class Line(msgspec.Struct, frozen=True):
    """One door of one server.

    closed: a result a round; opened: at a share of its own throughput
    cost_us: processor time a request cost the server, for each closed round
    """

    subject: str
    server: str
    closed: list[Result]
    opened: Result
    cost_us: list[float]

    @property
    def median(self) -> Result:
        """The middle round by throughput: a neighbour's burst spoils a round, not the run."""
        return sorted(self.closed, key=lambda result: result.per_second)[len(self.closed) // 2]


class Mark(msgspec.Struct, frozen=True):
    """A ratio that must hold: `ours` answers at least `least` times the requests of `theirs`."""

    ours: str
    theirs: str
    least: float


class Held(msgspec.Struct, frozen=True):
    """A mark, measured."""

    subject: str
    ours: str
    theirs: str
    least: float
    ratio: float

    @property
    def holds(self) -> bool:
        return self.ratio >= self.least


def measure(lines: list[Line], marks: list[Mark]) -> list[Held]:
    """Every mark on every subject that both its servers were asked about."""
    speed = {(line.subject, line.server): line.median.per_second for line in lines}
    return [
        Held(subject, mark.ours, mark.theirs, mark.least, speed[subject, mark.ours] / theirs)
        for mark in marks
        for (subject, server), theirs in speed.items()
        if server == mark.theirs and (subject, mark.ours) in speed
    ]


def faults(lines: list[Line]) -> list[str]:
    """Why the figures cannot be trusted, empty where they can: they count only right answers."""
    return [
        f"{line.subject}, {line.server}: {result.failed} failed, {result.wrong} wrong of "
        f"{result.checked} compared; first: {''.join(result.samples[:1])[-300:]}"
        for line in lines
        for result in [*line.closed, line.opened]
        if result.failed or result.wrong or not result.checked
    ]


def table(lines: list[Line], rate: float) -> Table:
    """For a terminal."""
    shown = Table(
        title="One core each, 32 connections, one row a request", title_justify="left", box=None
    )
    for name in ("model", "server"):
        shown.add_column(name)
    for name in HEADINGS:
        shown.add_column(name.format(rate=f"{rate:.0%}"), justify="right")
    for line in lines:
        shown.add_row(line.subject, line.server, *_cells(line))
    return shown


HEADINGS: Final = (
    "requests/s",
    "CPU us/request",
    "p50 ms",
    "p99 ms",
    "p50 ms at {rate} load",
    "p99 ms at {rate} load",
)


def _cells(line: Line) -> list[str]:
    full, part = line.median, line.opened
    return [
        f"{full.per_second:,.0f}",
        f"{sorted(line.cost_us)[len(line.cost_us) // 2]:,.0f}",
        *(f"{value:.2f}" for value in (full.p50, full.p99, part.p50, part.p99)),
    ]


def markdown(lines: list[Line], held: list[Held], rate: float, when: str) -> str:
    """For the repository."""
    headings = [name.format(rate=f"{rate:.0%}") for name in HEADINGS]
    rows = [["model", "server", *headings], ["---", "---", *["---:"] * len(headings)]]
    rows += [[line.subject, line.server, *_cells(line)] for line in lines]
    text = [f"# Benchmark of {when}", "", _machine_sentence(), ""]
    text += ["| " + " | ".join(row) + " |" for row in rows]
    text += ["", "| model | ratio of requests/s | measured | mark |", "|---|---|---:|---:|"]
    text += [
        f"| {one.subject} | {one.ours} / {one.theirs} | {one.ratio:.1f} | {one.least:.0f} |"
        for one in held
    ]
    return "\n".join(text) + "\n"


def machine() -> dict[str, Any]:
    """Where it was measured, without the machine's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(models),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
    }


def _machine_sentence() -> str:
    here = machine()
    packages = ", ".join(f"{name} {version}" for name, version in here["packages"].items())
    return (
        f"{here['cores']} cores of {here['processor']}, Python {here['python']}; {packages}. "
        "Figures of the middle round; machines differ: compare ratios of one run, never two runs."
    )


def write(stem: str, document: dict[str, Any], text: str) -> tuple[Path, Path]:
    """The two files, JSON and Markdown, in bench/results."""
    RESULTS.mkdir(exist_ok=True)
    paths = RESULTS / f"{stem}.json", RESULTS / f"{stem}.md"
    paths[0].write_text(json.dumps(msgspec.to_builtins(document), indent=1) + "\n")
    paths[1].write_text(text)
    return paths


def verdict(console: Console, held: list[Held], found: list[str]) -> bool:
    """Whether all is well, said aloud."""
    for one in held:
        colour, word = ("green", "holds") if one.holds else ("red", "MISSED")
        console.print(
            f"[{colour}]{word:>6}[/]  {one.subject}: {one.ours} answers {one.ratio:.1f} times "
            f"as many requests as {one.theirs} (mark: {one.least:.0f})"
        )
    for fault in found:
        console.print("[red]  WRONG[/] ", Text(fault))
    return all(one.holds for one in held) and not found
