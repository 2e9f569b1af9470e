"""A store and a journal, an archiver over them, and what tests ask of the archive."""

import pytest
from tests.ingest.conftest import Records, World

from pointsman.archive import columns, layout, parquet
from pointsman.controller.archiving import Archiver
from pointsman.controller.housekeeping import (
    Ballast,
    HotRetention,
    Housekeeping,
    SegmentRetention,
)

YEAR = 400 * layout.DAY_MS
KEEP = HotRetention(archive_ms=YEAR)


class ArchivedWorld(World):
    """A world whose projects are archived, as `policies` say."""

    def __init__(self, root):
        super().__init__(root)
        self.policies = {"default/loan": KEEP}
        self.segments = SegmentRetention()
        # Segments are written now, in a year after that of the world: never wait for company.
        self.gather_ms = -1 << 50
        self.archiver = self.new_archiver()
        self.archive = root / "archive"

    def new_archiver(self):
        """As after a restart of the controller."""
        return Archiver(
            self.root,
            self.engine,
            lambda: self.policies,
            gather_ms=self.gather_ms,
            now_ms=lambda: self.now,
        )

    def new_keeper(self):
        keeper = Housekeeping(
            self.root,
            self.engine,
            lambda: self.policies,
            self.segments,
            archive=self.archiver,
            now_ms=lambda: self.now,
        )
        keeper.ballast = Ballast(self.root / "ballast", 0)
        return keeper

    def files(self, kind="decisions", project=""):
        return layout.files(self.archive, kind, project)

    def kept(self, kind="decisions", project=""):
        """Rows of the archive."""
        scratch = self.root / "asked"
        with parquet.connect(scratch) as connection:
            relation = parquet.files_of(kind, self.files(kind, project))
            return parquet.rows(connection, f"SELECT * FROM {relation}")

    def records(self, project=""):
        """Decisions of the archive, as records."""
        return [columns.decision_of(row) for row in self.kept("decisions", project)]

    def segment_files(self, stream="w0"):
        return sorted((self.journal / stream).glob("*.seg"))


@pytest.fixture(scope="session")
def make():
    return Records


@pytest.fixture
def world(tmp_path):
    world = ArchivedWorld(tmp_path)
    yield world
    world.close()
