"""Segments become Parquet, once, whatever dies in between, and go only after that."""

import os

import msgspec
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.archive.conftest import KEEP, YEAR
from tests.ingest.conftest import decision as usual
from tests.ingest.conftest import shadow as usual_shadow

from pointsman.archive import columns, layout, parquet, segments
from pointsman.archive.jobs import Run
from pointsman.archive.segments import Spool
from pointsman.controller.housekeeping import HotRetention
from pointsman.journal.codec import encode_record
from pointsman.journal.disk import Disk
from pointsman.journal.writer import Limits, SegmentWriter

DAY = layout.DAY_MS
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.floats(allow_nan=False)
INTEGERS = st.integers(-(1 << 63), (1 << 63) - 1)
DECISIONS = st.builds(
    usual,
    TEXT,
    at_ms=st.integers(0, 4_000_000_000_000),
    table=INTEGERS,
    request_id=TEXT,
    unit=st.none() | TEXT,
    bucket=INTEGERS,
    unit_hash=st.integers(0, (1 << 64) - 1),
    context=st.dictionaries(TEXT, st.booleans() | INTEGERS | TEXT, max_size=3),
    rule=TEXT,
    version=TEXT,
    propensity=NUMBERS,
    propensities=st.lists(st.tuples(TEXT, NUMBERS), max_size=3).map(tuple),
    probabilities=st.lists(NUMBERS, max_size=3).map(tuple),
    predicted=TEXT,
    cost=NUMBERS,
    features=st.dictionaries(TEXT, TEXT, max_size=3).map(msgspec.json.encode) | st.just(b""),
    live=st.lists(TEXT, max_size=2).map(tuple),
    error=TEXT,
    pin=TEXT,
    idempotency_key=TEXT,
    key=TEXT,
    fault=TEXT,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(DECISIONS, min_size=1, max_size=5))
def test_what_is_read_back_is_what_was_logged(tmp_path_factory, records):
    """Every field of every record, whatever a caller put into it."""
    scratch = tmp_path_factory.mktemp("spool")
    spool = Spool(scratch)
    for record in records:
        line = columns.decision_line(record)
        spool.add("decisions", record.project, layout.day_of(record.at_ms), line)
    spool.publish(scratch / "archive", "one.parquet")

    with parquet.connect(scratch) as connection:
        relation = parquet.files_of("decisions", layout.files(scratch / "archive", "decisions"))
        found = parquet.rows(connection, f"SELECT * FROM {relation}")

    def order(record):
        return layout.day_of(record.at_ms)

    assert [columns.decision_of(row) for row in found] == sorted(records, key=order)


def test_segments_that_are_taken_in_become_files_by_project_and_day(world, make):
    """Decisions and shadows of projects that want it; others, and the newest segment, do not."""
    world.ingest(make.decision("d1"), make.shadow("d1"), make.decision("x", project="other/loan"))
    world.ingest(make.decision("d2", at_ms=make.noon + DAY))
    for n in range(30):
        world.ingest(make.decision(f"n{n}", at_ms=make.noon + DAY))
    world.write(make.decision("unread"))
    done = world.archiver.turn()

    taken = segments_of(world)
    assert done.segments == len(taken) - 1
    assert [row["id"] for row in world.kept("shadows")] == ["d1"]
    assert {r.project for r in world.records()} == {"default/loan"}
    assert {r.id for r in world.records()} >= {"d1", "d2", "n0"}
    assert "unread" not in {r.id for r in world.records()}
    days = {path.parent.name for path in world.files()}
    assert days == {"day=2025-06-16", "day=2025-06-17"}
    assert world.files()[0].parent.parent.name == "project=default%2Floan"


def test_other_programs_read_the_files(world, make):
    """Without Pointsman and without DuckDB, partitions included."""
    fill(world, make)
    world.archiver.turn()

    table = pyarrow.parquet.read_table(world.archive / "decisions", partitioning="hive")

    assert sorted(table["id"].to_pylist()) == sorted(r.id for r in world.records())
    assert set(table["day"].to_pylist()) == {"2025-06-16"}
    assert set(table["project"].to_pylist()) == {"default/loan"}


def test_a_file_of_an_older_version_reads_as_if_nothing_was_said(world, make):
    """Columns that came later are empty, as in old segments."""
    world.ingest(make.decision("d1"))
    fill(world, make)
    world.archiver.turn()
    for path in world.files():
        table = pyarrow.parquet.ParquetFile(path).read()
        pyarrow.parquet.write_table(table.drop_columns(["fault", "key"]), path)

    assert world.records()[0] == make.decision("d1")


def test_a_second_turn_finds_nothing_to_do_and_a_new_project_finds_its_past(world, make):
    """What is archived is not archived again; who begins later gets what is still in segments."""
    fill(world, make, project="default/loan")
    fill(world, make, name="o", project="other/loan")
    first = world.archiver.turn()
    assert (first.segments > 0, world.archiver.turn().segments) == (True, 0)
    before = {path: path.read_bytes() for path in world.files()}

    world.policies["other/loan"] = KEEP
    assert world.archiver.turn().segments > 0

    assert {r.project for r in world.records()} == {"default/loan", "other/loan"}
    assert {path: path.read_bytes() for path in world.files(project="default/loan")} == before


def test_segments_go_only_once_they_are_archived(world, make):
    """However old they are; the newest stays in any case."""
    fill(world, make)
    for path in world.segment_files():
        os.utime(path, (0, 0))
    keeper = world.new_keeper()
    assert keeper.sweep().segments == 0

    world.archiver.turn()

    assert keeper.sweep().segments > 0
    assert len(world.segment_files()) == 1
    assert world.all("SELECT count(*) FROM archived") == [(0,)]


def test_a_full_disk_has_segments_archived_without_waiting_for_company(world, make):
    """They take more than the files that replace them."""
    world.gather_ms = 1 << 50
    world.archiver = world.new_archiver()
    fill(world, make)
    keeper = world.new_keeper()
    assert world.archiver.turn().segments == 0

    keeper.relieve()
    keeper.sweep()

    assert world.archiver.turn().segments > 0


class GoneError(OSError):
    """The machine is gone."""


class Failing(Disk):
    """Fails at the n-th call of those that change what is on disk, and at all after it."""

    def __init__(self, at):
        self.left = at

    def _step(self):
        self.left -= 1
        if self.left < 0:
            raise GoneError

    def open(self, path):
        self._step()
        return super().open(path)

    def sync(self, descriptor):
        self._step()
        super().sync(descriptor)

    def replace(self, source, target):
        self._step()
        super().replace(source, target)

    def sync_directory(self, path):
        self._step()
        super().sync_directory(path)


def test_dying_at_any_step_neither_loses_nor_doubles_a_decision(tmp_path):
    """Every call that touches the disk is the last one once; the next attempt then finishes."""
    journal = tmp_path / "journal" / "w0"
    limits = Limits(max_segment_bytes=4000, low_water_bytes=0)
    writer = SegmentWriter(journal, "w0", limits)
    records = [usual(f"d{n}", at_ms=1_750_075_200_000 + n * DAY // 20) for n in range(60)]
    for record in records:
        writer.append([encode_record(record), encode_record(usual_shadow(record.id))])
    writer.close()
    last = max(int(path.stem) for path in journal.glob("*.seg"))
    run = Run(str(journal), "w0", 1, last, ("default/loan",))
    archive = tmp_path / "archive"
    steps = 0
    while True:
        disk = Failing(steps)
        scratch = tmp_path / f"scratch-{steps}"
        scratch.mkdir()
        try:
            # What is there already is what an attempt before left, which did one step fewer.
            segments.write(run, archive, scratch, disk)
        except GoneError:
            assert_no_partial_files(archive, {r.id for r in records})
            steps += 1
            continue
        break
    assert steps >= 20
    whole = {path: path.read_bytes() for path in layout.files(archive, "decisions")}
    (tmp_path / "again").mkdir()
    segments.write(run, archive, tmp_path / "again")

    assert {path: path.read_bytes() for path in layout.files(archive, "decisions")} == whole
    assert sorted(ids(archive)) == sorted(r.id for r in records)


def assert_no_partial_files(archive, known):
    """What has a name of the archive is whole, and nothing is in it twice."""
    found = ids(archive)
    assert len(found) == len(set(found))
    assert set(found) <= known


def ids(archive):
    names = []
    for path in layout.files(archive, "decisions"):
        names += pyarrow.parquet.ParquetFile(path).read(["id"])["id"].to_pylist()
    return names


def test_dying_after_the_files_and_before_the_note_of_them_doubles_nothing(world, make):
    """By then there may even be more segments: the file that is there is replaced."""
    fill(world, make)
    world.archiver.turn()
    with world.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM archived")
    fill(world, make, name="later")

    world.new_archiver().turn()

    found = [r.id for r in world.records()]
    assert len(found) == len(set(found))
    assert "later0" in found


def test_outcomes_are_archived_before_their_hot_rows_go(world, make):
    """What was held to be true then can be read for as long as the decision."""
    world.ingest(
        make.decision("d1"), make.label("f1", "d1", "no"), make.label("f2", "d1", "yes", at=70_000)
    )
    world.ingest(make.decision("d2"))
    world.now = make.noon + 20 * DAY
    assert world.new_keeper().sweep().decisions == 2

    assert [(row["decision_id"], row["value"]) for row in world.kept("outcomes")] == [
        ("d1", '"yes"')
    ]
    assert world.files("outcomes")[0].parent.name == "day=2025-06-16"


def test_a_label_that_comes_while_its_decision_is_going_is_not_lost(world, make):
    """The decision stays until what came is archived as well."""
    world.ingest(make.decision("d1"), make.label("f1", "d1", "no"))
    world.now = make.noon + 20 * DAY
    keeper = world.new_keeper()
    settle = world.archiver.settle

    def with_a_late_one(project, outcomes):
        safe = settle(project, outcomes)
        if world.catalog.projects.pop("late", None):
            world.ingest(make.label("f2", "d1", "yes", at=80_000))
        return safe

    world.catalog.projects["late"] = True
    world.archiver.settle = with_a_late_one
    assert keeper.sweep().decisions == 0
    assert keeper.sweep().decisions == 1

    assert {row["value"] for row in world.kept("outcomes")} == {'"no"', '"yes"'}


def test_days_that_are_too_old_go_whole(world, make):
    """A day goes once its last moment is older than the project wants, and no day before."""
    for n in range(40):
        world.ingest(make.decision(f"d{n}", at_ms=make.noon + n % 4 * DAY))
    world.archiver.turn()
    assert len(days(world)) == 4
    midnight = make.noon - make.noon % DAY

    world.now = midnight + 2 * DAY + YEAR - 1
    assert world.archiver.turn().days == 1
    world.now += 1
    assert world.archiver.turn().days == 1

    assert days(world) == ["day=2025-06-18", "day=2025-06-19"]


def test_the_oldest_days_go_where_there_is_too_much(world, make):
    """Until what is left fits; neighbours keep theirs."""
    world.policies["other/loan"] = KEEP
    for n in range(40):
        at = make.noon + n % 4 * DAY
        world.ingest(
            make.decision(f"d{n}", at_ms=at), make.decision(f"o{n}", at_ms=at, project="other/loan")
        )
    world.archiver.turn()
    while world.archiver.turn().more:
        pass
    size = sum(day.bytes for day in layout.days(world.archive) if day.project == "default/loan")

    world.policies["default/loan"] = HotRetention(max_bytes=size * 6 // 10, archive_ms=YEAR)
    world.archiver.turn()

    assert days(world, "default/loan") == ["day=2025-06-18", "day=2025-06-19"]
    assert len(days(world, "other/loan")) == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("01977777-7777-7abc-8000-000000000000", True),
        ("01977777-7777-7abc-8000-000000000000/12", True),
        ("01977777-7777-8abc-8000-000000000000", False),
        ("not-an-id", False),
        ("zzzzzzzz-7777-7abc-8000-000000000000", False),
    ],
)
def test_only_ids_with_a_time_in_them_tell_their_day(name, expected):
    """Derived ids are of version 8 and say nothing."""
    assert (layout.days_of_decision(name) is not None) is expected


def fill(world, make, name="d", project="default/loan"):
    """Several segments full of decisions, all taken in."""
    for n in range(30):
        world.ingest(make.decision(f"{name}{n}", project=project))


def segments_of(world):
    return world.segment_files()


def days(world, project="default/loan"):
    return sorted({path.parent.name for path in world.files(project=project)})
