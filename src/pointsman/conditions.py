"""Conditions of rules, in CEL, behind one small interface.

`compile_condition` checks a source against the declared attributes once; `Condition.evaluate` then
costs about 3 microseconds. The engine is cel-expr-python (Google's C++ implementation, which knows
types at compile time); where it cannot be imported, common-expression-language (Rust) stands in:
it gives the same answers, but finds some type errors only when a condition is evaluated.

An attribute a condition names must be there, not null, and of its declared type: anything else is
an error text, never False. That holds even where CEL's `||` could do without the value, so that
both engines agree and a missing value is noticed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, cast

import msgspec

from pointsman.domain.decision import Value
from pointsman.domain.errors import Kind, PointsmanError, Violation
from pointsman.domain.suggestion import did_you_mean
from pointsman.domain.table import Attribute, AttributeType

MAX_SOURCE: Final = 4096
"""Characters of one condition. Long lists belong into a feature, not into a rule."""

Context = Mapping[str, Value]
Evaluate = Callable[[Context], bool | str]

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
_PLACE: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']+)' applied to '([^']*)'")
_UNEXPECTED: Final = re.compile(r"Syntax error: [a-z :]*'(.*?)'(?: expecting .*)?$")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']+)'")


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

    engine: for tests and comparisons; the best one installed where None
    Raises PointsmanError(INVALID): one violation for each problem, with line and column (1-based,
    in characters) inside the source.
    """
    if len(source) > MAX_SOURCE:
        raise _invalid(source, [_problem(f"is longer than {MAX_SOURCE} characters")])
    declared = {attribute.name: attribute for attribute in attributes}
    names = _names_read(source, declared)
    program = (engine or default_engine()).compile(source, tuple(attributes))
    used = tuple(declared[name] for name in names)
    _try_out(source, program, used)
    return Condition(source, names, program.bind(used), _constant(program))


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
    problems: list[Violation] = []
    for token in _TOKEN.finditer(source):
        if token["has"]:
            hint = (
                "leave `has` out: a declared attribute is always there, by its default if need be"
            )
            problems.append(_problem("`has` has no meaning here", hint, _place(source, token)))
        elif token["request"]:
            name = token["attribute"]
            if name in declared:
                names[name] = None
            else:
                message, hint = _unknown(f"request.{name}" if name else "request", declared)
                problems.append(_problem(message, hint, _place(source, token)))
    if problems:
        raise _invalid(source, problems)
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
        problem = _lasting(str(error))
        if problem is not None:
            raise _invalid(source, [problem]) from error
        return
    if not isinstance(answer, bool):
        message = "is not a condition: its value is neither true nor false"
        raise _invalid(source, [_problem(message, "compare it with something")])


def _lasting(text: str) -> Violation | None:
    """The problem behind an error that will come with any values, None if others may do."""
    text = _without_status(text)
    if "regular expression" in text or "valid regex" in text:
        return _problem(text.partition("\n")[0], "CEL uses RE2 syntax")
    if "budget" in text:
        return _problem("takes too many steps to evaluate", "loop over a shorter list")
    if "overload" in text or "Unsupported" in text or "Undefined" in text:
        return _problem(text.partition(".")[0])
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
            raise _invalid(source, list(_problems(str(error), declared))) from error
        if expression.return_type() != self._cel.Type.BOOL:
            found = expression.return_type().name().lower()
            message = f"is not a condition: its value is {found}, not true or false"
            raise _invalid(source, [_problem(message, "compare it with something")])
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
                return answer if answer.__class__ is bool else _without_status(str(answer))
            except KeyError:
                return _missing(context, used)
            except Exception as error:  # noqa: BLE001 - a condition never raises
                return _without_status(str(error))

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
            return answer if answer.__class__ is bool else _without_status(str(answer))
        except KeyError:
            return _missing(context, (attribute,))
        except Exception as error:  # noqa: BLE001 - a condition never raises
            return _without_status(str(error))

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
            raise _invalid(source, list(_problems(str(error), declared))) from error
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


def _problems(text: str, declared: Mapping[str, Attribute]) -> Iterator[Violation]:
    """Each problem of an engine's message, in plain words, at its place."""
    found = False
    for line, column, message in _PLACE.findall(text):
        found = True
        place = (max(int(line), 1), max(int(column), 1))
        words, hint = _plain(message.removesuffix(" [INVALID_ARGUMENT]"), declared)
        yield _problem(words, hint, place)
        if message.startswith("Syntax error"):
            return  # what the parser says after that is an echo
    if not found:
        if "recursion limit" in text:
            yield _problem("is nested too deeply", "split it into several rules")
        else:
            yield _problem("is not valid CEL")


def _plain(message: str, declared: Mapping[str, Attribute]) -> tuple[str, str]:
    if match := _OVERLOAD.match(message):
        return _overload(match[1], match[2])
    if match := _UNDECLARED.match(message):
        return _unknown(match[1], declared)
    if "'<EOF>'" in message.partition(" expecting ")[0]:
        return "syntax error: the condition ends too early", ""
    if "recursion depth" in message:
        return "is nested too deeply", "split it into several rules"
    if unexpected := _UNEXPECTED.match(message):
        return f"syntax error: unexpected '{unexpected[1].strip()}'", ""
    return message, ""


def _overload(function: str, types: str) -> tuple[str, str]:
    operator = function.strip("_").lstrip("@").replace("!_", "!")
    operands = types.strip("()").replace(".(", ", ").replace(", ", " and ")
    hint = ""
    if "double" in types and "int" in types:
        hint = "CEL does not mix numbers: compare a double with 10.0 and an int with 10"
    return f"`{operator}` does not take {operands}", hint


def _unknown(reference: str, declared: Mapping[str, Attribute]) -> tuple[str, str]:
    name = reference.removeprefix("request.")
    if name == "request":
        return "`request` by itself has no value", "read one attribute: `request.NAME`"
    if name == reference:
        if name in declared:
            return f"unknown name '{name}'", f"attributes are read as `request.{name}`"
        hint = "attributes are read as `request.NAME`; functions are those of CEL"
        return f"unknown name '{name}'", hint
    hint = did_you_mean(name, declared) or "declare it under `spec.context`"
    return f"no attribute named '{name}' is declared", hint


def _without_status(text: str) -> str:
    """The text without the gRPC status around it."""
    text = re.sub(r"^[A-Z_]+: ", "", text)
    return re.sub(r" \[[A-Z_]+\]$", "", text)


def _problem(message: str, hint: str = "", place: tuple[int, int] = (1, 1)) -> Violation:
    return Violation(path="", message=message, hint=hint, line=place[0], column=place[1])


def _invalid(source: str, problems: list[Violation]) -> PointsmanError:
    first = problems[0]
    return PointsmanError(
        Kind.INVALID,
        f"condition {source[:80]!r}, {first.line}:{first.column}: {first.message}",
        hint=first.hint,
        violations=tuple(problems),
    )
