"""Parquet files by DuckDB: written whole or not at all, read with a bounded amount of memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb

from pointsman.archive.columns import COLUMNS
from pointsman.archive.layout import Kind
from pointsman.journal.disk import DISK, Disk

MEMORY: Final = "256MB"
"""What DuckDB may hold; what does not fit goes to its scratch directory."""

_OPTIONS: Final[dict[str, Any]] = {
    "threads": 1,
    "memory_limit": MEMORY,
    # Everything needed is in the wheel; nothing is ever fetched.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_GROUP_BYTES: Final = 32 << 20
_GROUP_ROWS: Final = 20_480
_VECTOR_ROWS: Final = 2_048
"""DuckDB's granularity: a group of rows, which is held in memory, has no fewer."""


def connect(scratch: Path, *, database: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """A connection that spills below `scratch`. database: a file in it, for large tables"""
    where = database if database == ":memory:" else str(scratch / database)
    options = {**_OPTIONS, "temp_directory": str(scratch / "spill")}
    return duckdb.connect(where, config=options)


def publish(
    connection: duckdb.DuckDBPyConnection,
    kind: Kind,
    lines: Path,
    target: Path,
    disk: Disk = DISK,
) -> None:
    """Makes lines of JSON the Parquet file `target`, which is there and whole, or as it was before.

    The same lines give the same bytes. Raises OSError or duckdb.Error.
    """
    _make_folder(target.parent, disk)
    temporary = target.with_suffix(".tmp")
    # The project is in the path, as Hive has it; readers refuse a column that is there twice.
    own = ", ".join(name(column) for column in COLUMNS[kind] if column != "project")
    query = f"SELECT {own} FROM {lines_of(kind, lines)}"
    options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_rows_in_a_group(lines):d}"
    connection.execute(f"COPY ({query}) TO {literal(temporary)} ({options})")
    descriptor = disk.open(temporary)
    try:
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)
    disk.replace(temporary, target)
    disk.sync_directory(target.parent)


def lines_of(kind: Kind, lines: Path) -> str:
    """A table function that reads lines of JSON with the columns of a kind."""
    columns = ", ".join(f"{name(c)}: {literal(t)}" for c, t in COLUMNS[kind].items())
    # Buffers are several times as large as the longest line that is allowed for.
    with lines.open("rb") as file:
        longest = max(map(len, file), default=0)
    options = f"format = 'newline_delimited', maximum_object_size = {max(longest, 1 << 20) + 1:d}"
    return f"read_json({literal(lines)}, columns = {{{columns}}}, {options})"


def files_of(kind: Kind, paths: Sequence[Path]) -> str:
    """A relation of the files' rows, with today's columns: null where all of them are older."""
    columns = ", ".join(f"NULL::{t} AS {name(c)}" for c, t in COLUMNS[kind].items())
    nothing = f"SELECT {columns} LIMIT 0"
    if not paths:
        return f"({nothing})"
    listed = ", ".join(literal(path) for path in paths)
    own = ", ".join(name(column) for column in COLUMNS[kind])
    partitions = "hive_partitioning = true, hive_types_autocast = false"
    found = f"SELECT * FROM read_parquet([{listed}], union_by_name = true, {partitions})"
    return f"(SELECT {own} FROM (({nothing}) UNION ALL BY NAME {found}))"


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    """Rows of a query by column name."""
    found = connection.execute(query)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def literal(value: object) -> str:
    """A value as a string of SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def name(text: str) -> str:
    """A column's name as SQL."""
    return '"' + text.replace('"', '""') + '"'


def _rows_in_a_group(lines: Path) -> int:
    """So many rows that a group of them fits into memory, however wide they are."""
    with lines.open("rb") as file:
        rows = sum(1 for _ in file)
    fitting = _GROUP_BYTES * rows // max(lines.stat().st_size, 1)
    return max(_VECTOR_ROWS, min(_GROUP_ROWS, fitting // _VECTOR_ROWS * _VECTOR_ROWS))


def _make_folder(folder: Path, disk: Disk) -> None:
    """Makes a folder and what is above it, so that a loss of power takes none of them."""
    if folder.is_dir():
        return
    _make_folder(folder.parent, disk)
    folder.mkdir(mode=0o700, exist_ok=True)
    disk.sync_directory(folder.parent)
