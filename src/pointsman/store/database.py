"""Opens the store: SQLite through pysqlite3, in one data directory that one process owns.

The system's own SQLite is never used: versions 3.7.0 to 3.51.2 can corrupt a database in WAL mode
when two connections write or checkpoint at the same time (the WAL-reset bug).
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pysqlite3 import dbapi2
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import URL

from pointsman.domain.errors import Kind, PointsmanError
from pointsman.store import migrations

DATABASE_FILE: Final = "store.db"
LOCK_FILE: Final = "lock"

BUSY_TIMEOUT_MS: Final = 5_000
"""Longer than any usual transaction of ours. Whoever waits this long hears so, and asks again:
people at a terminal are better served by an answer than by a longer wait."""

_CACHE_KIB: Final = 65_536
_BEGIN: Final = "pointsman_begin"

_FIRST_FAULTY: Final = (3, 7, 0)
_FIRST_SOUND: Final = (3, 51, 3)
_BACKPORTS: Final = {(3, 44): 6, (3, 50): 7}

_OF_THE_FILE: Final = (
    # Before the first table: lets retention give pages back to the file system.
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
)
"""Kept in the file. Set once, since setting them again would wait for whoever writes."""

_OF_A_CONNECTION: Final = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    # FULL: a transaction that has committed survives a loss of power.
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
)


def check_sqlite(version: tuple[int, int, int]) -> None:
    """Raises PointsmanError(UNAVAILABLE) for a version of SQLite that can corrupt its database."""
    sound_backport = version[2] >= _BACKPORTS.get(version[:2], 1 << 30)
    if version < _FIRST_FAULTY or version >= _FIRST_SOUND or sound_backport:
        return
    raise PointsmanError(
        Kind.UNAVAILABLE,
        f"SQLite {'.'.join(map(str, version))} can corrupt a database in WAL mode",
        hint="install a `pysqlite3` built with SQLite 3.51.3 or later (or 3.50.7+, 3.44.6+)",
    )


def open_database(path: Path) -> Engine:
    """The store, migrated to this version's schema. Blocking; may take long after an upgrade.

    Transactions of the engine take the write lock when they begin, so that what they read stays
    true until they commit; use `reader(engine)` for those that only read.

    Raises PointsmanError: UNAVAILABLE for an unsound SQLite, CONFLICT for a database that a newer
    version has migrated.
    """
    check_sqlite(dbapi2.sqlite_version_info)
    with contextlib.closing(dbapi2.connect(str(path))) as first:
        if first.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            for pragma in _OF_THE_FILE:
                first.execute(pragma)
    path.chmod(0o600)
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        module=dbapi2,
        # Threads of the admin API and the ingester each hold one.
        pool_size=16,
        max_overflow=16,
        pool_timeout=BUSY_TIMEOUT_MS / 1000,
    )
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    with engine.begin() as connection:
        migrations.upgrade(connection)
    return engine


def reader(engine: Engine) -> Engine:
    """The same store for transactions that only read: they see one state of it and wait for nobody.

    A write through it may fail with `database is locked`.
    """
    return engine.execution_options(**{_BEGIN: "BEGIN DEFERRED"})


def when_full(engine: Engine, tell: Callable[[], None]) -> None:
    """Calls `tell` whenever anybody's statement or commit meets a full disk, in that thread."""

    def look(context: ExceptionContext) -> None:
        if "disk is full" in str(context.original_exception):
            tell()

    event.listen(engine, "handle_error", look)


class DataLock:
    """Owns a data directory until `close`, or until its process ends however that happens.

    Raises PointsmanError(CONFLICT) if another process owns it.
    """

    def __init__(self, data: Path) -> None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(data / LOCK_FILE, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._descriptor, 64, 0).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise PointsmanError(
                Kind.CONFLICT,
                f"{data}: the data directory is in use by process {owner or 'unknown'}",
                hint="stop that process, or give this one a data directory of its own",
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Gives the directory up; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def _prepare_connection(connection: Any, _: object) -> None:
    # None: the driver begins no transactions by itself; `_begin` does, and knows which kind.
    connection.isolation_level = None
    for pragma in _OF_A_CONNECTION:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE")
    connection.exec_driver_sql(begin)
