"""Keeps a SQLite database in WAL mode from everybody else, until its own standard input ends.

    python hold_database.py DATA/store.db

`BEGIN EXCLUSIVE` stops writers alone: in WAL mode readers go on. This takes every lock there is,
as SQLite itself does while it recovers a log, so that others can neither read nor write. A process
of its own, since locks of this kind are those of a process, and gone as soon as it closes the file.
"""

import fcntl
import sys
from pathlib import Path

FIRST_LOCK = 120
"""Offset in the shared-memory file of the first of SQLite's locks: sqlite.org/walformat.html"""

LOCKS = 8


def main() -> None:
    with Path(f"{sys.argv[1]}-shm").open("r+b") as shared:
        fcntl.lockf(shared, fcntl.LOCK_EX, LOCKS, FIRST_LOCK)
        print("held", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
