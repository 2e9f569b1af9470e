"""The rollout loop on a real store: opened, grown, judged, ended, whatever dies in between."""

import pytest
from tests.controller.rollout_world import DAY, NAME, SECOND, World


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.writer.close()
    made.ingester.close()
    made.engine.dispose()


def started(world):
    """At its first step, served by the gateway."""
    world.serve()
    world.point("challenger", "2")
    world.tick()
    world.tick()
    world.serve()
    world.pass_time(SECOND)
    world.tick()


def test_the_file_gives_the_variant_of_a_rollout_no_traffic(world):
    """The split's weights are initial, and a version has to be rolled out before it gets any."""
    assert world.share() == 0.0
    assert world.tick().state is None
    assert world.share() == 0.0


def test_a_moved_alias_opens_a_rollout_and_is_no_proposal(world):
    """The version is prepared before it is a candidate, and has traffic from its first step on."""
    world.point("challenger", "2")
    assert world.version("challenger") == "1"

    world.tick()

    assert world.phase == "running"
    assert world.aliases.proposals(NAME) == []
    assert (world.share(), world.version("challenger")) == (0.1, "2")


def test_a_good_challenger_grows_step_by_step_and_becomes_the_champion(world):
    """With the alias and the verdict written back, and every step in the history."""
    started(world)
    world.grow(minutes=25, n=900)

    assert world.phase == "succeeded", world.sentences()
    assert (world.version("champion"), world.share()) == ("2", 0.0)
    (source, alias, tags) = world.registry.written[0]
    assert (source, alias) == ("models://main/loan/2", "champion")
    assert tags["pointsman.verdict"] == "succeeded"
    assert "denied" in tags["pointsman.metrics"]
    assert "10 %" in tags["pointsman.traffic"]
    told = "\n".join(world.sentences())
    assert "goes from 0 % to 10 %" in told
    assert "goes from 10 % to 50 %" in told
    assert "champion is version 2 now, was 1" in told


def test_a_harmful_challenger_is_rolled_back_at_its_first_step(world):
    """By itself, with the numbers that decided, as soon as there are enough of them."""
    started(world)
    waited = 0
    while world.phase == "running" and waited < 60:
        world.traffic(50, deny={"challenger": 0.8})
        world.pass_time(SECOND)
        world.tick()
        waited += 1

    assert world.phase == "rolled_back"
    assert world.share() == 0.0
    assert "rolled back from 10 %: denied +" in world.sentences()[-1]
    assert world.told.sentences[-1] == world.sentences()[-1]


def test_two_controllers_at_once_do_not_double_a_step(world):
    """The second one finds another state than it came from, and begins again."""
    world.serve()
    world.point("challenger", "2")
    other = world.controller()
    seen = other._watch.see(NAME, world.clock.ms)
    world.tick()
    number, sentences = world.state.number, world.sentences()

    with pytest.raises(Exception, match="no longer number"):
        other.commit(NAME, seen, other.plan(seen))
    other.tick(NAME)

    assert world.state.number == number
    assert world.sentences() == sentences


def test_what_was_committed_is_done_though_the_controller_died_before(world):
    """The next one publishes it."""
    world.point("challenger", "2")
    seen = world.rollouts._watch.see(NAME, world.clock.ms)
    plan = world.rollouts.plan(seen)
    world.rollouts.commit(NAME, seen, plan)
    assert world.share() == 0.0
    assert "Publish" in world.left()

    world.controller().tick(NAME)

    assert world.share() == 0.1
    assert world.left() == []


def test_days_without_a_controller_grow_one_step(world):
    """Everything the step waits for has long passed, and still the next one has to be served."""
    started(world)
    world.traffic(1_000)
    world.tick()
    world.pass_time(3 * DAY)
    world.traffic(1_000)

    for _ in range(3):
        world.tick()

    assert world.share() == 0.5
    assert [s for s in world.sentences() if "goes from" in s][-1].count("to 50 %") == 1
