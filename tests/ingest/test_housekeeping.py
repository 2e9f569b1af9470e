"""What is kept, for how long, and what goes when space is short."""

import os

import pytest

from pointsman.controller.housekeeping import (
    DAY_MS,
    EVIDENCE_MS,
    Ballast,
    HotRetention,
    Housekeeping,
    SegmentRetention,
)
from pointsman.journal.disk import Disk

TABLES = ("decision", "shadow", "feedback", "outcome", "inbox")


class SmallDisk(Disk):
    """A disk that says how much is free."""

    def __init__(self, free: int) -> None:
        self.free = free

    def free_bytes(self, _path):
        return self.free


@pytest.fixture
def keeper(world):
    """Housekeeping with a policy that tests change; its ballast takes no space."""
    keeper = Housekeeping(
        world.root, world.engine, lambda: world.policies, world.segments, now_ms=lambda: world.now
    )
    keeper.ballast = Ballast(world.root / "ballast", 0)
    return keeper


@pytest.fixture
def world(world):
    world.policies = {"default/loan": HotRetention()}
    world.segments = SegmentRetention()
    return world


def counts(world):
    return {t: world.all(f"SELECT count(*) FROM {t}")[0][0] for t in TABLES}


def test_old_decisions_go_with_all_that_is_known_about_them(world, make, keeper):
    """Younger ones stay, and so does what all of them added up to."""
    for name, at in (("old", make.noon), ("new", make.noon + 5 * DAY_MS)):
        world.ingest(make.decision(name, at_ms=at), make.shadow(name), make.label(name, name, "no"))
    world.policies = {"default/loan": HotRetention(hot_ms=2 * DAY_MS)}
    world.now = make.noon + 5 * DAY_MS

    swept = keeper.sweep()

    assert (swept.decisions, swept.more) == (1, False)
    assert counts(world) == dict.fromkeys(TABLES[:-1], 1) | {"inbox": 0}
    assert world.all("SELECT id FROM decision") == [("new",)]
    assert world.all("SELECT sum(decisions) FROM traffic") == [(2,)]


def test_feedback_that_nobody_will_ever_ask_for_goes(world, make, keeper):
    """It waited, expired, and then got as old as a decision would have."""
    world.ingest(make.label("f1", "never", "no"))
    world.now += 8 * DAY_MS
    world.ingester.tick()
    assert keeper.sweep().orphans == 0

    world.now += 8 * DAY_MS
    assert keeper.sweep().orphans == 1

    assert counts(world) == dict.fromkeys(TABLES, 0)


def test_a_project_that_takes_too_much_loses_its_oldest_decisions(world, make, keeper):
    """As many as are too many, and not those of its neighbours."""
    for start in range(0, 2000, 500):
        world.ingest(
            *(make.decision(f"a{n}", at_ms=make.noon + n) for n in range(start, start + 500)),
            *(make.decision(f"b{n}", project="other/loan") for n in range(start, start + 500)),
        )
    world.policies = {"default/loan": HotRetention(max_bytes=400_000)}

    swept = keeper.sweep()

    left = world.all("SELECT project, count(*), min(at_ms) FROM decision GROUP BY project")
    assert 500 < swept.decisions < 2000
    assert world.all("PRAGMA freelist_count") == [(0,)]
    assert left == [
        ("default/loan", 2000 - swept.decisions, make.noon + swept.decisions),
        ("other/loan", 2000, make.noon),
    ]


def test_evidence_outlives_its_decisions_and_goes_after_more_than_a_year(world, make, keeper):
    """A year must be comparable to the last one; for ever is too long."""
    world.ingest(make.decision("d1"))
    world.now = make.noon + EVIDENCE_MS - DAY_MS
    keeper.sweep()
    assert counts(world)["decision"] == 0
    assert world.all("SELECT count(*) FROM cell") != [(0,)]

    world.now = make.noon + EVIDENCE_MS + DAY_MS
    keeper.sweep()

    for table in ("cell", "gauge", "traffic", "exposure"):
        assert world.all(f"SELECT count(*) FROM {table}") == [(0,)]


def test_segments_go_once_they_are_taken_in_and_old(world, make, keeper):
    """What is not in the store yet stays, however old, and so does the newest segment."""
    for n in range(60):
        world.write(make.decision(f"d{n}"))
    files = sorted((world.journal / "w0").glob("*.seg"))
    assert len(files) > 3
    for path in files:
        os.utime(path, (0, 0))
    assert keeper.sweep().segments == 0

    world.drain()
    assert keeper.sweep().segments == len(files) - 1

    tick = world.ingest(make.decision("after"))
    assert (tick.decisions, tick.faults) == (1, 0)


def test_segments_go_when_there_are_too_many_bytes_of_them(world, make, keeper):
    """The oldest first, until the rest fits."""
    for n in range(40):
        world.ingest(make.decision(f"d{n}"))
    files = sorted((world.journal / "w0").glob("*.seg"))
    world.segments = SegmentRetention(max_bytes=sum(p.stat().st_size for p in files[-3:]))
    keeper = Housekeeping(world.root, world.engine, dict, world.segments, now_ms=lambda: world.now)
    keeper.ballast = Ballast(world.root / "ballast", 0)

    assert keeper.sweep().segments == len(files) - 3
    assert sorted((world.journal / "w0").glob("*.seg")) == files[-3:]


def test_a_segment_with_damage_in_it_is_kept(world, make, keeper):
    """It is all there is for whoever wants to know what was lost."""
    for n in range(60):
        world.write(make.decision(f"d{n}"))
    files = sorted((world.journal / "w0").glob("*.seg"))
    data = bytearray(files[1].read_bytes())
    data[300] ^= 1
    files[1].write_bytes(bytes(data))
    world.drain()
    for path in files:
        os.utime(path, (0, 0))

    keeper.sweep()

    assert sorted((world.journal / "w0").glob("*.seg")) == [files[1], files[-1]]


def test_a_full_disk_gets_the_ballast_and_the_segments_that_are_taken_in(world, make, keeper):
    """What is needed to go on is freed at once, and taken again when there is room."""
    disk = SmallDisk(free=1 << 30)
    keeper.ballast = Ballast(world.root / "ballast", 1 << 20, disk=disk)
    for n in range(30):
        world.ingest(make.decision(f"d{n}"))
    files = sorted((world.journal / "w0").glob("*.seg"))
    keeper.sweep()
    assert (world.root / "ballast").stat().st_size == 1 << 20

    disk.free = 1000
    swept = keeper.sweep()

    assert not keeper.ballast.held
    assert swept.segments == len(files) - 1

    disk.free = 1 << 30
    keeper.sweep()
    assert keeper.ballast.held
