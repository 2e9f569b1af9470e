"""The laws hold for every sequence of events that hypothesis can think of, and it shrinks them."""

from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from tests.rollout.laws import check_laws
from tests.rollout.story import steps_of
from tests.rollout.twin import Twin
from tests.rollout.world import COURSES, GUARDRAILS, MINUTE, World

from pointsman.rollout.machine import Phase
from pointsman.rollout.observation import (
    Command,
    Counts,
    Finding,
    Health,
    Judgement,
    Refusal,
    Role,
    Verb,
    Verdict,
    Version,
)
from pointsman.rollout.reconcile import reconcile
from pointsman.rollout.terms import Freeze

HOUR = 60 * MINUTE
versions = st.sampled_from([Version("12"), Version("13"), Version("14")])
findings = st.builds(
    Finding,
    role=st.sampled_from(Role),
    metric=st.sampled_from([*GUARDRAILS, "drift"]),
    verdict=st.sampled_from(Verdict),
    slice=st.sampled_from(["", "country=EU"]),
    n=st.integers(0, 3),
    needs_labels=st.booleans(),
)
judgements = st.none() | st.builds(
    Judgement,
    verdict=st.sampled_from(Verdict),
    findings=st.lists(findings, max_size=4).map(tuple),
    holds=st.booleans(),
)
proof = Judgement(
    Verdict.PASS,
    tuple(Finding(Role.GUARDRAIL, metric, Verdict.PASS, n=9) for metric in GUARDRAILS),
)


class Rollouts(RuleBasedStateMachine):
    """Every rule changes the world; every tick is checked against every law, and the twin."""

    @initialize(
        course=st.sampled_from(COURSES),
        cooldown=st.sampled_from([0, HOUR]),
        max_step=st.sampled_from([None, Decimal(25)]),
        no_data=st.sampled_from(["hold", "rollback"]),
    )
    def begin(self, course, cooldown, max_step, no_data):
        self.world, self.twin = World(0), Twin()
        self.world.terms = replace(
            self.world.terms,
            steps=steps_of(course),
            cooldown_ms=cooldown,
            max_step=max_step,
            approvals=1,
            no_data=no_data,
            freezes=(),
        )

    @rule(minutes=st.sampled_from([0, 1, 10, 61, 5000]))
    def tick(self, minutes):
        world = self.world
        world.now_ms += minutes * MINUTE
        seen, before = world.observed(), world.state
        plan = world.plan()
        check_laws(world, before, seen, plan)
        self.twin.tick(world.terms, seen, world.now_ms)
        assert world.commit(plan)
        state = world.state
        if state is not None:
            mine = state.phase.value, state.target, state.position, state.weight, state.publication
            assert self.twin.shown() == mine

    @rule(decisions=st.integers(0, 600), outcomes=st.integers(0, 30))
    def traffic(self, decisions, outcomes):
        counts = self.world.seen.counts
        self.see(
            counts=Counts(
                counts.decisions + decisions, counts.outcomes + outcomes, self.world.now_ms
            )
        )

    @rule(late=st.sampled_from([0, 5 * MINUTE, 100 * HOUR]))
    def serve(self, late):
        world = self.world
        if world.published > world.seen.acknowledged:
            pins = [
                world.pins[number]
                for number in range(world.seen.acknowledged + 1, world.published + 1)
                if world.pins[number] is not None
            ]
            self.see(
                acknowledged=world.published,
                acknowledged_ms=world.now_ms - late,
                epoch=world.seen.epoch + 1,
                champion=pins[-1] if pins else world.seen.champion,
                counts=Counts(last_decision_ms=world.seen.counts.last_decision_ms),
            )

    @rule(judgement=judgements)
    def judge(self, judgement):
        self.see(judgement=judgement)

    @rule()
    def prove(self):
        """Often enough that hypothesis finds its way to a promotion."""
        self.see(judgement=proof)
        self.traffic(600, 30)

    @rule(
        verb=st.sampled_from(Verb),
        actor=st.sampled_from(["ann", "bob"]),
        roles=st.sampled_from([(), ("approver",)]),
        reason=st.sampled_from(["", "because"]),
        full=st.booleans(),
    )
    def ask(self, verb, actor, roles, reason, full):
        self.world.seq += 1
        self.world.waiting.append(
            Command(self.world.seq, verb, actor, roles, reason, full=full and verb is Verb.PROMOTE)
        )

    @rule(candidate=st.none() | versions)
    def alias(self, candidate):
        self.see(candidate=candidate)

    @rule(health=st.sampled_from(Health))
    def champion(self, health):
        self.see(champion_health=health)

    @rule(why=st.sampled_from(["", "local guard"]))
    def stop(self, why):
        self.see(stopped=why)

    @rule(version=st.none() | versions)
    def refuse(self, version):
        self.see(refusals=(Refusal(version, "golden rows"),) if version else ())

    @rule(course=st.sampled_from(COURSES))
    def edit(self, course):
        self.world.terms = replace(self.world.terms, steps=steps_of(course))

    @rule(length=st.sampled_from([0, 30 * MINUTE, 3 * HOUR]))
    def freeze(self, length):
        now_ms = self.world.now_ms
        freeze = Freeze(now_ms, now_ms + length, "a day off")
        self.world.terms = replace(self.world.terms, freezes=(freeze,))

    @rule()
    def other_table(self):
        fresh = Counts(last_decision_ms=self.world.seen.counts.last_decision_ms)
        self.see(epoch=self.world.seen.epoch + 1, counts=fresh)

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def silence_goes_nowhere(self):
        """However long nothing is known, nothing grows: ten days of ticks without any evidence."""
        world, state = self.world, self.world.state
        if state is None:
            return
        seen = replace(world.seen, judgement=None, commands=(), candidate=None)
        now_ms, weight = world.now_ms, state.weight
        for _ in range(10):
            now_ms += 24 * HOUR
            before = state
            state = reconcile(world.terms, before, seen, now_ms).state
            started = before.phase is Phase.PENDING
            assert state.weight <= weight or started or before.weight == 0
            assert state.weight <= weight or state.weight < 100
            assert state.phase is not Phase.PROMOTING or before.phase is Phase.PROMOTING
            assert state.phase is not Phase.SUCCEEDED or before.phase in {
                Phase.PROMOTING,
                Phase.SUCCEEDED,
            }
            weight = state.weight

    def see(self, **changes):
        self.world.seen = replace(self.world.seen, **changes)


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
