"""What the controller and the archive's process say to each other. Nothing here loads DuckDB."""

from typing import Literal

import msgspec

from pointsman.archive.columns import ArchivedOutcome
from pointsman.archive.layout import Kind
from pointsman.domain.records import DecisionRecord, ShadowRecord

Format = Literal["parquet", "csv", "jsonl"]


class Run(msgspec.Struct, frozen=True):
    """Consecutive segments of a stream that go into the same files.

    directory: of the stream; first, last: numbers of the segments, both included
    projects: whose records are taken, as `tenant/project`
    """

    directory: str
    stream: str
    first: int
    last: int
    projects: tuple[str, ...]


class Written(msgspec.Struct):
    """What became of a run. unreadable: batches with records this version cannot read"""

    decisions: int = 0
    shadows: int = 0
    files: int = 0
    unreadable: int = 0


class Settled(msgspec.Struct, frozen=True):
    """Outcomes of one project and day. lines: a file of them; name: of the Parquet file"""

    project: str
    day: str
    lines: str
    name: str


class Lookup(msgspec.Struct, frozen=True):
    """tenant: whose projects to look in, empty = all"""

    decision_id: str
    tenant: str = ""


class Found(msgspec.Struct):
    """What there is of it; nothing where it is not in the archive."""

    decision: DecisionRecord | None = None
    shadows: list[ShadowRecord] = []
    outcomes: list[ArchivedOutcome] = []


class Wanted(msgspec.Struct, frozen=True):
    """Which decisions. Empty and zero: whichever.

    since_ms, until_ms: made then or later, and before; Unix milliseconds, 0 = no bound
    variant: that was assigned; served_by: that answered; version: of the one that answered
    slices: attributes of the context and what they have to be, as text
    tables: by variant that answered, digests of the tables it answered from
    """

    since_ms: int = 0
    until_ms: int = 0
    variant: str = ""
    version: str = ""
    served_by: str = ""
    rule: str = ""
    reason: str = ""
    slices: dict[str, str] = {}
    tables: dict[str, list[str]] = {}


class Export(msgspec.Struct, frozen=True):
    """What to read and what to make of it. All paths are those of files nobody changes any more.

    files: Parquet files by kind; runs: segments that are not in them
    hot: lines of decisions that may be in neither; held: lines of outcomes known now
    classes: names of the classes of a table, by its digest
    """

    project: str
    format: Format
    wanted: Wanted
    files: dict[Kind, list[str]]
    runs: list[Run]
    hot: str
    held: str
    classes: dict[str, tuple[str, ...]]


class Exported(msgspec.Struct):
    """path: of the file"""

    path: str
    decisions: int


class Reread(msgspec.Struct, frozen=True):
    """Decisions whose features are wanted. All paths are those of files nobody changes any more.

    decisions: (id, at_ms); places in the list number the rows of what is written
    runs: segments to look through, in this order; files: then Parquet files, in this order
    most_bytes, budget_s: what is written, and how long it may take: what is found by then is kept
    """

    project: str
    decisions: list[tuple[str, int]]
    runs: list[Run]
    files: list[str]
    most_bytes: int
    budget_s: float


class Read(msgspec.Struct):
    """path: a `row_file` of what was found; rows: of it; whole: whether all was looked through"""

    path: str = ""
    rows: int = 0
    whole: bool = True


class Job(msgspec.Struct, frozen=True):
    """What to do, exactly one of the five. scratch: an empty directory for it alone"""

    archive: str
    scratch: str
    run: Run | None = None
    settled: Settled | None = None
    export: Export | None = None
    lookup: Lookup | None = None
    reread: Reread | None = None
