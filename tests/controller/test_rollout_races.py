"""Two controllers in one another's way, and a clock that is put back."""

import pytest
from tests.controller.rollout_world import DAY, MINUTE, NAME, SECOND, started
from tests.controller.rough_world import RoughWorld

from pointsman.controller.projects import Intent

TRANSACTIONS = 24
"""More than a tick has."""


@pytest.fixture
def world(tmp_path):
    made = RoughWorld(tmp_path, seed=0)
    made.registry.refused = set()
    yield made
    made.close()


def taken_back(world):
    """By another controller, whom somebody asked to."""
    world.asked("abort", actor="bob")
    world.controller().tick(NAME)


def test_what_another_controller_took_back_is_not_published_after_it(world):
    """Wherever in a tick that begins a rollout the other one comes between: before it has decided,
    after, and while the table is being made."""
    interrupted = 0
    for place in range(TRANSACTIONS):
        world.point("challenger", str(place + 2))
        world.serve()
        with world.interrupted(place, lambda: taken_back(world)):
            world.tick()
        if world.phase == "rolled_back":
            interrupted += 1
            assert world.share() == 0.0, f"transaction {place}"
        else:
            taken_back(world)
        world.pass_time(MINUTE)

    assert interrupted > 5


def test_weights_are_not_put_right_by_what_is_outdated(world):
    """Somebody published past a rollout; before it is put right the rollout is taken back."""
    interrupted = 0
    for place in range(0, TRANSACTIONS, 2):
        world.point("challenger", str(place + 2))
        for _ in range(2):
            world.serve()
            world.tick()
        world.projects.undo(NAME, 1, Intent("ada"))
        world.tick()
        assert world.phase == "running"
        with world.interrupted(place, lambda: taken_back(world)):
            world.tick()
        if world.phase == "rolled_back":
            interrupted += 1
            assert world.share() == 0.0, f"transaction {place}"
        else:
            taken_back(world)
        world.pass_time(MINUTE)

    assert interrupted > 2


def test_a_clock_that_is_put_back_puts_nothing_off(world):
    """What failed while it was days ahead is tried again within minutes."""
    started(world)
    world.traffic(600)
    world.tick()
    world.pass_time(3 * DAY)
    world.registry.down = True
    for _ in range(40):
        world.serve()
        world.pass_time(20 * SECOND)
        world.traffic(600)
        world.tick()
        if world.phase == "succeeded":
            break
    assert world.left() == ["SetAlias"]

    world.pass_time(-3 * DAY)
    world.registry.down = False
    world.tick()

    assert ("SetAlias" in world.left(), world.registry.aliases["champion"]) == (False, "2")
