"""Taking the journal in: once, in any order, whatever is wrong with single records."""

import zlib

import msgspec
import pytest
from tests.ingest import reading

from pointsman.controller.cells import MAX_SLICE_VALUES
from pointsman.domain.records import OverrideRecord
from pointsman.journal.codec import encode_record
from pointsman.store import ingestion, journal_state


def test_a_record_is_taken_in_once(world, make):
    """A second look finds nothing, nor does one after a restart."""
    world.ingest(make.decision("d1"), make.decision("d2"))

    again = world.ingester.tick()
    world.ingester.close()
    world.ingester = world.new_ingester()
    after = world.ingester.tick()

    assert (again.decisions, after.decisions, after.bytes) == (0, 0, 0)
    assert world.all("SELECT count(*) FROM decision") == [(2,)]
    assert world.all("SELECT decisions FROM traffic") == [(2,)]


def test_a_decision_comes_back_as_it_was_written(world, make):
    """Everything that a replay needs, to the last bit; features stay in the journal."""
    record = make.decision(
        "d1",
        unit=None,
        unit_hash=(1 << 64) - 1,
        context={"country": "DE", "amount": 0.1, "new": True, "age": None, "n": 3},
        probabilities=(0.1, 0.9),
        live=("challenger", "*"),
        error="request.age: null",
        pin="champion",
        idempotency_key="k",
        key="key-1",
    )
    world.ingest(record)

    stored = world.read(ingestion.decisions_by_id, ["d1"])["d1"]

    assert stored == msgspec.structs.replace(record, features=b"")


def test_the_first_of_two_decisions_with_one_id_is_kept(world, make):
    """A retry with the same idempotency key is the same decision, in one batch or in two."""
    world.ingest(make.decision("d1"), make.decision("d1", latency_us=9))
    tick = world.ingest(make.decision("d1", latency_us=7), make.decision("d2"), stream="w1")

    assert (tick.decisions, tick.repeated) == (1, 1)
    assert world.all("SELECT id, latency_us FROM decision") == [("d1", 1500), ("d2", 1500)]
    assert world.all("SELECT sum(decisions) FROM traffic") == [(2,)]


def test_shadows_come_before_or_after_their_decision(world, make):
    """They are a second record under the same id, one for each variant."""
    world.ingest(make.shadow("d1"), stream="w1")
    world.ingest(make.decision("d1"))
    tick = world.ingest(make.shadow("d1"), make.shadow("d1", "dawn"))

    assert (tick.shadows, tick.repeated) == (1, 1)
    assert world.all("SELECT decision_id, variant FROM shadow") == [("d1", "dawn"), ("d1", "night")]


def test_overrides_are_kept_for_the_history(world, make):
    """What a gateway did by itself is learned from its journal."""
    record = OverrideRecord(make.noon, "default/loan/challenger", True, "guard", "errors")
    world.ingest(record)

    assert world.all('SELECT target, "set", actor, stream FROM override') == [
        ("default/loan/challenger", 1, "guard", "w0")
    ]


def test_the_first_exposure_of_a_unit_is_the_earliest_one(world, make):
    """In whatever order they are read, and once for each epoch."""
    world.ingest(make.decision("d2", at_ms=make.noon + 5))
    world.ingest(make.decision("d1", at_ms=make.noon + 1, assigned="challenger"), stream="w1")
    world.ingest(make.decision("d3", at_ms=make.noon + 9), make.decision("d4", epoch=2))

    rows = world.all("SELECT stratum, decision_id, variant FROM exposure ORDER BY stratum")
    assert [row[1:] for row in rows] == [("d1", "challenger"), ("d4", "champion")]
    assert world.read(reading.first_exposures, "default/loan", "default", 1) == {"challenger": 1}


def test_a_decision_without_a_unit_exposes_nobody_twice(world, make):
    """Each such request is a unit of its own; cells count it."""
    world.ingest(make.decision("d1", unit=None))

    assert world.all("SELECT count(*) FROM exposure") == [(0,)]


def test_a_record_the_store_cannot_hold_is_set_aside_and_the_rest_taken_in(world, make):
    """One bad record among many costs itself, and is found again in its segment."""
    bad = make.decision("bad", bucket=1 << 63)
    records = [make.decision(f"d{n}") for n in range(20)]
    tick = world.ingest(*records[:13], bad, *records[13:])

    assert (tick.decisions, tick.faults) == (20, 1)
    fault = world.read(journal_state.list_faults)[0]
    assert (fault.kind, fault.records) == ("unusable", 1)
    assert "OverflowError" in fault.note
    assert world.read(journal_state.damaged_segments, "w0") == {1}


def test_probabilities_that_are_not_finite_are_set_aside(world, make):
    """They never leave a gateway; if one did write them, they would poison every sum."""
    tick = world.ingest(make.decision("d1", probabilities=(float("nan"), 1.0)))

    assert (tick.decisions, tick.faults) == (0, 1)
    assert world.read(reading.cells, "default/loan", "default") == {}


def test_records_of_a_newer_version_are_counted_and_kept_where_they_are(world, make):
    """After an upgrade they can be taken in from the segment."""
    world.ingest(make.decision("d1"))
    world.writers["w0"].append(
        [msgspec.msgpack.encode(["from-the-future", 1]), encode_record(make.decision("d2"))]
    )

    tick = world.ingester.tick()

    assert (tick.decisions, tick.faults) == (1, 1)
    assert world.read(journal_state.list_faults)[0].kind == "unknown_kind"


def test_damage_in_a_segment_costs_its_batch_and_is_reported_once(world, make):
    """The rest of the stream is taken in, and the segment is kept."""
    world.write(make.decision("d1"))
    world.write(make.decision("d2"))
    world.write(make.decision("d3"))
    world.writers.pop("w0").close()
    path = world.journal / "w0" / "0000000000000001.seg"
    data = bytearray(path.read_bytes())
    data[data.index(b"\xa2d2") + 1] ^= 1
    path.write_bytes(bytes(data))

    world.ingester.tick()
    world.ingester.tick()

    assert world.all("SELECT id FROM decision") == [("d1",), ("d3",)]
    assert [f.kind for f in world.read(journal_state.list_faults)] == ["corrupt"]


def test_decisions_of_an_unknown_table_are_kept_and_judged_by_nobody(world, make):
    """Their traffic is counted; without their classes there is no evidence."""
    tick = world.ingest(make.decision("d1", project="default/unheard-of"))

    assert (tick.decisions, tick.unconfigured) == (1, 1)
    assert world.all("SELECT count(*) FROM cell") == [(0,)]


def test_a_slice_has_a_bounded_number_of_values(world, make):
    """An attribute that turns out to be a name cannot fill the store."""
    names = [f"c{n}" for n in range(MAX_SLICE_VALUES + 5)]
    for start in (0, 90):
        world.ingest(
            *(
                make.decision(f"{n}-{start}", context={"country": n})
                for n in names[start : start + 90]
            )
        )
        world.ingester = world.new_ingester()

    found = world.read(reading.cells, "default/loan", "default")
    slices = {key.slice for key in found if key.slice}
    others = next(p for k, p in found.items() if k.slice == "country=*" and k.metric == "error")
    assert len(slices) == MAX_SLICE_VALUES + 1
    assert sum(others.n) == 5


def test_a_tick_that_fails_leaves_nothing_and_is_tried_again(world, make):
    """Lost locks and full disks are no record's fault."""
    world.ingest(make.decision("d1"))
    world.write(make.decision("d2"))
    world.catalog.projects = None

    with pytest.raises(AttributeError):
        world.ingester.tick()
    world.catalog.projects = {"default/loan": make.project}
    tick = world.ingester.tick()

    assert tick.decisions == 1
    assert world.all("SELECT sum(decisions) FROM traffic") == [(2,)]


def test_classes_that_change_within_an_epoch_do_not_stop_ingestion(world, make):
    """Counts of other classes cannot be added up; the cell stays as it was, and that is said."""
    world.ingest(make.decision("d1"))
    world.ingest(make.label("f1", "d1", "yes"))
    three = msgspec.structs.replace(make.project, classes=("no", "yes", "maybe"))
    world.catalog.projects = {"default/loan": three}
    world.ingest(make.decision("d2", probabilities=(0.2, 0.5, 0.3)))

    tick = world.ingest(make.label("f2", "d2", "yes"))

    assert tick.unmerged == 3
    assert world.held() == {("d1", "label"): "yes", ("d2", "label"): "yes"}


def test_a_stream_that_cannot_be_read_does_not_hold_up_the_others(world, make):
    """After a downgrade one stream may hold segments that a newer version wrote."""
    world.write(make.decision("d1"), stream="w0")
    world.write(make.decision("d2"), stream="w1")
    path = world.journal / "w0" / "0000000000000001.seg"
    data = bytearray(path.read_bytes())
    data[8] = 9
    data[124:128] = zlib.crc32(bytes(data[:124])).to_bytes(4, "little")
    path.write_bytes(bytes(data))

    tick = world.ingester.tick()

    assert tick.decisions == 1
    assert "segment format 9 is newer" in tick.unreadable["w0"]
