"""What a tick of judging costs over 10 million decisions, beside 10 thousand.

Both projects have what the ingester keeps of so many decisions: cells of every block, slice and
metric, running counts of units, first exposures, and the progress of all blocks that were folded.
One tick reads the cells of the one block that has matured since, folds it, reads the counts of
units, judges, and encodes the progress it would store. Ticks over both alternate in one run; what
is compared is processor time, which neighbours hurt least. `python -m bench.tick`, or `make bench`.
Leaves with status 1 where the larger project costs more than `LIMIT` times the smaller one.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from pointsman.controller.soundness import health
from pointsman.domain import evidence
from pointsman.domain.evidence import (
    BLOCK_MS,
    Confusion,
    LatencyHistogram,
    Moments,
    Payload,
    ScoreHistogram,
)
from pointsman.judge import measured, progress
from pointsman.judge.assess import judge
from pointsman.judge.mean import Tuning
from pointsman.judge.progress import Block, EventTest, MeanTest, Progress, Test
from pointsman.judge.verdict import Criteria, Criterion, NoData, Role, Worse
from pointsman.store import bulk, headcounts, payloads
from pointsman.store.database import open_database, reader
from pointsman.store.evidence_schema import cell, exposure
from pointsman.store.headcounts import Heads
from pointsman.store.payloads import Key

LIMIT: Final = 1.25
"""Two medians of the same work differ by as much on a machine that does other things too."""
TICKS: Final = 15
PROJECT: Final = "default/loan"
RULE: Final = "default"
START_MS: Final = 1_750_075_200_000 // BLOCK_MS * BLOCK_MS
SHARES: Final = (("challenger", 0.1), ("champion", 0.9))
SLICES: Final = ("", "country=DE", "country=FR", "channel=app", "channel=web")
METRICS: Final = ("accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier")
FIRST: Final = {
    metric: evidence.member(evidence.FIRST, metric)
    for metric in (evidence.DENIED, evidence.ERROR, evidence.WRONG, evidence.LATENCY)
}


class Size:
    """So many decisions in so many blocks of five minutes."""

    def __init__(self, name: str, blocks: int, per_block: int) -> None:
        self.name, self.blocks, self.per_block = name, blocks, per_block

    @property
    def decisions(self) -> int:
        return self.blocks * self.per_block


SIZES: Final = (Size("10 thousand", 10, 1_000), Size("10 million", 1_000, 10_000))


def main() -> int:
    console = Console()
    tests, criteria = _tests(), _criteria()
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as home:
        ticks = {}
        for size in SIZES:
            console.print(f"filling a store with {size.decisions:,} decisions", style="dim")
            engine = open_database(Path(home) / f"{size.decisions}.db")
            before = fill(engine, size, tests)
            ticks[size.name] = tick(engine, size, before, tests, criteria)
        times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ticks}
        for _ in range(TICKS):
            for name, once in ticks.items():
                times[name].append(once())
    shown = Table("decisions", "read ms", "fold ms", "judge ms", "tick ms (median)")
    medians = {}
    for name, found in times.items():
        parts = [statistics.median(column) * 1000 for column in zip(*found, strict=True)]
        medians[name] = statistics.median(sum(one) for one in found) * 1000
        shown.add_row(name, *(f"{part:.1f}" for part in parts), f"{medians[name]:.1f}")
    console.print(shown)
    small, large = medians.values()
    console.print(f"10 million costs {large / small:.2f} times 10 thousand; at most {LIMIT}")
    return 0 if large <= LIMIT * small else 1


def tick(
    engine: Engine, size: Size, before: bytes, tests: dict[progress.Key, Test], criteria: Criteria
) -> Callable[[], tuple[float, float, float]]:
    """One tick over the last block: seconds to read, to fold and to judge."""
    newest = START_MS + (size.blocks - 1) * BLOCK_MS

    def once() -> tuple[float, float, float]:
        started = time.process_time()
        known = progress.decode(before)
        with reader(engine).connect() as connection:
            cells = payloads.cells(connection, PROJECT, RULE, since_ms=newest)
            sound = health(
                connection, PROJECT, RULE, [1], newest + BLOCK_MS, challenger="challenger"
            )
        read = time.process_time()
        arms = {
            name: {(k.metric, k.slice): p for k, p in cells.items() if k.variant == name}
            for name, _ in SHARES
        }
        after = progress.fold(known, Block(newest, 1, 0.1, **arms), tests)
        progress.encode(after)
        folded = time.process_time()
        found = judge(progress.evidence(after, tests, sound), criteria)
        assert not isinstance(found, NoData), found
        return read - started, folded - read, time.process_time() - folded

    return once


def fill(engine: Engine, size: Size, tests: dict[progress.Key, Test]) -> bytes:
    """Fills a store; the progress of all blocks but the last, encoded.

    Blocks differ in their counts by nothing that costs anything, so each arm's payloads are drawn
    once; units are counted as new ones, a tenth of the decisions.
    """
    rng = np.random.default_rng(size.blocks)
    drawn = {name: dict(payloads_of(rng, int(size.per_block * p))) for name, p in SHARES}
    blobs = {n: {m: evidence.encode(p) for m, p in cells.items()} for n, cells in drawn.items()}
    units = size.decisions // 10
    with engine.begin() as connection:
        stratum = payloads.stratum_number(connection, PROJECT, RULE, 1)
        for at in range(size.blocks):
            block = START_MS + at * BLOCK_MS
            rows = [
                (PROJECT, RULE, 1, block, name, part, metric, blob)
                for name, cells in blobs.items()
                for part in SLICES
                for metric, blob in cells.items()
            ]
            bulk.insert(connection, cell, rows)
        heads: dict[Key, Heads] = {}
        for at in range(size.blocks):
            for name, chance in SHARES:
                n = round(units / size.blocks * chance)
                chances = '[["challenger",0.1],["champion",0.9]]'
                key = (PROJECT, RULE, 1, START_MS + at * BLOCK_MS)
                heads[*key, "split", chances, name] = Heads(n, n, n, n // 2)
                heads[*key, "logged", chances, name] = Heads(n)
        headcounts.add(connection, heads)
        for at in range(0, units, 50_000):
            bulk.insert(
                connection,
                exposure,
                [
                    (stratum, i, START_MS, f"d{i}", "champion", 0.9)
                    for i in range(at, min(at + 50_000, units))
                ],
            )
        connection.exec_driver_sql("ANALYZE")
    known = Progress()
    arms = {
        name: {(m, part): p for part in SLICES for m, p in cells.items()}
        for name, cells in drawn.items()
    }
    for at in range(size.blocks - 1):
        known = progress.fold(known, Block(START_MS + at * BLOCK_MS, 1, 0.1, **arms), tests)
    return progress.encode(known)


def payloads_of(rng: np.random.Generator, n: int) -> Iterator[tuple[str, Payload]]:
    """What a block of n decisions of one arm adds up to, half of them labelled."""
    for metric, rate in (
        (evidence.DENIED, 0.05), (evidence.ERROR, 0.03), (FIRST[evidence.DENIED], 0.05),
        (FIRST[evidence.ERROR], 0.03), (FIRST[evidence.WRONG], 0.1), (evidence.CORRECT, 0.9),
    ):  # fmt: skip
        yield metric, moments(rng, (rng.random(n) < rate).astype(float))
    for metric in (evidence.COST, evidence.LOG_LOSS, evidence.BRIER):
        yield metric, moments(rng, rng.exponential(0.3, n))
    for metric in (evidence.LATENCY, FIRST[evidence.LATENCY]):
        histogram = LatencyHistogram()
        for latency in rng.lognormal(7.5, 0.5, n):
            histogram.observe(int(latency))
        yield metric, histogram
    confusion, scores = Confusion.empty(2), ScoreHistogram()
    for unit, positive in enumerate(rng.random(n // 2) < 0.3):
        score = float(rng.beta(5, 2) if positive else rng.beta(2, 5))
        confusion.observe(int(positive), int(score >= 0.5), unit_hash=unit)
        scores.observe(score, positive=bool(positive), unit_hash=unit)
    yield evidence.CONFUSION, confusion
    yield evidence.SCORE, scores


def moments(rng: np.random.Generator, values: np.ndarray) -> Moments:
    bucket = rng.integers(0, 64, len(values))
    return Moments(
        np.bincount(bucket, minlength=64).tolist(),
        np.bincount(bucket, values, 64).tolist(),
        np.bincount(bucket, values * values, 64).tolist(),
    )


def _tests() -> dict[progress.Key, Test]:
    found: dict[progress.Key, Test] = {(of, ""): measured.of_classifier(of, 2, 1) for of in METRICS}
    for part in SLICES:
        found["errors", part] = EventTest(FIRST[evidence.ERROR])
        found["denied", part] = MeanTest(
            binary=True, first_exposures=True, cell=FIRST[evidence.DENIED]
        )
    found["p99", ""] = measured.latency(0.99)
    return found


def _criteria() -> Criteria:
    items = [
        Criterion(of, Role.SIGNAL, Worse.LOWER, 0.02, needs_labels=True)
        for of in ("accuracy", "precision", "recall", "f1", "auc")
    ]
    items += [
        Criterion(of, Role.SIGNAL, Worse.HIGHER, 0.1, needs_labels=True)
        for of in ("log_loss", "brier")
    ]
    for part in SLICES:
        items.append(Criterion("errors", Role.GUARDRAIL, Worse.HIGHER, 0.5, True, part))
        items.append(Criterion("denied", Role.GUARDRAIL, Worse.EITHER, 0.02, False, part))
    items.append(Criterion("p99", Role.SIGNAL, Worse.HIGHER, 20_000.0))
    return Criteria(tuple(items), Tuning(50_000.0))


if __name__ == "__main__":
    sys.exit(main())
