"""What a tick of the rollout loop costs over 10 million decisions, beside 10 thousand.

Two controllers' stores hold what so many decisions leave behind (`bench/filling.py`): evidence
cells, running counts and first exposures of four epochs, and the rows of the newest decisions and
their labels, up to a million. Then `Rollouts.tick` is timed, the product's own: it observes,
judges, reconciles and commits. Before each tick as much new traffic comes in through journal and
ingester, and a block of labels has matured. Ticks of both alternate in one run; what is compared is
the processor's time, which neighbours hurt least. `python -m bench.tick [--ticks 20]`, or
`make bench`. Leaves with status 1 where the larger one costs more than `LIMIT` times the smaller.
"""

import argparse
import gc
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import structlog
from bench.filling import NEW, SIZES, Filled, Size
from rich.console import Console
from rich.table import Table
from tests.controller.rollout_world import NAME

from pointsman.domain.evidence import BLOCK_MS

LIMIT: Final = 1.25
"""Two medians of the same work differ by as much on a machine that does other things too."""
TICKS: Final = 20


def main() -> int:
    """0 where the ratio is held, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.tick", description=__doc__)
    parser.add_argument("--ticks", type=int, default=TICKS)
    ticks = parser.parse_args().ticks
    console = Console()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as home:
        stores = [filled(Path(home), size, console) for size in SIZES]
        try:
            times = measured(stores, ticks)
        finally:
            for store in stores:
                store.world.close()
    shown = Table("decisions", "rows", "epochs", "cells", "median ms", "fastest", "slowest")
    for store, found in zip(stores, times, strict=True):
        figures = (statistics.median(found), min(found), max(found))
        counts = (store.rows, store.epochs, store.cells)
        shown.add_row(
            store.size.name, *(f"{n:,}" for n in counts), *(f"{s * 1000:.1f}" for s in figures)
        )
    console.print(shown)
    small, large = (statistics.median(found) for found in times)
    console.print(f"10 million costs {large / small:.2f} times 10 thousand; at most {LIMIT}")
    return int(large > LIMIT * small)


def filled(home: Path, size: Size, console: Console) -> Filled:
    started = time.monotonic()
    root = home / str(size.decisions)
    root.mkdir()
    store = Filled(root, size)
    taken = time.monotonic() - started
    console.print(f"filled a store with {size.decisions:,} decisions in {taken:.0f} s", style="dim")
    return store


def measured(stores: list[Filled], ticks: int) -> list[list[float]]:
    """Processor seconds of each tick of each store, after two that are not counted."""
    times: list[list[float]] = [[] for _ in stores]
    for number in range(ticks + 2):
        for store, found in zip(stores, times, strict=True):
            taken = once(store)
            if number >= 2:
                found.append(taken)
    return times


def once(store: Filled) -> float:
    """New decisions and labels come in and are taken in; then one tick, in processor seconds.

    Raises AssertionError where the tick did not read and store all of it.
    """
    world = store.world
    world.pass_time(BLOCK_MS)
    world.serve()
    before = store.judging()
    came = world.traffic(NEW, label={"challenger": 0.9, "champion": 0.9})
    gc.collect()
    started = time.process_time()
    plan = world.rollouts.tick(NAME)
    taken = time.process_time() - started
    assert world.phase == "running", world.sentences()
    after = store.judging()
    epoch = world.table.rules[0].epoch
    more = after.decisions[epoch] - before.decisions[epoch]
    assert more == sum(one.assigned == "challenger" for one in came), (more, len(came))
    assert after.through_ms == before.through_ms + BLOCK_MS
    assert plan is not None
    return taken


if __name__ == "__main__":
    sys.exit(main())
