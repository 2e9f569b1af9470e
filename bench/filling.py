"""A controller's store with what many decisions of a rollout left behind, filled fast.

The rollout is a real one: it was opened by an alias, and every epoch of it was published, judged
and left by the product's own ticks. Only what the ingester would have written about its decisions
is written here in bulk, in the form the ingester writes it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from sqlalchemy import Connection, func, select
from tests.controller.rollout_world import MINUTE, NAME, SECOND, World, started

from pointsman.controller import judging
from pointsman.controller.judging import Judging
from pointsman.domain import evidence
from pointsman.domain.evidence import BLOCK_MS, Confusion, Moments, Payload, ScoreHistogram
from pointsman.store import bulk, headcounts, payloads, rollouts
from pointsman.store.database import reader
from pointsman.store.evidence_schema import cell, decision, exposure
from pointsman.store.headcounts import Heads
from pointsman.store.payloads import Key

RULE: Final = "default"
WEIGHTS: Final = (20, 30, 40, 50)
SLICES: Final = ("", "country=DE", "country=FR", "channel=app", "channel=web")
METRICS: Final = ("accuracy", "precision", "recall", "f1", "auc", "log_loss", "brier")
PER_UNIT: Final = 2
"""Decisions of each unit. With so many units, and events at a rate of 0.3, ten thousand decisions
are enough for every bound to exist on both sides: bounds are found by search, and what is not to
be weighed yet, or not bounded, is not searched for. That saves a young rollout up to half a tick,
whatever the store holds."""
HOT_ROWS: Final = 1_000_000
"""Rows of single decisions at most; retention takes older ones."""
LOOKS_EACH: Final = 5
"""Ticks while an epoch's history is read."""
MINUTES_BETWEEN: Final = 15
NEW: Final = 300
"""Decisions that come in between two ticks."""


class Size:
    """So many decisions in each of four epochs, in so many blocks of five minutes."""

    def __init__(self, name: str, blocks: int, per_block: int) -> None:
        self.name, self.blocks, self.per_block = name, blocks, per_block

    @property
    def decisions(self) -> int:
        return len(WEIGHTS) * self.blocks * self.per_block


SIZES: Final = (Size("10 thousand", 10, 250), Size("10 million", 250, 10_000))


class Filled:
    """One project whose rollout is at its last weight, with the history of all of them."""

    def __init__(self, root: Path, size: Size) -> None:
        self.size = size
        self.world = World(root, text(size))
        self._rng = np.random.default_rng(size.blocks)
        self._number = 0
        started(self.world)
        for weight in WEIGHTS:
            self._epoch(weight / 100, last=weight == WEIGHTS[-1])
        self.rows = self._count(func.count(decision.c.row))
        self.cells = self._count(func.count(cell.c.block_ms))
        self.epochs = len(self.judging().stretches)

    def judging(self) -> Judging:
        """What the rollout's ticks have read so far."""
        with reader(self.world.engine).connect() as connection:
            return judging.decode(rollouts.judging(connection, NAME)[1])

    def _count(self, what: "func.Function[int]") -> int:
        with reader(self.world.engine).connect() as connection:
            return int(connection.scalar(select(what)) or 0)

    def _epoch(self, share: float, *, last: bool) -> None:
        """One weight's decisions, read by ticks, until the rollout goes on to the next."""
        world, size = self.world, self.size
        assert world.share() == share, (world.share(), world.sentences())
        world.serve()
        world.pass_time(SECOND)
        world.tick()
        epoch, start = world.table.rules[0].epoch, evidence.block_of(world.clock.ms)
        with world.engine.begin() as connection:
            self._write(connection, epoch, start, share)
        for _ in range(LOOKS_EACH):
            world.pass_time(size.blocks * BLOCK_MS // LOOKS_EACH)
            world.serve()
            world.tick()
        # Decisions of the ingester's own keep it going until the next weight is served.
        for _ in range(0 if last else MINUTES_BETWEEN):
            if world.share() != share:
                break
            world.pass_time(MINUTE)
            world.traffic(NEW)
            world.serve()
            world.tick()
        assert world.phase == "running", world.sentences()

    def _write(self, connection: Connection, epoch: int, start_ms: int, share: float) -> None:
        size, shares = self.size, {"challenger": share, "champion": 1.0 - share}
        counts = {name: round(size.per_block * chance) for name, chance in shares.items()}
        # Blocks differ by nothing that costs anything: each arm's payloads are drawn once.
        blobs = {
            name: [(m, evidence.encode(p)) for m, p in payloads_of(self._rng, n)]
            for name, n in counts.items()
        }
        blocks = range(start_ms, start_ms + size.blocks * BLOCK_MS, BLOCK_MS)
        for block in blocks:
            rows = [
                (NAME, RULE, epoch, block, name, part, metric, blob)
                for name, cells in blobs.items()
                for part in SLICES
                for metric, blob in cells
            ]
            bulk.insert(connection, cell, rows)
        # World's own chances, in the order of their names, as the ingester writes them.
        drawn = f'[["challenger",{shares["challenger"]}],["champion",{shares["champion"]}]]'
        heads: dict[Key, Heads] = {}
        for block in blocks:
            for name, n in counts.items():
                units = n // PER_UNIT
                key = (NAME, RULE, epoch, block)
                heads[*key, "split", drawn, name] = Heads(units, units, units, units // 2)
                heads[*key, "logged", drawn, name] = Heads(units)
        headcounts.add(connection, heads)
        whole = size.blocks * size.per_block
        stratum = payloads.stratum_number(connection, NAME, RULE, epoch)
        _exposures(connection, stratum, whole // PER_UNIT, start_ms)
        _decisions(connection, self._number, min(whole, HOT_ROWS // len(WEIGHTS)), epoch, blocks)
        self._number += whole


def text(size: Size) -> str:
    """The project's file: every kind of metric, guardrails in every slice, and steps that last as
    long as the history of each weight."""
    declared = "\n".join(
        f"    {of}: {{kind: classifier, of: {of}, slices: [country, channel]}}" for of in METRICS
    )
    bounds = {
        of: "atMost: 0.3" if of in {"log_loss", "brier"} else "atLeast: -0.2" for of in METRICS
    }
    signals = "\n".join(f"      - {{metric: {of}, {bound}}}" for of, bound in bounds.items())
    minutes = size.blocks * BLOCK_MS // 60_000
    steps = "\n".join(
        f"      - setWeight: {weight}\n      - analysis: "
        f"{{hold: {'60d' if weight == WEIGHTS[-1] else f'{minutes}m'}, minDecisions: 20}}"
        for weight in WEIGHTS
    )
    return f"""
apiVersion: pointsman/v1
kind: Project
metadata: {{name: loan}}
spec:
  classes: [ok, fraud]
  positive: fraud
  unit: account
  context:
    account: string
    country: {{type: string, default: DE}}
    channel: {{type: string, default: app}}
  features: {{age: long}}
  decision: {{deny: [fraud]}}
  variants:
    champion: {{model: "models:/loan@champion"}}
    challenger: {{model: "models:/loan@challenger"}}
  rules:
    - {{name: default, split: {{champion: 95, challenger: 5}}}}
  outcomes: {{label: {{horizon: 30m}}}}
  metrics:
    errors: {{kind: operational, event: error, slices: [country, channel]}}
    denied: {{kind: decision, event: denied, slices: [country, channel]}}
{declared}
  rollout:
    variant: challenger
    rule: default
    steps:
{steps}
    guardrails:
      - {{metric: errors, relative: 0.5, slices: [country, channel]}}
      - {{metric: denied, absolute: 0.05, slices: [country, channel]}}
    signals:
{signals}
    cooldown: 0s
"""


def payloads_of(rng: np.random.Generator, n: int) -> Iterator[tuple[str, Payload]]:
    """What a block of n decisions of one arm adds up to, half of them labelled."""
    first = {m: evidence.member(evidence.FIRST, m) for m in (evidence.DENIED, evidence.ERROR)}
    for metric, rate, count in (
        (evidence.DENIED, 0.2, n), (evidence.ERROR, 0.3, n), (evidence.CORRECT, 0.9, n // 2),
        (first[evidence.DENIED], 0.2, n // PER_UNIT), (first[evidence.ERROR], 0.3, n // PER_UNIT),
    ):  # fmt: skip
        # Neither arm may do better by chance: the same block comes over and over again.
        yield metric, moments(rng, (np.arange(count) < int(count * rate)).astype(float))
    yield evidence.COST, moments(rng, np.zeros(n))
    for metric in (evidence.LOG_LOSS, evidence.BRIER):
        yield metric, moments(rng, rng.exponential(0.3, n // 2))
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


_NUMBERS: Final = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)"


def _exposures(connection: Connection, stratum: int, units: int, at_ms: int) -> None:
    connection.exec_driver_sql(
        f"INSERT INTO {exposure.name} {_NUMBERS} SELECT ?, i, ?, 'd' || i, 'champion', 0.9 FROM n",
        (units, stratum, at_ms),
    )


def _decisions(connection: Connection, first: int, count: int, epoch: int, blocks: range) -> None:
    """Hot rows of one epoch, spread over its blocks, every second one with a label."""
    values = {
        "id": "printf('old-%09d', ? + i)", "at_ms": "? + i * ? / ?", "project": f"'{NAME}'",
        "digest": "x'00'", "table_version": "1", "unit": "'u' || (i / 10)", "bucket": "i",
        "unit_hash": "i / 10", "context": """'{"country":"DE","channel":"app"}'""",
        "rule": f"'{RULE}'", "epoch": "?", "propensity": "0.9", "probabilities": "'[0.9,0.1]'",
        "assigned": "'champion'", "served": "'champion'", "version": "'1'", "reason": "'SPLIT'",
        "served_reason": "'SPLIT'", "propensities": "'[]'", "predicted": "'ok'",
        "action": "'allow'", "latency_us": "2000", "cost": "0.0", "live": "'[]'",
    }  # fmt: skip
    empty = [c.name for c in decision.columns if c.name not in {*values, "row"}]
    values |= dict.fromkeys(empty, "''")
    connection.exec_driver_sql(
        f"INSERT INTO decision ({', '.join(values)}) {_NUMBERS}"
        f" SELECT {', '.join(values.values())} FROM n",
        (count, first, blocks.start, len(blocks) * BLOCK_MS, count, epoch),
    )
    connection.exec_driver_sql(
        f"INSERT INTO outcome {_NUMBERS}"
        " SELECT printf('old-%09d', ? + i * 2), 'label', '\"ok\"', ?, ?, 'f' || i FROM n",
        (count // 2, first, blocks.start, blocks.start),
    )
