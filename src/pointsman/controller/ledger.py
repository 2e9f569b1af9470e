"""Every change in one transaction with its audit entry and the table that follows from it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from pointsman.controller.feed import Feed
from pointsman.ports import Clock
from pointsman.store import audit, outbox, published
from pointsman.store.audit import Entry
from pointsman.store.database import reader
from pointsman.store.published import Published


class Ledger:
    """The control plane's database, as its services see it."""

    def __init__(self, engine: Engine, feed: Feed, clock: Clock) -> None:
        self._engine = engine
        self._reader = reader(engine)
        self._feed = feed
        self._clock = clock

    def now_ms(self) -> int:
        return self._clock.now_ms()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with."""
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction for what is no change of anybody's: caches, what was last seen."""
        with self._engine.begin() as connection:
            yield connection

    def note(self, entry: Entry, work: Callable[[Connection], None] | None = None) -> None:
        """Does `work`, which gateways need not know of, and writes the entry, or neither."""
        with self._engine.begin() as connection:
            # The chain's newest row is read under the write lock that `begin` took.
            self._append(connection, entry)
            if work is not None:
                work(connection)

    def commit(self, entries: Iterable[Entry], work: Callable[[Connection], None]) -> None:
        """As `note`, with several entries, or with none where nothing happened that is one."""
        with self._engine.begin() as connection:
            for entry in entries:
                self._append(connection, entry)
            work(connection)

    def publish(self, entry: Entry, work: Callable[[Connection], None]) -> Published:
        """Does `work`, writes the entry and publishes the table that results; or none of it.

        Gateways that wait for a table get it at once. Raises whatever `work` raises.
        """
        with self._engine.begin() as connection:
            self._append(connection, entry)
            work(connection)
            new = published.publish(connection, self.now_ms(), entry.action)
        # Two of them may come here in either order: the feed keeps the newer one.
        self._feed.put(new)
        return new

    def _append(self, connection: Connection, entry: Entry) -> None:
        audit.append(connection, self.now_ms(), entry)
        if entry.tell:
            told = outbox.Tell(entry.action, entry.sentence)
            outbox.put(connection, entry.target, [told], self.now_ms())

    def resume(self, newest: Published) -> None:
        """Hands out the table that was published last, after a restart."""
        self._feed.put(newest)
