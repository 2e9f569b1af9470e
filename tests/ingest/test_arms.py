"""What the variants of a split are compared by: its own draws, in one epoch, merged over blocks."""

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
