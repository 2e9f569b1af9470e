"""Asks prepared versions what they say to logged features, for plans.

Features are read again in the archive's process, and each version runs in one of its own: the
controller sees neither a model nor, at any time, more than probabilities.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from pointsman.archive.jobs import Reread
from pointsman.archive.process import Workbench
from pointsman.controller import pinning
from pointsman.controller.ledger import Ledger
from pointsman.decide.sampling import Drawn
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.runtime import scoring
from pointsman.runtime.blobs import BlobStore
from pointsman.runtime.scoring import Scores
from pointsman.store import archived

_GRACE_S: Final = 10.0
"""From when a version is to begin no further row to when its process is killed."""
_PATIENCE_S: Final = 30.0
"""How long a plan waits for another one that is asking."""


class Limits(msgspec.Struct, frozen=True):
    """How much the questions of one plan may take.

    read_s, read_bytes: to find features; what is found by then counts
    model: of each version's process; the budgets of all versions together are `model.budget_s`
    """

    read_s: float = 15.0
    read_bytes: int = 256 << 20
    model: scoring.Limits = scoring.DEFAULT_LIMITS


class Question(msgspec.Struct, frozen=True):
    """artifact: digest of a prepared version; drawn: what it is asked about, in order of hash"""

    artifact: str
    drawn: tuple[Drawn, ...]


class Replies(msgspec.Struct, frozen=True):
    """What a version said, by decision id.

    absent: logged without features, or not found, where `whole` says that all was looked through
    refused: those it cannot take, and why, of the first; failed: why it could not be asked at all
    """

    answers: dict[str, tuple[float, ...]] = {}
    absent: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    whole: bool = True
    why: str = ""
    failed: str = ""


class Asking:
    """Asks, for one plan at a time. Blocking, for seconds; bounded by its limits."""

    def __init__(
        self,
        data: Path,
        ledger: Ledger,
        blobs: BlobStore,
        workbench: Workbench,
        limits: Limits | None = None,
    ) -> None:
        self._journal = data / "journal"
        self._ledger = ledger
        self._blobs = blobs
        self._workbench = workbench
        self._limits = limits or Limits()
        self._busy = threading.Lock()

    def ask(self, project: str, questions: Sequence[Question]) -> list[Replies]:
        """One each. A version that fails fails alone.

        Raises PointsmanError where features could not be read: OVERLOADED while others ask,
        UNAVAILABLE where the archive's process failed.
        """
        if not self._busy.acquire(timeout=_PATIENCE_S):
            raise PointsmanError(
                Kind.OVERLOADED, "versions are being asked for another plan", hint="plan again"
            )
        try:
            return self._ask(project, questions)
        finally:
            self._busy.release()

    def _ask(self, project: str, questions: Sequence[Question]) -> list[Replies]:
        unique = {one.id: one for question in questions for one in question.drawn}
        # In order of hash, so that what a version reaches in time is a uniform draw.
        ordered = sorted(unique.values())
        place = {one.id: number for number, one in enumerate(ordered)}
        until = time.monotonic() + self._limits.model.budget_s + self._limits.read_s
        with self._workbench.scratch() as scratch:
            wanted = [(one.id, one.at_ms) for one in ordered]
            read = self._workbench.reread(self._pinned(project, wanted, scratch), scratch)
            replies = []
            for question in questions:
                numbers = [place[one.id] for one in question.drawn]
                left_s = until - time.monotonic()
                if left_s <= 0:
                    replies.append(Replies(failed="the time was up before its turn came"))
                    continue
                limits = self._within(left_s)
                try:
                    found = scoring.score(
                        question.artifact, Path(read.path), numbers, self._blobs, limits
                    )
                except PointsmanError as error:
                    replies.append(Replies(failed=error.message))
                    continue
                replies.append(_named(found, [one.id for one in ordered], whole=read.whole))
        return replies

    def _within(self, left_s: float) -> scoring.Limits:
        """The limits of one version where so much time is left for all."""
        own = self._limits.model
        budget_s = min(own.budget_s, left_s)
        timeout_s = min(own.timeout_s, budget_s + _GRACE_S)
        return msgspec.structs.replace(own, budget_s=budget_s, timeout_s=timeout_s)

    def _pinned(self, project: str, wanted: list[tuple[str, int]], scratch: Path) -> Reread:
        """All that may hold these decisions, the newest first. Raises PointsmanError."""
        try:
            return pinning.held(scratch, lambda place: self._pin(project, wanted, place))
        except FileNotFoundError:
            raise PointsmanError(
                Kind.UNAVAILABLE, "what was to be read went away each time", hint="plan again"
            ) from None

    def _pin(self, project: str, wanted: list[tuple[str, int]], place: Path) -> Reread:
        times = [at_ms for _, at_ms in wanted]
        found = pinning.segments(self._journal, min(times))
        with self._ledger.reading() as connection:
            known = archived.load(connection)
        missing = [key for key in found if project not in known.get(key, frozenset())]
        runs = []
        for key in missing:
            # A run of its own for each, since they are to be read from the newest back.
            own = place / f"{key[0]}-{key[1]}"
            runs += pinning.link_segments(self._journal, [key], project, own)
        runs.sort(key=lambda run: _written_ns(Path(run.directory)), reverse=True)
        span = (min(times) - pinning.MARGIN_MS, max(times))
        files = pinning.link_files(self._workbench.archive, ["decisions"], project, span, place)
        return Reread(
            project=project,
            decisions=wanted,
            runs=runs,
            files=files.get("decisions", [])[::-1],
            most_bytes=self._limits.read_bytes,
            budget_s=self._limits.read_s,
        )


def _written_ns(directory: Path) -> int:
    """When the one segment in a directory was last written to."""
    return max(path.stat().st_mtime_ns for path in directory.iterdir())


def _named(found: Scores, ids: list[str], *, whole: bool) -> Replies:
    return Replies(
        answers={ids[number]: answer for number, answer in found.answers.items()},
        absent=frozenset(ids[number] for number in found.absent),
        refused=frozenset(ids[number] for number in found.refused),
        whole=whole,
        why=found.why,
    )
