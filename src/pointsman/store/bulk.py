"""Many rows in one call, as tuples: SQLAlchemy's own way costs more than the database does."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final, Literal, TypeVar

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Table, func, select
from sqlalchemy.dialects import sqlite

CHUNK: Final = 2_000
"""Values in one `IN (...)`: far below SQLite's bound, and large enough to be quick."""

_json: Final = msgspec.json.Encoder()

OnConflict = Literal["fail", "ignore", "replace"]

_T = TypeVar("_T")


def insert(
    connection: Connection,
    table: Table,
    rows: Sequence[tuple[Any, ...]],
    on_conflict: OnConflict = "fail",
) -> int:
    """Rows inserted or replaced. Each row has a value for every column, and may leave out a first
    one that is a row number."""
    if not rows:
        return 0
    names = tuple(table.columns.keys())[-len(rows[0]) :]
    return connection.exec_driver_sql(_insert_sql(table, names, on_conflict), list(rows)).rowcount


def adding_sql(table: Table) -> str:
    """Inserts a row of counts, or adds them to those that are there under its key."""
    statement = sqlite.insert(table)
    sums = {c.name: c + statement.excluded[c.name] for c in table.columns if not c.primary_key}
    keys = list(table.primary_key.columns)
    statement = statement.on_conflict_do_update(index_elements=keys, set_=sums)
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


def among(column: Column[Any], values: Iterable[str | int]) -> ColumnElement[bool]:
    """Whether a column is one of any number of values; they travel as one parameter."""
    listed = func.json_each(_json.encode(list(values)).decode()).table_valued("value")
    return column.in_(select(listed.c.value))


def chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    """The values in lists that fit into one `IN (...)`."""
    rest = iter(values)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


@cache
def _insert_sql(table: Table, names: tuple[str, ...], on_conflict: OnConflict) -> str:
    statement = sqlite.insert(table)
    if on_conflict == "ignore":
        statement = statement.on_conflict_do_nothing()
    elif on_conflict == "replace":
        keys = [column.name for column in table.primary_key.columns]
        changed = {n: statement.excluded[n] for n in names if n not in keys}
        statement = statement.on_conflict_do_update(index_elements=keys, set_=changed)
    return str(
        statement.compile(dialect=sqlite.dialect(paramstyle="qmark"), column_keys=list(names))
    )
