"""Two controllers in one another's way, slow models, and a clock that is put back."""

import threading

import pytest
from tests.controller.rollout_world import DAY, FILE, MINUTE, NAME, SECOND, started
from tests.controller.rough_world import RoughWorld

from pointsman.controller.projects import Intent
from pointsman.spec.load import load_text

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


def test_a_rollback_waits_for_no_model_that_is_being_prepared(tmp_path):
    """Somebody applies a version that takes its time; meanwhile the rollout is taken back at once,
    and the change is then made to what is there by then."""
    world = SlowWorld(tmp_path, seed=0)
    started(world)
    projects, done = world.deeds._projects, []
    (file,) = load_text(FILE.replace("loan@champion", "loan/9"))
    applying = threading.Thread(target=lambda: done.append(projects.apply(file, Intent("ada"))))
    applying.start()
    assert world.asked_to_prepare.wait(10)

    before = world.share()
    answer = world.ask("abort", actor="bob")

    assert (before, answer.accepted, world.phase, world.share()) == (0.1, True, "rolled_back", 0.0)
    assert applying.is_alive()
    world.goes_on.set()
    applying.join(10)
    assert [outcome.changed for outcome in done] == [True]
    assert (world.version("champion"), world.share(), world.phase) == ("9", 0.0, "rolled_back")
    world.close()


class SlowWorld(RoughWorld):
    """Version 9 is prepared once somebody says so."""

    def __init__(self, *arguments, **more):
        self.asked_to_prepare, self.goes_on = threading.Event(), threading.Event()
        super().__init__(*arguments, **more)
        self.registry.refused = set()

    def _prepare(self, version, classes, features):
        if version.version == "9":
            self.asked_to_prepare.set()
            assert self.goes_on.wait(30)
        return super()._prepare(version, classes, features)
