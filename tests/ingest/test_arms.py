"""What the variants of a split are compared by: its own draws, in one epoch, merged over blocks."""

import msgspec

from pointsman.domain.events import Event
from pointsman.store import overview


def test_arms_hold_the_draws_of_one_epoch_alone(world, make):
    """Neither earlier epochs, nor pins, nor slices; blocks are added up."""
    world.ingest(
        make.decision("d1"),
        make.decision("d2", at_ms=make.noon + make.hour),
        make.decision("d3", epoch=2, action="allow"),
        make.decision("d4", reason="PIN"),
        make.decision("d5", assigned="challenger", served="champion"),
    )
    found = world.read(overview.arms, "default/loan", "default", 1)
    late = world.read(overview.arms, "default/loan", "default", 1, make.noon + 1)

    assert sorted(found) == ["challenger", "champion"]
    assert sum(found["champion"]["denied"].n) == 2
    assert sum(found["champion"]["denied"].total) == 2.0
    assert sum(found["challenger"]["error"].total) == 1.0
    assert sum(late["champion"]["denied"].n) == 1
    assert "first/denied" not in found["champion"]


def test_declared_events_are_counted_once_a_unit(world, make):
    """Of each unit its first exposure, by variant assigned; a record that comes late and is older
    takes the place of the one that was counted, its fault with it."""
    events = (Event("malformed"), Event("score", 0.7), Event("cost", 0.4))
    project = msgspec.structs.replace(world.catalog.projects["default/loan"], events=events)
    world.catalog.projects["default/loan"] = project
    also = [f"first/{event.name}" for event in events]
    failed = {"assigned": "challenger", "served": "champion", "fault": "malformed"}
    world.ingest(
        make.decision("d1"),
        make.decision("d2", at_ms=make.noon + 1),
        make.decision("d3", unit="bert", unit_hash=6, probabilities=(0.6, 0.4), cost=0.1),
        make.decision("d4", unit="cara", unit_hash=7, at_ms=make.noon + 5, **failed),
    )
    before = world.read(overview.arms, "default/loan", "default", 1, 0, also)
    world.ingest(make.decision("d5", unit="cara", unit_hash=7, **{**failed, "fault": "timeout"}))
    after = world.read(overview.arms, "default/loan", "default", 1, 0, also)

    assert _sums(before["champion"]) == {also[0]: (2, 0), also[1]: (2, 1), also[2]: (2, 1)}
    assert _sums(before["challenger"])[also[0]] == (1, 1)
    assert _sums(after["challenger"])[also[0]] == (1, 0)


def _sums(payloads):
    """Units and events of each family of first exposures."""
    return {
        name: (sum(found.n), sum(found.total))
        for name, found in payloads.items()
        if name.startswith("first/")
    }
