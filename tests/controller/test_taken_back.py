"""What a version that was rolled back had served: under every name, in its last attempt."""

import csv
import io

import pyarrow.parquet
import pytest
from tests.controller.rollout_world import FILE, NAME, SECOND, World, promoted, started

from pointsman.archive.jobs import Wanted
from pointsman.archive.process import Workbench
from pointsman.controller import taken_back
from pointsman.controller.exporting import Exports
from pointsman.domain.errors import Kind, PointsmanError


class ExportedWorld(World):
    """Remembers what it logged, by who answered in which attempt."""

    def __init__(self, root, text=FILE):
        super().__init__(root, text)
        self.answered = []

    def traffic(self, n, **rates):
        records = super().traffic(n, **rates)
        attempt = self.state.attempt if self.state else 0
        self.answered += [(attempt, record) for record in records]
        return records

    def taken_back(self, form="csv", **wanted):
        """Ids of what is exported."""
        workbench = Workbench(self.root / "archive")
        exports = Exports(self.root, self.ledger, self.blobs, workbench)
        asked = exports.rolled_back(NAME, Wanted(**wanted))
        with exports.open(NAME, form, asked, "ada").file as file:
            content = file.read()
        if form == "parquet":
            return set(pyarrow.parquet.read_table(io.BytesIO(content))["id"].to_pylist())
        return {row["id"] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))}

    def served(self, *pairs, attempt=1):
        """Ids of decisions that (variant, version) answered in an attempt."""
        return {
            record.id
            for of, record in self.answered
            if of == attempt and (record.served, record.version) in pairs
        }


@pytest.fixture
def world(tmp_path):
    made = ExportedWorld(tmp_path)
    yield made
    made.close()


def harmed(world):
    """The first step's traffic shows harm."""
    for _ in range(20):
        world.serve()
        world.pass_time(10 * SECOND)
        world.traffic(300, deny={"challenger": 0.9})
        world.tick()
        if world.phase == "rolled_back":
            return
    raise AssertionError(world.sentences())


def champions_own(world):
    """Traffic before and after any rollout."""
    world.serve()
    world.pass_time(SECOND)
    world.traffic(100)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_after_a_rollback_at_the_first_step_it_is_what_the_challenger_served(world, form):
    """And nothing of the champion's."""
    champions_own(world)
    started(world)
    harmed(world)
    champions_own(world)

    expected = world.served(("challenger", "2"))
    assert expected
    assert world.taken_back(form) == expected


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_after_success_and_undo_it_is_what_it_served_as_the_champion_too(world, form):
    """Promotion gave it another name and all of the traffic."""
    champions_own(world)
    promoted(world)
    champions_own(world)
    world.ask("undo")
    champions_own(world)
    world.tick()

    assert (world.phase, world.version("champion")) == ("rolled_back", "1")
    as_champion = world.served(("champion", "2"))
    assert len(as_champion) >= 100
    assert world.taken_back(form) == as_champion | world.served(("challenger", "2"))
    assert world.taken_back(form, served_by="champion") == as_champion


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_after_a_retry_it_is_what_the_last_attempt_served(world, form):
    """A version that was tried twice did its harm twice, and each attempt is told apart."""
    started(world)
    harmed(world)
    world.ask("retry")
    world.serve()
    world.pass_time(SECOND)
    world.tick()
    second = world.state.attempt
    harmed(world)

    assert (second, world.phase) == (2, "rolled_back")
    assert world.served(("challenger", "2"), attempt=1)
    assert world.taken_back(form) == world.served(("challenger", "2"), attempt=2)


def test_a_retry_that_succeeds_leaves_the_attempt_before_it_as_it_was(world):
    """What the version serves as a good champion is none of what was taken back."""
    started(world)
    harmed(world)
    first = world.served(("challenger", "2"))
    world.ask("retry")
    promoted(world)
    champions_own(world)

    assert world.version("champion") == "2"
    assert world.taken_back() == first


def test_without_traffic_nothing_was_taken_back(world):
    """An attempt that was aborted before its first step is none."""
    world.point("challenger", "2")
    world.ask("abort")
    world.tick()

    assert world.phase == "rolled_back"
    with pytest.raises(PointsmanError) as raised:
        world.taken_back()
    assert raised.value.kind is Kind.NOT_FOUND


def test_an_attempt_without_traffic_hides_none_that_had_some(tmp_path):
    """The last that took something out counts."""
    world = ExportedWorld(tmp_path, FILE.replace("cooldown: 0s", "cooldown: 1h"))
    started(world)
    harmed(world)
    world.point("challenger", "3")
    world.tick()
    world.ask("abort")

    assert (world.phase, world.state.target.label) == ("rolled_back", "3")
    assert world.taken_back() == world.served(("challenger", "2"))
    world.close()


def test_another_model_of_the_same_number_is_another_version(tmp_path):
    """A number says nothing without its model."""
    text = FILE.replace(
        "  rules:\n    - {name: default, split: {champion: 95, challenger: 5}}",
        '    other: {model: "models:/other/2"}\n  rules:\n'
        "    - {name: default, split: {champion: 95, challenger: 5}, fallback: [other]}",
    )
    world = ExportedWorld(tmp_path, text)
    started(world)
    harmed(world)

    assert (world.version("other"), world.version("challenger")) == ("2", "2")
    with world.ledger.reading() as connection:
        found = taken_back.tables(connection, world.blobs, NAME)
    assert set(found) == {"challenger"}
    world.close()
