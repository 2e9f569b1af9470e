"""People and a registry that move a project at the same moment: people have the last word."""

import pytest
from tests.controller.rollout_world import NAME, World

from pointsman.controller.projects import Intent
from pointsman.ports import Registered

FILE = """
apiVersion: pointsman/v1
kind: Project
metadata: {name: loan}
spec:
  classes: [ok, fraud]
  features: {amount: double}
  variants:
    champion: {model: "models:/loan@champion", onAliasMove: follow}
"""


class InterruptedWorld(World):
    """Something happens while a version is prepared."""

    def __init__(self, root):
        self.meanwhile = lambda: None
        super().__init__(root, FILE)

    def _prepare(self, version, classes, features):
        self.meanwhile()
        return super()._prepare(version, classes, features)


@pytest.fixture
def world(tmp_path):
    made = InterruptedWorld(tmp_path)
    yield made
    made.close()


def proposed(world):
    return [found.to_version for found in world.aliases.proposals(NAME, "open")]


def test_a_move_seen_before_an_undo_is_not_followed_after_it(world):
    """The look found it while version 1 served; it was followed, and people went back since."""
    world.registry.aliases["champion"] = "2"
    world.aliases.look()
    moved = {"champion": world.registry.resolve("models:/loan@champion")}
    world.projects.repin(NAME, moved, "follow", Intent("pointsman"))
    world.projects.undo(NAME, None, Intent("ada"))

    world.aliases.follow()

    assert (world.version("champion"), proposed(world)) == ("1", [])
    world.aliases.look()
    world.aliases.follow()
    assert (world.version("champion"), proposed(world)) == ("1", ["2"])


def test_an_undo_while_a_move_is_prepared_is_not_overwritten(world):
    """What was prepared for another revision is not published; the next look sees what stands."""
    world.point("champion", "2")
    world.registry.aliases["champion"] = "3"
    world.aliases.look()

    world.meanwhile = lambda: world.projects.undo(NAME, 1, Intent("ada"))
    world.aliases.follow()

    assert world.version("champion") == "1"
    world.meanwhile = lambda: None
    world.aliases.look()
    world.aliases.follow()
    assert (world.version("champion"), proposed(world)) == ("3", [])


def test_what_stays_is_not_asked_for_again(world):
    """A look at the registered models says that nothing moved; where it says so, or nothing, each
    reference is asked for."""
    world.aliases.look()
    asked = []
    resolve = world.registry.resolve
    world.aliases._resolve = lambda uri: asked.append(uri) or resolve(uri)
    (model,) = world.aliases.models()

    world.aliases.look({model: Registered({"champion": "1", "other": "2"}, "2")})
    assert asked == []

    for seen in ({}, {model: Registered({"champion": "2"}, "2")}, {model: Registered({}, "2")}):
        asked.clear()
        world.aliases.look(seen)
        assert asked == ["models://main/loan@champion"]


def test_an_alias_that_moved_back_closes_its_proposal_though_nothing_seems_to_move(world):
    world.point("champion", "2")
    world.projects.undo(NAME, None, Intent("ada"))
    world.aliases.look()
    assert proposed(world) == ["2"]

    world.registry.aliases["champion"] = "1"
    for _ in range(2):
        world.aliases.look({"models://main/loan": Registered({"champion": "1"}, "2")})

    assert proposed(world) == []
