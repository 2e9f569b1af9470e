"""Files of the journal and the archive, held by hard links while they are read.

Retention may delete what it likes meanwhile: a link keeps the bytes. What is gone before it is
linked raises FileNotFoundError, and is in another place by then.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from pointsman.archive import layout
from pointsman.archive.jobs import Run
from pointsman.journal import recovery, segment
from pointsman.journal.reader import streams

_Pinned = TypeVar("_Pinned")
_ATTEMPTS: Final = 3
MARGIN_MS: Final = 3_600_000
"""By how much a decision may be older than what it lies in; clocks are set, requests wait."""


def held(scratch: Path, pin: Callable[[Path], _Pinned]) -> _Pinned:
    """What `pin` answers, given an empty directory below `scratch`; asked again, in another one,
    where retention was quicker. Raises FileNotFoundError where it was so each time."""
    for attempt in range(_ATTEMPTS):
        place = scratch / f"pinned-{attempt}"
        place.mkdir()
        try:
            return pin(place)
        except FileNotFoundError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("there is at least one attempt")


def segments(journal: Path, since_ms: int) -> list[tuple[str, int]]:
    """Segments that may hold decisions of then or later, by stream and number."""
    found = []
    for stream in streams(journal):
        for number in recovery.segment_numbers(journal / stream):
            path = journal / stream / segment.file_name(number)
            if path.stat().st_mtime * 1000 + MARGIN_MS >= since_ms:
                found.append((stream, number))
    return found


def link_segments(
    journal: Path, found: Iterable[tuple[str, int]], project: str, place: Path
) -> list[Run]:
    """These segments below `place`, as one run a stream."""
    numbers: dict[str, list[int]] = {}
    for stream, number in found:
        directory = place / "journal" / stream
        directory.mkdir(parents=True, exist_ok=True)
        name = segment.file_name(number)
        os.link(journal / stream / name, directory / name)
        numbers.setdefault(stream, []).append(number)
    return [
        Run(str(place / "journal" / stream), stream, min(found), max(found), (project,))
        for stream, found in numbers.items()
    ]


def link_files(
    archive: Path,
    kinds: Iterable[layout.Kind],
    project: str,
    span: tuple[int, int],
    place: Path,
) -> dict[layout.Kind, list[str]]:
    """A project's files of the days of a span, below `place`; by kind, the oldest day first.

    span: first and last moment, Unix milliseconds
    """
    since, until = map(layout.day_of, span)
    linked: dict[layout.Kind, list[str]] = {}
    for kind in kinds:
        for path in layout.files(archive, kind, project, since, until):
            copy = place / "archive" / path.relative_to(archive)
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, copy)
            linked.setdefault(kind, []).append(str(copy))
    return linked
