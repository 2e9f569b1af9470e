"""Journal segments to Parquet: what they hold of some projects, sorted into project, day and kind.

Memory is bounded by a batch of the journal and by DuckDB's own limit: rows wait on disk.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from pointsman.archive import columns, layout, parquet
from pointsman.archive.jobs import Run, Written
from pointsman.archive.layout import Kind
from pointsman.domain.records import DecisionRecord, Record, ShadowRecord
from pointsman.journal import codec
from pointsman.journal.disk import DISK, Disk
from pointsman.journal.reader import Position, Tail

_BUFFERED_BYTES: Final = 8 << 20


def write(run: Run, archive: Path, scratch: Path, disk: Disk = DISK) -> Written:
    """Puts a run's records below `archive`. Doing it again, or after dying on the way, ends in the
    same files with the same bytes.

    scratch: an empty directory. Raises OSError or duckdb.Error; then some files may be there.
    """
    written = Written()
    wanted = frozenset(run.projects)
    spool = Spool(scratch)
    for record in records(run, written):
        if isinstance(record, DecisionRecord) and record.project in wanted:
            day = layout.day_of(record.at_ms)
            spool.add("decisions", record.project, day, columns.decision_line(record))
            written.decisions += 1
        elif isinstance(record, ShadowRecord) and record.project in wanted:
            day = layout.day_of(record.at_ms)
            spool.add("shadows", record.project, day, columns.shadow_line(record))
            written.shadows += 1
    written.files = spool.publish(archive, layout.run_name(run.stream, run.first), disk)
    return written


class Spool:
    """Lines of JSON by kind, project and day, waiting on disk to become Parquet files."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._waiting: dict[tuple[Kind, str, str], list[bytes]] = defaultdict(list)
        self._paths: dict[tuple[Kind, str, str], Path] = {}
        self._bytes = 0

    def add(self, kind: Kind, project: str, day: str, line: bytes) -> None:
        self._waiting[kind, project, day].append(line)
        self._bytes += len(line)
        if self._bytes > _BUFFERED_BYTES:
            self._flush()

    def publish(self, archive: Path, name: str, disk: Disk = DISK) -> int:
        """One file of that name for each kind, project and day; how many."""
        self._flush()
        # Without threads rows keep their order, and so the bytes are the same each time.
        with parquet.connect(self._scratch) as connection:
            for key, lines in sorted(self._paths.items()):
                target = layout.folder(archive, *key) / name
                parquet.publish(connection, key[0], lines, target, disk)
                lines.unlink()
        return len(self._paths)

    def _flush(self) -> None:
        for key, lines in self._waiting.items():
            path = self._paths.setdefault(key, self._scratch / f"{len(self._paths)}.jsonl")
            with path.open("ab") as file:
                file.writelines(line + b"\n" for line in lines)
        self._waiting.clear()
        self._bytes = 0


def records(run: Run, written: Written) -> Iterator[Record]:
    """All that can be read of the run's segments, in their order. Damage was reported at ingest."""
    tail = Tail(Path(run.directory), run.stream, Position(segment=run.first))
    try:
        while True:
            reading = tail.read()
            if not reading.frames or reading.after.segment > run.last:
                return
            for frame in reading.frames:
                try:
                    records, unknown = codec.decode_payload(frame.payload)
                except msgspec.DecodeError:
                    written.unreadable += 1
                    continue
                written.unreadable += unknown > 0
                yield from records
    finally:
        tail.close()
