"""How far the database is behind the journal."""

from collections.abc import Mapping
from pathlib import Path

from pointsman.journal.reader import streams
from pointsman.journal.recovery import segment_numbers
from pointsman.journal.segment import file_name
from pointsman.store.journal_state import Ingested


def behind(journal: Path, positions: Mapping[str, Ingested]) -> dict[str, int]:
    """Bytes that are not taken in yet, by stream. positions: as the database has them"""
    return {name: _of_stream(journal / name, positions.get(name)) for name in streams(journal)}


def _of_stream(stream: Path, at: Ingested | None) -> int:
    lag = 0
    for number in segment_numbers(stream):
        if at is None or number >= at.segment:
            size = _size(stream / file_name(number))
            lag += size - at.offset if at and number == at.segment else size
    return max(lag, 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
