"""What people hear of the ingester's troubles, and what a full disk sets in motion."""

import os
import time

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from pointsman.controller.housekeeping import Ballast, Housekeeping, SegmentRetention
from pointsman.controller.intake import Intake
from pointsman.controller.process import Loop
from pointsman.journal.codec import encode_record
from pointsman.journal.writer import Limits, SegmentWriter
from pointsman.store.database import when_full


@pytest.fixture
def clock():
    """Monotonic seconds that a test moves."""
    return {"s": 100.0}


@pytest.fixture
def intake(world, clock):
    return Intake(world.ingester, monotonic_s=lambda: clock["s"])


def test_a_journal_without_faults_is_nothing_to_talk_about(world, make, intake):
    world.write(make.decision("d1"))
    with capture_logs() as logs:
        intake.turn()

    assert (intake.troubles.sentences(), logs) == ([], [])


def test_decisions_of_unknown_tables_are_told_at_once_and_then_once_a_minute(
    world, make, intake, clock
):
    """A steady trouble does not fill the log, and its count is never lost."""
    world.catalog.projects.clear()
    with capture_logs() as logs:
        for n in range(30):
            clock["s"] += 10
            world.write(make.decision(f"d{n}"))
            intake.turn()

    assert [(entry["kind"], entry["new"], entry["since_start"]) for entry in logs] == [
        ("unconfigured", 1, 1),
        ("unconfigured", 6, 7),
        ("unconfigured", 6, 13),
        ("unconfigured", 6, 19),
        ("unconfigured", 6, 25),
    ]
    assert intake.troubles.unconfigured == 30
    assert intake.troubles.sentences()[0].startswith("30 decisions were made by tables")


def test_damage_is_counted_and_told(world, make, intake):
    for n in range(60):
        world.write(make.decision(f"d{n}"))
    files = sorted((world.journal / "w0").glob("*.seg"))
    data = bytearray(files[1].read_bytes())
    data[300] ^= 1
    files[1].write_bytes(bytes(data))
    with capture_logs() as logs:
        while intake.turn():
            pass

    assert intake.troubles.faults >= 1
    assert [entry["kind"] for entry in logs] == ["faults"]


def test_a_stream_that_cannot_be_read_is_told_once_and_so_is_its_recovery(world, make, intake):
    """The other streams are read; each turn tries again."""
    world.write(make.decision("d1"), stream="w0")
    world.write(make.decision("d2"), stream="w1")
    (segment,) = (world.journal / "w0").glob("*.seg")
    away = segment.rename(segment.with_name("away"))
    segment.symlink_to(away)  # the reader follows no links
    with capture_logs() as logs:
        intake.turn()
        intake.turn()
        (sentence,) = intake.troubles.sentences()
        away.replace(segment)
        intake.turn()

    assert sentence.startswith("journal w0 cannot be read: ")
    assert [entry["event"] for entry in logs] == [
        "a journal cannot be read",
        "a journal can be read again",
    ]
    assert intake.troubles.sentences() == []
    assert world.all("SELECT id FROM decision ORDER BY id") == [("d1",), ("d2",)]


def test_a_disk_that_fails_in_the_middle_of_a_segment_loses_nothing(world, make, monkeypatch):
    """What was read before the failure is read again after it."""
    writer = SegmentWriter(world.journal / "w0", "w0", Limits(low_water_bytes=0))
    for n in range(30):
        writer.append([encode_record(make.decision(f"d{n}", features=bytes(100_000)))])
    writer.close()
    read = os.pread

    def failing(descriptor, size, offset):
        if offset > 1_000_000:
            raise OSError(5, "Input/output error")
        return read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", failing)
    failed = world.ingester.tick()
    monkeypatch.undo()
    world.drain()

    assert failed.unreadable == {"w0": "OSError: [Errno 5] Input/output error"}
    assert world.all("SELECT count(*) FROM decision") == [(30,)]
    assert world.all("SELECT count(*) FROM fault") == [(0,)]


def test_a_full_disk_gives_up_its_reserve_at_once(world, make):
    """Whoever meets it, and whatever the file system says is free (a quota says nothing)."""
    keeper = Housekeeping(world.root, world.engine, dict, SegmentRetention())
    keeper.ballast = Ballast(world.root / "ballast", 1 << 20)
    keeping = Loop("housekeeping", lambda: keeper.sweep().more, 3600.0)
    keeping.start()
    try:
        until(lambda: keeper.ballast.held)
        when_full(world.engine, lambda: (keeper.relieve(), keeping.nudge()))
        pages = world.all("PRAGMA page_count")[0][0]
        with world.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        world.write(*(make.decision(f"d{n}") for n in range(500)))

        with pytest.raises(OperationalError, match="disk is full"):
            world.ingester.tick()

        until(lambda: not keeper.ballast.held)
    finally:
        keeping.stop()


def test_work_that_fails_does_not_call_for_itself_again_at_once():
    """A sweep that meets the full disk itself waits as long as any failure does."""

    def work():
        loop.nudge()
        raise ZeroDivisionError

    loop = Loop("sweeping", work, 0.5)
    loop.start()
    time.sleep(1.0)
    loop.stop()

    assert loop.turns <= 2
    assert loop.failing.startswith("ZeroDivisionError")


def until(found, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)
