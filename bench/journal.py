"""What the journal and its ingestion cost, on one core and one disk.

    python bench/journal.py [--records 200000] [--directory DIR] [--profile]

Prints one table: encoding, appending (batches of 1, 8, 32 and 250), group commit, reading, and
ingestion into SQLite with evidence and outcomes. Nothing is kept.
"""

import argparse
import cProfile
import pstats
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from pointsman.controller.ingest import Ingester
from pointsman.controller.join import IngestProject
from pointsman.domain.records import DecisionRecord, OutcomeRecord
from pointsman.journal.codec import decode_payload, encode_record
from pointsman.journal.reader import Tail
from pointsman.journal.writer import SegmentWriter
from pointsman.store.database import open_database

CLASSES = ("<=50K", ">50K")
START_MS = 1_750_000_000_000
FEATURES = (
    b'{"age":38,"workclass":"Private","education":"HS-grad","hours":40,"gain":0.0,"loss":0.0,'
    b'"marital":"Divorced","occupation":"Handlers-cleaners","race":"White","sex":"Male"}'
)
PROJECT = IngestProject(CLASSES, ">50K", 86_400_000, None, ("country",))


class OneProject:
    """The catalogue of a controller that knows one project."""

    def lookup(self, _project: str, _digest: str) -> IngestProject | None:
        return PROJECT


def decisions(count: int, *, seed: int = 1) -> Iterator[DecisionRecord]:
    """Records as a gateway writes them: a 90/10 split over a tenth as many units as decisions."""
    dice = random.Random(seed)
    shares = (("champion", 0.9), ("challenger", 0.1))
    for number in range(count):
        unit = dice.randrange(max(count // 10, 1))
        bucket = (unit * 0x9E3779B97F4A7C15) % (1 << 32)
        challenger = bucket < (1 << 32) // 10
        score = dice.random()
        variant = "challenger" if challenger else "champion"
        yield DecisionRecord(
            id=f"0197a1b2-{number >> 16:04x}-7{number & 0xFFF:03x}-8000-{number:012x}",
            at_ms=START_MS + number // 5,
            project="default/income",
            digest="5f" * 32,
            table=7,
            request_id=str(number),
            unit=f"user-{unit}",
            bucket=bucket,
            unit_hash=(unit * 0xC2B2AE3D27D4EB4F) % (1 << 64),
            context={"country": dice.choice(("DE", "FR", "US", "GB", "PL")), "amount": 12.5},
            rule="default",
            epoch=3,
            assigned=variant,
            served=variant,
            version="4" if challenger else "3",
            reason="SPLIT",
            served_reason="SPLIT",
            propensity=0.1 if challenger else 0.9,
            propensities=shares,
            probabilities=(1.0 - score, score),
            predicted=CLASSES[score > 0.5],
            action="deny" if score > 0.5 else "allow",
            latency_us=dice.randrange(300, 3000),
            cost=0.00002,
            features=FEATURES,
        )


def labels(count: int) -> Iterator[OutcomeRecord]:
    """One label for every decision, a minute after it."""
    for number, decision in enumerate(decisions(count)):
        at = decision.at_ms + 60_000
        label = CLASSES[number % 2]
        yield OutcomeRecord(f"f-{number}", decision.id, "label", label, at, at, "default")


class Span(msgspec.Struct, frozen=True):
    """What work took, and how much of it there was: wall clock, and time on processors."""

    wall_s: float
    cpu_s: float
    count: int


def timed(work: Callable[[], int]) -> Span:
    """The work counts what it did."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = work()
    return Span(time.perf_counter() - wall, time.process_time() - cpu, count)


def append_in(directory: Path, encoded: list[bytes], batch: int) -> int:
    writer = SegmentWriter(directory, directory.name)
    for start in range(0, len(encoded), batch):
        writer.append(encoded[start : start + batch])
    writer.close()
    return len(encoded)


def commit_in(directory: Path, encoded: list[bytes], threads: int) -> int:
    """Every record waits for the disk; threads that wait together share one system call."""
    writer = SegmentWriter(directory, directory.name)
    share = len(encoded) // threads

    def work(own: list[bytes]) -> None:
        for record in own:
            writer.append([record])
            writer.sync()

    workers = [
        threading.Thread(target=work, args=(encoded[i * share : (i + 1) * share],))
        for i in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    writer.close()
    return share * threads


def read_from(directory: Path) -> int:
    tail = Tail(directory, directory.name)
    count = 0
    while frames := tail.read().frames:
        count += sum(len(decode_payload(frame.payload)[0]) for frame in frames)
    tail.close()
    return count


def ingest(ingester: Ingester) -> int:
    count = 0
    while True:
        tick = ingester.tick()
        if not tick.bytes:
            return count
        count += tick.decisions + tick.outcomes


def row(what: str, span: Span, note: str = "") -> None:
    each = 1e6 / span.count
    print(
        f"{what:<44}{span.count / span.wall_s:>10,.0f}/s{span.wall_s * each:>10.2f}"
        f"{span.cpu_s * each:>10.2f}  {note}"
    )


def measure(root: Path, count: int) -> None:
    records = list(decisions(count))
    print(f"{count:,} decisions, {len(encode_record(records[0]))} bytes each, below {root}\n")
    print(f"{'':<44}{'':>12}{'wall us':>10}{'cpu us':>10}")
    span = timed(lambda: len([encode_record(r) for r in records]))
    row("encode", span)
    encoded = [encode_record(r) for r in records]
    for batch in (1, 8, 32, 250):
        some = encoded[: max(count // 4, 1)]
        span = timed(lambda b=batch, s=some: append_in(root / f"append-{b}", s, b))
        row(f"append, {batch} a batch", span)
    few = encoded[:4000]
    span = timed(lambda: commit_in(root / "commit", few, 32))
    row("append and sync each, 32 threads", span, "fdatasync shared")
    journal = root / "journal"
    append_in(journal / "w0", encoded, 100)
    append_in(journal / "w1", [encode_record(r) for r in labels(count)], 100)
    span = timed(lambda: read_from(journal / "w0"))
    row("read, check and decode", span)


def measure_ingestion(root: Path, *, profile: bool) -> None:
    engine = open_database(root / "store.db")
    journal = root / "journal"
    (journal / "w1").rename(root / "w1")
    ingester = Ingester(journal, engine, OneProject(), now_ms=lambda: START_MS)
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    span = timed(lambda: ingest(ingester))
    row("ingest decisions (split, 1 slice, exposures)", span)
    (root / "w1").rename(journal / "w1")
    span = timed(lambda: ingest(ingester))
    row("ingest labels, one for each", span)
    profiler.disable()
    size = sum((root / f"store.db{end}").stat().st_size for end in ("", "-wal"))
    print(f"\nstore: {size / (1 << 20):.0f} MiB")
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--directory", type=Path, help="where to write (default: a temporary one)")
    parser.add_argument(
        "--profile", action="store_true", help="say where ingestion spends its time"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        measure(Path(name), options.records)
        measure_ingestion(Path(name), profile=options.profile)


if __name__ == "__main__":
    main()
