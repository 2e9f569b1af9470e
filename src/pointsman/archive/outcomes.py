"""What was known about decisions when their hot rows went."""

from pathlib import Path

from pointsman.archive import layout, parquet
from pointsman.archive.jobs import Settled
from pointsman.journal.disk import DISK, Disk


def write(settled: Settled, archive: Path, scratch: Path, disk: Disk = DISK) -> None:
    """Makes the lines a file of the archive. Doing it twice changes nothing: whoever reads takes
    of each decision and kind the newest. Raises OSError or duckdb.Error."""
    target = layout.folder(archive, "outcomes", settled.project, settled.day) / settled.name
    with parquet.connect(scratch) as connection:
        parquet.publish(connection, "outcomes", Path(settled.lines), target, disk)


def newest(relation: str) -> str:
    """Of each decision and kind the outcome that holds, by the order registers are kept in."""
    return (
        f"(SELECT * FROM {relation} QUALIFY row_number() OVER (PARTITION BY decision_id, kind "
        "ORDER BY at_ms DESC, received_ms DESC, feedback_id DESC) = 1)"
    )
