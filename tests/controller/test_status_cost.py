"""What it costs when people look: `status` of a long epoch, watched every second."""

import time

import pytest
from tests.controller.rollout_world import NAME, World, started

from pointsman.controller.rollcall import RollCall
from pointsman.controller.status import Statuses
from pointsman.store import overview


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


def test_evidence_that_takes_long_to_read_is_shown_again_for_a_while(world, monkeypatch):
    """As long as ten readings take, so that a screen that is watched keeps no processor busy; what
    came in meanwhile is shown after that."""
    statuses = Statuses(world.ledger, world.projects, RollCall(world.reports), world.blobs, list)
    started(world)
    real, reads = overview.arms, []

    def slow(*arguments):
        time.sleep(0.05)
        reads.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(overview, "arms", slow)

    def seen():
        arms = statuses.status(NAME)["rules"][0]["arms"]
        return sum(arm["figures"]["denied"]["n"] for arm in arms if "figures" in arm)

    before = seen()
    world.traffic(300)
    at_once, read_at_once = seen(), len(reads)
    time.sleep(0.6)

    assert (at_once, read_at_once) == (before, 1)
    assert seen() == before + 300
    assert len(reads) == 2
