"""From a spec and what was before to a table: same arguments, same bytes."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.decide.allocation import initial, reallocate, shares
from pointsman.decide.compile import (
    ProjectState,
    compile_project,
    next_state,
    points,
    restored,
)
from pointsman.decide.engine import decide
from pointsman.decide.table import load
from pointsman.domain.decision import NOTHING_LIVE, Request
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import (
    SPACE,
    AttributeType,
    Feature,
    FeatureType,
    ProjectTable,
    Runtime,
    Shadow,
    Variant,
    encode,
)
from pointsman.spec.canonical import revision
from pointsman.spec.models import Project

FEATURES = (Feature("age", FeatureType.LONG),)


def spec(**changes):
    """A fraud project; `changes` replace whole blocks below `spec`."""
    body = {
        "classes": ["legit", "fraud"],
        "positive": "fraud",
        "unit": "account_id",
        "context": {
            "account_id": "string",
            "amount": "double",
            "channel": {"type": "string", "default": "web"},
        },
        "decision": {"threshold": 0.8, "deny": ["fraud"]},
        "variants": {
            "champion": {"model": "models:/fraud@champion", "cost": {"per_request": 0.5}},
            "challenger": {"model": "models:/fraud/2", "decision": {"threshold": 0.75}},
            "rules-only": {"constant": "legit"},
        },
        "rules": [
            {"name": "big", "when": "request.amount > 10000.0", "use": "champion"},
            {
                "name": "default",
                "split": {"champion": 95, "challenger": 5},
                "holdout": 1,
                "shadow": [{"variant": "rules-only", "percent": 20}],
                "fallback": ["champion", "rules-only"],
            },
        ],
        "deadline": "150ms",
        "log": {"durability": "durable", "onFailure": "refuse"},
    }
    return Project.model_validate(
        {
            "apiVersion": "pointsman/v1",
            "kind": "Project",
            "metadata": {"name": "fraud", "tenant": "payments"},
            "spec": body | changes,
        }
    )


def rules(split=None, **changes):
    """The two rules of the project with another split."""
    first, second = spec().model_dump(by_alias=True, exclude_defaults=True)["spec"]["rules"]
    return [first, second | {"split": split or {"champion": 95, "challenger": 5}} | changes]


EMBARGO = {"name": "embargo", "when": "request.amount < 0.0", "use": "champion"}


def big(**changes):
    """The two rules with another first one."""
    first, second = rules()
    return [first | changes, second]


def context(**changes):
    """The project's attributes, some of them declared otherwise."""
    return {
        "account_id": "string",
        "amount": "double",
        "channel": {"type": "string", "default": "web"},
    } | changes


def model(name, version="1"):
    """A resolved variant."""
    return Variant(name, version, f"models:/fraud/{version}", f"digest-{version}", Runtime.ONNX)


def state(champion="1", challenger="2", **fields):
    """The state of a new project."""
    variants = (model("champion", champion), model("challenger", challenger))
    return ProjectState(number=1, variants=variants, features=FEATURES, **fields)


def published(*projects, start=None):
    """The tables of a history of specs, and the state after the last."""
    now, tables = start or state(), []
    for project in projects:
        tables.append(compile_project(project, now))
        now = next_state(now, tables[-1])
    return tables, now


def epochs(table):
    """Epoch of each rule."""
    return {rule.name: rule.epoch for rule in table.rules}


def test_a_spec_becomes_a_table():
    """Everything a decision needs is in the table, pinned and in plain values."""
    project = spec()
    table = compile_project(project, state())
    big, default = table.rules

    assert (table.tenant, table.project, table.number) == ("payments", "fraud", 1)
    assert table.revision == revision(project)
    assert (table.classes, table.positive) == (("legit", "fraud"), "fraud")
    assert (table.unit, table.deadline_ms) == ("account_id", 150)
    assert (table.durability, table.on_log_failure) == ("durable", "refuse")
    assert {a.name: (a.type, a.required) for a in table.context}["channel"] == (
        AttributeType.STRING,
        False,
    )
    assert table.features == FEATURES
    assert (big.when, big.use, big.allocation) == ("request.amount > 10000.0", "champion", None)
    assert default.allocation == initial({"champion": 95, "challenger": 5})
    assert default.holdout == round(SPACE / 100)
    assert default.salt == "payments/fraud/default#split"
    assert default.holdout_salt == big.holdout_salt == "payments/fraud#holdout"
    assert default.shadows == (
        Shadow("rules-only", round(SPACE / 5), "payments/fraud/default#split#rules-only"),
    )
    assert default.fallback == ("champion", "rules-only")
    assert epochs(table) == {"big": 1, "default": 1}


def test_variants_are_pinned_by_the_state_and_parametrised_by_the_spec():
    """Version, source and artifact come from resolution; threshold, denied classes, cost and
    constants from the spec, whatever the state remembers of them."""
    stale = msgspec.structs.replace(model("champion"), threshold=0.1, deny=("legit",), constant="x")
    now = state()
    now = msgspec.structs.replace(now, variants=(stale, now.variants[1]))
    found = {variant.name: variant for variant in compile_project(spec(), now).variants}

    assert found == {
        "champion": Variant(
            "champion", "1", "models:/fraud/1", "digest-1", Runtime.ONNX, "", 0.8, ("fraud",), 0.5
        ),
        "challenger": Variant(
            "challenger", "2", "models:/fraud/2", "digest-2", Runtime.ONNX, "", 0.75, ("fraud",)
        ),
        "rules-only": Variant(
            "rules-only", "constant", "", "", Runtime.CONSTANT, "legit", 0.8, ("fraud",)
        ),
    }


def test_the_smallest_project_compiles_and_decides():
    """Classes and a champion are enough: everything goes to the champion, without a unit."""
    smallest = Project.model_validate(
        {
            "apiVersion": "pointsman/v1",
            "kind": "Project",
            "metadata": {"name": "income"},
            "spec": {
                "classes": ["no", "yes"],
                "variants": {"champion": {"model": "models:/income@champion"}},
            },
        }
    )
    table = compile_project(smallest, ProjectState(1, (model("champion"),), ()))
    found = decide(load(table), NOTHING_LIVE, Request("d-1", None, {}))

    assert (table.tenant, table.unit, table.positive) == ("default", "", "yes")
    assert (found.assigned, found.rule, found.reason) == ("champion", "default", "RULE")


def test_the_same_arguments_give_the_same_bytes():
    """Two controllers that know the same publish the same blob, which survives its encoding."""
    blob = encode(compile_project(spec(), state()))

    assert blob == encode(compile_project(spec(), state()))
    assert encode(msgspec.json.decode(blob, type=ProjectTable)) == blob


def test_a_weight_change_starts_an_epoch_of_that_rule_only():
    """The changed rule's epoch goes up by one and its units move by the minimum."""
    (before, after), _ = published(
        spec(), spec(rules=rules(split={"champion": 90, "challenger": 10}))
    )

    assert epochs(before) == {"big": 1, "default": 1}
    assert epochs(after) == {"big": 1, "default": 2}
    assert after.number == 2
    assert after.rules[1].allocation == reallocate(
        before.rules[1].allocation, {"champion": 90, "challenger": 10}
    )


@pytest.mark.parametrize(
    ("changes", "started"),
    [
        ({}, set()),
        ({"deadline": "1s"}, set()),
        ({"rules": rules(fallback=["champion"])}, set()),
        ({"rules": rules(shadow=[])}, set()),
        ({"rules": rules(split={"champion": 190, "challenger": 10})}, set()),
        ({"rules": rules(split={"champion": 95, "challenger": 5, "rules-only": 0})}, set()),
        ({"rules": rules(holdout=2)}, {"default"}),
        ({"rules": rules(when="request.amount > 1.0")}, {"default"}),
        ({"decision": {"threshold": 0.7, "deny": ["fraud"]}}, {"big", "default"}),
        ({"rules": big(when="request.amount > 1.0")}, {"big", "default"}),
        ({"rules": big(use="rules-only")}, {"big"}),
        ({"rules": [EMBARGO, *rules()]}, {"big", "default"}),
        ({"rules": [rules()[0], EMBARGO, rules()[1]]}, {"default"}),
        ({"rules": [*rules(), EMBARGO]}, set()),
        ({"rules": rules()[1:]}, {"default"}),
        ({"context": context(channel={"type": "string", "default": "shop"})}, set()),
        ({"context": context(amount={"type": "double", "default": 5})}, {"big", "default"}),
        ({"unit": "channel"}, {"default"}),
        ({"classes": ["fraud", "legit"]}, {"big", "default"}),
        ({"classes": ["legit", "fraud", "unsure"]}, {"big", "default"}),
    ],
)
def test_an_epoch_starts_exactly_where_evidence_may_not_be_pooled(changes, started):
    """Whom a rule meets (conditions of rules before it included), weights, unit, holdout, the
    classes and the assigned variants' parameters count; the rest does not: not the scale of
    weights, nor arms of weight 0, shadows, fallbacks, deadlines, attributes no condition reads, or
    what earlier rules do with their own requests."""
    (before, after), _ = published(spec(), spec(**changes))
    old, new = epochs(before), epochs(after)

    assert {name for name in new if name in old and new[name] != old[name]} == started


def test_the_order_of_earlier_conditions_makes_no_difference():
    """A request reaches the last rule only past both of them, whichever comes first."""
    first, last = rules()
    (before, after), _ = published(
        spec(rules=[first, EMBARGO, last]), spec(rules=[EMBARGO, first, last])
    )

    assert epochs(before)["default"] == epochs(after)["default"]


def test_a_new_version_starts_an_epoch_wherever_it_is_assigned():
    """A challenger's new version concerns the split, a champion's also the rule that uses it."""
    _, now = published(spec())
    challenger = msgspec.structs.replace(now, variants=state(challenger="3").variants)
    champion = msgspec.structs.replace(now, variants=state(champion="4").variants)

    assert epochs(compile_project(spec(), challenger)) == {"big": 1, "default": 2}
    assert epochs(compile_project(spec(), champion)) == {"big": 2, "default": 2}


def test_the_champion_counts_for_a_holdout_though_it_has_no_arm():
    """Held out units are the champion's, so its version is part of that rule's evidence."""
    alone = spec(rules=[{"name": "default", "split": {"challenger": 1}, "holdout": 1}])
    bare = spec(rules=[{"name": "default", "split": {"challenger": 1}}])
    changed = {}
    for name, project in (("holdout", alone), ("bare", bare)):
        _, now = published(project)
        newer = msgspec.structs.replace(now, variants=state(champion="9").variants)
        changed[name] = epochs(compile_project(project, newer))["default"]

    assert changed == {"holdout": 2, "bare": 1}


def test_a_rule_that_comes_back_counts_on():
    """A removed rule that returns has a new epoch, its old salt, and its units where they were."""
    fourths = {"champion": 40, "challenger": 30, "rules-only": 30}
    with_rule = spec(rules=rules(split=fourths))
    without = spec(rules=[{"name": "other", "use": "champion"}])
    (first, _, moved_on, back), now = published(
        with_rule, without, without, spec(rules=rules(split=fourths))
    )

    assert epochs(moved_on) == {"other": 1}
    assert epochs(back) == {"big": 2, "default": 2}
    assert back.rules[1].allocation == first.rules[1].allocation
    assert [rule.name for rule in now.rules] == ["big", "default", "other"]


def test_a_rule_that_splits_again_moves_the_minimum_from_where_it_was():
    """While a rule uses one variant its last allocation is kept."""
    (first, using, back), _ = published(
        spec(), spec(rules=[{"name": "default", "use": "champion"}]), spec()
    )

    assert using.rules[0].allocation is None
    assert back.rules[1].allocation == first.rules[1].allocation
    assert back.rules[1].epoch == 3


def test_salts_are_stored_not_derived_anew():
    """Units stay where they are though the project's name, and so the derived salts, change."""
    _, now = published(spec())
    document = spec().model_dump(by_alias=True)
    document["metadata"]["name"] = "renamed"
    table = compile_project(Project.model_validate(document), now)

    assert table.rules[1].salt == "payments/fraud/default#split"
    assert table.rules[1].holdout_salt == "payments/fraud#holdout"


weightings = st.fixed_dictionaries(
    {
        "champion": st.integers(0, 9),
        "challenger": st.integers(0, 9),
        "rules-only": st.integers(0, 9),
    }
).filter(lambda weights: any(weights.values()))


@given(st.lists(weightings, min_size=2, max_size=5), st.data())
def test_undo_restores_the_stored_allocation(history, data):
    """Undo to any earlier table gives its allocation and variants bit for bit, under a new number
    and, where anything differs, a new epoch."""
    projects = [spec(rules=rules(split=weights)) for weights in history]
    tables, now = published(*projects)
    index = data.draw(st.integers(0, len(tables) - 1))
    now = msgspec.structs.replace(now, variants=state(champion="8").variants)
    undone = compile_project(projects[index], restored(now, tables[index]))

    assert undone.variants == tables[index].variants
    assert [rule.allocation for rule in undone.rules] == [
        rule.allocation for rule in tables[index].rules
    ]
    assert undone.number == len(history) + 1
    same_as_last = undone.rules[1].allocation == tables[-1].rules[1].allocation
    assert undone.rules[1].epoch == tables[-1].rules[1].epoch + (not same_as_last)


def test_undo_leaves_rules_alone_that_were_not_there_then():
    """A rule the earlier table did not have keeps what is remembered of it."""
    tables, now = published(
        spec(rules=[{"name": "default", "use": "champion"}]), spec(), start=state()
    )
    back = restored(now, tables[0])

    assert [r for r in back.rules if r.name == "big"] == [r for r in now.rules if r.name == "big"]
    assert [r.allocation for r in back.rules if r.name == "default"] == [
        tables[1].rules[1].allocation
    ]


def test_every_variant_that_is_not_prepared_is_named():
    """A spec whose models are not resolved does not compile; constants need no preparation."""
    with pytest.raises(PointsmanError) as caught:
        compile_project(spec(), ProjectState(1, (), ()))

    assert caught.value.kind is Kind.UNAVAILABLE
    assert sorted(violation.path for violation in caught.value.violations) == [
        "spec.variants.challenger",
        "spec.variants.champion",
    ]


def test_an_action_without_an_engine_is_refused():
    """A rule that neither uses nor splits is not compiled into something else."""
    with pytest.raises(PointsmanError) as caught:
        compile_project(spec(rules=[{"name": "default"}]), state())

    assert caught.value.kind is Kind.NOT_AVAILABLE_YET


@pytest.mark.parametrize(
    ("percent", "cut"),
    [("0", 0), ("100", SPACE), ("50", SPACE // 2), ("0.000000001", 0), ("99.999999999", SPACE)],
)
def test_percentages_become_the_nearest_cut(percent, cut):
    """0 is nobody and 100 is everybody, exactly."""
    assert points(Decimal(percent)) == cut


def test_shares_are_those_declared():
    """What the file says is what the table does, to within a point."""
    table = compile_project(spec(), state())

    assert shares(table.rules[1].allocation)["challenger"] == pytest.approx(0.05, abs=2**-32)
