"""Decisions handed out as one file, from wherever they are now.

What is read is pinned first, by hard links and copies of rows, in an order in which nothing falls
between two places: hot rows, then segments, then the archive, which is where both go. What is met
twice on the way is one decision all the same: the export keeps the first of each id.
"""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

import msgspec
from sqlalchemy import Connection, select

from pointsman.archive import columns, layout
from pointsman.archive.columns import ArchivedOutcome
from pointsman.archive.jobs import Export, Format, Wanted
from pointsman.archive.process import Workbench
from pointsman.controller import pinning, taken_back
from pointsman.controller.ledger import Ledger
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import ProjectTable
from pointsman.journal import recovery, segment
from pointsman.journal.reader import streams
from pointsman.runtime.blobs import BlobStore
from pointsman.store import archived, revisions
from pointsman.store.audit import Entry
from pointsman.store.control_schema import revision

_EVER: Final = 1 << 62


class Opened(msgspec.Struct, frozen=True):
    """A file that nobody else knows; gone when it is closed."""

    file: IO[bytes]
    bytes: int
    decisions: int


class Exports:
    """Makes exports, one at a time. Blocking, for as long as it takes."""

    def __init__(self, data: Path, ledger: Ledger, blobs: BlobStore, workbench: Workbench) -> None:
        self._journal = data / "journal"
        self._ledger = ledger
        self._blobs = blobs
        self._workbench = workbench
        self._busy = threading.Lock()

    def rolled_back(self, project: str, wanted: Wanted) -> Wanted:
        """`wanted`, of what the version answered that the last rollback took out, as `taken_back`
        finds it.

        Raises PointsmanError(NOT_FOUND) where nothing was rolled back.
        """
        with self._ledger.reading() as connection:
            tables = taken_back.tables(connection, self._blobs, project)
        if not tables:
            raise PointsmanError(
                Kind.NOT_FOUND,
                f"{project}: no rollout was rolled back",
                hint="name what you want with --served-by and --version",
            )
        return msgspec.structs.replace(wanted, tables=tables)

    def open(self, project: str, form: Format, wanted: Wanted, actor: str) -> Opened:
        """The file, written and ready to be read from its beginning; noted in the audit log.

        Raises PointsmanError: NOT_FOUND for a project nobody knows, OVERLOADED while another
        export is being made, UNAVAILABLE where it could not be made.
        """
        with self._ledger.reading() as connection:
            if revisions.project_row(connection, project) is None:
                raise PointsmanError(Kind.NOT_FOUND, f"no project {project!r}")
        if not self._busy.acquire(blocking=False):
            raise PointsmanError(
                Kind.OVERLOADED, "another export is being made", hint="try again when it is done"
            )
        try:
            return self._make(project, form, wanted, actor)
        finally:
            self._busy.release()

    def _make(self, project: str, form: Format, wanted: Wanted, actor: str) -> Opened:
        with self._workbench.scratch() as scratch:
            export = pinning.held(scratch, lambda place: self._pin(project, form, wanted, place))
            made = self._workbench.export(export, scratch)
            size = Path(made.path).stat().st_size
            said = f"{made.decisions} decisions exported as {form}"
            asked = {k: v for k, v in msgspec.to_builtins(wanted).items() if v}
            tenant = project.partition("/")[0]
            self._ledger.note(Entry(actor, tenant, project, "decisions.export", said, asked))
            return Opened(Path(made.path).open("rb"), size, made.decisions)

    def _pin(self, project: str, form: Format, wanted: Wanted, place: Path) -> Export:
        """Everything the export reads, as it stands now. Raises FileNotFoundError."""
        until_ms = wanted.until_ms or _EVER
        segments = pinning.segments(self._journal, wanted.since_ms)
        hot, held = place / "hot.jsonl", place / "held.jsonl"
        with self._ledger.reading() as connection:
            reach = min(until_ms, self._uncovered_until())
            rows = archived.decisions(connection, project, wanted.since_ms, reach)
            _write(hot, map(columns.decision_line, rows))
            about = archived.outcomes(connection, project, wanted.since_ms, until_ms)
            _write(held, (columns.outcome_line(ArchivedOutcome(*row)) for row in about))  # type: ignore[arg-type]  # kinds as ingested
            known = archived.load(connection)
            classes = self._classes(connection, project)
        missing = [key for key in segments if project not in known.get(key, frozenset())]
        runs = pinning.link_segments(self._journal, missing, project, place)
        archive, span = self._workbench.archive, (wanted.since_ms, until_ms)
        return Export(
            project=project,
            format=form,
            wanted=wanted,
            files=pinning.link_files(archive, layout.KINDS, project, span, place),
            runs=runs,
            hot=str(hot) if hot.stat().st_size else "",
            held=str(held) if held.stat().st_size else "",
            classes=classes,
        )

    def _uncovered_until(self) -> int:
        """Decisions made before may be in segments that are gone; 0 where none ever went."""
        until_ms = 0
        for stream in streams(self._journal):
            numbers = recovery.segment_numbers(self._journal / stream)
            if numbers and numbers[0] != 1:
                path = self._journal / stream / segment.file_name(numbers[0])
                with path.open("rb") as file:
                    header = segment.unpack_header(file.read(segment.HEADER_BYTES))
                if isinstance(header, segment.Header):
                    until_ms = max(until_ms, header.created_ms + pinning.MARGIN_MS)
                else:
                    until_ms = _EVER
        return until_ms

    def _classes(self, connection: Connection, project: str) -> dict[str, tuple[str, ...]]:
        """Classes of every table the project ever had, by digest; those that are gone left out."""
        digests = connection.scalars(
            select(revision.c.table_digest).where(revision.c.project == project).distinct()
        )
        classes = {}
        for digest in digests:
            try:
                table = msgspec.json.decode(self._blobs.read(digest), type=ProjectTable)
            except (PointsmanError, msgspec.DecodeError):
                continue
            classes[digest] = table.classes
        return classes


def _write(path: Path, lines: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(line + b"\n" for line in lines)
