"""Features of decisions, read again from segments and Parquet files: hot rows have none.

Looked for where they are said to be first, until all are found or the time is up. In memory are the
ids that are still wanted, and a batch; rows wait in a file.
"""

import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from pointsman.archive import parquet, segments
from pointsman.archive.jobs import Read, Reread, Written
from pointsman.archive.parquet import literal
from pointsman.domain.records import DecisionRecord
from pointsman.runtime import row_file

_ROWS_AT_ONCE = 500


def write(reread: Reread, scratch: Path) -> Read:
    """Makes the file. Decisions that were logged without features are not in it.

    Raises OSError or duckdb.Error.
    """
    path = scratch / "rows"
    with path.open("wb") as file:
        found = _Found(reread, file)
        _segments(found)
        _files(found, scratch)
    return Read(str(path), found.rows, whole=not found.spent)


class _Found:
    """What is wanted still, and where what was found goes."""

    def __init__(self, reread: Reread, file: BinaryIO) -> None:
        self.reread = reread
        self.wanted = {key: place for place, key in enumerate(reread.decisions)}
        self.rows = 0
        self.spent = False
        self._file = file
        self._left = reread.most_bytes
        self._until = time.monotonic() + reread.budget_s

    def take(self, identifier: str, at_ms: int, features: bytes) -> None:
        place = self.wanted.pop((identifier, at_ms), None)
        if place is not None and features:
            self._left -= row_file.write(self._file, place, features)
            self.rows += 1

    def over(self) -> bool:
        """Whether there is nothing left to look for, or no time or room to look."""
        self.spent = bool(self.wanted) and (self._left <= 0 or time.monotonic() >= self._until)
        return self.spent or not self.wanted


def _segments(found: _Found) -> None:
    for run in found.reread.runs:
        for number, record in enumerate(segments.records(run, Written())):
            if number % _ROWS_AT_ONCE == 0 and found.over():
                return
            if isinstance(record, DecisionRecord) and record.project == found.reread.project:
                found.take(record.id, record.at_ms, record.features)


def _files(found: _Found, scratch: Path) -> None:
    if not found.reread.files or found.over():
        return
    lines = scratch / "wanted.jsonl"
    with lines.open("wb") as file:
        for identifier, at_ms in found.wanted:
            file.write(msgspec.json.encode({"id": identifier, "at_ms": at_ms}) + b"\n")
    with parquet.connect(scratch) as connection:
        columns = "columns = {id: 'VARCHAR', at_ms: 'BIGINT'}, format = 'newline_delimited'"
        connection.execute(
            f"CREATE TABLE wanted AS SELECT * FROM read_json({literal(lines)}, {columns})"
        )
        for path in found.reread.files:
            relation = parquet.files_of("decisions", [Path(path)])
            rows = connection.execute(
                f"SELECT id, at_ms, features FROM {relation} SEMI JOIN wanted USING (id, at_ms)"
            )
            while not found.over() and (batch := rows.fetchmany(_ROWS_AT_ONCE)):
                for identifier, at_ms, features in batch:
                    found.take(identifier, at_ms, (features or "").encode())
            if found.over():
                return
