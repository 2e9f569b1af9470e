"""Plain comparisons are evaluated without an engine, and mean exactly what an engine says."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.conditions import Google, compile_condition, plain
from pointsman.domain.errors import PointsmanError
from pointsman.domain.table import Attribute, AttributeType

ATTRIBUTES = (
    Attribute("amount", AttributeType.DOUBLE),
    Attribute("country", AttributeType.STRING),
    Attribute("n", AttributeType.INT),
    Attribute("vip", AttributeType.BOOL),
)
ENGINE = Google()

STRINGS = st.sampled_from(['"KP"', "'SY'", '""', '"é"', '"request.n"', '"a && b"', '"\\"q"'])
DOUBLES = st.sampled_from(["10.0", "-2.5", "0.0", "-0.0", "1.5e3", "9007199254740993.0", "1.0e999"])
INTS = st.sampled_from(["0", "3", "-7", "9223372036854775807", "-9223372036854775808", "007"])
SIGNS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
EQUAL = st.sampled_from(["==", "!="])


def _listed(constants: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(constants, min_size=1, max_size=3).map(lambda found: f"[{', '.join(found)}]")


COMPARISONS = st.one_of(
    st.builds(lambda sign, value: f"request.amount {sign} {value}", SIGNS, DOUBLES),
    st.builds(lambda sign, value: f"request.n {sign} {value}", SIGNS, INTS),
    st.builds(lambda sign, value: f"request.country{sign}{value}", SIGNS, STRINGS),
    st.builds(lambda sign, value: f"request.vip {sign} {value}", EQUAL, st.just("true")),
    st.builds(lambda values: f"request.country in {values}", _listed(STRINGS)),
    st.builds(lambda values: f"request.n in{values}", _listed(INTS)),
    st.builds(lambda values: f"request.amount in {values}", _listed(DOUBLES)),
    st.sampled_from(["request.vip", "!request.vip", "!!request.vip", "!request.n == 3"]),
)


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds(lambda one, other: f"{one} && {other}", inner, inner),
        st.builds(lambda one, other: f"{one}||{other}", inner, inner),
        inner.map(lambda one: f"({one})"),
        inner.map(lambda one: f"!({one})"),
        inner.map(lambda one: f"({one}) == true"),
        inner.map(lambda one: f"({one}) ? true : false"),
    )


SOURCES = st.recursive(COMPARISONS, _combined, max_leaves=6)
NUMBERS = st.sampled_from([10.0, 10, -2.5, 0, -0.0, 1500.0, 2**53 + 1, 10**400, float("inf"), True])
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.one_of(NUMBERS, st.none(), st.just("10.0")),
        "country": st.sampled_from(["KP", "SY", "", "é", "request.n", None, 3]),
        "n": st.sampled_from([0, 3, -7, 2**63 - 1, -(2**63), 2**63, 3.0, True, None]),
        "vip": st.sampled_from([True, False, 1, None]),
    },
)


@settings(max_examples=500, deadline=None)
@given(source=SOURCES, contexts=st.lists(CONTEXTS, min_size=1, max_size=8))
def test_a_plain_condition_says_what_the_engine_says(
    source: str, contexts: list[dict[str, Any]]
) -> None:
    try:
        slow = compile_condition(source, ATTRIBUTES, engine=ENGINE)
    except PointsmanError:
        with pytest.raises(PointsmanError):
            compile_condition(source, ATTRIBUTES)
        return
    quick = compile_condition(source, ATTRIBUTES)
    for context in contexts:
        assert quick.evaluate(context) == slow.evaluate(context), (source, context)


@pytest.mark.parametrize(
    "source",
    [
        "request.amount > 10.0",
        "request.n in [1, 2]",
        'request.country in ["KP", "SY"] && (request.amount > 1.5 || !request.vip)',
        "!(request.n == 3) || request.vip",
    ],
)
def test_comparisons_with_constants_need_no_engine(source: str) -> None:
    condition = compile_condition(source, ATTRIBUTES)
    assert condition.evaluate.__module__ == plain.__name__


@pytest.mark.parametrize(
    "source",
    [
        'request.country.startsWith("K")',
        "request.n + 1 == 3",
        "double(request.n) < request.amount",
        "request.vip ? request.n > 5 : request.n > 2",
        'request.country == r"KP"',
        'request.country == "K\\u0050"',
        "request.n == 3 // but not always",
        "(request.n == 3) == request.vip",
        "request.country < 'L'",
        "1.0e999 > request.amount",
    ],
)
def test_everything_else_is_left_to_the_engine(source: str) -> None:
    condition = compile_condition(source, ATTRIBUTES)
    assert condition.evaluate.__module__ != plain.__name__
