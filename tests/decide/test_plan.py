"""What a change would do, counted exactly from two tables."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.decide.allocation import initial, reallocate
from pointsman.decide.engine import decide
from pointsman.decide.plan import Change, RuleMove, diff, moves
from pointsman.decide.table import load
from pointsman.domain.decision import NOTHING_LIVE
from pointsman.domain.table import SPACE, Allocation

UNITS = [f"unit-{i}" for i in range(3000)]


def test_a_step_moves_its_difference(make):
    """Growing a challenger from 5 to 10 % moves 5 % of the units, all of them into it."""
    before = initial({"champion": 95, "challenger": 5})
    after = reallocate(before, {"champion": 90, "challenger": 10})
    (move,) = moves(
        make.table(make.rule(allocation=before)), make.table(make.rule(allocation=after))
    )

    assert move.share == pytest.approx(0.05, abs=2**-32)
    assert move.flows == (("champion", "challenger", move.share),)


def test_nothing_moves_where_nothing_changes(make):
    """A new version of a variant changes the table and moves nobody."""
    before = make.table(make.rule())
    newer = tuple(make.variant(v.name, version="4") for v in before.variants)

    assert moves(before, make.table(make.rule(), variants=newer)) == (RuleMove("default", 0.0, ()),)


def test_only_rules_in_both_tables_are_counted(make):
    """Who meets a rule that is new or gone is for a replay of traffic to say."""
    before = make.table(make.rule("old"), make.rule("both"))
    after = make.table(make.rule("new"), make.rule("both"))

    assert [move.rule for move in moves(before, after)] == ["both"]


rules = st.fixed_dictionaries(
    {
        "holdout": st.sampled_from([0, SPACE // 4, SPACE // 2, SPACE]),
        "salt": st.sampled_from(["one", "two"]),
        "holdout_salt": st.sampled_from(["three", "four"]),
        "allocation": st.sampled_from(
            [
                None,
                initial({"champion": 3, "challenger": 1}),
                initial({"champion": 1, "challenger": 1, "night": 1}),
                Allocation((0, SPACE // 3, SPACE // 2), ("night", "champion", "challenger")),
            ]
        ),
    }
).map(lambda fields: fields if fields["allocation"] else fields | {"use": "night"})


@given(rules, rules)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_moves_are_what_happens(make, old, new):
    """The exact shares agree with deciding for many units under both tables: splits, single
    variants, holdouts, same salts and other salts."""
    before, after = make.table(make.rule(**old)), make.table(make.rule(**new))
    (move,) = moves(before, after)
    one, two = load(before), load(after)
    pairs = [
        (
            decide(one, NOTHING_LIVE, make.request(unit=unit)).assigned,
            decide(two, NOTHING_LIVE, make.request(unit=unit)).assigned,
        )
        for unit in UNITS
    ]
    expected = {(a, b): share for a, b, share in move.flows}

    assert move.share == pytest.approx(sum(expected.values()))
    for pair in {*expected, *(pair for pair in pairs if pair[0] != pair[1])}:
        share, seen = expected.get(pair, 0.0), pairs.count(pair) / len(pairs)
        assert abs(seen - share) <= 5 * (share * (1 - share) / len(pairs)) ** 0.5


def test_diff_names_every_value_by_its_path(make):
    """Members of lists go by their names, so a new rule does not shift the others."""
    before = make.table(make.rule("a", use="champion"), make.rule("b", use="night"))
    after = make.table(
        make.rule("new", use="night"),
        make.rule("b", use="night", holdout=5),
        make.rule("a", use="challenger"),
        number=2,
        deadline_ms=200,
    )
    changes = {change.path: (change.before, change.after) for change in diff(before, after)}

    assert changes.pop("rules[new]")[0] is None
    assert changes == {
        "deadline_ms": (100, 200),
        "rules (order)": (["a", "b"], ["new", "b", "a"]),
        "rules[a].use": ("champion", "challenger"),
        "rules[b].holdout": (0, 5),
    }


def test_diff_of_a_table_with_itself_is_empty(make):
    """The number alone is no difference, since every publish has a new one."""
    table = make.table(make.rule())

    assert diff(table, msgspec.structs.replace(table, number=9)) == ()


def test_diff_from_nothing_is_everything(make):
    """A project that is new or gone is one change."""
    table = make.table(make.rule())

    ((path, before, after),) = [msgspec.structs.astuple(c) for c in diff(None, table)]
    assert (path, before) == ("", None)
    assert after["project"] == "p"
    assert [c.after for c in diff(table, None)] == [None]


def test_lists_of_plain_values_differ_as_a_whole(make):
    """Classes and cut points are one value each."""
    before = make.table(make.rule())
    after = make.table(make.rule(), classes=("no", "maybe", "yes"))

    assert diff(before, after) == (Change("classes", ["no", "yes"], ["no", "maybe", "yes"]),)


def test_changes_come_in_order_of_path(make):
    """Two runs print the same."""
    before = make.table(make.rule("a", use="champion"), make.rule("b", use="night"))
    after = make.table(make.rule("b", use="champion"), classes=("x", "y"), unit="z")
    paths = [change.path for change in diff(before, after)]

    assert len(paths) > 3
    assert all(a < b for a, b in pairwise(paths))
