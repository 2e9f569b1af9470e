"""Long random lives of rollouts, in a world that goes wrong, beside a twin that is easy to believe.

A failing run names its seed, and `POINTSMAN_SEED=17 pytest tests/rollout/test_random_runs.py`
replays it; POINTSMAN_LIVES says how many there are (tests/lives.py).
"""

from collections import Counter

import pytest
from tests.lives import batches, named
from tests.rollout.laws import check_laws
from tests.rollout.twin import Twin
from tests.rollout.world import World

RUNS = 200
EVENTS = 250


@pytest.mark.parametrize("seeds", batches(RUNS, 10), ids=str)
def test_machine_and_twin_agree_on_every_tick_and_no_law_is_broken(seeds):
    """200 rollouts under random faults: the same phases, weights and publications as the twin."""
    for seed in seeds:
        with named(seed, "tests/rollout/test_random_runs.py -k twin"):
            run(seed)


def run(seed):
    """One life of the machine and of its twin. Every other seed is a calm one."""
    world, twin = World(seed, calm=seed % 2 == 0), Twin()
    for event in range(EVENTS):
        world.happen()
        before, seen = world.state, world.observed()
        plan = world.plan()
        if world.draw.random() < 0.1:
            continue  # the controller died before it wrote: nothing of this tick has happened
        check_laws(world, before, seen, plan)
        twin.tick(world.terms, seen, world.now_ms)
        rival = world.plan()
        assert world.commit(plan)
        if rival.changed:
            assert not world.commit(rival)

        assert twin.shown() == shown(world.state), f"event {event}"


def test_random_lives_reach_every_end():
    """A random test that never gets anywhere would show nothing."""
    ends, grown = Counter(), Counter()
    for seed in range(RUNS):
        world = World(seed, calm=seed % 2 == 0)
        for _ in range(EVENTS):
            world.happen()
            world.commit(world.plan())
        ends.update(entry.event.value for entry in world.state.history)
        grown.update(entry.weight for entry in world.state.history)

    rare = {event: count for event, count in ends.items() if count < 5}
    assert not rare
    assert len(ends) == 18
    assert grown[100] >= 5
    assert sum(grown.values()) > 1000


def shown(state):
    if state is None:
        return Twin().shown()
    return (
        state.phase.value,
        state.target,
        state.position,
        state.weight,
        state.publication,
    )
