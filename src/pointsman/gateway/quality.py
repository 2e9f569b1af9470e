"""What is expected of a project's rows, as checks made once when its table is loaded.

A row that is as it should be costs one look at what is declared (`Door.clean`). Everything else
here is for rows that are not.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from pointsman.domain.decision import Value
from pointsman.domain.quality import (
    FALLBACK,
    IMPUTE,
    REJECT,
    ROW,
    FeatureQuality,
    Problem,
    note,
)
from pointsman.domain.quality import Quality as Declared
from pointsman.domain.table import Feature, ProjectTable

EXTRAS: Final = 8
"""Most names of things that are no features which one record holds."""
_NAME: Final = 80


class _Wrong:
    """Stands where a value is that its feature's type cannot hold."""

    def __repr__(self) -> str:
        return "a value of another type"


WRONG: Final[Any] = _Wrong()

Found = tuple[str, Problem, Any]
"""Feature (`*` for the row, the name itself for what is no feature), problem, and the value."""


class Seen(msgspec.Struct, gc=False):
    """A row that is not as it should be.

    values: as models are shown them: with what is imputed, and None where nothing may be shown
    notes: every problem with its answer, as records hold them
    diverted: whether the assigned variant is not to be asked
    rejected: what the row is refused for; empty where it goes on
    """

    values: tuple[Value, ...]
    notes: tuple[str, ...]
    diverted: bool
    rejected: tuple[Found, ...]


class Door:
    """Expectations of one project, as its rows are checked by them.

    needs: of each model, by variant, the places of the features it cannot do without
    """

    __slots__ = (
        "_allowed",
        "_asked_for",
        "_known",
        "_nullable",
        "_ranges",
        "declared",
        "features",
        "needs",
    )

    def __init__(
        self, table: ProjectTable, declared: Declared, needs: Mapping[str, Collection[str]]
    ) -> None:
        """needs: names of features by variant"""
        self.declared = declared
        self.features = table.features
        each = list(enumerate(zip(table.features, declared.features, strict=True)))
        self._ranges = tuple(
            (place, own.low, own.high)
            for place, (_, own) in each
            if own.low is not None and own.high is not None
        )
        self._known = tuple(frozenset[Value](own.values) for own in declared.features)
        self._allowed = tuple(
            (place, frozenset[Value]({*own.values} if one.required else {*own.values, None}))
            for place, (one, own) in each
            if own.values
        )
        self._asked_for = tuple(
            place for place, (one, own) in each if not one.required and own.missing is not None
        )
        optional = tuple(place for place, (one, _) in each if not one.required)
        self._nullable = optional if len(optional) > 1 else ()
        self.needs = {
            variant: tuple(place for place, (one, _) in each if one.name in names)
            for variant, names in needs.items()
        }

    def clean(self, values: Sequence[Any]) -> bool:
        """Whether there is nothing to say about a row that is complete and of the right types."""
        for place, low, high in self._ranges:
            value = values[place]
            if value is not None and not low <= value <= high:
                return False
        for place, known in self._allowed:
            if values[place] not in known:
                return False
        if None in values:
            for place in self._asked_for:
                if values[place] is None:
                    return False
            return not self._nothing(values)
        return True

    def _nothing(self, values: Sequence[Any]) -> bool:
        nullable = self._nullable
        return bool(nullable) and all(values[place] is None for place in nullable)

    def look(self, values: Sequence[Any], extras: Sequence[str] = ()) -> Seen:
        """What is wrong with a row and what becomes of it.

        values: in the order of the features; None where there is none, `WRONG` where it is of
            another type
        extras: names of what is no feature
        """
        settled = list(values)
        notes: list[str] = []
        rejected: list[Found] = []
        diverted = False
        for place, name, problem, answer in self._found(values, extras):
            value = values[place] if place >= 0 else None
            notes.append(note(name[:_NAME] if place < 0 else name, problem, answer))
            if answer == REJECT:
                rejected.append((name, problem, value))
            elif answer == FALLBACK:
                diverted = True
            if answer == IMPUTE:
                settled[place] = self.declared.features[place].value
            elif value is WRONG:
                settled[place] = None
        if len(extras) > EXTRAS:
            del notes[EXTRAS - len(extras) :]
        return Seen(tuple(settled), tuple(notes), diverted, tuple(rejected))

    def _found(
        self, values: Sequence[Any], extras: Sequence[str]
    ) -> Iterator[tuple[int, str, Problem, str]]:
        """Place (-1 for the row), name, problem and answer; what is no feature comes last."""
        for place, own in enumerate(self.declared.features):
            met = self._problem(place, own, values[place])
            if met is not None:
                yield place, own.name, *met
        if self._nothing(values):
            yield -1, ROW, Problem.ALL_NULL, self.declared.all_null
        for name in extras:
            yield -1, name, Problem.EXTRA, self.declared.extra

    def _problem(self, place: int, own: FeatureQuality, value: Any) -> tuple[Problem, str] | None:
        """The first that a value has: one value is one problem."""
        if value is WRONG:
            return Problem.TYPE, own.type
        if value is None:
            return None if own.missing is None else (Problem.MISSING, own.missing)
        if own.low is not None and own.high is not None and not own.low <= value <= own.high:
            return Problem.RANGE, own.range
        if own.values and value not in self._known[place]:
            return Problem.UNSEEN, own.unseen
        return None

    def takes(self, variant: str, values: Sequence[Any]) -> bool:
        """Whether a variant can be shown a row: nothing that its model needs may be absent."""
        return all(values[place] is not None for place in self.needs.get(variant, ()))

    def words(self, found: Found) -> tuple[str, str]:
        """What is wrong, and what to send instead."""
        name, problem, value = found
        if problem is Problem.ALL_NULL:
            names = ", ".join(self.features[place].name for place in self._nullable[:12])
            return "nothing of what may be null is there", f"send at least one of {names}"
        place = next(i for i, own in enumerate(self.declared.features) if own.name == name)
        own, feature = self.declared.features[place], self.features[place]
        match problem:
            case Problem.RANGE:
                return f"{value!r} is out of range", f"expected {own.low:g} to {own.high:g}"
            case Problem.UNSEEN:
                shown = ", ".join(str(one)[:40] for one in own.values[:12])
                more = ", ..." if len(own.values) > 12 else ""
                return f"{value!r:.80} is not a known value", f"known: {shown}{more}"
            case _:
                return "null, but required", _send(feature)


def _send(feature: Feature) -> str:
    return f"send a {feature.type.value}"
