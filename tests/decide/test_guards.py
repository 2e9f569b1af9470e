"""What gateways are told to watch: the guardrails that need no labels, with evidence of its own."""

from decimal import Decimal

import msgspec

from pointsman.decide.compile import Owned, ProjectState, compile_project, next_state
from pointsman.domain.table import Bound, Feature, FeatureType
from pointsman.spec.models import Project

STEPS = [
    {"setWeight": 5},
    {"analysis": {"hold": "1d"}},
    {"setWeight": 50},
    {"analysis": {"hold": "1d"}},
]
GUARDRAILS = [
    {"metric": "denied", "absolute": 0.01, "slices": ["country"]},
    {"metric": "errors", "relative": 0.1},
    {"metric": "slow", "atMost": 0.05},
    {"metric": "recall", "atLeast": -0.01},
]


def project(guardrails=GUARDRAILS, *, rollout=True, **changes):
    body = {
        "classes": ["legit", "fraud"],
        "positive": "fraud",
        "unit": "account_id",
        "context": {"account_id": "string", "country": "string"},
        "decision": {"deny": ["fraud"]},
        "variants": {"champion": {"constant": "legit"}, "challenger": {"constant": "fraud"}},
        "rules": [{"name": "default", "split": {"champion": 75, "challenger": 25}}],
        "metrics": {
            "denied": {"kind": "decision", "event": "denied"},
            "errors": {"kind": "operational", "event": "error"},
            "slow": {"kind": "operational", "event": "latency > 100ms"},
            "recall": {"kind": "classifier", "of": "recall"},
        },
    } | changes
    if rollout:
        body["rollout"] = {
            "variant": "challenger",
            "rule": "default",
            "steps": STEPS,
            "guardrails": guardrails,
            "confidence": 0.9,
        }
    return Project.model_validate(
        {"apiVersion": "pointsman/v1", "kind": "Project", "metadata": {"name": "p"}, "spec": body}
    )


def state(**more):
    return ProjectState(1, (), (Feature("x", FeatureType.DOUBLE),), **more)


def test_guardrails_on_decisions_and_serving_become_bounds_and_those_on_labels_do_not():
    """Margins as shares, limits in microseconds, which way is harm; alpha divided among weights."""
    (guard,) = compile_project(project(), state()).guards

    assert (guard.rule, guard.variant, guard.against) == ("default", "challenger", "champion")
    assert guard.share == 0.25
    assert round(guard.alpha, 12) == 0.05
    assert guard.bounds == (
        Bound("denied", "denied", 0.01, relative=False, slices=("country",)),
        Bound("errors", "error", 0.1, relative=True),
        Bound("slow", "latency", 0.05, relative=False, limit=100_000.0),
    )


def test_the_share_is_the_one_that_is_drawn_not_the_one_in_the_file():
    """Where a rollout owns the weights of its rule."""
    owned = Owned("default", (("champion", Decimal(99)), ("challenger", Decimal(1))))
    (guard,) = compile_project(project(), state(owned=(owned,))).guards

    assert round(guard.share, 9) == 0.01


def test_a_project_without_a_rollout_has_nothing_watched():
    """Its table is that of before."""
    assert compile_project(project(rollout=False), state()).guards == ()


def test_evidence_has_another_name_wherever_it_may_not_be_added_up():
    """Another epoch or other bounds; not a change that has nothing to do with the rule."""
    first = compile_project(project(), state())
    after = next_state(state(), first)
    names = {
        "same": compile_project(project(), after),
        "deadline": compile_project(project(deadline="2s"), after),
        "weights": compile_project(
            project(rules=[{"name": "default", "split": {"champion": 50, "challenger": 50}}]), after
        ),
        "bounds": compile_project(project(GUARDRAILS[:2]), after),
        "model": compile_project(
            project(
                variants={"champion": {"constant": "legit"}, "challenger": {"constant": "legit"}}
            ),
            after,
        ),
    }
    evidence = {name: table.guards[0].evidence for name, table in names.items()}
    known = first.guards[0].evidence

    assert {name for name, one in evidence.items() if one == known} == {"same", "deadline"}
    assert len(set(evidence.values())) == 4


def test_a_table_of_before_guards_is_read_as_one_without():
    """Gateways meet last known good tables of older releases."""
    table = compile_project(project(), state())
    fields = msgspec.to_builtins(table)
    del fields["guards"]

    assert msgspec.convert(fields, type(table)).guards == ()
