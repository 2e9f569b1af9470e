"""Conditions that are plain comparisons, evaluated without an engine.

Most rules compare attributes with constants: `request.country in ["KP"]`, `request.amount > 1e4`,
and combinations with `&&`, `||`, `!` and parentheses. An engine takes microseconds to carry values
in and out; a closure takes a tenth of one. Only sources that an engine has already accepted come
here, only constants of the attribute's own type are read, and whatever value is not exactly what a
closure expects (missing, null, of another type, beyond 64 bits) is left to the engine, which also
words the error. So both ways give the same answer, and a property test holds them to it.

Grammar and precedence: the CEL specification (github.com/google/cel-spec, langdef.md); everything
outside this part of it is not plain.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pointsman.domain.decision import Value
from pointsman.domain.table import Attribute, AttributeType

Context = Mapping[str, Value]
Evaluate = Callable[[Context], bool | str]

_Truth = Callable[[Context], bool]
"""Of a context whose attributes have all been checked."""

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<attribute>request\.[A-Za-z_]\w*)(?![\w.(\[])"
    r"|(?P<double>-?[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?)(?![\w.])"
    r"|(?P<int>-?(?:0|[1-9][0-9]*))(?![\w.])"
    r"|(?P<string>\"[^\"\\\n\r]*\"|'[^'\\\n\r]*')"
    r"|(?P<word>true|false|in)(?![\w.(\[\"'])"
    r"|(?P<sign>==|!=|<=|>=|<|>|&&|\|\||!|\(|\)|\[|\]|,))"
)
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUALITY: Final = frozenset({"==", "!="})
_CONSTANT: Final = {
    "string": AttributeType.STRING,
    "int": AttributeType.INT,
    "double": AttributeType.DOUBLE,
    "true": AttributeType.BOOL,
    "false": AttributeType.BOOL,
}
_PYTHON: Final[dict[AttributeType, type]] = {
    AttributeType.STRING: str,
    AttributeType.INT: int,
    AttributeType.DOUBLE: float,
    AttributeType.BOOL: bool,
}
_MOST: Final = (1 << 63) - 1
_DEEPEST: Final = 32


class _NotPlainError(Exception):
    """The source says something that is for an engine."""


def quicker(source: str, used: tuple[Attribute, ...], engine: Evaluate) -> Evaluate:
    """The same condition by closures where it is plain, else the engine's own.

    used: the attributes the source reads, each once
    engine: the same source as an engine evaluates it: for every value that closures do not take
    """
    if not used:
        return engine
    try:
        truth = _Reader(source, {attribute.name: attribute.type for attribute in used}).whole()
    except _NotPlainError:
        return engine
    return _one(used[0], truth, engine) if len(used) == 1 else _several(used, truth, engine)


def _one(attribute: Attribute, truth: _Truth, engine: Evaluate) -> Evaluate:
    name, wanted = attribute.name, _PYTHON[attribute.type]
    if attribute.type is AttributeType.INT:
        return _several((attribute,), truth, engine)

    def evaluate(context: Context) -> bool | str:
        if context.get(name).__class__ is wanted:
            return truth(context)
        return engine(context)

    return evaluate


def _several(used: tuple[Attribute, ...], truth: _Truth, engine: Evaluate) -> Evaluate:
    wanted = tuple((one.name, _PYTHON[one.type]) for one in used)
    whole = tuple(one.name for one in used if one.type is AttributeType.INT)

    def evaluate(context: Context) -> bool | str:
        get = context.get
        for name, kind in wanted:
            if get(name).__class__ is not kind:
                return engine(context)
        for name in whole:
            if not -_MOST <= context[name] <= _MOST:  # type: ignore[operator] # an int, as checked
                return engine(context)
        return truth(context)

    return evaluate


class _Reader:
    """Reads one source by recursive descent. Raises _NotPlainError for anything else."""

    def __init__(self, source: str, types: Mapping[str, AttributeType]) -> None:
        self._types = types
        self._tokens = _tokens(source)
        self._at = 0
        self._depth = 0

    def whole(self) -> _Truth:
        truth = self._either()
        if self._at != len(self._tokens):
            raise _NotPlainError
        return truth

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> tuple[str, str]:
        """The next token, one of these texts or kinds."""
        if self._at >= len(self._tokens):
            raise _NotPlainError
        kind, text = self._tokens[self._at]
        if wanted and kind not in wanted and text not in wanted:
            raise _NotPlainError
        self._at += 1
        return kind, text

    def _either(self) -> _Truth:
        truth = self._both()
        while self._peek() == "||":
            self._take()
            truth = _or(truth, self._both())
        return truth

    def _both(self) -> _Truth:
        truth = self._term()
        while self._peek() == "&&":
            self._take()
            truth = _and(truth, self._term())
        return truth

    def _term(self) -> _Truth:
        if self._peek() == "!":
            self._take()
            # `!` binds closer than any comparison, so only these two may follow it.
            return _not(self._group() if self._peek() == "(" else self._flag())
        return self._group() if self._peek() == "(" else self._comparison()

    def _group(self) -> _Truth:
        self._take("(")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _NotPlainError
        truth = self._either()
        self._take(")")
        self._depth -= 1
        if self._peek() in _COMPARE or self._peek() == "in":
            raise _NotPlainError
        return truth

    def _flag(self) -> _Truth:
        name, kind = self._attribute()
        if kind is not AttributeType.BOOL or self._peek() in _COMPARE or self._peek() == "in":
            raise _NotPlainError
        return _bare(name)

    def _comparison(self) -> _Truth:
        name, kind = self._attribute()
        sign = self._peek()
        if sign == "in":
            self._take()
            return _member(name, self._list(kind))
        if sign not in _COMPARE:
            if kind is not AttributeType.BOOL:
                raise _NotPlainError
            return _bare(name)
        ordered = kind in (AttributeType.INT, AttributeType.DOUBLE)
        if sign not in _EQUALITY and not ordered:
            raise _NotPlainError
        self._take()
        constant = self._constant(kind)
        if self._peek() in _COMPARE or self._peek() == "in":
            raise _NotPlainError
        return _compared(_COMPARE[sign], name, constant)

    def _attribute(self) -> tuple[str, AttributeType]:
        _, text = self._take("attribute")
        name = text.removeprefix("request.")
        if name not in self._types:
            raise _NotPlainError
        return name, self._types[name]

    def _list(self, kind: AttributeType) -> frozenset[Value]:
        self._take("[")
        found = [self._constant(kind)]
        while self._peek() == ",":
            self._take()
            found.append(self._constant(kind))
        self._take("]")
        if self._peek() in _COMPARE or self._peek() == "in":
            raise _NotPlainError
        return frozenset(found)

    def _constant(self, kind: AttributeType) -> Value:
        found, text = self._take("string", "int", "double", "true", "false")
        if _CONSTANT.get(found, _CONSTANT.get(text)) is not kind:
            raise _NotPlainError
        if kind is AttributeType.STRING:
            return text[1:-1]
        if kind is AttributeType.BOOL:
            return text == "true"
        if kind is AttributeType.DOUBLE:
            if math.isinf(float(text)):
                raise _NotPlainError
            return float(text)
        number = int(text)
        if not -_MOST <= number <= _MOST:
            raise _NotPlainError
        return number


def _tokens(source: str) -> list[tuple[str, str]]:
    """(kind, text) of each. Raises _NotPlainError at the first thing that is none of them."""
    found: list[tuple[str, str]] = []
    at, end = 0, len(source.rstrip())
    while at < end:
        token = _TOKEN.match(source, at)
        if token is None or token.lastgroup is None:
            raise _NotPlainError
        found.append((token.lastgroup, token[token.lastgroup]))
        at = token.end()
    return found


def _compared(compare: Callable[[Any, Any], bool], name: str, constant: Value) -> _Truth:
    return lambda context: compare(context[name], constant)


def _member(name: str, constants: frozenset[Value]) -> _Truth:
    return lambda context: context[name] in constants


def _bare(name: str) -> _Truth:
    return lambda context: context[name] is True


def _not(one: _Truth) -> _Truth:
    return lambda context: not one(context)


def _and(one: _Truth, other: _Truth) -> _Truth:
    return lambda context: one(context) and other(context)


def _or(one: _Truth, other: _Truth) -> _Truth:
    return lambda context: one(context) or other(context)
