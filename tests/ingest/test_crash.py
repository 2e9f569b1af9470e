"""The ingester killed by SIGKILL at any instant: nothing lost, nothing counted twice."""

import random
import subprocess
import sys
import time

from tests.ingest import reading

_INGESTS = """
import sys
from pathlib import Path
import pointsman.controller.ingest as ingest
from pointsman.controller.join import IngestProject
from pointsman.store.database import open_database

PROJECT = IngestProject(("no", "yes"), "yes", 3_600_000, None, ("country",))


class Catalog:
    def lookup(self, _project, _digest):
        return PROJECT


ingest.TICK_BYTES = 20_000  # many transactions, so that many can be interrupted
root = Path(sys.argv[1])
ingester = ingest.Ingester(root / "journal", open_database(root / "store.db"), Catalog())
print("ready", flush=True)
while ingester.tick().bytes:
    pass
print("done", flush=True)
"""


def test_sigkill_at_any_instant_loses_nothing_and_counts_nothing_twice(world, make):
    """Killed again and again until it comes through; then every count is exact."""
    dice = random.Random(11)
    count = 6000
    order = [f"d{n}" for n in range(count)]
    for start in range(0, count, 50):
        batch = [
            make.decision(name, unit=name, unit_hash=hash_of(name))
            for name in order[start : start + 50]
        ]
        world.write(*batch, stream="w0")
    dice.shuffle(order)
    for start in range(0, count, 50):
        labels = [make.label(f"f{n}", n, "yes") for n in order[start : start + 50]]
        world.write(*labels, stream="w1")
    kills = 0
    done = False
    while not done:
        process = subprocess.Popen(
            [sys.executable, "-c", _INGESTS, str(world.root)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "ready\n"
        if kills < 12:
            time.sleep(dice.random() * 0.15)
            process.kill()
            kills += 1
        done = process.stdout.readline() == "done\n"
        process.wait(timeout=60)

    assert kills == 12
    assert world.all("SELECT count(*), count(DISTINCT id) FROM decision") == [(count, count)]
    assert world.all("SELECT state, count(*) FROM feedback GROUP BY state") == [("applied", count)]
    assert world.all("SELECT sum(decisions), sum(labelled) FROM traffic") == [(count, count)]
    assert world.all("SELECT count(*) FROM exposure") == [(count,)]
    assert world.all("SELECT count(*) FROM inbox") == [(0,)]
    assert world.all("PRAGMA integrity_check") == [("ok",)]
    assert {name: counted(world, name) for name in ("error", "correct")} == {
        "error": count,
        "correct": count,
    }


def hash_of(name):
    return int(name[1:]) * 0x9E3779B97F4A7C15 % (1 << 64)


def counted(world, metric):
    """How many decisions all cells of a metric, without slices, hold together."""
    cells = world.read(reading.cells, "default/loan", "default")
    return sum(sum(p.n) for k, p in cells.items() if k.metric == metric and not k.slice)
