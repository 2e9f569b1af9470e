"""A table is checked before it is used; one that is not sound is refused with all that is wrong."""

import pytest

from pointsman.decide.engine import decide
from pointsman.decide.table import load
from pointsman.domain.decision import NOTHING_LIVE
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import SPACE, Allocation, digest, encode


def problems_of(table):
    """(path, message) of each violation."""
    with pytest.raises(PointsmanError) as caught:
        load(table)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.hint
    return {(v.path, v.message) for v in caught.value.violations}


def test_the_digest_is_that_of_the_blob(make):
    """A compiled project knows the name of the blob it came from."""
    table = make.table(make.rule())

    assert load(table).digest == digest(encode(table))


def test_all_that_is_wrong_is_said_at_once(make):
    """Every reference, cut, allocation and condition is checked, and nothing hides the next."""
    table = make.table(
        make.rule("a", use="ghost", fallback=("champion", "spirit")),
        make.rule("a", allocation=Allocation((0, 5), ("champion", "wraith")), holdout=SPACE + 1),
        make.rule("b", allocation=None),
        make.rule("c", use="champion", allocation=Allocation((0,), ("champion",))),
        make.rule("d", allocation=Allocation((1,), ("champion",)), salt="a\0b"),
        make.rule("e", when="request.nothing > 1", shadows=(make.shadow("phantom", -1, "s"),)),
        variants=(make.variant("other"), make.variant("other")),
        format=2,
    )

    assert problems_of(table) >= {
        ("format", "format 2 is not the format 1 this gateway reads"),
        ("variants", "there is no variant named champion"),
        ("variants", "other is there more than once"),
        ("rules", "a is there more than once"),
        ("rules[0].use", "there is no variant named 'ghost'"),
        ("rules[0].fallback", "there is no variant named 'spirit'"),
        ("rules[1].allocation", "there is no variant named 'wraith'"),
        ("rules[1].holdout", f"{SPACE + 1} is not between 0 and 2^32"),
        ("rules[2]", "a rule has either `use` or an allocation"),
        ("rules[3]", "a rule has either `use` or an allocation"),
        ("rules[4].allocation", "the first cut point is not 0"),
        ("rules[4]", "a salt contains NUL"),
        ("rules[5].shadows", "there is no variant named 'phantom'"),
        ("rules[5].shadows", "-1 is not between 0 and 2^32"),
    }


def test_a_condition_that_does_not_compile_refuses_the_table(make):
    """A condition over an undeclared attribute is named by its rule, with the place inside it."""
    found = problems_of(make.table(make.rule("x", when="request.nothing > 1.0")))

    ((path, message),) = found
    assert path == "rules[0].when"
    assert "1:1" in message
    assert "nothing" in message


def test_a_project_without_rules_is_all_champion(make):
    """No rule matches, so every request is the champion's by default."""
    assert decide(load(make.table()), NOTHING_LIVE, make.request()).assigned == "champion"
