"""What differs between two revisions of a project, and who would be served by somebody else.

Pure: two declared and resolved states in, a list of changes out.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pointsman.decide.plan import RuleMove, moves
from pointsman.domain.table import ProjectTable
from pointsman.spec.canonical import document
from pointsman.spec.models import Project

Operation = Literal["+", "~", "-"]


class Change(msgspec.Struct, frozen=True):
    """One thing added, changed or removed. kind: `project`, `variant`, `rule`, `metric`."""

    operation: Operation
    kind: str
    name: str
    details: tuple[str, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """All of it. summary is the line a plan ends with."""

    changes: tuple[Change, ...]
    moves: tuple[RuleMove, ...]
    add: int
    change: int
    destroy: int

    @property
    def summary(self) -> str:
        return f"Plan: {self.add} to add, {self.change} to change, {self.destroy} to destroy"


class Declared(msgspec.Struct, frozen=True):
    """A spec with the table it was compiled to."""

    project: Project
    table: ProjectTable


def difference(before: Declared | None, after: Declared | None) -> Difference:
    """What happens to the project when `after` takes the place of `before` (None: not there)."""
    old, new = _resources(before), _resources(after)
    found = [
        Change("+", kind, name, _lines(new[kind, name]))
        if (kind, name) not in old
        else Change("~", kind, name, _compared(old[kind, name], new[kind, name]))
        for kind, name in new
        if old.get((kind, name)) != new[kind, name]
    ]
    found += [Change("-", kind, name) for kind, name in old if (kind, name) not in new]
    counts = {op: sum(change.operation == op for change in found) for op in ("+", "~", "-")}
    moved = () if before is None or after is None else moves(before.table, after.table)
    return Difference(
        tuple(found),
        tuple(move for move in moved if move.share),
        counts["+"],
        counts["~"],
        counts["-"],
    )


def _resources(declared: Declared | None) -> dict[tuple[str, str], Any]:
    """What a revision consists of, by kind and name, as plain values."""
    if declared is None:
        return {}
    whole = document(declared.project)
    spec = dict(whole["spec"])
    sources = {variant.name: variant.source for variant in declared.table.variants}
    variants = {
        name: {**entry, "serves": sources[name]} if sources.get(name) else entry
        for name, entry in spec.pop("variants", {}).items()
    }
    rules = spec.pop("rules", None) or [
        {"name": rule.name, "use": rule.use} for rule in declared.project.spec.rules
    ]
    metrics = spec.pop("metrics", {})
    settings = {"metadata": whole["metadata"], **spec}
    found: dict[tuple[str, str], Any] = {("project", declared.project.name): settings}
    found |= {("variant", name): entry for name, entry in variants.items()}
    found |= {
        ("rule", entry["name"]): {"position": place, **entry}
        for place, entry in enumerate(rules, start=1)
    }
    found |= {("metric", name): entry for name, entry in metrics.items()}
    return found


def _lines(value: Any) -> tuple[str, ...]:
    return tuple(f"{path}: {shown}" for path, shown in _flat(value).items())


def _compared(old: Any, new: Any) -> tuple[str, ...]:
    """`path: before → after` for everything that differs, in the order of the new one."""
    was, now = _flat(old), _flat(new)
    lines = [
        f"{path}: {was[path]} → {shown}" if path in was else f"{path}: {shown} (new)"
        for path, shown in now.items()
        if was.get(path) != shown
    ]
    lines += [f"{path}: {shown} (gone)" for path, shown in was.items() if path not in now]
    return tuple(lines)


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """A nested value as `dotted.path: text`, without the name it goes by anyway."""
    if isinstance(value, Mapping):
        items = [(f"{path}.{key}" if path else str(key), entry) for key, entry in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}[{index}]", entry) for index, entry in enumerate(value)]
    else:
        return {path: str(value)}
    flat: dict[str, str] = {}
    for below, entry in items:
        if below != "name":
            flat |= _flat(entry, below)
    return flat
