"""Seconds to replay a million logged decisions through two tables, read from a real store.

    python bench/plan.py [--decisions 1000000] [--profile]

Prints a table and leaves with status 1 where the budget is not held: 30 s for a million decisions
on one core, reading their rows included, and no more memory than 300 MB above what was there. The
time is the processor's, since a busy neighbour's part is not ours.
"""

import argparse
import cProfile
import pstats
import resource
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import process_time

from bench.decide import project, rule
from sqlalchemy import Connection, insert

from pointsman.decide.allocation import initial
from pointsman.decide.answers import Logged
from pointsman.decide.engine import decide
from pointsman.decide.forecast import Replay
from pointsman.decide.hashing import hash64
from pointsman.domain.decision import NOTHING_LIVE, Request
from pointsman.domain.table import (
    Runtime,
    Variant,
)
from pointsman.store import archive
from pointsman.store.database import open_database, reader
from pointsman.store.evidence_schema import decision
from pointsman.store.rows import signed

MILLION = 1_000_000
SECONDS = 30.0
MEMORY_MB = 300.0
NAME = "default/bench"
COUNTRIES = ("DE", "FR", "US", "JP", "BR", "IN", "GB", "IT")
_BATCH = 10_000


MODELS = tuple(
    Variant(name, str(n), f"models:/b/{n}", "", Runtime.ONNX, deny=("yes",))
    for n, name in enumerate(("champion", "challenger"), start=1)
)
BEFORE = project(rule("default", fallback=()), variants=MODELS)
AFTER = project(
    rule("big-payments", "request.amount > 900.0", "champion", fallback=()),
    rule("default", allocation=initial({"champion": 70, "challenger": 30}), fallback=()),
    variants=MODELS,
)


def row(number: int) -> dict[str, object]:
    """One decision of `BEFORE`, as ingestion stores it."""
    unit, country, amount = f"account-{number * 7 % 400_003}", COUNTRIES[number % 8], number % 1000
    context = {"amount": float(amount), "country": country}
    given = decide(BEFORE, NOTHING_LIVE, Request(f"d-{number}", unit, context))
    score = (number * 31 % 97) / 97
    return {
        "id": f"d-{number:08}",
        "at_ms": number,
        "project": NAME,
        "digest": b"",
        "table_version": 1,
        "request_id": "",
        "unit": unit,
        "bucket": given.bucket,
        "unit_hash": signed(hash64("", unit)),
        "context": f'{{"amount":{amount}.0,"country":"{country}"}}',
        "rule": given.rule,
        "epoch": 1,
        "assigned": given.assigned,
        "served": given.assigned,
        "version": "1" if given.assigned == "champion" else "2",
        "reason": given.reason.value,
        "served_reason": given.reason.value,
        "propensity": given.propensity,
        "propensities": "[]",
        "probabilities": f"[{1 - score},{score}]",
        "predicted": "",
        "action": "",
        "latency_us": 900 + number % 300,
        "cost": 0.0,
        "live": "[]",
        "error": "",
        "pin": "",
        "idempotency_key": "",
        "key": "",
    }


def fill(connection: Connection, count: int) -> None:
    for start in range(0, count, _BATCH):
        end = min(count, start + _BATCH)
        connection.execute(insert(decision), [row(number) for number in range(start, end)])


def replay(batches: Iterable[list[Logged]]) -> Replay:
    """By one attribute, with value at risk."""
    made = Replay(BEFORE, AFTER, ["country"], "amount")
    for batch in batches:
        made.feed(batch)
    return made


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """0 where time and memory are held, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=MILLION)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as home:
        engine = open_database(Path(home) / "store.db")
        with engine.begin() as connection:
            fill(connection, options.decisions)
        before_mb = peak_mb()
        with reader(engine).connect() as connection, cProfile.Profile() as profile:
            if not options.profile:
                profile.disable()
            start = process_time()
            found = replay(archive.newest(connection, NAME, options.decisions)).forecast()
            seconds = process_time() - start
        engine.dispose()
    if options.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)
    if found.decisions != options.decisions or not found.moved:
        print(f"replayed {found.decisions} decisions, of which {found.moved} move: wrong")
        return 1
    budget, grown = SECONDS * options.decisions / MILLION, max(0.0, peak_mb() - before_mb)
    print(f"{'plan: replay':36}{'seconds':>9}{'us each':>9}{'budget':>8}{'MB':>7}{'budget':>8}")
    each = seconds / options.decisions * 1e6
    print(
        f"{f'{options.decisions:,} decisions':36}{seconds:9.1f}{each:9.2f}{budget:8.1f}"
        f"{grown:7.0f}{MEMORY_MB:8.0f}"
    )
    return int(seconds > budget or grown > MEMORY_MB)


if __name__ == "__main__":
    sys.exit(main())
