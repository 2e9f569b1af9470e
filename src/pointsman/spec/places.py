"""A document as plain values, and where each of them stands in the file."""

import re
from dataclasses import dataclass, field
from typing import Any

from pointsman.domain.errors import Violation

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: 1-based line and column.

    text: of a one-line scalar, the column of its first character; of a literal block (`|`), that
        of its first line; 0 where characters cannot be mapped one to one
    text_line: the line `text` is on
    """

    line: int
    column: int
    text: int = 0
    text_line: int = 0


@dataclass(slots=True)
class Document:
    """One YAML document as plain values.

    keys / values: places by path; broken: paths that have a violation already, whose value is
        not to be complained about a second time
    """

    value: Any
    start: Place
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    broken: set[Path] = field(default_factory=set)
    violations: list[Violation] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Where to point for a path: its key, else its value, else the nearest thing around it."""
        while path:
            found = self.keys.get(path) or self.values.get(path)
            if found is not None:
                return found
            path = path[:-1]
        return self.start

    def value_place(self, path: Path) -> Place:
        """The value itself where it stands behind its key, else as `place`."""
        found = self.values.get(path)
        return found if found is not None else self.place(path)


def render(path: Path) -> str:
    """`spec.rules[1].split`, the way a user would write it."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text
