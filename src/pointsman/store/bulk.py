"""Many rows in one call, as tuples: SQLAlchemy's own way costs more than the database does."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Column, Connection, Table
from sqlalchemy.dialects import sqlite

CHUNK: Final = 2_000
"""Values in one `IN (...)`: far below SQLite's bound, and large enough to be quick."""

OnConflict = Literal["fail", "ignore", "replace"]

_T = TypeVar("_T")


def insert(
    connection: Connection,
    table: Table,
    rows: Sequence[tuple[Any, ...]],
    on_conflict: OnConflict = "fail",
) -> int:
    """Rows inserted or replaced. Each row has a value for every column that is not a row number."""
    if not rows:
        return 0
    return connection.exec_driver_sql(_insert_sql(table, on_conflict), list(rows)).rowcount


def chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    """The values in lists that fit into one `IN (...)`."""
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def columns(table: Table) -> list[Column[Any]]:
    """Columns in the order `insert` takes their values."""
    return [column for column in table.columns if column.name != "row"]


@cache
def _insert_sql(table: Table, on_conflict: OnConflict) -> str:
    statement = sqlite.insert(table)
    names = [column.name for column in columns(table)]
    if on_conflict == "ignore":
        statement = statement.on_conflict_do_nothing()
    elif on_conflict == "replace":
        keys = [column.name for column in table.primary_key.columns]
        changed = {n: statement.excluded[n] for n in names if n not in keys}
        statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=names))
