"""Where the archive's files are, and how they are called.

`<archive>/<kind>/project=<tenant%2Fname>/day=2026-03-01/<file>.parquet`: Hive partitions, which
DuckDB, Spark and pyarrow read as columns. A project and day is one folder of each kind.
"""

import contextlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, unquote

import msgspec

from pointsman.journal.disk import Disk

Kind = Literal["decisions", "shadows", "outcomes"]
KINDS: Final[tuple[Kind, ...]] = ("decisions", "shadows", "outcomes")
SCRATCH: Final = "tmp"
"""Below the archive: what is not finished yet. Emptied when a controller starts."""

DAY_MS: Final = 86_400_000
_SUFFIX: Final = ".parquet"
_UUID_LENGTH: Final = 36


class Day(msgspec.Struct, frozen=True, order=True):
    """One day of a project, all kinds together. bytes: what its files take on disk"""

    day: str
    project: str
    bytes: int = 0


def day_of(at_ms: int) -> str:
    """`2026-03-01`, in UTC; the first or last day there is a name for where it is beyond them."""
    seconds = min(max(at_ms // 1000, -62_135_596_800), 253_402_300_799)
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def end_ms(day: str) -> int:
    """When a day is over, Unix milliseconds."""
    begun = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    return int(begun.timestamp()) * 1000 + DAY_MS


def folder(archive: Path, kind: Kind, project: str, day: str) -> Path:
    """The folder of a project's day."""
    return archive / kind / _project_name(project) / f"day={day}"


def run_name(stream: str, first: int) -> str:
    """File name of what segments from `first` on hold. It does not say where they end: a run that
    is written again, with more of them by now, replaces the file and doubles nothing."""
    return f"{stream}-{first:016d}{_SUFFIX}"


def files(
    archive: Path, kind: Kind, project: str = "", since: str = "", until: str = "9999-12-31"
) -> list[Path]:
    """Finished files of days from `since` to `until`, both included; of all projects where none is
    named. Sorted by project, day and name."""
    name = _project_name(project) if project else "project=*"
    found = (archive / kind).glob(f"{name}/day=*/*{_SUFFIX}")
    return sorted(p for p in found if since <= _day_name(p.parent) <= until)


def days(archive: Path) -> list[Day]:
    """Every day there is a folder of, with its size; the oldest first."""
    sizes: dict[tuple[str, str], int] = {}
    for kind in KINDS:
        for path in (archive / kind).glob("project=*/day=*"):
            key = (_day_name(path), project_of(path))
            sizes[key] = sizes.get(key, 0) + sum(f.stat().st_size for f in path.iterdir())
    return sorted(Day(day, project, size) for (day, project), size in sizes.items())


def remove(archive: Path, day: Day, disk: Disk) -> None:
    """Deletes a project's day, decisions last: a day that is half gone is still known to be one."""
    for kind in reversed(KINDS):
        path = folder(archive, kind, day.project, day.day)
        if path.is_dir():
            for file in path.iterdir():
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # somebody may just have put a file there
                path.rmdir()
            disk.sync_directory(path.parent)


def project_of(path: Path) -> str:
    """The project that a day's folder is of."""
    return unquote(path.parent.name.removeprefix("project="))


def days_of_decision(decision_id: str) -> tuple[str, str] | None:
    """First and last day a decision of this id may be filed under; None where the id does not say.

    Ids are UUIDs of version 7, which begin with the time they were made at; those derived from an
    idempotency key are of version 8 and carry none.
    """
    bare = decision_id.partition("/")[0]
    if len(bare) != _UUID_LENGTH or bare[14] != "7":
        return None
    try:
        at_ms = int(bare[:8] + bare[9:13], 16)
    except ValueError:
        return None
    # The request was read a moment before the id was made, and clocks are set.
    return day_of(at_ms - DAY_MS), day_of(at_ms + DAY_MS)


def _project_name(project: str) -> str:
    return f"project={quote(project, safe='')}"


def _day_name(path: Path) -> str:
    return path.name.removeprefix("day=")
