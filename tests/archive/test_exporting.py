"""Exports: each decision once, wherever it lies, with what became of it."""

import csv
import io
import json

import pyarrow.parquet
import pytest
from tests.archive.conftest import KEEP, ArchivedWorld

from pointsman.archive import columns, layout
from pointsman.archive.jobs import Wanted
from pointsman.archive.segments import Spool
from pointsman.controller.exporting import Exports
from pointsman.controller.feed import Feed
from pointsman.controller.housekeeping import HotRetention
from pointsman.controller.ledger import Ledger
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.runtime.blobs import BlobStore
from pointsman.store.control_schema import project as project_table

DAY = layout.DAY_MS


class ExportingWorld(ArchivedWorld):
    """A world whose project is known to the control plane."""

    def __init__(self, root):
        super().__init__(root)
        with self.engine.begin() as connection:
            connection.execute(
                project_table.insert().values(
                    project="default/loan", tenant="default", number=1, name="loan", active=True
                )
            )
        world = self

        class Clock:
            def now_ms(self):
                return world.now

        blobs = BlobStore(root / "blobs")
        ledger = Ledger(self.engine, Feed(None), Clock())
        self.exports = Exports(root, ledger, blobs, self.archiver.workbench)

    def export(self, form="jsonl", **wanted):
        opened = self.exports.open("default/loan", form, Wanted(**wanted), "somebody")
        with opened.file as file:
            content = file.read()
        assert len(content) == opened.bytes
        return content

    def lines(self, **wanted):
        return [json.loads(line) for line in self.export(**wanted).splitlines()]

    def ids(self, **wanted):
        return sorted(line["id"] for line in self.lines(**wanted))


@pytest.fixture
def world(tmp_path):
    world = ExportingWorld(tmp_path)
    yield world
    world.close()


def fill(world, make, names):
    for name in names:
        world.ingest(make.decision(name))


def test_each_decision_is_there_once_wherever_it_is(world, make):
    """In the archive, in its segment as well, in a segment that is not read yet, in hot rows."""
    fill(world, make, [f"a{n}" for n in range(20)])
    world.archiver.turn()
    fill(world, make, [f"b{n}" for n in range(20)])
    world.write(make.decision("unread"))

    expected = sorted([f"a{n}" for n in range(20)] + [f"b{n}" for n in range(20)] + ["unread"])
    assert world.ids() == expected

    world.segments = type(world.segments)(keep_ms=-1 << 50)
    world.archiver.turn()
    assert world.new_keeper().sweep().segments > 0
    assert world.ids() == expected


def test_between_the_files_and_the_note_of_them_nothing_is_there_twice(world, make):
    """An export while a segment is being archived meets it in both places."""
    fill(world, make, [f"d{n}" for n in range(30)])
    world.archiver.turn()
    with world.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM archived")

    assert world.ids() == sorted(f"d{n}" for n in range(30))


def test_without_an_archive_hot_rows_stand_in_for_segments_that_are_gone(world, make):
    """Features are gone with them; everything else is there, and still once."""
    world.policies["default/loan"] = HotRetention()
    world.segments = type(world.segments)(keep_ms=-1 << 50)
    fill(world, make, [f"d{n}" for n in range(30)])
    assert world.new_keeper().sweep().segments > 0

    found = world.lines()

    assert sorted(line["id"] for line in found) == sorted(f"d{n}" for n in range(30))
    assert {json.dumps(line["features"]) for line in found} == {"null", '{"age": 38}'}


def test_an_id_that_was_used_again_stands_for_its_first_decision(world, make):
    """As in the hot rows."""
    world.ingest(make.decision("d1", predicted="no"))
    world.ingest(make.decision("d1", at_ms=make.noon + 1, predicted="yes"))

    assert [line["predicted"] for line in world.lines()] == ["no"]


def test_labels_and_shadows_are_joined_before_and_after_the_hot_rows_go(world, make):
    """The newest label holds, and an export months later still has it."""
    world.ingest(make.decision("d1"), make.shadow("d1"), make.decision("d2"))
    world.ingest(make.label("f1", "d1", "no"), make.label("f2", "d1", "yes", at=70_000))
    world.ingest(make.reward("r1", "d2", 3.5))
    before = world.lines()
    fill(world, make, [f"n{n}" for n in range(30)])
    world.archiver.turn()
    world.now = make.noon + 100 * DAY
    assert world.new_keeper().sweep().decisions == 32

    after = [line for line in world.lines() if not line["id"].startswith("n")]

    assert after == before
    assert [(line["label"], line["reward"]) for line in after] == [("yes", None), (None, 3.5)]
    assert after[0]["label_at_ms"] == make.noon + 70_000
    assert [one["variant"] for one in after[0]["shadows"]] == ["night"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"variant": "challenger"}, ["b"]),
        ({"version": "7"}, ["b"]),
        ({"served_by": "champion"}, ["a", "c"]),
        ({"rule": "vip"}, ["c"]),
        ({"reason": "RULE"}, ["c"]),
        ({"slices": {"country": "FR"}}, ["c"]),
        ({"slices": {"country": "' OR true --"}}, []),
        ({"since_ms": 1_750_075_200_000 + 1}, ["b", "c"]),
        ({"until_ms": 1_750_075_200_000 + 1}, ["a"]),
        ({}, ["a", "b", "c"]),
    ],
)
def test_filters_choose(world, make, wanted, expected):
    """All that are given have to hold."""
    world.ingest(
        make.decision("a"),
        make.decision(
            "b", at_ms=make.noon + 1, assigned="challenger", served="challenger", version="7"
        ),
        make.decision(
            "c", at_ms=make.noon + 2, rule="vip", reason="RULE", context={"country": "FR"}
        ),
    )

    assert world.ids(**wanted) == expected


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a","b\n=1', "harmless", "ünï"]


def test_csv_holds_nothing_a_spreadsheet_would_take_for_a_formula(world, make):
    """Text that begins like one gets an apostrophe; cells and names of columns; numbers do not."""
    features = [json.dumps({"=cmd": text, "n": -5}).encode() for text in HOSTILE]
    for number, text in enumerate(HOSTILE):
        context = {"country": text}
        world.ingest(
            make.decision(f"d{number}", unit=text, context=context, features=features[number])
        )

    table = list(csv.DictReader(io.StringIO(world.export("csv").decode(), newline="")))

    assert len(table) == len(HOSTILE)
    for row, text in zip(sorted(table, key=lambda row: row["id"]), HOSTILE, strict=True):
        shown = f"'{text}" if text[0] in "=+-@\t\r" else text
        assert row["unit"] == row["context.country"] == row["feature.=cmd"] == shown
        assert row["feature.n"] == "-5"
    assert not any(name.startswith(("=", "+", "-", "@")) for name in table[0])


def test_parquet_is_flat_typed_and_exact(world, make):
    """Features as columns of the type all values fit in; text as it was."""
    world.ingest(
        make.decision("a", features=b'{"n":1,"x":0.5,"ok":true,"s":"=1","Age":1,"age":2}'),
        make.decision("b", features=b'{"n":2,"x":3,"ok":null,"mixed":[1],"s":"2"}'),
    )

    table = pyarrow.parquet.read_table(io.BytesIO(world.export("parquet")))

    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["feature.n"] == "int64"
    assert kinds["feature.x"] == "double"
    assert kinds["feature.ok"] == "bool"
    assert table["feature.s"].to_pylist() == ["=1", "2"]
    assert table["feature.x"].to_pylist() == [0.5, 3.0]
    assert table["feature.mixed"].to_pylist() == [None, "[1]"]
    assert {kinds["feature.Age"], kinds["feature.age_2"]} == {"int64"}
    assert table["propensity.challenger"].to_pylist() == [0.1, 0.1]
    assert table["unit_hash"].to_pylist() == [5, 5]


def test_wide_rows_are_exported_in_little_memory(world, make):
    """Far more is read than the process may hold, and each text is taken apart once."""
    wide = json.dumps({f"feature_{n}": n * 1.37 for n in range(100)}).encode()
    (world.root / "spool").mkdir()
    spool = Spool(world.root / "spool")
    for n in range(8_000):
        record = make.decision(f"d{n:05d}", features=wide)
        spool.add("decisions", "default/loan", "2025-06-16", columns.decision_line(record))
    spool.publish(world.archive, "wide.parquet")

    table = pyarrow.parquet.read_table(io.BytesIO(world.export("parquet")))

    assert table.num_rows == 8_000
    assert set(table["feature.feature_99"].to_pylist()) == {99 * 1.37}


def test_an_export_of_nothing_is_a_file_with_no_rows(world):
    """Not an error: a filter may match nothing."""
    assert world.export("jsonl") == b""
    assert world.export("csv").startswith(b"id,at_ms")
    assert pyarrow.parquet.read_table(io.BytesIO(world.export("parquet"))).num_rows == 0


def test_an_export_is_audited_and_leaves_nothing_behind(world, make):
    """Whoever takes records out is known; scratch files are gone, half-written ones too."""
    world.ingest(make.decision("d1"))
    world.export("csv", variant="champion")

    assert list((world.archive / layout.SCRATCH).iterdir()) == []
    assert world.all("SELECT actor, action, sentence FROM audit") == [
        ("somebody", "decisions.export", "1 decisions exported as csv")
    ]


def test_an_unknown_project_is_not_found(world):
    """And nothing is noted."""
    with pytest.raises(PointsmanError) as raised:
        world.exports.open("default/nobody", "csv", Wanted(), "somebody")
    assert raised.value.kind is Kind.NOT_FOUND


def test_another_project_is_never_in_it(world, make):
    """Wherever it lies."""
    world.policies["other/loan"] = KEEP
    for n in range(20):
        world.ingest(make.decision(f"d{n}"), make.decision(f"o{n}", project="other/loan"))
    world.archiver.turn()

    assert {line["project"] for line in world.lines()} == {"default/loan"}
