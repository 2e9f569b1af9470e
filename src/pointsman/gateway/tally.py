"""What a worker counts for the guard of one rule: plain integers, in a directory of their own.

`DATA/gateway/guards/<evidence>/` holds one counter file a worker slot and the units seen by any of
them. Its name is that of the evidence, so nothing is ever added up that may not be, and the parent
removes it as a whole once no table names it.

Only decisions the rule's split drew count, by the variant *assigned*, whoever answered. Statistics
are of first exposures of units: several requests of one sticky unit are one draw of the dice.
"""

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from xxhash import xxh3_64_intdigest

from pointsman.decide.hashing import unit_bytes
from pointsman.domain.action import DENY
from pointsman.domain.decision import Reason, Value
from pointsman.domain.table import Bound, Guard, ProjectTable
from pointsman.gateway.counters import Counters
from pointsman.gateway.work import Fault, Job, Row
from pointsman.judge.guard import MAX_VALUES, RUN

GUARDS: Final = "guards"
"""Directory of all guards' counts, below DATA/gateway."""

N: Final = "n"
REQUESTS, FAILED, RUNS = "requests", "failed", "runs"
OTHER: Final = "*"

_CAPACITY: Final = 4096
_NAME_BYTES: Final = 1 << 19
_SEEN_BYTES: Final = 1 << 21
_MAX_TEXT: Final = 64
_OURS: Final = frozenset({Fault.ERROR, Fault.TIMEOUT, Fault.MALFORMED})
"""Faults of the variant itself. What the caller sent is none, nor a model runner that is starting:
a guard that took those for one would take out a variant at every restart."""
_NEUTRAL: Final = frozenset({Fault.UNAVAILABLE, Fault.QUALITY})
"""Faults that say nothing of the variant at all, neither for nor against it."""

Happened = Callable[[Job, Row], bool]


class Seen:
    """Units seen before, by any worker: one byte for each of two million places.

    Two units may share a place. The second is then left out, whatever its variant, so what is
    counted stays a fair sample. Places are 1 byte, so that workers cannot undo each other's marks.
    """

    def __init__(self, path: Path) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Reserved, so that a full disk is said here and never met by a write to the mapping.
            os.posix_fallocate(handle, 0, _SEEN_BYTES)
            self._places = mmap.mmap(handle, _SEEN_BYTES)
        finally:
            os.close(handle)

    def first(self, unit: bytes, seed: int) -> bool:
        """Whether this unit is here for the first time; from now on it is not. seed: of the slice,
        in which a unit is exposed for itself"""
        place = xxh3_64_intdigest(unit, seed) & (_SEEN_BYTES - 1)
        if self._places[place]:
            return False
        self._places[place] = 1
        return True

    def forget(self) -> None:
        """Everybody is new again."""
        self._places[:] = bytes(_SEEN_BYTES)

    def close(self) -> None:
        self._places.close()


class Tally:
    """One guard's counts in one worker. Made once an `evidence`, and kept while it is served."""

    def __init__(self, guard: Guard, table: ProjectTable, gateway: Path, slot: int) -> None:
        directory = gateway / GUARDS / guard.evidence
        self._counters = Counters(
            directory / f"{slot}.counters", capacity=_CAPACITY, name_bytes=_NAME_BYTES
        )
        self._seen = Seen(directory / "seen")
        self._values = self._counters.values
        self._arms = (guard.variant, guard.against)
        self._variant = guard.variant
        bounds = {bound.counted: bound for bound in guard.bounds}
        self._happened = tuple(_happened(bound, table) for bound in bounds.values())
        self._names = tuple(bounds)
        self._attributes = tuple(sorted({name for b in guard.bounds for name in b.slices}))
        self._admitted: dict[str, dict[Value, str]] = {name: {} for name in self._attributes}
        self._seeds: dict[str, int] = {"": 0}
        self._places: dict[tuple[str, str], tuple[int, ...]] = {}
        arm = (("arm", guard.variant),)
        self._requests = self._counters.index(REQUESTS, arm)
        self._failed = self._counters.index(FAILED, arm)
        self._runs = self._counters.index(RUNS, arm)
        self._run = 0
        self._last: bytes | None = None

    def count(self, job: Job, rows: list[Row]) -> None:
        """Adds a request whose records are written. rows: those of this guard's rule"""
        failed: bool | None = None
        unit = b""
        for row in rows:
            arm = row.decision.assigned
            if row.decision.reason is not Reason.SPLIT or arm not in self._arms:
                continue
            if row.scores is None and job.failure is None:
                continue  # `:decide` asked for no answer
            if row.fault is Fault.LATE:
                continue  # whoever delayed it is charged for its own
            unit = unit_bytes(row.id if row.unit is None else row.unit)
            if arm == self._variant and row.fault not in _NEUTRAL:
                failed = bool(failed) or row.fault in _OURS
            self._expose(job, row, arm, unit)
        if failed is not None:
            self._request(unit, failed=failed)

    def _expose(self, job: Job, row: Row, arm: str, unit: bytes) -> None:
        names = [""]
        for attribute in self._attributes:
            value = row.context.get(attribute)
            if value is not None:
                names.append(self._slice(attribute, value))
        events: list[bool] | None = None
        for name in names:
            # A request without a unit is one of its own, and must not fill the places of others.
            if row.unit is not None and not self._seen.first(unit, self._seeds[name]):
                continue
            if events is None:
                events = [happened(job, row) for happened in self._happened]
            places = self._places.get((arm, name))
            if places is None:
                places = self._places[arm, name] = self._indexes(arm, name)
            values = self._values
            values[places[0]] += 1
            for place, event in zip(places[1:], events, strict=True):
                if event:
                    values[place] += 1

    def _request(self, unit: bytes, *, failed: bool) -> None:
        self._values[self._requests] += 1
        if not failed:
            self._run, self._last = 0, None
            return
        self._values[self._failed] += 1
        # One caller who tries the same again and again is no run.
        if unit != self._last:
            self._last = unit
            self._run += 1
            if self._run == RUN:
                self._values[self._runs] += 1
                self._run = 0

    def _slice(self, attribute: str, value: Value) -> str:
        admitted = self._admitted[attribute]
        name = admitted.get(value)
        if name is None:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            fits = len(admitted) < MAX_VALUES and len(text) <= _MAX_TEXT and text != OTHER
            name = f"{attribute}={text if fits else OTHER}"
            if fits:
                admitted[value] = name
            if name not in self._seeds:
                self._seeds[name] = xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))
        return name

    def _indexes(self, arm: str, name: str) -> tuple[int, ...]:
        labels = (("arm", arm), ("slice", name))
        return tuple(self._counters.index(event, labels) for event in (N, *self._names))


def _happened(bound: Bound, table: ProjectTable) -> Happened:
    """Whether a decision had the event; the same as the controller makes of its record."""
    limit = bound.limit
    positive = table.classes.index(table.positive) if table.positive else -1
    match bound.event:
        case "denied":
            return lambda _, row: (
                row.scores is not None and row.member.chooser.actions[row.chosen] == DENY
            )
        case "positive":
            return lambda _, row: row.scores is not None and row.chosen == positive
        case "score":
            return lambda _, row: row.scores is not None and row.scores[positive] > limit
        case "error":
            return lambda _, row: (
                (row.scores is None or row.tried > 1) and row.fault not in _NEUTRAL
            )
        case "fallback":
            return lambda _, row: (
                row.scores is not None and row.tried > 1 and row.fault not in _NEUTRAL
            )
        case "timeout":
            return lambda _, row: row.fault == Fault.TIMEOUT
        case "malformed":
            return lambda _, row: row.fault == Fault.MALFORMED
        case "latency":
            # What a row that was withheld took is what the row that failed took.
            return lambda job, row: (
                row.scores is not None and job.failure is None and job.latency_us > limit
            )
        case "cost":
            return lambda _, row: (
                row.scores is not None and row.member.variant.cost_per_request > limit
            )
        case _:
            # A table of a newer release: what is not understood is not watched, and harms nobody.
            return lambda _, __: False
