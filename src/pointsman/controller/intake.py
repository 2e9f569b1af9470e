"""Runs the ingester in the background, and tells people what it could not take in."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import structlog

from pointsman.controller.ingest import Ingester, Tick

_log = structlog.get_logger(__name__)
_SAY_AGAIN_S: Final = 60.0
_KINDS: Final = ("decisions", "shadows", "outcomes", "overrides")

_WORDS: Final = {
    "faults": "ranges or records of the journal cannot be taken in; `pointsman verify` lists "
    "damage, and their segments are kept",
    "unconfigured": "decisions were made by tables this controller does not know; they are stored "
    "and enter no evidence",
    "unmerged": "cells of evidence changed their classes within an epoch and stay as they were",
}


class Troubles(msgspec.Struct, frozen=True):
    """What could not be taken in since this process started.

    unreadable: streams that cannot be read just now, and why; the others: how many, all told
    """

    faults: int = 0
    unconfigured: int = 0
    unmerged: int = 0
    unreadable: dict[str, str] = {}

    def sentences(self) -> list[str]:
        """One for each kind of trouble there is."""
        counts = ((name, getattr(self, name)) for name in _WORDS)
        said = [f"{count:,} {_WORDS[name]}" for name, count in counts if count]
        said += [
            f"journal {stream} cannot be read: {why}" for stream, why in self.unreadable.items()
        ]
        return said


class Intake:
    """One ingester's turns. `turn` belongs to one thread; `troubles` may be asked by any."""

    def __init__(
        self,
        ingester: Ingester,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._ingester = ingester
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._troubles = Troubles()
        self._said: dict[str, tuple[int, float]] = {}
        self._caught_up_ms = 0
        self.taken_in: Mapping[str, int] = dict.fromkeys(_KINDS, 0)
        """Records by what they are, since this process started."""
        self.settled: Mapping[tuple[str, str], int] = {}
        """Feedback since then, by project (empty where none is known) and what became of it."""

    @property
    def records(self) -> int:
        """Taken in since this process started."""
        return sum(self.taken_in.values())

    @property
    def troubles(self) -> Troubles:
        return self._troubles

    @property
    def caught_up_ms(self) -> int:
        """Everything that was in the journal at that time has been taken in; Unix milliseconds."""
        return self._caught_up_ms

    def turn(self) -> bool:
        """One tick; whether there is more to read at once. Raises as the ingester does."""
        started_ms = self._now_ms()
        tick = self._ingester.tick()
        # Replaced as a whole: whoever reads them meanwhile has those of one moment.
        self.taken_in = {kind: n + getattr(tick, kind) for kind, n in self.taken_in.items()}
        if tick.settled or tick.expired:
            expired = {("", "expired"): tick.expired}
            self.settled = Counter(self.settled) + Counter(tick.settled) + Counter(expired)
        if not tick.more and not tick.unreadable:
            self._caught_up_ms = started_ms
        self._streams(tick)
        if tick.faults or tick.unconfigured or tick.unmerged:
            before = self._troubles
            self._troubles = msgspec.structs.replace(
                before, **{name: getattr(before, name) + getattr(tick, name) for name in _WORDS}
            )
        self._counts()
        return tick.more

    def _streams(self, tick: Tick) -> None:
        """Says once when a stream cannot be read, and once when it can be again."""
        before = self._troubles.unreadable
        if tick.unreadable == before:
            return
        for stream, why in tick.unreadable.items():
            if before.get(stream) != why:
                _log.error("a journal cannot be read", stream=stream, error=why)
        for stream in before.keys() - tick.unreadable.keys():
            _log.info("a journal can be read again", stream=stream)
        self._troubles = msgspec.structs.replace(self._troubles, unreadable=tick.unreadable)

    def _counts(self) -> None:
        """Says at once what is new of its kind, and then how many more, once a minute."""
        now_s = self._monotonic_s()
        for name, words in _WORDS.items():
            count = getattr(self._troubles, name)
            told, at_s = self._said.get(name, (0, now_s - _SAY_AGAIN_S))
            if count > told and now_s - at_s >= _SAY_AGAIN_S:
                self._said[name] = (count, now_s)
                _log.warning(words, kind=name, new=count - told, since_start=count)
