"""Conditions of rules, in CEL, behind one small interface.

`compile_condition` checks a source against the declared attributes once. Whatever CEL can say is
then evaluated by an engine, in about 3 microseconds; comparisons with constants, which most rules
consist of, in a fraction of one (plain.py). The engine is cel-expr-python (Google's C++
implementation, which knows types at compile time); where it cannot be imported,
common-expression-language (Rust) stands in: it gives the same answers, but finds some type errors
only when a condition is evaluated.

An attribute a condition names must be there, not null, and of its declared type: anything else is
an error text, never False. That holds even where CEL's `||` could do without the value, so that
both engines agree and a missing value is noticed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, cast

import msgspec

from pointsman.conditions import plain
from pointsman.conditions.plain import Context, Evaluate
from pointsman.conditions.wording import invalid, problem, problems, unknown, without_status
from pointsman.domain.decision import Value
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.table import Attribute, AttributeType

MAX_SOURCE: Final = 4096
"""Characters of one condition. Long lists belong into a feature, not into a rule."""

_ACCEPTED: Final[dict[AttributeType, frozenset[type]]] = {
    AttributeType.STRING: frozenset({str}),
    AttributeType.INT: frozenset({int}),
    AttributeType.DOUBLE: frozenset({float, int}),
    AttributeType.BOOL: frozenset({bool}),
}
_INT_LEAST: Final = -(1 << 63)
_INT_MOST: Final = (1 << 63) - 1
_SAMPLES: Final[dict[AttributeType, Value]] = {
    AttributeType.STRING: "a",
    AttributeType.INT: 1,
    AttributeType.DOUBLE: 1.5,
    AttributeType.BOOL: True,
}
_TYPE_NAMES: Final = {str: "string", int: "int", float: "double", bool: "bool"}

_TOKEN: Final = re.compile(
    r'[rRbB]{0,2}(?:"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\''
    r'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')'
    r"|(?P<comment>//[^\n]*)"
    r"|(?<![\w.])(?P<request>request)\b(?:\s*\.\s*(?P<attribute>[A-Za-z_]\w*))?"
    r"|(?<![\w.])(?P<has>has)\s*\(",
    re.DOTALL,
)


class Condition(msgspec.Struct, frozen=True):
    """A compiled condition.

    evaluate: True, False, or the text of what went wrong; never raises
    attributes: names the source reads, in order of appearance
    constant: its value where that does not depend on the request, else None
    """

    source: str
    attributes: tuple[str, ...]
    evaluate: Evaluate
    constant: bool | None = None


class Engine(Protocol):
    """One CEL implementation."""

    @property
    def name(self) -> str: ...

    def compile(self, source: str, attributes: tuple[Attribute, ...]) -> "Program":
        """Raises PointsmanError(INVALID) with a violation for each problem."""


class Program(Protocol):
    """A source one engine has compiled."""

    def run(self, values: dict[str, Value]) -> Any:
        """The result for values by attribute name. Raises whatever the engine raises."""

    def bind(self, used: tuple[Attribute, ...]) -> Evaluate:
        """The fast path: reads `used` from a context, checks their types, evaluates."""


def compile_condition(
    source: str, attributes: Sequence[Attribute], *, engine: Engine | None = None
) -> Condition:
    """The condition, ready to evaluate.

    engine: for tests and comparisons: all of it evaluated by this one; None = the best one
        installed, and what is plain without it
    Raises PointsmanError(INVALID): one violation for each problem, with line and column (1-based,
    in characters) inside the source.
    """
    if len(source) > MAX_SOURCE:
        raise invalid(source, [problem(f"is longer than {MAX_SOURCE} characters")])
    declared = {attribute.name: attribute for attribute in attributes}
    names = _names_read(source, declared)
    program = (engine or default_engine()).compile(source, tuple(attributes))
    used = tuple(declared[name] for name in names)
    _try_out(source, program, used)
    evaluate = program.bind(used)
    if engine is None:
        evaluate = plain.quicker(source, used, evaluate)
    return Condition(source, names, evaluate, _constant(program))


@lru_cache(maxsize=1)
def default_engine() -> Engine:
    """The best engine installed. Raises PointsmanError(UNAVAILABLE) where there is none."""
    for engine in (Google, Rust):
        try:
            return engine()
        except ImportError:
            continue
    raise PointsmanError(
        Kind.UNAVAILABLE,
        "no CEL engine is installed",
        hint="install cel-expr-python (or common-expression-language)",
    )


def _names_read(source: str, declared: Mapping[str, Attribute]) -> tuple[str, ...]:
    """Attributes the source names, outside strings and comments, each once.

    Raises PointsmanError(INVALID) for `has(...)`, which would always hold, and for names that are
    not declared.
    """
    names: dict[str, None] = {}
    found: list[Violation] = []
    for token in _TOKEN.finditer(source):
        if token["has"]:
            hint = (
                "leave `has` out: a declared attribute is always there, by its default if need be"
            )
            found.append(problem("`has` has no meaning here", hint, _place(source, token)))
        elif token["request"]:
            name = token["attribute"]
            if name in declared:
                names[name] = None
            else:
                message, hint = unknown(f"request.{name}" if name else "request", declared)
                found.append(problem(message, hint, _place(source, token)))
    if found:
        raise invalid(source, found)
    return tuple(names)


def _place(source: str, token: re.Match[str]) -> tuple[int, int]:
    before = source[: token.start()]
    return before.count("\n") + 1, token.start() - (before.rfind("\n") + 1) + 1


def _try_out(source: str, program: Program, used: tuple[Attribute, ...]) -> None:
    """Finds what only shows when it runs: a regular expression that is none, too long a loop.

    Errors that depend on values, such as a division by zero, are none.
    """
    samples = {attribute.name: _SAMPLES[attribute.type] for attribute in used}
    try:
        answer = program.run(samples)
    except Exception as error:
        lasting = _lasting(str(error))
        if lasting is not None:
            raise invalid(source, [lasting]) from error
        return
    if not isinstance(answer, bool):
        message = "is not a condition: its value is neither true nor false"
        raise invalid(source, [problem(message, "compare it with something")])


def _lasting(text: str) -> Violation | None:
    """The problem behind an error that will come with any values, None if others may do."""
    text = without_status(text)
    if "regular expression" in text or "valid regex" in text:
        return problem(text.partition("\n")[0], "CEL uses RE2 syntax")
    if "budget" in text:
        return problem("takes too many steps to evaluate", "loop over a shorter list")
    if "overload" in text or "Unsupported" in text or "Undefined" in text:
        return problem(text.partition(".")[0])
    return None


def _constant(program: Program) -> bool | None:
    try:
        answer = program.run({})
    except Exception:  # noqa: BLE001 - any failure means that it reads something
        return None
    return answer if isinstance(answer, bool) else None


def _missing(context: Context, used: tuple[Attribute, ...]) -> str:
    """What is wrong with the values a condition reads, as one sentence."""
    for attribute in used:
        if attribute.name not in context:
            return f"attribute '{attribute.name}' is missing"
        value = context[attribute.name]
        if value is None:
            return f"attribute '{attribute.name}' is null"
        if type(value) not in _ACCEPTED[attribute.type]:
            found = _TYPE_NAMES.get(type(value), type(value).__name__)
            return f"attribute '{attribute.name}' is {found}, declared {attribute.type.value}"
    return "the condition gave no answer"


class Google:
    """cel-expr-python. Attributes are declared as qualified names (`request.amount`), which gives
    each its own static type without a protobuf message to fill per request."""

    name = "cel-expr-python"

    def __init__(self) -> None:
        from cel_expr_python import cel

        self._cel = cel
        self._types = {
            AttributeType.STRING: cel.Type.STRING,
            AttributeType.INT: cel.Type.INT,
            AttributeType.DOUBLE: cel.Type.DOUBLE,
            AttributeType.BOOL: cel.Type.BOOL,
        }

    def compile(self, source: str, attributes: tuple[Attribute, ...]) -> Program:
        variables = {f"request.{a.name}": self._types[a.type] for a in attributes}
        environment = self._cel.NewEnv(variables=variables)
        try:
            expression = environment.compile(source)
        except Exception as error:
            declared = {attribute.name: attribute for attribute in attributes}
            raise invalid(source, list(problems(str(error), declared))) from error
        if expression.return_type() != self._cel.Type.BOOL:
            found = expression.return_type().name().lower()
            message = f"is not a condition: its value is {found}, not true or false"
            raise invalid(source, [problem(message, "compare it with something")])
        return _GoogleProgram(expression)


class _GoogleProgram:
    def __init__(self, expression: Any) -> None:
        self._expression = expression

    def run(self, values: dict[str, Value]) -> Any:
        data = {f"request.{name}": value for name, value in values.items()}
        answer = self._expression.eval(None, data).value()
        if isinstance(answer, str):
            raise ValueError(answer)  # noqa: TRY004 - the text of an error, not of a wrong type
        return answer

    def bind(self, used: tuple[Attribute, ...]) -> Evaluate:
        # The value of an error is its text; the type checker has excluded any other string.
        run = self._expression.eval
        if len(used) == 1:
            return _bind_one(run, used[0])
        plan = tuple((a.name, f"request.{a.name}", _ACCEPTED[a.type]) for a in used)

        def evaluate(context: Context) -> bool | str:
            try:
                data = {}
                for name, key, accepted in plan:
                    value = context[name]
                    if type(value) not in accepted:
                        return _missing(context, used)
                    data[key] = value
                answer: bool | str = run(None, data).value()
                return answer if answer.__class__ is bool else without_status(str(answer))
            except KeyError:
                return _missing(context, used)
            except Exception as error:  # noqa: BLE001 - a condition never raises
                return without_status(str(error))

        return evaluate


def _bind_one(run: Callable[..., Any], attribute: Attribute) -> Evaluate:
    """As above without the loop: most conditions read one attribute."""
    name, key, accepted = attribute.name, f"request.{attribute.name}", _ACCEPTED[attribute.type]

    def evaluate(context: Context) -> bool | str:
        try:
            value = context[name]
            if type(value) not in accepted:
                return _missing(context, (attribute,))
            answer: bool | str = run(None, {key: value}).value()
            return answer if answer.__class__ is bool else without_status(str(answer))
        except KeyError:
            return _missing(context, (attribute,))
        except Exception as error:  # noqa: BLE001 - a condition never raises
            return without_status(str(error))

    return evaluate


class Rust:
    """common-expression-language: `request` is a map, and types show only at evaluation."""

    name = "common-expression-language"

    def __init__(self) -> None:
        import cel

        self._compile = cel.compile

    def compile(self, source: str, attributes: tuple[Attribute, ...]) -> Program:
        declared = {attribute.name: attribute for attribute in attributes}
        try:
            program = self._compile(source)
        except Exception as error:
            raise invalid(source, list(problems(str(error), declared))) from error
        doubles = frozenset(a.name for a in attributes if a.type is AttributeType.DOUBLE)
        return _RustProgram(program, doubles)


class _RustProgram:
    def __init__(self, program: Any, doubles: frozenset[str]) -> None:
        self._program = program
        self._doubles = doubles

    def run(self, values: dict[str, Value]) -> Any:
        # An integral JSON number is a Python int; only the declaration knows it is a double.
        typed = {
            name: float(value) if name in self._doubles and type(value) is int else value
            for name, value in values.items()
        }
        return self._program.execute({"request": typed})

    def bind(self, used: tuple[Attribute, ...]) -> Evaluate:
        plan = tuple((a.name, _ACCEPTED[a.type]) for a in used)
        ints = tuple(a.name for a in used if a.type is AttributeType.INT)

        def evaluate(context: Context) -> bool | str:
            for name, accepted in plan:
                if name not in context or type(context[name]) not in accepted:
                    return _missing(context, used)
            for name in ints:
                # This engine would go on with a double; CEL's int has 64 bits.
                if not _INT_LEAST <= cast("int", context[name]) <= _INT_MOST:
                    return f"attribute '{name}' is out of range for an int"
            try:
                answer = self.run({name: context[name] for name, _ in plan})
            except Exception as error:  # noqa: BLE001 - a condition never raises
                return str(error) or type(error).__name__
            return answer if isinstance(answer, bool) else "the condition is not true or false"

        return evaluate
