"""Conditions mean the same in every engine, and never raise."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.conditions import (
    MAX_SOURCE,
    Engine,
    Google,
    Rust,
    compile_condition,
    default_engine,
)
from pointsman.domain.errors import Kind, PointsmanError
from pointsman.domain.table import Attribute, AttributeType

ATTRIBUTES = (
    Attribute("amount", AttributeType.DOUBLE),
    Attribute("country", AttributeType.STRING),
    Attribute("n", AttributeType.INT),
    Attribute("vip", AttributeType.BOOL),
)
CONTEXT = {"amount": 12.5, "country": "KP", "n": 3, "vip": False}
ENGINES = [pytest.param(Google(), id="google"), pytest.param(Rust(), id="rust")]
LOOP = f"[{', '.join(str(i) for i in range(22))}]"


def test_the_typed_engine_is_the_one_in_use() -> None:
    assert default_engine().name == "cel-expr-python"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("request.amount > 10.0", True),
        ("request.amount >= 12.5 && request.amount < 12.6", True),
        ("request.amount * 2.0 == 25.0", True),
        ("request.n == 3", True),
        ("request.n % 2 == 1", True),
        ("double(request.n) < request.amount", True),
        ("request.n in [1, 2]", False),
        ('request.country in ["KP", "IR"]', True),
        ('request.country != "KP"', False),
        ('request.country.startsWith("K")', True),
        ('request.country.endsWith("K")', False),
        ('request.country.contains("P")', True),
        ('request.country.matches("^[A-Z]{2}$")', True),
        ("request.country.size() == 2", True),
        ("request.vip", False),
        ("!request.vip", True),
        ("request.vip ? request.n > 5 : request.n > 2", True),
        ('request.vip || request.country == "KP"', True),
        ('["A", "K"].exists(p, request.country.startsWith(p))', True),
        ('request.country == "request.nothing" // and request.comments', False),
        ("request . n == 3", True),
        ("request.country == 'K' + \"P\"", True),
        ("request.country == '''KP'''", True),
    ],
)
def test_a_condition_is_true_or_false(engine: Engine, source: str, expected: bool) -> None:  # noqa: FBT001 - a table
    condition = compile_condition(source, ATTRIBUTES, engine=engine)

    assert condition.evaluate(CONTEXT) is expected
    assert condition.constant is None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "context", "error"),
    [
        ("request.amount > 1.0", {}, "attribute 'amount' is missing"),
        ("request.amount > 1.0", {"amount": None}, "attribute 'amount' is null"),
        ("request.amount > 1.0", {"amount": "9"}, "attribute 'amount' is string, declared double"),
        ("request.amount > 1.0", {"amount": True}, "attribute 'amount' is bool, declared double"),
        ("request.n == 1", {"n": 1.0}, "attribute 'n' is double, declared int"),
        ("request.n == 1", {"n": True}, "attribute 'n' is bool, declared int"),
        ("request.vip", {"vip": 1}, "attribute 'vip' is int, declared bool"),
        ('request.country == "x"', {"country": 1}, "attribute 'country' is int, declared string"),
        ("request.vip", {"vip": []}, "attribute 'vip' is list, declared bool"),
        # CEL could do without the second one; it has to be there all the same.
        ("request.vip || request.n > 1", {"vip": True}, "attribute 'n' is missing"),
        ("request.vip && request.n > 1", {"vip": False, "n": None}, "attribute 'n' is null"),
    ],
)
def test_what_cannot_be_read_is_an_error_and_never_false(
    engine: Engine, source: str, context: dict[str, Any], error: str
) -> None:
    condition = compile_condition(source, ATTRIBUTES, engine=engine)

    assert condition.evaluate(context) == error


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "context"),
    [
        ("10 / request.n == 1", {"n": 0}),
        ("request.n + 1 > 0", {"n": 2**63 - 1}),
        ("request.n > 0", {"n": 2**70}),
        ("int(request.country) > 0", {"country": "abc"}),
        ('request.country == "x"', {"country": "\ud800"}),
    ],
)
def test_what_fails_while_it_runs_is_a_text(
    engine: Engine, source: str, context: dict[str, Any]
) -> None:
    """Overflow, division by zero and the like: never an exception, never False."""
    answer = compile_condition(source, ATTRIBUTES, engine=engine).evaluate(context)

    assert isinstance(answer, str)
    assert answer


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("amount", [12, 12.0])
def test_a_whole_number_is_a_double_where_one_is_declared(engine: Engine, amount: float) -> None:
    """JSON writes 12.0 as 12."""
    condition = compile_condition("request.amount > 11.5", ATTRIBUTES, engine=engine)

    assert condition.evaluate({"amount": amount}) is True


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "place", "message", "hint"),
    [
        ("request.amount >", (1, 17), "syntax error: the condition ends too early", ""),
        ("request.n == 1 &&& true", (1, 18), "syntax error: unexpected '&'", ""),
        (
            "request.n == 1 ||\n  request.cuontry == 'x'",
            (2, 3),
            "no attribute named 'cuontry' is declared",
            "did you mean 'country'?",
        ),
        (
            "request == 1",
            (1, 1),
            "`request` by itself has no value",
            "read one attribute: `request.NAME`",
        ),
        (
            "has(request.n)",
            (1, 1),
            "`has` has no meaning here",
            "leave `has` out: a declared attribute is always there, by its default if need be",
        ),
        ("x" * (MAX_SOURCE + 1), (1, 1), "is longer than 4096 characters", ""),
    ],
)
def test_a_mistake_is_found_when_the_condition_is_compiled(
    engine: Engine, source: str, place: tuple[int, int], message: str, hint: str
) -> None:
    """With its line and column inside the source."""
    with pytest.raises(PointsmanError) as caught:
        compile_condition(source, ATTRIBUTES, engine=engine)
    error = caught.value
    (problem,) = error.violations

    assert error.kind is Kind.INVALID
    assert (place, message, hint) == ((problem.line, problem.column), problem.message, problem.hint)
    assert f"{place[0]}:{place[1]}: {message}" in error.message


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "source",
    [
        "",
        "1 + 1",
        "request.country",
        '"a" in request.country',
        "!request.country",
        "request.country.startsWith(1)",
        "amount > 1.0",
        "nothing(request.n)",
        'request.country.matches("[")',
        "(" * 200 + "true" + ")" * 200,
        "[" * 1500 + "]" * 1500,
        "'\ud800' == request.country",
        "request.n == 1 \x00",
    ],
)
def test_what_can_never_be_a_condition_is_refused_by_both_engines(
    engine: Engine, source: str
) -> None:
    with pytest.raises(PointsmanError) as caught:
        compile_condition(source, ATTRIBUTES, engine=engine)

    assert caught.value.kind is Kind.INVALID
    assert caught.value.violations


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("request.amount > 10", "`>` does not take double and int"),
        ("request.n == 1.5", "`==` does not take int and double"),
        ("request.amount == 'x'", "`==` does not take double and string"),
        (
            "request.country > 1 && request.country == 'x'",
            "`>` does not take string and int",
        ),
        ("request.country + 1 == 'x'", "`+` does not take string and int"),
        ("request.n", "is not a condition: its value is int, not true or false"),
        (f"{LOOP}.all(x, {LOOP}.all(y, {LOOP}.all(z, x + y + z >= 0)))", "takes too many steps"),
    ],
)
def test_the_typed_engine_finds_type_errors_that_would_show_only_in_traffic(
    source: str, message: str
) -> None:
    with pytest.raises(PointsmanError, match=r"^condition ") as caught:
        compile_condition(source, ATTRIBUTES, engine=Google())

    assert caught.value.violations[0].message.startswith(message)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("source", "constant"), [("true", True), ("1 > 2", False), ("true || request.vip", True)]
)
def test_a_condition_that_ignores_the_request_says_so(
    engine: Engine,
    source: str,
    constant: bool,  # noqa: FBT001 - a table
) -> None:
    assert compile_condition(source, ATTRIBUTES, engine=engine).constant is constant


def test_a_condition_names_what_it_reads_once_and_in_order() -> None:
    condition = compile_condition(
        'request.n > 1 && request.country == "request.vip" && request.n < 9', ATTRIBUTES
    )

    assert condition.attributes == ("n", "country")


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.integers(), max_size=2),
)


@given(st.dictionaries(st.sampled_from([a.name for a in ATTRIBUTES]), values))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_evaluation_never_raises_whatever_the_context(context: dict[str, Any]) -> None:
    for condition in ALL_TYPES:
        answer = condition.evaluate(context)

        assert isinstance(answer, bool) or answer


ALL_TYPES = [
    compile_condition(source, ATTRIBUTES, engine=engine)
    for engine in (Google(), Rust())
    for source in (
        "request.amount > 10.0",
        'request.country in ["KP"]',
        "10 / request.n > 1",
        "request.vip",
        'request.amount > 1.0 && request.country.matches("^K") || request.n > 1 && !request.vip',
    )
]


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_compiling_any_text_gives_a_condition_or_a_pointsman_error(source: str) -> None:
    for engine in (Google(), Rust()):
        try:
            compile_condition(source, ATTRIBUTES, engine=engine).evaluate(CONTEXT)
        except PointsmanError as error:
            kind = error.kind
        else:
            kind = Kind.INVALID

        assert kind is Kind.INVALID


def test_the_request_path_gets_conditions_without_the_control_plane_s_libraries() -> None:
    """Importing and compiling loads neither pydantic nor YAML, nor the engine that is not used."""
    program = (
        "import sys; from pointsman.conditions import compile_condition;"
        "compile_condition('true', ());"
        "print(sorted({'pydantic', 'ruamel.yaml', 'cel', 'pointsman.spec'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"
