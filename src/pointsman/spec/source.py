"""YAML text into plain values, each with its place, and every problem of the text at once.

ruamel.yaml reads the text (YAML 1.2); the tree is built here, from its events, without recursion
and under limits, because a spec also arrives over the network. Stricter than YAML on purpose: no
tags, no merge keys, no directives, no empty values, no number that could be read in two ways.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from pointsman.domain.errors import Violation
from pointsman.spec.places import Document, Path, Place, render

MAX_BYTES: Final = 256 * 1024
"""Of a file. The longest sensible project is a few thousand lines; reading this takes seconds."""

MAX_DEPTH: Final = 24
"""Mappings and lists inside one another. The language itself needs 8."""

MAX_NODES: Final = 20_000
"""Values of one document, those behind aliases counted each time: what stops an alias bomb."""

_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_DIRECTIVE: Final = re.compile(r"^%[^\n]*", re.MULTILINE)
_INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]{1,4})?")
_ODD_NUMBER: Final = re.compile(r"[-+]?(0[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+|[0-9]{19,})")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS: Final = {"true": True, "True": True, "TRUE": True} | dict.fromkeys(
    ("false", "False", "FALSE"), False
)
_MERGE: Final = "<<"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(slots=True)
class Node:
    """One value as read. `items` of a mapping keep key places; of a list, the values alone."""

    place: Place
    value: Any = None
    mapping: dict[str, tuple[Place, "Node"]] | None = None
    sequence: list["Node"] | None = None


def read(text: str) -> Iterator[Document]:
    """Each document of a file; one that cannot be read does not hide those after it."""
    text = text.removeprefix("\ufeff")
    for line, chunk in _chunks(text):
        yield from _read_chunk(chunk, line)


def _chunks(text: str) -> Iterator[tuple[int, str]]:
    """Document texts with the 0-based line they start on.

    A line that starts with `---` ends a document wherever it stands, even inside a block scalar
    (YAML 1.2, 9.1.2), so cutting there first is safe, and lets each part fail by itself.
    """
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text) if match.start() > 0)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield text.count("\n", 0, start), text[start:end]


def _read_chunk(text: str, line: int) -> Iterator[Document]:
    directive = _DIRECTIVE.match(text.lstrip())
    if directive:
        at = line + text[: text.index("%")].count("\n")
        yield _failed(
            Place(at + 1, 1),
            "YAML directives are not used here",
            f"remove the line `{directive[0][:40]}`; files are read as YAML 1.2",
        )
        return
    builder = _Builder(text, line)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, DocumentEndEvent):
                if builder.root is not None and not _is_empty(builder.root):
                    yield _document(builder.root, builder.problems)
                builder = _Builder(text, line)
            elif isinstance(event, NodeEvent | MappingEndEvent | SequenceEndEvent):
                builder.take(event)
    except _TooMuchError as error:
        yield _failed(error.place, error.message, error.hint)
    except ReaderError as error:
        before = text[: error.position]
        place = Place(line + before.count("\n") + 1, len(before) - before.rfind("\n"))
        message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        yield _failed(place, message, "remove it, or write it as an escape in double quotes")
    except YAMLError as error:
        yield _failed(*_syntax(error, line))


def _is_empty(node: Node) -> bool:
    return node.mapping is None and node.sequence is None and node.value is None


def _syntax(error: YAMLError, line: int) -> tuple[Place, str, str]:
    """Place, message and hint of what the parser stumbled over."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return Place(line + 1, 1), "is not valid YAML", ""
    mark = error.problem_mark
    place = Place(line + mark.line + 1, mark.column + 1)
    problem = " ".join(str(error.problem).split())
    if "'\\t'" in problem:
        return place, "a tab cannot be used for indentation", "indent with spaces"
    opened = error.context_mark
    if opened is not None and "quoted scalar" in str(error.context):
        place = Place(line + opened.line + 1, opened.column + 1)
        return place, "a quote opened here is never closed", "add the closing quote"
    if opened is not None and "<stream end>" in problem and "flow" in str(error.context):
        place = Place(line + opened.line + 1, opened.column + 1)
        return place, "a bracket opened here is never closed", "add the closing bracket"
    if "mapping values are not allowed" in problem:
        hint = "put quotes around text that contains `: `, and check the indentation"
        return place, "a `:` is not allowed here", hint
    if "could not find expected ':'" in problem:
        hint = "a key needs `: ` and a value; check the indentation of this line and the one before"
        return place, "a key without a `:`", hint
    if context := " ".join(str(error.context or "").split()):
        problem = f"{problem}, {context}"
    return place, f"is not valid YAML: {problem}", "check brackets, quotes and indentation"


def _failed(place: Place, message: str, hint: str) -> Document:
    document = Document(value=None, start=place)
    document.violations.append(Violation("", message, hint, "", place.line, place.column))
    return document


class _TooMuchError(Exception):
    """A limit is passed; reading stops."""

    def __init__(self, place: Place, message: str, hint: str) -> None:
        super().__init__(message)
        self.place, self.message, self.hint = place, message, hint


@dataclass(frozen=True, slots=True)
class _Problem:
    """Something wrong with a node, or with one key of it."""

    node: Node
    key: str | None
    place: Place
    message: str
    hint: str


class _Builder:
    """The tree of one document, from events: no recursion, so depth is a limit and not a crash."""

    def __init__(self, text: str, line: int) -> None:
        self.root: Node | None = None
        self.problems: list[_Problem] = []
        self._text = text
        self._line = line
        self._open: list[Node] = []
        self._key: list[tuple[str, Place] | None] = []
        self._anchors: dict[str, Node] = {}
        self._count = 0

    def take(self, event: Any) -> None:
        if isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._open.pop()
            self._key.pop()
            return
        place = self._place(event)
        self._count += 1
        if self._count > MAX_NODES:
            hint = "split it into several projects"
            raise _TooMuchError(place, f"has more than {MAX_NODES:,} values", hint)
        if self._wants_key():
            self._take_key(event, place)
            return
        node = self._node(event, place)
        self._add(node)
        if isinstance(event, MappingStartEvent | SequenceStartEvent):
            if len(self._open) >= MAX_DEPTH:
                message = f"is nested more than {MAX_DEPTH} levels deep"
                raise _TooMuchError(place, message, "no block of the language needs that")
            self._open.append(node)
            self._key.append(None)

    def _wants_key(self) -> bool:
        return bool(self._open) and self._open[-1].mapping is not None and self._key[-1] is None

    def _take_key(self, event: Any, place: Place) -> None:
        if not isinstance(event, ScalarEvent):
            raise _TooMuchError(place, "a key must be plain text", "write `key: value`")
        key = event.value
        if key == _MERGE and event.style is None:
            hint = "write the keys out; whole values can be shared with an anchor and an alias"
            self.problems.append(
                _Problem(self._open[-1], key, place, "merge keys are not used here", hint)
            )
        self._key[-1] = (key, place)

    def _add(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if parent.sequence is not None:
            parent.sequence.append(node)
            return
        key, place = self._key[-1] or ("", node.place)
        self._key[-1] = None
        mapping = parent.mapping if parent.mapping is not None else {}
        if key == _MERGE:
            return
        if key in mapping:
            hint = f"it is first given in line {mapping[key][0].line}; keep one of them"
            self.problems.append(
                _Problem(parent, key, place, f"the key '{key}' is given twice", hint)
            )
            return
        mapping[key] = (place, node)

    def _node(self, event: Any, place: Place) -> Node:
        if isinstance(event, AliasEvent):
            # An alias to an anchor that is still open would contain itself.
            target = self._anchors.get(event.anchor)
            if target is None or any(target is node for node in self._open):
                hint = "define it with `&` before it is used, and not around its own alias"
                raise _TooMuchError(place, f"there is no anchor '{event.anchor}' here", hint)
            return target
        node = Node(place)
        if isinstance(event, MappingStartEvent):
            node.mapping = {}
        elif isinstance(event, SequenceStartEvent):
            node.sequence = []
        elif event.implicit[0]:
            self._plain(event.value, node)
        else:
            node.value = event.value
        if event.tag is not None:
            hint = "remove it; put quotes around what must be text"
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self.problems.append(
                _Problem(node, None, place, f"the tag `{tag}` is not used here", hint)
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _plain(self, text: str, node: Node) -> None:
        """An unquoted scalar, by YAML 1.2's core schema, minus what could be read in two ways."""
        if text in _NULLS:
            node.value = None
        elif text in _CONSTANTS:
            node.value = _CONSTANTS[text]
        elif _INT.fullmatch(text):
            node.value = int(text)
        elif _ODD_NUMBER.fullmatch(text):
            hint = f'write it in decimal, or as text: "{text}"'
            self.problems.append(
                _Problem(node, None, node.place, f"{text} is not a plain number", hint)
            )
            node.value = text
        elif _NOT_FINITE.fullmatch(text):
            self.problems.append(
                _Problem(node, None, node.place, f"{text} is not a finite number", "")
            )
            node.value = text
        elif any(c.isdigit() for c in text) and _FLOAT.fullmatch(text):
            node.value = float(text)
            if node.value in (float("inf"), float("-inf")):
                self.problems.append(
                    _Problem(node, None, node.place, f"{text} is not a finite number", "")
                )
                node.value = text
        else:
            node.value = text

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        line, column = self._line + mark.line + 1, mark.column + 1
        if not isinstance(event, ScalarEvent):
            return Place(line, column)
        raw = self._text[mark.index : event.end_mark.index]
        if raw.rstrip() == event.value:
            return Place(line, column, column, line)
        if event.style in {"'", '"'} and raw[1:-1] == event.value:
            return Place(line, column, column + 1, line)
        if event.style == "|" and raw.startswith("|"):
            body = raw.partition("\n")[2]
            indent = len(body) - len(body.lstrip(" "))
            return Place(line, column, indent + 1, line + 1)
        return Place(line, column)


def _document(root: Node, problems: list[_Problem]) -> Document:
    """Plain values and places; problems get the path of the value they are about."""
    document = Document(value=None, start=root.place)
    flattener = _Flattener(document)
    document.value = flattener.flatten(root, (), 0)
    for problem in problems:
        path = flattener.paths.get(id(problem.node), ())
        if problem.key is None:
            document.broken.add(path)
        else:
            if problem.key == _MERGE:
                document.broken.add(path)  # what was to be merged into it is unknown
            path = (*path, problem.key)
        place = problem.place
        document.violations.append(
            Violation(render(path), problem.message, problem.hint, "", place.line, place.column)
        )
    return document


class _Flattener:
    """Expands aliases, counting, and remembers where everything stands."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.paths: dict[int, Path] = {}
        self._count = 0

    def flatten(self, node: Node, path: Path, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            message = f"has more than {MAX_NODES:,} values or {MAX_DEPTH} levels, aliases included"
            raise _TooMuchError(node.place, message, "write the values out")
        self.paths.setdefault(id(node), path)
        self._document.values[path] = node.place
        if node.mapping is not None:
            result = {}
            for key, (place, child) in node.mapping.items():
                self._document.keys[(*path, key)] = place
                result[key] = self.flatten(child, (*path, key), depth + 1)
            return result
        if node.sequence is not None:
            return [
                self.flatten(child, (*path, index), depth + 1)
                for index, child in enumerate(node.sequence)
            ]
        if node.value is None:
            self._empty(path, node)
        return node.value

    def _empty(self, path: Path, node: Node) -> None:
        document = self._document
        # An empty value has no place of its own: the parser puts it on the next line.
        place = document.keys.get(path, node.place)
        document.broken.add(path)
        hint = "give it one, or remove the line"
        document.violations.append(
            Violation(render(path), "has no value", hint, "", place.line, place.column)
        )
