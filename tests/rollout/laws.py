"""What is true of every tick, whatever came before: the invariants of ARCHITECTURE.md, as code."""

from decimal import Decimal

from tests.rollout.world import weight_of

from pointsman.rollout.machine import TERMINAL, TRANSITIONS, Event, Phase
from pointsman.rollout.observation import Command, Health, Role, Verb, Verdict
from pointsman.rollout.plan import Notify, Publish, Record, SetAlias
from pointsman.rollout.reconcile import reconcile

MINUTE = 60_000


def check_laws(world, before, seen, plan):
    """All of them, on one tick that has not been written yet."""
    state = plan.state
    if state is None:
        assert not plan.effects
        assert dict(plan.weights)["challenger"] == 0
        return
    _bounded(state, plan)
    _recorded(before, state, plan, world.terms.project)
    _ordered(plan)
    _earned(world.terms, before, seen, plan, world.now_ms)
    _protected(state, seen)
    _idle_when_repeated(world, seen, plan)
    _always_a_way_back(world, seen, state)


def _bounded(state, plan):
    """Exposure is never above the step's weight, and nothing is left of one that ended."""
    assert dict(plan.weights) == {"challenger": state.weight, "champion": 100 - state.weight}
    if state.phase in {Phase.PENDING, Phase.PROMOTING} | TERMINAL:
        assert state.weight == 0
    else:
        assert state.weight == weight_of(state.course, state.position)
    published = [effect for effect in plan.effects if isinstance(effect, Publish)]
    if published:
        assert published[-1].weights == plan.weights
        assert published[-1].publication == state.publication


def _recorded(before, state, plan, project):
    """Every change has a number, every transition an entry, and none is outside the table."""
    number = 0 if before is None else before.number
    assert plan.expects == number
    assert state.number == number + (before is None or state != before)
    phase = None if before is None else before.phase
    for effect in plan.effects:
        if isinstance(effect, Record):
            entry = effect.transition
            assert entry.before == phase
            if phase is None:
                assert (entry.event, entry.after) == (Event.OPENED, Phase.PENDING)
            else:
                assert TRANSITIONS[phase][entry.event] is entry.after
            phase = entry.after
            assert entry.sentence.startswith(f"{project}: ")
            assert "\n" not in entry.sentence
    assert phase is state.phase
    assert plan.sentence.startswith(f"{project}: ")
    if before is not None and before.weight != state.weight:
        assert any(isinstance(effect, Publish) for effect in plan.effects)


def _ordered(plan):
    """Audit entries, then tables, then the alias, and people last."""
    order = [Record, Publish, SetAlias, Notify]
    turns = [order.index(type(effect)) for effect in plan.effects]
    assert turns == sorted(turns)


def _earned(terms, before, seen, plan, now_ms):
    """Growth and promotion were earned: read off the observation, not off the code's own list."""
    entries = [effect.transition for effect in plan.effects if isinstance(effect, Record)]
    # People may grow it past what only makes a machine wait.
    asked = any(command.verb is Verb.PROMOTE for command in seen.commands)
    grown = [entry for entry in entries if entry.weight > entry.weight_before]
    passed = [entry for entry in entries if entry.event is Event.PASSED]
    assert len(grown) + len(passed) <= 1, "one growth a tick, however long nobody ticked"
    for entry in grown + passed:
        assert not any(f.from_ms <= now_ms < f.until_ms for f in terms.freezes)
        assert seen.champion_health is not Health.UNHEALTHY
        assert not seen.stopped
        assert not seen.drifting or asked
        if entry.weight_before > 0:
            assert seen.acknowledged >= before.publication
            assert seen.counts.decisions > 0
            assert now_ms - max(seen.counts.last_decision_ms, before.published_ms) < MINUTE
            assert seen.judgement.findings
            assert seen.judgement.verdict is not Verdict.FAIL
        if passed or entry.weight == 100:
            assert seen.judgement.verdict is Verdict.PASS
            shown = {
                found.metric
                for found in seen.judgement.findings
                if found.role is Role.GUARDRAIL and found.verdict is Verdict.PASS and found.n
            }
            assert shown >= set(terms.guardrails)
    if any(entry.event is Event.SUCCEEDED for entry in entries):
        assert before.phase is Phase.PROMOTING
        assert seen.acknowledged >= before.publication
    aliases = [effect for effect in plan.effects if isinstance(effect, SetAlias)]
    assert not aliases or entries[-1].event in {Event.SUCCEEDED, Event.UNDONE}


def _protected(state, seen):
    """No harm is left standing, unless the champion could not take the traffic back."""
    if seen.judgement is not None and seen.judgement.verdict is Verdict.FAIL and state.weight > 0:
        assert state.weight == 100
        assert seen.champion_health is Health.UNHEALTHY
    if seen.stopped or seen.refusal(state.target):
        assert state.weight == 0


def _idle_when_repeated(world, seen, plan):
    """The same observation again changes nothing: no state, no effect, no answer."""
    again = reconcile(world.terms, plan.state, seen, world.now_ms)

    assert not again.changed, again.sentence
    assert again.state == plan.state
    assert again.effects == ()
    assert again.answers == ()
    assert again.weights == plan.weights


def _always_a_way_back(world, seen, state):
    """From wherever it is, `abort` takes all traffic back in the tick it is seen."""
    if state.phase in TERMINAL:
        return
    abort = Command(seq=10**9, verb=Verb.ABORT, actor="ann")
    plan = reconcile(world.terms, state, _with(seen, abort), world.now_ms)

    assert [answer.accepted for answer in plan.answers] == [True]
    # A version that waited behind this one may begin, and only from its own first step.
    if plan.state.attempt == state.attempt:
        assert plan.weights == world.terms.weights(Decimal(0))
    assert any(
        isinstance(effect, Record) and effect.transition.after is Phase.ROLLED_BACK
        for effect in plan.effects
    )
    if state.weight > 0 or state.phase is Phase.PROMOTING:
        published = [effect for effect in plan.effects if isinstance(effect, Publish)]
        assert published[0].weights == world.terms.weights(Decimal(0))


def _with(seen, command):
    return type(seen)(
        **{name: getattr(seen, name) for name in seen.__struct_fields__ if name != "commands"},
        commands=(command,),
    )
