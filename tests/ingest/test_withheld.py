"""Rows that were answered in requests that failed: nobody's error, and nobody's latency."""

from tests.ingest import reading

from pointsman.domain.evidence import CellKey, block_of
from pointsman.domain.records import WITHHELD


def test_a_mixed_request_charges_its_failure_to_the_variant_that_failed(world, make):
    """The other row's variant answered: its row counts as a success, and its label counts."""
    world.ingest(
        make.decision("r/0", latency_us=2_000_000, error=WITHHELD),
        make.decision(
            "r/1",
            assigned="challenger",
            served="",
            version="",
            probabilities=(),
            predicted="",
            action="",
            latency_us=2_000_000,
            error="challenger: it did not answer in time",
        ),
    )
    world.ingest(make.label("l1", "r/0", "yes"))

    assert _errors(world, make, "champion") == (1, 0.0)
    assert _errors(world, make, "challenger") == (1, 1.0)
    correct = _cell(world, make, "champion", "correct")
    assert (sum(correct.n), sum(correct.total)) == (1, 1.0)
    assert _cell(world, make, "champion", "latency").counts == {}
    assert sum(_cell(world, make, "challenger", "latency").counts.values()) == 1


def test_who_was_not_asked_in_time_has_not_failed(world, make):
    """Its deadline had passed before its turn came: whoever took so long is charged for that."""
    world.ingest(
        make.decision(
            "r1",
            assigned="challenger",
            served="",
            version="",
            probabilities=(),
            predicted="",
            action="",
            error="deadline exceeded",
            fault="late",
        ),
        make.decision("r2", assigned="challenger", served="challenger"),
    )

    assert _errors(world, make, "challenger") == (1, 0.0)


def _errors(world, make, variant):
    found = _cell(world, make, variant, "error")
    return sum(found.n), sum(found.total)


def _cell(world, make, variant, metric):
    cells = world.read(reading.cells, "default/loan", "default")
    return cells[CellKey("default/loan", "default", 1, block_of(make.noon), variant, "", metric)]
