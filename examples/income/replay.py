"""Sends the `test` part of the Adult data to a gateway as traffic, and the labels some time later.

    python examples/income/replay.py --gateway http://127.0.0.1:8700

Every row is one request about one person. Labels follow in batches, each `--late` batches behind
the decisions it is about, as they would in life; the last ones come after the last request.
Prints a progress bar, then what came back: answers by variant and reason, labels taken. Leaves with
status 1 where any request or label was refused.

With --forever it goes through the rows again and again, without a bar, until it is told to stop
(SIGTERM), and then ends as usual.
"""

import argparse
import asyncio
import csv
import gzip
import json
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).parent
CONNECTIONS = 16
MISSES_KEPT = 5


class Person(NamedTuple):
    """unit: who is assigned; context and features: of the request; label: what became of it"""

    unit: str
    context: dict[str, Any]
    features: dict[str, Any]
    label: str


class Shape(NamedTuple):
    """What the project wants to know, read from its file: its address and its context."""

    project: str
    unit: str
    context: tuple[str, ...]


class Tally:
    """What came back so far."""

    def __init__(self) -> None:
        self.decisions = 0
        self.labels = 0
        self.refused = 0
        self.answers: Counter[tuple[str, str]] = Counter()
        self.examples: dict[str, str] = {}
        self.misses: list[str] = []

    def answered(self, answer: dict[str, Any]) -> str:
        self.decisions += 1
        self.answers[answer["variant"], answer["reason"]] += 1
        self.examples.setdefault(answer["variant"], answer["decision_id"])
        return str(answer["decision_id"])

    def missed(self, count: int, why: str) -> None:
        self.refused += count
        if len(self.misses) < MISSES_KEPT:
            self.misses.append(why)

    def summary(self) -> dict[str, Any]:
        by_variant: Counter[str] = Counter()
        for (variant, _), count in self.answers.items():
            by_variant[variant] += count
        return {
            "decisions": self.decisions,
            "labels": self.labels,
            "refused": self.refused,
            "misses": self.misses,
            "variants": dict(by_variant),
            "answers": [[*key, count] for key, count in sorted(self.answers.items())],
            "examples": self.examples,
        }


def shape(file: Path) -> Shape:
    """Read from the project's file, so that the two cannot drift apart."""
    declared = yaml.safe_load(file.read_text())
    spec = declared["spec"]
    name = declared["metadata"]["name"]
    return Shape(name, spec.get("unit", ""), tuple(spec.get("context", ())))


def people(wanted: Shape) -> Iterator[Person]:
    """The rows of the test part. Numbers are numbers, everything else text."""
    with gzip.open(HERE / "adult.csv.gz", "rt", newline="") as file:
        test = (row for row in csv.DictReader(file) if row.pop("part") == "test")
        for number, row in enumerate(test):
            label = row.pop("income")
            values = {name: _value(text) for name, text in row.items()}
            context = {name: values[name] for name in wanted.context if name in values}
            # A weight of the census sample: no property of the person, and no feature.
            del values["fnlwgt"]
            yield Person(f"person-{number:05}", context, values, label)


def _value(text: str) -> str | int:
    return int(text) if text.isdigit() else text


class Replay:
    """One run against one gateway."""

    def __init__(self, session: aiohttp.ClientSession, gateway: str, project: str) -> None:
        self.session = session
        self.predict = f"{gateway}/v1/projects/{project}:predict"
        self.feedback = f"{gateway}/v1/feedback"
        self.tally = Tally()
        self.gate = asyncio.Semaphore(CONNECTIONS)
        self.stopping = False

    async def ask(self, person: Person) -> tuple[str, str] | None:
        """The decision's id with the label to come; None where the gateway refused."""
        body = {"unit": person.unit, "context": person.context, "features": person.features}
        async with self.gate, self.session.post(self.predict, json=body) as answer:
            if answer.status != 200:
                self.tally.missed(1, f"{answer.status}: {await answer.text()}")
                return None
            return self.tally.answered(await answer.json()), person.label

    async def tell(self, known: list[tuple[str, str]]) -> None:
        """Posts labels: 202 says that they are on disk."""
        body = [{"decision_id": decision, "label": label} for decision, label in known]
        if not body:
            return
        async with self.session.post(self.feedback, json=body) as answer:
            if answer.status == 202:
                self.tally.labels += len(body)
            else:
                self.tally.missed(len(body), f"{answer.status}: {await answer.text()}")

    async def run(self, given: Iterable[Person], batch: int, late: int, bar: "Bar") -> None:
        waiting: deque[list[tuple[str, str]]] = deque()
        rows = iter(given)
        while not self.stopping and (asked := list(islice(rows, batch))):
            done = await asyncio.gather(*(self.ask(person) for person in asked))
            waiting.append([one for one in done if one is not None])
            if len(waiting) > late:
                await self.tell(waiting.popleft())
            bar.show(self.tally)
        while waiting:
            await self.tell(waiting.popleft())
            bar.show(self.tally)

    def stop(self) -> None:
        """Ends the run after the batch that is under way."""
        self.stopping = True


class Bar:
    """Two lines: requests answered, labels taken."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.requests = progress.add_task("requests", total=total)
        self.labels = progress.add_task("labels", total=total)

    def show(self, tally: Tally) -> None:
        self.progress.update(self.requests, completed=tally.decisions + tally.refused)
        self.progress.update(self.labels, completed=tally.labels)


async def replay(arguments: argparse.Namespace, console: Console) -> Tally:
    wanted = shape(arguments.project)
    given = list(islice(people(wanted), arguments.rows))
    headers = {"authorization": f"Bearer {arguments.key}"} if arguments.key else {}
    limits = aiohttp.TCPConnector(limit=CONNECTIONS)
    waits = aiohttp.ClientTimeout(total=30)
    columns = (TextColumn("{task.description:>9}"), BarColumn(40), MofNCompleteColumn())
    async with aiohttp.ClientSession(headers=headers, connector=limits, timeout=waits) as session:
        run = Replay(session, arguments.gateway.rstrip("/"), wanted.project)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, run.stop)
        hidden = Progress(console=console, disable=True)
        if arguments.forever:
            again = chain.from_iterable(repeat(given))
            await run.run(again, arguments.batch, arguments.late, Bar(hidden, 0))
            return run.tally
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            await run.run(given, arguments.batch, arguments.late, Bar(progress, len(given)))
    return run.tally


def main() -> int:
    parser = argparse.ArgumentParser(description="Replays census rows as traffic.")
    parser.add_argument("--gateway", required=True, help="such as http://127.0.0.1:8700")
    parser.add_argument("--project", type=Path, default=HERE / "project.yaml", help="its file")
    parser.add_argument("--rows", type=int, default=None, help="how many (default: all 16,281)")
    parser.add_argument("--batch", type=int, default=400, help="requests between two label posts")
    parser.add_argument("--late", type=int, default=5, help="batches a label lags behind")
    parser.add_argument("--forever", action="store_true", help="until it is told to stop")
    parser.add_argument("--key", default="", help="data key, where the gateway asks for one")
    parser.add_argument("--result", type=Path, help="write what came back to this file, as JSON")
    arguments = parser.parse_args()
    console = Console()
    started = time.monotonic()
    try:
        tally = asyncio.run(replay(arguments, console))
    except (aiohttp.ClientConnectionError, TimeoutError) as error:
        console.print(f"the gateway at {arguments.gateway} is gone: {error}", style="red")
        return 1
    summary = tally.summary()
    if arguments.result:
        arguments.result.write_text(json.dumps(summary))
    seconds = time.monotonic() - started
    console.print(f"{tally.decisions:,} decisions, {tally.labels:,} labels in {seconds:.1f} s")
    for variant, reason, count in summary["answers"]:
        console.print(f"  {variant:<12} {reason:<9} {count:>7,}", highlight=False)
    for miss in tally.misses:
        console.print(f"refused: {miss}", style="red", markup=False)
    return 1 if tally.refused else 0


if __name__ == "__main__":
    sys.exit(main())
