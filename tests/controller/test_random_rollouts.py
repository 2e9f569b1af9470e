"""Long random lives of rollouts on the real loop and its real store, in a world that goes wrong.

`tests/rollout/test_random_runs.py` does so to the machine alone. Here every tick is the
controller's own, and what is stored and published is looked at after each of them. A failing run
names its seed, and `POINTSMAN_SEED=17 pytest tests/controller/test_random_rollouts.py` replays it;
POINTSMAN_LIVES says how many there are (tests/lives.py).
"""

from collections import Counter
from types import SimpleNamespace

import msgspec
import pytest
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from tests.controller.rollout_world import MINUTE, NAME, SECOND
from tests.controller.rough_world import Died, RoughWorld
from tests.lives import batches, named
from tests.rollout.laws import check_laws

from pointsman.controller.judging import evidence_of
from pointsman.controller.pinned import version_of
from pointsman.decide.allocation import lookup
from pointsman.decide.hashing import hash32
from pointsman.judge import progress
from pointsman.rollout.machine import TRANSITIONS, Event, Phase
from pointsman.rollout.plan import Publish
from pointsman.rollout.state import encode
from pointsman.store import audit, outbox, rollouts
from pointsman.store.control_schema import rollout_command

LIVES, BATCHES = 4, 2
"""Each life has several rollouts."""
EVENTS = 80
PANEL = [f"panel-{n}" for n in range(300)]
TRANSACTIONS = 16
"""About as many as a tick has at most."""
HARMLESS = {"good", "lying", "losing"}


@pytest.mark.parametrize("seeds", batches(LIVES, BATCHES), ids=str)
def test_no_law_is_broken_by_what_is_stored_and_published(tmp_path, seeds):
    """Whatever dies, fails, comes twice or too late; and once all is well again, so is the rollout.
    Each batch has several rollouts a life."""
    attempts = 0
    for seed in seeds:
        with named(seed, "tests/controller/test_random_rollouts.py -k no_law"):
            told = life(tmp_path / str(seed), seed)
        attempts += told.attempts

    # One life may be short; several are not.
    assert attempts >= (2 if len(seeds) > 1 else 1) * len(seeds)


def test_a_seed_replays(tmp_path):
    """The same states, byte for byte, and the same tables: a failing seed can be looked into. Its
    life is no dull one."""
    once, again = (life(tmp_path / name, seed=0) for name in ("once", "again"))

    assert once.trace == again.trace
    wanted = {"died", "rival", "failed", "missed", "opened", "started", "advanced"}
    assert wanted - set(once.seen) == set()


def test_pooling_would_show(tmp_path, monkeypatch):
    """Folding every epoch's decisions into the first one's state, which is what may never happen,
    breaks a law within one life."""
    apart = progress.fold

    def pooled(before, block, tests):
        known = [epoch for states in before.exact.values() for epoch, _ in states]
        return apart(before, replace(block, epoch=min(known, default=block.epoch)), tests)

    monkeypatch.setattr(progress, "fold", pooled)
    with pytest.raises(AssertionError, match="pooled"):
        life(tmp_path / "pooled", seed=3)


class Life:
    """What a life has shown: of each event its stored state, and how often what happened."""

    def __init__(self):
        self.trace = []
        self.seen = Counter()
        self.attempts = 0


def life(root, seed):
    """One life, with every law checked after every event; the seed is on whatever is raised."""
    root.mkdir(exist_ok=True)
    world, told = RoughWorld(root, seed), Life()
    try:
        for _ in range(EVENTS):
            world.happen()
            before = Stored(world)
            plan = tick(world, told)
            after = Stored(world)
            check_stored(world, before, after, told)
            if plan is not None:
                check_tick(world, after, plan)
            told.trace.append((after.encoded, after.share, after.revision))
        check_recovery(world)
    except BaseException as error:
        error.add_note(f"event {len(told.trace)}")
        raise
    finally:
        world.close()
    told.attempts = 0 if after.state is None else after.state.attempt
    return told


def tick(world, told):
    """One tick of a controller, or what is left of one; the plan where nothing came between."""
    (what,) = world.draw.choices(["whole", "died", "rival", "failed", "missed"], [66, 14, 12, 4, 4])
    at = world.draw.randrange(TRANSACTIONS)
    told.seen[what] += 1
    if what == "whole":
        return world.tick()
    if what == "died":
        try:
            with world.interrupted(at, die):
                world.tick()
        except Died:
            world.rollouts = world.controller()
    elif what == "rival":
        rival = world.controller()
        with world.interrupted(at, lambda: beside(world, rival)):
            world.tick()
    elif what == "failed":
        world.failing = True
        with pytest.raises(OperationalError):
            world.tick()
        world.failing = False
    return None


def die():
    raise Died


def beside(world, rival):
    """The other controller sees what this one has not seen."""
    if world.draw.random() < 0.6:
        world.command()
    rival.tick(NAME)


class Stored:
    """What is in the store and in the published table at one time."""

    def __init__(self, world):
        with world.ledger.reading() as connection:
            self.state = rollouts.state(connection, NAME)
            found = audit.entries(connection, target=NAME, limit=60)
            self.waiting = [one.task for one in outbox.left(connection, NAME)]
            self.out = rollouts.newest_published(connection, NAME)[0]
            given = connection.execute(
                select(rollout_command).where(rollout_command.c.accepted.is_not(None))
            )
            self.answers = {row.seq: (row.accepted, row.sentence) for row in given}
        self.entries = {entry.seq: entry for entry in reversed(found)}
        self.encoded = b"" if self.state is None else encode(self.state)
        table = world.table
        self.versions = {one.name: version_of(one) for one in table.variants}
        self.share = world.share()
        self.revision = table.number
        self.members = members(table)

    @property
    def weight(self):
        return 0.0 if self.state is None else float(self.state.weight) / 100


def members(table):
    """Of a panel, those whom the challenger answers."""
    rule = table.rules[0]
    return {
        unit for unit in PANEL if lookup(rule.allocation, hash32(rule.salt, unit)) == "challenger"
    }


def check_stored(world, before, after, told):
    """What holds of any two looks at the store with ticks between them, whole or not."""
    steps = recorded(before, after)
    told.seen.update(step.event.value for step in steps)
    published(before, after, steps)
    earned(world, steps)
    assert before.answers.items() <= after.answers.items(), "an answer is given once"
    if before.state is not None:
        assert after.state.number >= before.state.number


def recorded(before, after):
    """Every transition has its audit entry and every entry its transition, once, in order, and by
    the table; returns them."""
    new = [entry for seq, entry in after.entries.items() if seq > max(before.entries, default=0)]
    new = [
        entry for entry in new if entry.action.startswith("rollout.") and "event" in entry.payload
    ]
    steps = list(after.state.history[-len(new) :]) if new else []
    assert [entry.payload for entry in new] == [msgspec.to_builtins(step) for step in steps]
    assert [entry.sentence for entry in new] == [step.sentence for step in steps]
    phase = None if before.state is None else before.state.phase
    for step in steps:
        assert step.before is phase
        if phase is None:
            assert (step.event, step.after) == (Event.OPENED, Phase.PENDING)
        else:
            assert TRANSITIONS[phase][step.event] is step.after
        phase = step.after
    assert phase is (None if after.state is None else after.state.phase)
    return steps


def published(before, after, steps):
    """Exposure is never above what was decided; growth comes one step at a time, and keeps whoever
    is in it."""
    assert sum(step.weight > step.weight_before for step in steps) <= 1
    assert after.share in {before.share, after.weight, *(float(s.weight) / 100 for s in steps)}
    if not any(isinstance(task, Publish) for task in after.waiting):
        # Less than decided: somebody published past it, until a tick that has nothing else to do.
        assert after.share <= after.weight
        assert after.state is None or after.out == after.state.publication
    if after.share == 0:
        assert after.members == set()
    else:
        assert after.versions["challenger"] == after.state.target or after.share == before.share
    if after.share > before.share > 0 and same_attempt(before, after):
        assert before.members <= after.members
    if after.state is not None and after.state.phase is Phase.SUCCEEDED and steps:
        assert after.versions["champion"] == after.state.target


def same_attempt(before, after):
    return before.state is not None and before.state.attempt == after.state.attempt


def earned(world, steps):
    """Nothing grows or succeeds without decisions of its own, and no harm is ever promoted."""
    for step in steps:
        fed = world.fed[step.attempt]
        if step.weight > step.weight_before > 0:
            assert fed.total() > 0
        if step.event is Event.PASSED:
            assert any(fed[mood] for mood in HARMLESS), fed


def check_tick(world, after, plan):
    """What holds of a whole tick besides: the laws of the machine, and evidence of one epoch."""
    seen = world.rollouts._watch.seen
    here = SimpleNamespace(terms=seen.at.terms, now_ms=world.clock.ms)
    check_laws(here, seen.state, seen.observation, plan)
    assert after.state == plan.state
    if not plan.changed:
        assert after.share == after.weight
    if seen.read is not None:
        check_epochs(world.drawn, seen)


def check_epochs(drawn, seen):
    """What is counted and judged of an epoch is no more than it had, at its own share: nothing that
    was drawn in another one is added to it. `test_pooling_would_show` shows that this sees it.

    drawn: decisions that were made, by (epoch, variant); each is of a unit of its own
    """
    known, terms = seen.read.judging, seen.at.terms
    arms = (terms.variant, terms.against)
    for epoch, n in known.decisions.items():
        assert n <= drawn[epoch, terms.variant], f"pooled: {n} decisions of epoch {epoch}"
    shares = {one.epoch: one.share for one in known.stretches}
    assert len(shares) == len(known.stretches), "an epoch is one stretch, with one share"
    for states in known.at_once.exact.values():
        for epoch, state in states:
            assert epoch in shares, f"pooled: epoch {epoch} is none of {sorted(shares)}"
            had = sum(drawn[epoch, arm] for arm in arms) * shares[epoch] * (1 - shares[epoch])
            assert state.c <= had + 1e-6, f"pooled: epoch {epoch} had less"
    parts = sum(0 < share < 1 for share in shares.values())
    judged = evidence_of(known, seen.read.wanted, seen.read.sound).metrics.values()
    assert {len(one.exact) for one in judged if getattr(one, "exact", None)} <= {parts}, "pooled"


def check_recovery(world):
    """With nothing wrong any more everything decided is done, and the log is whole."""
    world.heal()
    for _ in range(4):
        world.pass_time(10 * MINUTE)
        world.serve()
        world.some_traffic()
        world.pass_time(SECOND)
        world.tick()
    found = Stored(world)
    assert found.waiting == []
    assert found.share == found.weight
    with world.ledger.reading() as connection:
        assert audit.verify(connection).ok
