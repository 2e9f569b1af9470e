"""The worker's journal: one append for all records of a turn, durable where that is asked for."""

from collections.abc import Callable

from pointsman.domain.errors import PointsmanError
from pointsman.gateway.counters import Counters
from pointsman.gateway.settings import WorkerSettings
from pointsman.journal.commit import GroupCommit
from pointsman.journal.writer import JournalBrokenError, SegmentWriter


class Log:
    """The stream of one slot.

    on_broken: called once, when the disk has failed: what was not yet synced may be lost, so the
        worker must stop answering and start anew from what is on disk
    """

    def __init__(self, settings: WorkerSettings, on_broken: Callable[[], None]) -> None:
        self._writer = SegmentWriter(settings.data / "journal" / settings.stream, settings.stream)
        self._commit = GroupCommit(self._writer)
        self._on_broken = on_broken
        self._told = False

    def count_in(self, counters: Counters) -> None:
        """Where to count; called before anything is appended."""
        self._values = counters.values
        self._records = counters.index("pointsman_journal_records")
        self._writes = counters.index("pointsman_journal_writes")
        self._failures = counters.index("pointsman_journal_failures")

    def append(self, records: list[bytes]) -> None:
        """Writes them as one batch. Raises PointsmanError(LOG_UNAVAILABLE): then none is kept."""
        try:
            self._writer.append(records)
        except PointsmanError as error:
            self._values[self._failures] += 1
            if isinstance(error, JournalBrokenError):
                self.check()
            raise
        self._values[self._records] += len(records)
        self._values[self._writes] += 1

    async def durable(self) -> None:
        """Returns when all that was appended before is on disk. Raises JournalBrokenError."""
        try:
            await self._commit.durable()
        except JournalBrokenError:
            self._values[self._failures] += 1
            self.check()
            raise

    @property
    def full(self) -> bool:
        """Whether appends are refused for want of room, as of the last attempt."""
        return self._writer.full

    def check(self) -> None:
        """Tells of a broken disk, once. Called often: syncs fail in a thread of their own."""
        if self._writer.broken and not self._told:
            self._told = True
            self._on_broken()

    def close(self) -> None:
        """Syncs what is left and lets go of the stream. Raises JournalBrokenError."""
        self._commit.close()
        self._writer.close()
